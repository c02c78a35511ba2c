"""Scores between 0 and 1: ML-BEES' bias, RMSE and ACC, and ILAMB's per-cell scores.

ML-BEES is ECMWF's Code for Earth 2024 comparison of ECLand emulators (repository
ECMWFCode4Earth/ML-BEES, `ML-BEES-eval`: `spatial_temporal_metrics.py` and the scoreboard of
`run_workflow.py`). ILAMB is Collier et al. (2018), doi 10.1029/2018MS001354, whose definitions
ML-BEES shares. Columns are independent places here and weigh the same; ML-BEES weighs by area and
a climatic weight, ILAMB by area.
"""

from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scores.continuous.correlation import pearsonr

from hybrid_land.evaluation.scores import Pair, correlation_in_time, has_variance

_PERCENTILE = 99.0  # ML-BEES leaves relative errors beyond it out
_DAYS_A_YEAR = 365.0
_MONTH_LENGTH = _DAYS_A_YEAR / 12.0


def relative_bias(values: Pair) -> xr.DataArray:
    """|mean p - mean o| / crms(o), `(column)`; NaN where the truth does not vary.

    crms(o) is the root mean square of o - mean o in time (Collier et al. 2018).
    """
    bias = abs((values.prediction - values.truth).mean("time"))
    return (bias / _spread(values.truth)).where(_varies(values))


def relative_rmse(values: Pair) -> xr.DataArray:
    """Ratio crmse / crms(o), `(column)`, crmse the RMSE of the two series less their own means.

    Collier et al. (2018). NaN where the truth does not vary.
    """
    error = values.prediction - values.truth
    return (error.std("time") / _spread(values.truth)).where(_varies(values))


def _varies(values: Pair) -> xr.DataArray:
    return has_variance(values.truth, scale=values.truth)


def _spread(x: xr.DataArray) -> xr.DataArray:
    spread = x.std("time")
    return spread.where(spread > 0.0)


def mlbees_scores(values: Pair) -> dict[str, float]:
    """ML-BEES' three scores of a variable.

        bias: exp(-mean of relative_bias),   rmse: exp(-mean of relative_rmse),
        acc:  mean of corr(p - mean o, o - mean o)

    over the columns whose value is finite and not beyond the 99th percentile. Its climatology is
    the truth's mean in time, so that `acc` counts the seasons and the day as skill.
    """
    mean = values.truth.mean("time")
    correlation = correlation_in_time(
        values.prediction - mean, values.truth - mean, scale=values.truth
    )
    return {
        "mlbees_bias": float(np.exp(-_trimmed_mean(relative_bias(values)))),
        "mlbees_rmse": float(np.exp(-_trimmed_mean(relative_rmse(values)))),
        "mlbees_acc": _trimmed_mean(correlation),
    }


def _trimmed_mean(x: xr.DataArray) -> float:
    finite = x.to_numpy()[np.isfinite(x.to_numpy())]
    if finite.size == 0:
        return float("nan")
    return float(finite[finite <= np.percentile(finite, _PERCENTILE)].mean())


def ilamb_scores(values: Pair, time: np.ndarray) -> dict[str, float]:
    """ILAMB's scores of a variable, each the mean over columns of a score in [0, 1].

        bias:           exp(-|mean p - mean o| / crms(o))
        rmse:           exp(-crmse / crms(o))
        seasonal cycle: (1 + cos(2 pi shift / 365 d)) / 2, shift that of the month of the maximum
        interannual:    exp(-|iav(p) - iav(o)| / iav(o)), iav the root mean square of the monthly
                        anomalies from the mean annual cycle
        spatial:        2 (1 + R) / (sigma + 1 / sigma)^2, R and sigma the correlation and the
                        ratio of spreads of the period means over columns
        overall:        (bias + 2 rmse + seasonal cycle + interannual + spatial) / 6

    (Collier et al. 2018.) Bias and RMSE are taken at the data's own step, as ML-BEES does, the two
    on cycles from monthly means, as ILAMB does. NaN where the record is too short (a year for the
    cycle, two for its variability); the overall score then goes without. Columns where the truth
    does not vary are left out.

    Args:
        values: the run beside the truth.
        time: `[time]`, datetime64, of the records in `values`.
    """
    result = {
        "ilamb_bias": _mean(np.exp(-relative_bias(values))),
        "ilamb_rmse": _mean(np.exp(-relative_rmse(values))),
        **_cycle_scores(values, time),
        "ilamb_spatial": _spatial_score(values),
    }
    weights = (1.0, 2.0, 1.0, 1.0, 1.0)
    known = [(w, x) for w, x in zip(weights, result.values(), strict=True) if np.isfinite(x)]
    total = sum(w for w, _ in known)
    result["ilamb_overall"] = sum(w * x for w, x in known) / total if known else float("nan")
    return result


