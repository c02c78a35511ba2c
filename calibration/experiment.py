"""The inverse problem of a land model: parameters of each column from its observations."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Context, on_records
from calibration.covariance import Errors, Whitened, whitened
from calibration.priors import parameters_of, require_prior
from calibration.problem import Problem
from hybrid_land.columns import (
    forcing_from,
    parameters_from,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout


def land_problem(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    parameters: Sequence[str],
    errors: Errors,
) -> Problem:
    """The inverse problem of every column of `data`, whose first state is taken as known.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `assimilation.read_observations`.
        parameters: names without `clim_`, such as `theta_cap`.
        errors: beside those that the observations carry.

    Raises:
        InputError: for an unknown parameter, data that do not fit the model, or no observation.
    """
    require_model_fits(model, data)
    fixed = parameters_from(data)
    require_prior(parameters, tuple(fixed))
    if not any(bool(mask.any()) for mask in observations.mask.values()):
        raise InputError("no observation, expected at least one on the records of the data; add it")
    last = max(
        int(np.flatnonzero(np.asarray(mask).any(axis=1)).max(initial=0))
        for mask in observations.mask.values()
    )
    used = data.isel(time=slice(0, last + 1))
    seen = whitened(observations.window(0, last + 1), time_step=time_step_of(data), errors=errors)
    return problem_of(
        model,
        fixed,
        state_from(used, variables=model.prognostic),
        forcing_from(used),
        seen,
        names=parameters,
    )


def problem_of(
    model: Model,
    parameters: Parameters,
    state: State,
    forcing: ForcingSeries,
    seen: Whitened,
    *,
    names: Sequence[str],
) -> Problem:
    """The same from arrays.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`; the named ones are what priors are made from.
        state: at the first record, leaves `[column]`.
        forcing: leaves `[record, column]`.
        seen: the observations, from `calibration.covariance.whitened`.
        names: parameters to estimate.
    """
    order = tuple(names)
    physical = partial(_physical, names=order)

    def expected(z: Array, columns: Any) -> Float[Array, "observation column"]:
        given, first, weather, matrix = columns
        drawn = given | physical(z, columns)
        series = on_records(first, *rollout(model, drawn, first, weather))
        context = Context(model.time_step, drawn, weather)
        values = [OPERATORS[name](series, context)[at] for name, at in seen.records.items()]
        return jnp.einsum("ijc,jc->ic", matrix, jnp.concatenate(values))

    return Problem(
        names=order,
        columns=(parameters, state, forcing, jnp.asarray(seen.matrix, jnp.float32)),
        observed=jnp.asarray(seen.observed, jnp.float32),
        present=jnp.asarray(seen.present, jnp.float32),
        log_scale=jnp.asarray(seen.log_scale, jnp.float32),
        expected=expected,
        physical=physical,
        whitening=_whitening,
        records=seen.records,
    )


def _whitening(columns: Any) -> Float[Array, "observation observation column"]:
    return columns[3]


def _physical(z: Array, columns: Any, *, names: tuple[str, ...]) -> dict[str, Array]:
    return parameters_of(z, columns[0], names=names)
