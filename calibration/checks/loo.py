"""Leave-one-out cross-validation by Pareto-smoothed importance sampling (PSIS-LOO)."""

import warnings

import arviz as az
import numpy as np
import xarray as xr
from jaxtyping import Float

from calibration.problem import Problem

_ALIKE = 1.0  # range of a log density over the draws below which it weighs them alike


def loo(
    problem: Problem, z: Float[np.ndarray, "chain draw parameter column"]
) -> tuple[xr.Dataset, str]:
    """Expected log density of each observation, had it not been used (Vehtari et al. 2017).

    Errors may be correlated, so that of an observation given the others (Burkner et al. 2021,
    eq. 10): with g = C^-1 (y - G) and c = diag C^-1,

        log p(y_i | y_-i, z) = (log c_i - g_i^2 / c_i - log 2 pi) / 2.

    Args:
        problem: with the observations.
        z: draws of the posterior.

    Returns:
        By column `elpd`, `se` and `p_loo`, the effective number of parameters; `pareto_k`
        `[observation, column]`, NaN where nothing was observed, and where an observation weighs
        the draws alike, within a factor of e: k would be that of noise; and the finding in words.
    """
    chains, draws = z.shape[:2]
    density = pointwise(problem, z.reshape(-1, *z.shape[2:]))
    density = density.reshape(chains, draws, *density.shape[1:])
    size = np.full(problem.observed.shape, np.nan)
    rows, limit = [], 0.7
    for column in range(problem.count):
        seen = np.flatnonzero(np.asarray(problem.present)[:, column] > 0)
        made = az.from_dict(
            posterior={"z": z[..., column]}, log_likelihood={"y": density[:, :, seen, column]}
        )
        # Draws of methods without a chain are independent: their efficiency is one.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Estimated shape parameter")  # said in words
            found = az.loo(made, pointwise=True, reff=1.0 if chains == 1 else None)
        limit = float(found.good_k)
        alike = np.ptp(density[:, :, seen, column], axis=(0, 1)) < _ALIKE
        size[seen, column] = np.where(alike, np.nan, found.pareto_k.to_numpy())
        rows.append((found.elpd_loo, found.se, found.p_loo))
    elpd, se, effective = np.asarray(rows, float).T
    bad = int((size > limit).sum())
    count = int(np.sum(np.asarray(problem.present) > 0))
    result = xr.Dataset(
        {
            "elpd": ("column", elpd),
            "se": ("column", se),
            "p_loo": ("column", effective),
            "pareto_k": (("observation", "column"), size),
        },
        attrs={"unsure": bad},
    )
    words = (
        f"PSIS-LOO: expected log density {elpd.sum():.1f} ± {np.sqrt((se**2).sum()):.1f} "
        f"of {count} observations in {problem.count} columns, {effective.mean():.1f} effective "
        f"parameters a column for {z.shape[2]} estimated"
    )
    if bad:
        words += (
            f"; {bad} observations weigh too much for this to be sure (Pareto's k above "
            f"{limit:.2f}): look at them"
        )
    return result, words


def pointwise(
    problem: Problem, z: Float[np.ndarray, "draw parameter column"]
) -> Float[np.ndarray, "draw observation column"]:
    """Log density of each observation given all others and the parameters, see `loo`."""
    departures = np.asarray(problem.observed) - problem.evaluate(z)
    matrix = problem.whitening_matrix()
    pull = np.einsum("jic,djc->dic", matrix, departures.astype(np.float64))
    precision = np.einsum("jic,jic->ic", matrix, matrix)
    density = 0.5 * (np.log(precision) - pull**2 / precision - np.log(2.0 * np.pi))
    return np.where(np.asarray(problem.present) > 0, density, np.nan)
