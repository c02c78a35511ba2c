"""SMAP L3 radiometer soil moisture, 36 km (SPL3SMP, versions 8 and 9).

Flags: O'Neill et al., SMAP L3 Radiometer Global Daily 36 km EASE-Grid Soil Moisture, user guide
(NSIDC), tables of `retrieval_qual_flag` and `surface_flag`: a bit that is set is a fault. SMAP
crosses the equator at 6 h local time descending and at 18 h ascending.
"""

import numpy as np

from assimilation.satellite.layouts import Records
from assimilation.satellite.screening import Reading

VALUE = "soil_moisture"
VARIABLES = ("soil_moisture_error", "retrieval_qual_flag", "surface_flag")
OPTIONAL = ("Overpass", "tb_time_seconds")
PASSES = ("ascending", "descending", "night", "day")
VALID = (0.02, 0.5)  # m3 m-3, valid_min and valid_max of the product

_NOT_RECOMMENDED, _NOT_SUCCESSFUL, _NO_FREEZE_THAW = 0, 2, 3
_SNOW, _PERMANENT_SNOW, _FROZEN_RADIOMETER, _FROZEN_MODEL = 5, 6, 7, 8
_EPOCH = np.datetime64("2000-01-01T12:00:00", "ns")


def understand(records: Records, *, quality: str) -> Reading:
    """Values, errors, orbits and faults of SMAP's records."""
    values = records.values
    value = values[VALUE]
    time = records.time
    if "tb_time_seconds" in values:
        since = values["tb_time_seconds"]
        exact = _EPOCH + np.round(1e9 * np.nan_to_num(since)).astype("timedelta64[ns]")
        time = np.where(np.isfinite(since), exact, time)
    measured = Records(records.place, time, values, records.lat, records.lon, records.identity)
    descending = (
        values["Overpass"] == 1 if "Overpass" in values else measured.local_hour() < 12.0
    ).astype(np.int8)
    recommended = quality == "recommended"
    # Outside the domain of the freeze/thaw retrieval (45 N and beyond) the radiometer's frozen
    # bit is set everywhere, in Hawaii too: it counts where that retrieval succeeded.
    frozen = records.bits("surface_flag", _FROZEN_MODEL) | (
        records.bits("surface_flag", _FROZEN_RADIOMETER)
        & ~records.bits("retrieval_qual_flag", _NO_FREEZE_THAW)
    )
    error = values["soil_moisture_error"]
    return Reading(
        soil_moisture=value,
        # Versions 8 and 9 have the field and leave it empty.
        error=error if np.isfinite(error).any() else None,
        ascending=(1 - descending).astype(np.int8),
        night=descending,
        reasons={
            "not_retrieved": records.bits("retrieval_qual_flag", _NOT_SUCCESSFUL),
            "out_of_range": (value < VALID[0]) | (value > VALID[1]),
            "snow": records.bits("surface_flag", _SNOW, _PERMANENT_SNOW),
            "frozen": frozen,
            "not_recommended": records.bits("retrieval_qual_flag", _NOT_RECOMMENDED) & recommended,
        },
        time=time,
    )
