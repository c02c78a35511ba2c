"""The climatology of a record by day of year and hour of day, from the record itself."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import uniform_filter1d
from scipy.sparse import csr_matrix

DAYS = 366  # every calendar has a day 366; where a record has none its neighbours fill it
WINDOW = 31  # days


@dataclass(frozen=True)
class Climatology:
    """Mean value by day of year and hour of day.

    Attributes:
        mean: `[day, slot, column]`, NaN where no record falls in the window.
        slots: `[slot]`, times of day of the second axis, s since 00 UTC.
    """

    mean: Float[np.ndarray, "day slot column"]
    slots: Shaped[np.ndarray, " slot"]

    def at(self, time: Shaped[np.ndarray, " time"]) -> Float[np.ndarray, "time column"]:
        """The climatology at given times (datetime64), `[time, column]`.

        Raises:
            ValueError: if a time of day was not in the record that the climatology comes from.
        """
        day, second = _day_and_second(time)
        slot = np.searchsorted(self.slots, second)
        if (slot >= len(self.slots)).any() or (self.slots[slot] != second).any():
            raise ValueError(
                f"times of day {np.unique(second)} s, expected those of the climatology, "
                f"{self.slots} s"
            )
        return self.mean[day, slot]


def _day_and_second(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Day of year counted from 0, and seconds since midnight."""
    seconds = time.astype("datetime64[s]")
    date = seconds.astype("datetime64[D]")
    day = (date - date.astype("datetime64[Y]")).astype(int)
    return day, (seconds - date).astype(int)


def fit_climatology(
    values: Float[np.ndarray, "time column"],
    time: Shaped[np.ndarray, " time"],
    *,
    window: int = WINDOW,
    where: Bool[np.ndarray, "time column"] | None = None,
) -> Climatology:
    """Mean over all records within half a window of each day of the year, at each hour of day.

        c(d, h) = sum of x over |day - d| <= (window - 1) / 2, hour h  /  number of such records

    with the distance between days counted around the turn of the year.

    Args:
        values: `[time, column]`.
        time: `[time]`, datetime64.
        window: width in days, odd.
        where: records that count, all if not given.
    """
    day, second = _day_and_second(time)
    slots, slot = np.unique(second, return_inverse=True)
    place = day * len(slots) + slot
    gather = csr_matrix(
        (np.ones(len(time)), (place, np.arange(len(time)))), shape=(DAYS * len(slots), len(time))
    )
    if where is None:
        where = np.ones((len(time), 1), bool)
    sums = gather @ np.where(where, values, 0.0).astype(np.float64)
    counts = gather @ where.astype(np.float64)

    def windowed(x: np.ndarray) -> np.ndarray:
        by_day = x.reshape(DAYS, len(slots), -1)
        return window * uniform_filter1d(by_day, window, axis=0, mode="wrap")

    total, number = windowed(sums), np.rint(windowed(counts))
    mean = np.where(number > 0, total / np.maximum(number, 1.0), np.nan)
    return Climatology(mean=mean, slots=slots)
