"""What is left out and why: a product's own flags, overpasses, and a model's frozen ground."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from assimilation.satellite.places import MAX_DISTANCE_KM, nearest, require_places
from hybrid_land.errors import InputError
from hybrid_land.variables import FREEZING, SNOW_PRESENT

Quality = Literal["recommended", "retrieved"]
QUALITIES = ("recommended", "retrieved")
OVERPASSES = ("all", "ascending", "descending", "night", "day")
UNKNOWN = -1


@dataclass(frozen=True)
class Reading:
    """A product's records, understood.

    Attributes:
        soil_moisture: m3 m-3, `[record]`.
        error: standard deviation, m3 m-3, `[record]`; `None` if the product has none.
        ascending: 1 ascending, 0 descending, -1 not known, `[record]`.
        night: 1 night, 0 day, -1 neither, `[record]`; the two passes near six o'clock count as
            night (morning) and day (evening).
        reasons: why a record is to be left out, in the order in which it is counted.
        time: `datetime64[ns]`, `[record]`, of the measurement itself.
    """

    soil_moisture: np.ndarray
    error: np.ndarray | None
    ascending: np.ndarray
    night: np.ndarray
    reasons: dict[str, np.ndarray]
    time: np.ndarray


def screen(count: int, reasons: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Which records stay, `[record]`, and how many went for each reason, each counted once."""
    keep = np.ones(count, bool)
    counts = {}
    for reason, where in reasons.items():
        counts[reason] = int((keep & where).sum())
        keep &= ~where
    return keep, counts


def outside_overpass(reading: Reading, overpass: str) -> np.ndarray:
    """Records of another overpass than the one asked for, `[record]`."""
    match overpass:
        case "ascending":
            return reading.ascending != 1
        case "descending":
            return reading.ascending != 0
        case "night":
            return reading.night != 1
        case "day":
            return reading.night != 0
    return np.zeros(len(reading.soil_moisture), bool)


def screen_frozen(
    product: xr.Dataset,
    data: xr.Dataset,
    *,
    minimum_soil_temperature: float = FREEZING,
    maximum_snow: float = SNOW_PRESENT,
    max_distance_km: float = MAX_DISTANCE_KM,
) -> xr.Dataset:
    """Leave out what was observed over frozen ground or snow, as a model says.

    The nearest column's record that holds the observation's time decides, as in ECMWF's analysis
    of soil moisture (de Rosnay et al. 2013, Q. J. R. Meteorol. Soc. 139, section 3). Observations
    outside the model's time, or with no column near, stay, and are counted.

    Args:
        product: from `read_satellite`.
        data: with dims `(time, column)`, `lat`, `lon` and `stl1` (K) or `sd` (kg m-2) or both,
            such as a model's run or `read_era5_land`.
        minimum_soil_temperature: of the first layer, K.
        maximum_snow: snow water equivalent, kg m-2.
        max_distance_km: from location to column.

    Returns:
        The product without them; attributes `screened_frozen_by_model`, `screened_snow_by_model`
        and `not_checked_by_model` count.

    Raises:
        InputError: if the data have no place, no time or neither variable.
    """
    require_places(data)
    present = [name for name in ("stl1", "sd") if name in data]
    if not present or "time" not in data:
        raise InputError(
            "the data to screen by have no stl1 or sd with time, expected soil temperature (K) or "
            "snow (kg m-2); give another run or screen by the product's flags alone"
        )
    column, _ = nearest(
        product["lat"].to_numpy(),
        product["lon"].to_numpy(),
        data["lat"].to_numpy(),
        data["lon"].to_numpy(),
        max_distance_km=max_distance_km,
    )
    column = column[product["location_index"].to_numpy()]
    record = record_of(product["time"].to_numpy(), data["time"].to_numpy())
    known = (column >= 0) & (record >= 0)
    reasons = {}
    for name, reason in (("stl1", "frozen_by_model"), ("sd", "snow_by_model")):
        bad = np.zeros(known.shape, bool)
        if name in present:
            series = data[name].transpose("time", "column").to_numpy()
            value = series[record[known], column[known]]
            with np.errstate(invalid="ignore"):
                bad[known] = (
                    value < minimum_soil_temperature if name == "stl1" else value > maximum_snow
                )
        reasons[reason] = bad
    keep, counts = screen(len(known), reasons)
    result = product.isel(observation=keep)
    result.attrs |= {f"screened_{reason}": count for reason, count in counts.items()}
    result.attrs |= {
        "not_checked_by_model": int((~known).sum()),
        "observations_kept": int(keep.sum()),
    }
    return result


def record_of(time: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Index of the record `[t, t + step)` that holds each time; -1 outside, `[observation]`."""
    step = records[1] - records[0] if len(records) > 1 else np.timedelta64(6, "h")
    index = np.floor((time - records[0]) / step).astype(np.int64)
    return np.where((index < 0) | (index >= len(records)), -1, index)
