"""ASCAT surface soil moisture of H SAF (H113 and the like), percent of saturation, 12.5 km.

Flags: Product User Manual, Metop ASCAT soil moisture CDR and offline products (H SAF,
SAF/HSAF/CDOP3/PUM), and the file's own `flag_meanings`. Metop crosses the equator at 21.5 h local
time ascending and at 9.5 h descending.
"""

import numpy as np

from assimilation.satellite.layouts import Records
from assimilation.satellite.screening import Reading

VALUE = "sm"
VARIABLES = ("sm_noise", "proc_flag", "conf_flag", "ssf", "dir")
OPTIONAL = ()
PASSES = ("ascending", "descending", "night", "day")

_FROZEN, _MELTING, _PERMANENT_ICE = 2, 3, 4  # values of the surface state flag; 0 is unknown


def understand(records: Records, *, quality: str, porosity: np.ndarray) -> Reading:
    """Values, errors, orbits and faults of ASCAT's records.

    Args:
        records: of the file.
        quality: which flags count.
        porosity: m3 m-3, `[location]`; NaN where it is not known.
    """
    values = records.values
    share = values[VALUE] / 100.0
    of = porosity[records.place]
    state = np.nan_to_num(values["ssf"])
    ascending = (values["dir"] == 0).astype(np.int8)
    recommended = quality == "recommended"
    return Reading(
        soil_moisture=share * of,
        error=values["sm_noise"] / 100.0 * of,
        ascending=ascending,
        night=ascending,
        reasons={
            "not_retrieved": np.nan_to_num(values["proc_flag"]) != 0,
            "out_of_range": (share < 0.0) | (share > 1.0),
            "without_porosity": ~np.isfinite(of),
            "snow": state == _MELTING,
            "frozen": (state == _FROZEN) | (state == _PERMANENT_ICE),
            "low_confidence": (np.nan_to_num(values["conf_flag"]) != 0) & recommended,
        },
        time=records.time,
    )
