"""Calibration: parameters of each column from observations, with their uncertainty."""

from collections.abc import Callable, Mapping, Sequence

import arviz as az
import jax
import numpy as np
import xarray as xr

from assimilation.observations import Observations
from calibration.likelihood import ERROR_MEMORY_DAYS, evidence_from
from calibration.nuts import sample_columns
from calibration.posterior import make_posterior
from calibration.priors import require_prior
from hybrid_land.columns import (
    forcing_from,
    parameters_from,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.errors import InputError
from hybrid_land.interface import Model

METHODS = ("nuts",)


def calibrate(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    method: str = "nuts",
    model_error: Mapping[str, float] | None = None,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 300,
    max_tree_depth: int = 6,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> az.InferenceData:
    """Estimate parameters of each column from observations, with their uncertainty.

    The first state of `data` is taken as known. The observations differ from the model by their
    own error and by the model's, which keeps its value over 30 days (see
    `calibration.likelihood`); without the latter the emulator's errors would be read as
    information, and the intervals would be too narrow (Kennedy and O'Hagan 2001).

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `assimilation.read_observations`.
        parameters: names without `clim_`, such as `theta_cap`.
        method: `"nuts"`.
        model_error: standard deviation of the model's own error by observable, in its unit; by
            default what the model carries from its validation, zero if it carries nothing.
        chains: of each column.
        warmup: transitions of adaptation.
        draws: kept of each chain.
        max_tree_depth: of a trajectory; all columns wait for the longest one.
        seed: of the random numbers.
        progress: called with transitions done and in all.

    Returns:
        ArviZ InferenceData; parameters have dims `(chain, draw, column)`.

    Raises:
        InputError: for an unknown method or parameter, data that do not fit the model, or no
            observation at all.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known, expected {', '.join(METHODS)}; use that")
    require_model_fits(model, data)
    fixed = parameters_from(data)
    require_prior(parameters, tuple(fixed))
    known = dict(getattr(model, "expected_error", ())) if model_error is None else model_error
    if not any(bool(mask.any()) for mask in observations.mask.values()):
        raise InputError("no observation, expected at least one on the records of the data; add it")
    seen = max(
        int(np.flatnonzero(np.asarray(mask).sum(axis=1) > 0).max(initial=0))
        for mask in observations.mask.values()
    )
    used = data.isel(time=slice(0, seen + 1))
    time_step = time_step_of(data)
    evidence = evidence_from(
        observations.window(0, seen + 1), time_step=time_step, model_error=known
    )
    sampled, statistics, prior = sample_columns(
        model,
        fixed,
        state_from(used, variables=model.prognostic),
        forcing_from(used),
        evidence,
        names=parameters,
        chains=chains,
        warmup=warmup,
        draws=draws,
        max_tree_depth=max_tree_depth,
        key=jax.random.key(seed),
        progress=progress,
    )
    facts = {
        "method": method,
        "warmup": warmup,
        "seed": seed,
        "observations": int(sum(float(mask.sum()) for mask in observations.mask.values())),
        "observables": ", ".join(observations.values),
        "model_error": ", ".join(f"{n} {known.get(n, 0.0):.3g}" for n in observations.values),
        "model_error_memory_days": ERROR_MEMORY_DAYS,
        "first_state": "that of the data, taken as known",
    }
    return make_posterior(sampled, statistics, prior, data, facts=facts)
