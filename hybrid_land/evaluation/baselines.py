"""What a model must beat: the first value held, and the truth's own climatology."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from hybrid_land.columns import dataset_from
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.evaluation.scores import counted

BASELINES = ("persistence", "climatology")


def persistence(truth: xr.Dataset, variables: Iterable[str]) -> xr.Dataset:
    """Every variable held at its first record, fluxes and screen level too.

    For what follows the sun this is a poor forecast (the first record's hour all day); it is the
    plainest one, and it knows nothing but the first record.
    """
    records = truth.sizes["time"]
    return dataset_from(
        truth,
        {
            name: np.repeat(truth[name].isel(time=0).to_numpy()[None, :], records, axis=0)
            for name in variables
        },
    )


def climatology(truth: xr.Dataset, variables: Iterable[str]) -> xr.Dataset:
    """The truth's own mean by day of year (31-day window) and hour of day.

    An oracle: it has seen the very record that it is scored on, the mean state of every column
    included, which no forecast has. Where snow's inner variables have no climatology (no snow
    within the window in any year) it holds the column's mean over snow, or the first record.
    """
    time = truth["time"].to_numpy()
    values = {}
    for name in variables:
        actual = truth[name].transpose("time", "column").to_numpy().astype(np.float64)
        where = counted(truth, name).transpose("time", "column").to_numpy()
        fitted = fit_climatology(actual, time, where=where).at(time)
        number = where.sum(axis=0)
        mean = np.where(where, actual, 0.0).sum(axis=0) / np.maximum(number, 1)
        fallback = np.where(number > 0, mean, actual[0])
        values[name] = np.where(np.isfinite(fitted), fitted, fallback[None, :])
    return dataset_from(truth, values)


def baseline(kind: str, truth: xr.Dataset, variables: Iterable[str]) -> xr.Dataset:
    """A baseline by its name.

    Raises:
        ValueError: if there is none of that name.
    """
    if kind == "persistence":
        return persistence(truth, variables)
    if kind == "climatology":
        return climatology(truth, variables)
    raise ValueError(f"baseline {kind!r} is not known; expected one of {', '.join(BASELINES)}")
