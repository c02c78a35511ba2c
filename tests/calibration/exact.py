"""Inverse problems made by hand whose posteriors are known, for the tests of all methods."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from calibration.problem import Problem
from tests.calibration.linear import linear_problem
from tests.calibration.linear import moments as exact_moments

OBSERVATIONS = 6


def linear(*, parameters=2, columns=3, seed=0):
    """Whitened linear maps of the parameters; nothing is observed in the last column.

    Returns:
        The problem; exact means `[parameter, column]`; exact covariances `[column, parameter,
        parameter]`.
    """
    generator = np.random.default_rng(seed)
    maps = 0.8 * generator.standard_normal((OBSERVATIONS, parameters, columns))
    observed = generator.standard_normal((OBSERVATIONS, columns)) + 2.0 * maps.sum(axis=1)
    present = np.ones_like(observed)
    present[:, -1] = 0.0
    problem = linear_problem(maps, observed=observed, present=present)
    return problem, *exact_moments(problem)


def seen_itself(observed):
    """One parameter, z, that is observed itself with an error of one, `[observation, column]`."""
    seen, columns = observed.shape
    return Problem(
        names=("theta_cap",),
        columns={"one": jnp.ones(columns)},
        observed=jnp.asarray(observed, jnp.float32),
        present=jnp.ones((seen, columns)),
        log_scale=jnp.zeros(columns),
        expected=lambda z, given: jnp.broadcast_to(z * given["one"][None], (seen, z.shape[1])),
        physical=lambda z, given: {"theta_cap": 0.3 + 0.1 * z[0] * given["one"]},
    )


def along_a_covariate(*, effects, columns=12, seen=6):
    """z = 0.4 + 0.6 x / sd(x) and a column's effect, observed itself with errors of one.

    Returns:
        The problem; x, of mean zero.
    """
    generator = np.random.default_rng(0)
    x = np.linspace(-1.0, 1.0, columns)
    truth = 0.4 + 0.6 * x / x.std() + effects * generator.normal(size=columns)
    return seen_itself(truth + generator.normal(size=(seen, columns))), x


def bounded(*, columns=2):
    """One parameter, uniform between 0 and 1, which data from beyond the bound push towards 1.

    Returns:
        The problem; exact mean and standard deviation of the parameter, `[column]`.
    """
    error = np.linspace(0.1, 0.3, columns)
    observed = 1.05 / error
    problem = Problem(
        names=("share",),
        columns={"scale": jnp.asarray(1.0 / error, jnp.float32)},
        observed=jnp.asarray(observed[None], jnp.float32),
        present=jnp.ones((1, columns)),
        log_scale=jnp.zeros(columns),
        expected=_bounded_expected,
        physical=_share,
    )
    grid = (np.arange(4000) + 0.5)[:, None] / 4000
    weight = np.exp(-0.5 * (observed - grid / error) ** 2)
    mean = np.sum(weight * grid, axis=0) / weight.sum(axis=0)
    spread = np.sqrt(np.sum(weight * (grid - mean) ** 2, axis=0) / weight.sum(axis=0))
    return problem, mean, spread


def moments(z):
    """Means `[parameter, column]` and covariances `[column, parameter, parameter]` of draws."""
    flat = np.asarray(z, np.float64).reshape(-1, *z.shape[2:])
    anomalies = flat - flat.mean(axis=0)
    return flat.mean(axis=0), np.einsum("npk,nqk->kpq", anomalies, anomalies) / len(flat)


def share_of(problem, z):
    """Mean and standard deviation of the draws of `bounded`'s parameter, `[column]`."""
    values = problem.parameters(z.reshape(-1, 1, problem.count))["share"]
    return values.mean(axis=0), values.std(axis=0)


def _bounded_expected(z, columns):
    return norm.cdf(z) * columns["scale"][None]


def _share(z, columns):
    return {"share": norm.cdf(z[0])}
