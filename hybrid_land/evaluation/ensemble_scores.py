"""Scores of an ensemble's forecasts: CRPS, spread over skill, ranks, coverage of intervals."""

from typing import Any, Literal, cast

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import stats
from scores.probability import crps_for_ensemble

Members = Float[np.ndarray, "member case"]
Values = Float[np.ndarray, " case"]


def crps(members: Members, truth: Values, *, method: Literal["ecdf", "fair"] = "ecdf") -> float:
    """Continuous ranked probability score, mean over cases, in the variable's unit.

        crps = mean |x_i - o| - sum_ij |x_i - x_j| / (2 K^2)

    `ecdf` scores the K members as they are; `fair` (K (K - 1) in the place of K^2, Ferro 2014)
    estimates the score of an ensemble of endless size.
    """
    score = crps_for_ensemble(
        xr.DataArray(members, dims=("member", "case")),
        xr.DataArray(truth, dims="case"),
        "member",
        method=method,
    )
    return float(cast("xr.DataArray", score))


def spread_and_skill(members: Members, truth: Values) -> dict[str, float]:
    """RMSE of the mean, spread, and their ratio.

        rmse^2 = mean (m - o)^2,   spread^2 = mean of the members' variance (K - 1 below),
        ratio = sqrt((K + 1) / K) spread / rmse

    The ratio is 1 when truth and members are drawn from the same distribution: the mean of K
    members then errs by (1 + 1/K) times their variance (Fortin et al. 2014, eq. 15).
    """
    size = len(members)
    rmse = float(np.sqrt(np.mean((members.mean(axis=0) - truth) ** 2)))
    spread = float(np.sqrt(np.mean(members.var(axis=0, ddof=1))))
    ratio = np.sqrt((size + 1) / size) * spread / rmse if rmse > 0 else np.nan
    return {"rmse": rmse, "spread": spread, "spread_over_skill": float(ratio)}


def open_cases(members: Members, truth: Values) -> Bool[np.ndarray, " case"]:
    """Cases that are not settled: not all members and the truth the same number.

    Without snow the ensemble and ECLand agree on zero; such cases say nothing of a spread.
    """
    return np.any(members != truth, axis=0)


def ranks(members: Members, truth: Values, *, seed: int = 0) -> Int[np.ndarray, " case"]:
    """Rank of the truth among the members, 0 to K; a tie takes one of its ranks at random."""
    below = np.sum(members < truth, axis=0)
    same = np.sum(members == truth, axis=0)
    return below + np.random.default_rng(seed).integers(0, same + 1)


def flatness(
    rank: Int[np.ndarray, " case"], column: Int[np.ndarray, " case"], *, members: int
) -> dict[str, Any]:
    """The rank histogram and a test of whether it is flat.

    Cases of one column are not independent, so the column is the unit: with d_c the vector of a
    column's counts less their mean, the hypothesis is E d_c = 0, tested by Hotelling's T^2 on the
    columns (the last rank left out, since counts add up), an F distribution under flatness.

    Returns:
        `counts` `[rank]`; `deviation`, the sum of |share - 1 / (K + 1)|, 0 for a flat histogram;
        `p_flat`, NaN with too few columns to say.
    """
    bins = members + 1
    counts = np.bincount(rank, minlength=bins)
    share = counts / max(counts.sum(), 1)
    result = {
        "counts": counts.tolist(),
        "deviation": float(np.abs(share - 1.0 / bins).sum()) if counts.sum() else float("nan"),
        "p_flat": float("nan"),
    }
    _, unit = np.unique(column, return_inverse=True)
    number = int(unit.max()) + 1 if len(unit) else 0
    table = np.zeros((number, bins))
    np.add.at(table, (unit, rank), 1.0)
    excess = (table - table.sum(axis=1, keepdims=True) / bins)[:, :-1]
    if number > bins:
        centre = excess.mean(axis=0)
        covariance = np.cov(excess, rowvar=False).reshape(bins - 1, bins - 1) / number
        free = int(np.linalg.matrix_rank(covariance))
        if 0 < free < number:
            squared = float(centre @ np.linalg.pinv(covariance) @ centre)
            f = squared * (number - free) / (free * (number - 1))
            result["p_flat"] = float(stats.f.sf(f, free, number - free))
    return result


def coverage(
    mean: Values, deviation: Values, truth: Values, *, level: float, freedom: Values | float
) -> float:
    """Share of cases within the central interval of a Student distribution.

        |o - m| <= t(freedom, (1 + level) / 2) s

    K members span no 90% interval by their ranks unless K is at least 19; a normal sample of K
    gives the truth's distribution as Student's with K - 1 degrees of freedom and
    s^2 = (1 + 1/K) variance.
    """
    if not len(truth):
        return float("nan")
    wide = stats.t.ppf(0.5 * (1.0 + level), freedom) * deviation
    return float(np.mean(np.abs(truth - mean) <= wide))
