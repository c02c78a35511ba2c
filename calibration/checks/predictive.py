"""What a model with parameters from the prior, or from the posterior, would have observed."""

import arviz as az
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from calibration.problem import Problem
from hybrid_land.errors import InputError

INTERVAL = 0.9


def predictive(
    problem: Problem,
    z: Float[np.ndarray, "draw parameter column"],
    *,
    key: Array,
    interval: float = INTERVAL,
) -> tuple[xr.Dataset, str]:
    """Observations as expected by each draw, with errors as they are said to be, beside those made.

    Args:
        problem: with the observations.
        z: draws of the prior or of the posterior.
        key: for the errors.
        interval: probability of the intervals.

    Returns:
        With dims `(observation, column)`, in the observations' units, NaN where nothing was
        observed: `observed`; `mean` and the limits `expected_low` and `expected_high` of what
        the model says, and `low` and `high` with the errors of the observations and the model;
        `inside`. By column: `coverage`, the share of the observations within the latter, and
        `chi_squared`, the mean square of the whitened departures. Coordinates of the
        observations: `observable` and `record`. And the finding in words.
    """
    whitened = problem.evaluate(z)
    noise = np.asarray(jax.random.normal(key, whitened.shape)) * np.asarray(problem.present)
    tails = ((1.0 - interval) / 2.0, (1.0 + interval) / 2.0)
    expected = problem.in_units(whitened)
    made = problem.in_units(whitened + noise)
    observed = problem.in_units(np.asarray(problem.observed)[None])[0]
    seen = np.isfinite(observed)
    # Where nothing was observed all draws are NaN, and so are their quantiles.
    around = np.quantile(expected, tails, axis=0)
    low, high = np.quantile(made, tails, axis=0)
    inside = (low <= observed) & (observed <= high)
    count = np.maximum(seen.sum(axis=0), 1)
    departures = (np.asarray(problem.observed) - whitened) ** 2
    shape = ("observation", "column")
    found = xr.Dataset(
        {
            "observed": (shape, observed),
            "mean": (shape, expected.mean(axis=0)),
            "expected_low": (shape, around[0]),
            "expected_high": (shape, around[1]),
            "low": (shape, low),
            "high": (shape, high),
            "inside": (shape, inside),
            "coverage": ("column", inside.sum(axis=0) / count),
            "chi_squared": ("column", departures.sum(axis=1).mean(axis=0) / count),
        },
        attrs={"interval": interval},
    )
    if problem.records is not None:
        names = [name for name, at in problem.records.items() for _ in at]
        found = found.assign_coords(
            observable=("observation", names),
            record=("observation", np.concatenate(list(problem.records.values()))),
        )
    share = float(inside.sum() / max(seen.sum(), 1))
    size = float(np.sqrt(departures.sum(axis=1).mean(axis=0).sum() / max(seen.sum(), 1)))
    return found, (
        f"{100 * share:.0f}% of {int(seen.sum())} observations lie within the "
        f"{100 * interval:.0f}% intervals, departures are {size:.2f} of their stated errors"
    )


def with_predictions(
    posterior: az.InferenceData,
    problem: Problem,
    *,
    key: Array,
    draws: int = 200,
) -> az.InferenceData:
    """The posterior with the groups of its predictions, by observable `[..., record, column]`.

    Args:
        posterior: with the group `unconstrained_posterior`, as `calibrate` makes it.
        problem: with the observations.
        key: for draws of the prior and for errors.
        draws: of each group, thinned.

    Returns:
        A copy with `posterior_predictive`, `prior_predictive`, `observed_data` and
        `log_likelihood`, the latter of the whitened observations one after another.

    Raises:
        InputError: if the problem does not say which records were observed.
    """
    if problem.records is None:
        raise InputError(
            "the problem does not name its observations, expected records by observable; "
            "give them, or use predictive"
        )
    z = unconstrained(posterior)
    every = max(1, z.shape[0] * z.shape[1] // draws)
    z = z[:, ::every]
    chains, kept = z.shape[:2]
    prior_key, *noise = jax.random.split(key, 3)
    before = np.asarray(jax.random.normal(prior_key, (chains * kept, *z.shape[2:])))
    after = problem.evaluate(z.reshape(before.shape))
    missing = np.asarray(problem.present) == 0
    departures = np.asarray(problem.observed) - after
    density = np.where(missing, np.nan, -0.5 * departures**2 - 0.5 * np.log(2.0 * np.pi))
    made = {
        "posterior_predictive": _made(problem, after, noise[0]),
        "prior_predictive": _made(problem, problem.evaluate(before), noise[1]),
        "log_likelihood": density,
    }
    groups = {
        group: _by_observable(problem, values.reshape(chains, kept, *values.shape[1:]))
        for group, values in made.items()
    }
    groups["observed_data"] = _by_observable(
        problem, problem.in_units(np.asarray(problem.observed)[None])[0]
    )
    for name in ("column", "lat", "lon"):
        if name in posterior["posterior"].coords:
            values = posterior["posterior"][name].to_numpy()
            groups = {k: v.assign_coords({name: ("column", values)}) for k, v in groups.items()}
    result = posterior.copy()
    result.add_groups(groups)
    return result


def unconstrained(
    posterior: az.InferenceData,
) -> Float[np.ndarray, "chain draw parameter column"]:
    """The standard normal parameters of a posterior.

    Raises:
        InputError: if it does not hold them.
    """
    if "unconstrained_posterior" not in posterior.groups():
        raise InputError(
            "the posterior has no group unconstrained_posterior, expected one written by "
            "calibrate; run it again"
        )
    return posterior["unconstrained_posterior"]["z"].to_numpy()


def _made(problem: Problem, expected: np.ndarray, key: Array) -> np.ndarray:
    """In units, with errors added."""
    noise = np.asarray(jax.random.normal(key, expected.shape))
    return problem.in_units(expected + noise)


def _by_observable(problem: Problem, values: np.ndarray) -> xr.Dataset:
    """`[..., observation, column]` as a variable for each observable."""
    dims = ("chain", "draw") if values.ndim == 4 else ()
    made, begin = {}, 0
    for name, at in (problem.records or {}).items():
        part = values[..., begin : begin + len(at), :]
        made[name] = xr.DataArray(
            part, dims=(*dims, f"{name}_record", "column"), coords={f"{name}_record": at}
        )
        begin += len(at)
    return xr.Dataset(made)
