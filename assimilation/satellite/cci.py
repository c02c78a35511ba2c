"""ESA CCI soil moisture, combined product (v09.2 and its like), 0.25 degrees, daily.

Flags, day and night, time of observation: ESA Climate Change Initiative Plus Soil Moisture,
Product User Guide for v09.2 (D4.3, 2026). `sm_uncertainty` is the standard deviation from triple
collocation; `t0` is in days since 1970-01-01.
"""

import numpy as np

from assimilation.satellite.layouts import Records
from assimilation.satellite.screening import UNKNOWN, Reading

VALUE = "sm"
VARIABLES = ("sm_uncertainty", "flag", "dnflag", "t0")
OPTIONAL = ()
PASSES = ("night", "day")

_SNOW_OR_FROZEN, _BARREN = 0, 6
_DAY, _NIGHT = 1, 2
_EPOCH = np.datetime64("1970-01-01T00:00:00", "ns")


def understand(records: Records, *, quality: str) -> Reading:
    """Values, errors, day or night and faults of CCI's records; barren ground is optional."""
    values = records.values
    value, flag = values[VALUE], np.nan_to_num(values["flag"], nan=-1.0).astype(np.int64)
    moment = values["t0"]
    untimed = ~np.isfinite(moment)
    exact = _EPOCH + np.round(86400.0 * np.nan_to_num(moment)).astype("timedelta64[s]")
    part = values["dnflag"]
    barren = 1 << _BARREN
    return Reading(
        soil_moisture=value,
        error=values["sm_uncertainty"],
        ascending=np.full(value.shape, UNKNOWN, np.int8),
        night=np.select([part == _NIGHT, part == _DAY], [1, 0], UNKNOWN).astype(np.int8),
        reasons={
            "without_time": untimed,
            "out_of_range": (value < 0.0) | (value > 1.0),
            "frozen_or_snow": (flag > 0) & ((flag & (1 << _SNOW_OR_FROZEN)) != 0),
            "flagged": (flag < 0) | ((flag & ~barren) != 0),
            "barren": (flag == barren) & (quality == "recommended"),
        },
        time=np.where(untimed, records.time, exact.astype("datetime64[ns]")),
    )