def _mean(x: ArrayLike) -> float:
    values = np.asarray(x)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _monthly(x: xr.DataArray, time: np.ndarray) -> np.ndarray:
    """Means over each calendar month of the record, `[month, column]`, NaN for an empty one."""
    values = x.to_numpy()
    months = time.astype("datetime64[M]")
    starts = np.flatnonzero(np.diff(months.astype(int), prepend=-1))
    total = np.add.reduceat(np.nan_to_num(values), starts, axis=0)
    number = np.add.reduceat(np.isfinite(values).astype(float), starts, axis=0)
    return np.where(number > 0, total / np.maximum(number, 1.0), np.nan)


def _cycle(monthly: np.ndarray, month: np.ndarray) -> np.ndarray:
    """Mean of each month of the year over the years, `[12, column]`, NaN where there is none."""
    here = month[None, :] == np.arange(12)[:, None]
    number = here.astype(float) @ np.isfinite(monthly).astype(float)
    total = here.astype(float) @ np.nan_to_num(monthly)
    return np.where(number > 0, total / np.maximum(number, 1.0), np.nan)


def _cycle_scores(values: Pair, time: np.ndarray) -> dict[str, float]:
    """Timing of the annual cycle and size of the variability between years."""
    scores = {"ilamb_seasonal_cycle": float("nan"), "ilamb_interannual": float("nan")}
    month = np.unique(time.astype("datetime64[M]")).astype(int) % 12
    if len(month) < 12:
        return scores
    varies = _varies(values).to_numpy()
    observed, predicted = _monthly(values.truth, time), _monthly(values.prediction, time)
    cycle, cycle_predicted = _cycle(observed, month), _cycle(predicted, month)
    whole = varies & np.isfinite(cycle).all(axis=0) & np.isfinite(cycle_predicted).all(axis=0)
    shift = cycle_predicted[:, whole].argmax(axis=0) - cycle[:, whole].argmax(axis=0)
    angle = 2.0 * np.pi * shift * _MONTH_LENGTH / _DAYS_A_YEAR
    scores["ilamb_seasonal_cycle"] = _mean((1.0 + np.cos(angle)) / 2.0)
    if len(month) >= 24:
        size = _rms(observed - cycle[month])
        size_predicted = _rms(predicted - cycle_predicted[month])
        some = varies & (size > 0.0)
        error = abs(size_predicted[some] - size[some]) / size[some]
        scores["ilamb_interannual"] = _mean(np.exp(-error))
    return scores


def _rms(x: np.ndarray) -> np.ndarray:
    """Root mean square over what is known of each column; 0 for one with nothing known."""
    known = np.isfinite(x)
    return np.sqrt(np.nan_to_num(x * x).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def _spatial_score(values: Pair) -> float:
    observed, predicted = values.truth.mean("time"), values.prediction.mean("time")
    if int(observed.notnull().sum()) < 2 or not (observed.std() > 0 and predicted.std() > 0):
        return float("nan")
    sigma = float(predicted.std() / observed.std())
    correlation = float(cast("xr.DataArray", pearsonr(predicted, observed)))
    return 2.0 * (1.0 + correlation) / (sigma + 1.0 / sigma) ** 2
