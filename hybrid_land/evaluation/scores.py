"""Errors and anomaly correlation of a run against ECLand, one variable at a time."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from scores.continuous import additive_bias, mse
from scores.continuous.correlation import pearsonr

from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.variables import SNOW_INNER, SNOW_PRESENT

# A spread below this share of the largest value is rounding of float32, not variance.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Pair:
    """A variable of a run beside the truth, and where it counts.

    Attributes:
        prediction: `(time, column)`, NaN where it does not count.
        truth: `(time, column)`, NaN where it does not count.
        climatology: of the truth, at the same times, `(time, column)`.
    """

    prediction: xr.DataArray
    truth: xr.DataArray
    climatology: xr.DataArray


def counted(truth: xr.Dataset, name: str) -> xr.DataArray:
    """Where a variable counts, `(time, column)`: the inside of snow only where there is snow."""
    if name in SNOW_INNER:
        return truth["sd"] >= SNOW_PRESENT
    return xr.ones_like(truth[name], dtype=bool)


def pair(prediction: xr.Dataset, truth: xr.Dataset, name: str) -> Pair:
    """Line a variable up with the truth, in double precision and without the first record.

    At the first record every instantaneous value is the given first state, which is no
    prediction. The climatology comes from all of the truth's records.
    """
    where = counted(truth, name).transpose("time", "column")
    actual = truth[name].transpose("time", "column").astype(np.float64)
    time = truth["time"].to_numpy()
    fitted = fit_climatology(actual.to_numpy(), time, where=where.to_numpy()).at(time)
    # Positions, not labels: a file written elsewhere may number its columns differently.
    predicted = xr.DataArray(
        prediction[name].transpose("time", "column").to_numpy().astype(np.float64),
        dims=("time", "column"),
    )
    plain = actual.drop_vars(list(actual.coords))
    mask = where.drop_vars(list(where.coords))
    later = {"time": slice(1, None)}
    return Pair(
        prediction=predicted.where(mask).isel(later),
        truth=plain.where(mask).isel(later),
        climatology=xr.DataArray(fitted, dims=("time", "column")).isel(later),
    )


def errors(values: Pair) -> dict[str, float]:
    """Root mean square error, bias and unbiased root mean square error, over time and columns.

        rmse^2 = mean (p - o)^2,   bias = mean (p - o),   ubrmse^2 = rmse^2 - bias^2

    `ubrmse_column` takes each column's own bias out instead (Entekhabi et al. 2010, eq. 2):
    the square root of the mean over columns of the variance of the error in time.
    """
    squared = float(cast("xr.DataArray", mse(values.prediction, values.truth)))
    bias = float(cast("xr.DataArray", additive_bias(values.prediction, values.truth)))
    inside = (values.prediction - values.truth).var("time")
    return {
        "rmse": float(np.sqrt(squared)),
        "bias": bias,
        "ubrmse": float(np.sqrt(np.maximum(squared - bias**2, 0.0))),
        "ubrmse_column": float(np.sqrt(inside.mean())),
    }


def column_errors(values: Pair) -> xr.Dataset:
    """`rmse`, `bias` and `acc` of each column and the number of its records, `(column)`."""
    error = values.prediction - values.truth
    return xr.Dataset(
        {
            "rmse": (error**2).mean("time") ** 0.5,
            "bias": error.mean("time"),
            "acc": anomaly_correlations(values),
            "records": values.truth.notnull().sum("time"),
        }
    )


def has_variance(values: xr.DataArray, *, scale: xr.DataArray) -> xr.DataArray:
    """Whether each column varies in time by more than the rounding of `scale`, `(column)`."""
    return values.std("time") > _ROUNDING * abs(scale).max("time")


def correlation_in_time(
    predicted: xr.DataArray, observed: xr.DataArray, *, scale: xr.DataArray
) -> xr.DataArray:
    """Pearson's correlation in time, `(column)`.

    NaN where the observed series has no variance beyond the rounding of `scale`; 0 where only
    the predicted one has none.
    """
    moving = has_variance(observed, scale=scale)
    still = ~has_variance(predicted, scale=scale) & predicted.notnull().any("time")
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = cast("xr.DataArray", pearsonr(predicted, observed, reduce_dims="time"))
    return correlation.where(~still, 0.0).where(moving)


def anomaly_correlations(values: Pair) -> xr.DataArray:
    """Correlation in time of the anomalies from the truth's climatology, `(column)`.

        acc = corr(p - c, o - c),   c the truth's climatology by day of year and hour of day

    NaN where the truth's anomaly has no variance; 0 where only the prediction's has none.
    """
    return correlation_in_time(
        values.prediction - values.climatology,
        values.truth - values.climatology,
        scale=values.truth,
    )


def anomaly_correlation(columns: xr.Dataset) -> dict[str, float | int]:
    """Mean of `acc` over the columns of `column_errors`, and how many have none."""
    known = columns["acc"].to_numpy()[columns["acc"].notnull().to_numpy()]
    return {
        "acc": float(known.mean()) if known.size else float("nan"),
        "acc_columns_left_out": int(columns.sizes["column"] - known.size),
    }


def pooled(columns: xr.Dataset, members: np.ndarray) -> dict[str, float]:
    """RMSE and bias over all records of some columns of `column_errors`, and their mean `acc`."""
    rmse, bias, acc, records = (
        columns[name].to_numpy()[members] for name in ("rmse", "bias", "acc", "records")
    )
    total = records.sum()
    if total == 0:
        return dict.fromkeys(("rmse", "bias", "acc"), float("nan"))
    some, known = records > 0, np.isfinite(acc)
    return {
        "rmse": float(np.sqrt(np.sum(rmse[some] ** 2 * records[some]) / total)),
        "bias": float(np.sum(bias[some] * records[some]) / total),
        "acc": float(acc[known].mean()) if known.any() else float("nan"),
    }


def finite_or_none(x: Any) -> Any:
    """`x` with every number that is not finite as `None`, which JSON can say."""
    if isinstance(x, dict):
        return {key: finite_or_none(value) for key, value in x.items()}
    if isinstance(x, list):
        return [finite_or_none(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
