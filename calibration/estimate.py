"""Calibration: parameters of each column from observations, with their uncertainty."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import arviz as az
import jax
import xarray as xr

from assimilation.observations import Observations
from calibration.covariance import Errors
from calibration.experiment import land_problem
from calibration.methods import METHODS
from calibration.posterior import make_posterior
from calibration.problem import Problem
from hybrid_land.errors import InputError
from hybrid_land.interface import Model


def calibrate(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    method: str = "nuts",
    errors: Errors | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> az.InferenceData:
    """Estimate parameters of each column from observations, with their uncertainty.

    The first state of `data` is taken as known. The observations differ from the model by their
    own error and by the model's (see `calibration.covariance`); without the latter the
    emulator's errors would be read as information, and the intervals would be too narrow
    (Kennedy and O'Hagan 2001).

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `assimilation.read_observations`.
        parameters: names without `clim_`, such as `theta_cap`.
        method: a name in `METHODS`.
        errors: beside those that the observations carry; by default what the model carries of
            its own error from its validation, nothing if it carries none.
        seed: of the random numbers.
        progress: called with the work done and in all.
        options: of the method.

    Returns:
        ArviZ InferenceData; parameters have dims `(chain, draw, column)`.

    Raises:
        InputError: for an unknown method, option or parameter, data that do not fit the model, or
            no observation at all.
    """
    run = _method(method, options)
    if errors is None:
        errors = Errors({}, {}, dict(getattr(model, "expected_error", ())))
    problem = land_problem(model, data, observations, parameters=parameters, errors=errors)
    facts = {
        "method": method,
        "seed": seed,
        **options,
        "observations": int(problem.present.sum()),
        "observables": ", ".join(observations.values),
        "model_error": ", ".join(
            f"{n} {errors.model.get(n, 0.0):.3g}" for n in observations.values
        ),
        "model_error_memory_days": errors.model_memory_days,
        "first_state": "that of the data, taken as known",
    }
    return posterior_of(problem, run, data=data, facts=facts, seed=seed, progress=progress)


def posterior_of(
    problem: Problem,
    run: Callable[..., Any],
    *,
    data: xr.Dataset,
    facts: Mapping[str, Any],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> az.InferenceData:
    """Run a method on a problem, and put its draws and the prior's into InferenceData.

    The draws of the standard normal parameters are its group `unconstrained_posterior`, from
    which `calibration.checks` begins.

    Args:
        problem: of all columns.
        run: a method, called with the problem, `key` and `progress`.
        data: whose columns they are.
        facts: attributes of the posterior.
        seed: of the random numbers.
        progress: called with the work done and in all.
    """
    of_method, of_prior = jax.random.split(jax.random.key(seed))
    z, statistics = run(problem, key=of_method, progress=progress)
    draws, size, count = z.shape[0] * z.shape[1], z.shape[2], z.shape[3]
    values = problem.parameters(z.reshape(draws, size, count))
    prior = problem.parameters(jax.random.normal(of_prior, (draws, size, count)))
    chains = {name: x.reshape(z.shape[0], z.shape[1], count) for name, x in values.items()}
    posterior = make_posterior(chains, statistics, prior, data, facts=facts)
    standard = xr.Dataset(
        {"z": (("chain", "draw", "parameter", "column"), z)},
        coords={"parameter": list(problem.names)},
    )
    posterior.add_groups(unconstrained_posterior=standard)
    return posterior


def _method(name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    if name not in METHODS:
        raise InputError(f"method {name!r} is not known, expected {', '.join(METHODS)}; use that")
    method = METHODS[name]
    known = [key for key in inspect.signature(method).parameters if key not in _GIVEN]
    for option in options:
        if option not in known:
            raise InputError(
                f"option {option!r} is not one of {name}, expected {', '.join(known)}; leave it out"
            )
    return lambda problem, **given: method(problem, **given, **options)


_GIVEN = ("problem", "key", "progress")
