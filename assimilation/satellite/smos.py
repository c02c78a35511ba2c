"""SMOS L3 soil moisture of CATDS, 25 km, daily, one orbit direction a file.

Flags: bits of the SMOS level 2 science flags (Level 2 and Auxiliary Data Products Specifications,
SO-TN-IDR-GS-0006); interference: CATDS recommends to discard above 0.2 (Kerr et al., release note
of version 3.3, 2021). SMOS crosses the equator at 6 h local time ascending and at 18 h descending;
the file does not say which it holds, the hour does.
"""

import numpy as np

from assimilation.satellite.layouts import Records
from assimilation.satellite.screening import Reading

VALUE = "Soil_Moisture"
VARIABLES = (
    "Soil_Moisture_Dqx",
    "Science_Flags",
    "Ratio_RFI",
    "Mean_Acq_Time_Days",
    "Mean_Acq_Time_Seconds",
)
OPTIONAL = ("Rfi_Prob",)
PASSES = ("ascending", "descending", "night", "day")
MAX_INTERFERENCE = 0.2

_STRONG_TOPOGRAPHY, _FLOOD, _URBAN_HIGH, _HEAVY_RAIN = 3, 14, 16, 25
_SNOW_MIXED, _SNOW_WET, _SNOW_DRY = 6, 7, 8
_FROST, _ICE, _SEA_ICE = 11, 12, 18
_EPOCH = np.datetime64("2000-01-01T00:00:00", "ns")


def understand(records: Records, *, quality: str) -> Reading:
    """Values, errors, orbits and faults of SMOS' records."""
    values = records.values
    value, error = values[VALUE], values["Soil_Moisture_Dqx"]
    days, seconds = values["Mean_Acq_Time_Days"], values["Mean_Acq_Time_Seconds"]
    exact = (
        _EPOCH
        + np.nan_to_num(days).astype("timedelta64[D]")
        + np.round(1e9 * np.nan_to_num(seconds)).astype("timedelta64[ns]")
    )
    untimed = ~(np.isfinite(days) & np.isfinite(seconds))
    measured = Records(records.place, exact, values, records.lat, records.lon, records.identity)
    morning = np.where(untimed, -1, measured.local_hour() < 12.0).astype(np.int8)
    interference = np.fmax(values["Ratio_RFI"], values.get("Rfi_Prob", values["Ratio_RFI"]))
    recommended = quality == "recommended"
    return Reading(
        soil_moisture=value,
        error=error,
        ascending=morning,
        night=morning,
        reasons={
            "without_time": untimed,
            "out_of_range": (value < 0.0) | (value > 1.0),
            "snow": records.bits("Science_Flags", _SNOW_MIXED, _SNOW_WET, _SNOW_DRY),
            "frozen": records.bits("Science_Flags", _FROST, _ICE, _SEA_ICE),
            "interference": (np.nan_to_num(interference) > MAX_INTERFERENCE) & recommended,
            "surface": records.bits(
                "Science_Flags", _STRONG_TOPOGRAPHY, _FLOOD, _URBAN_HIGH, _HEAVY_RAIN
            )
            & recommended,
        },
        time=np.where(untimed, records.time, exact),
    )
