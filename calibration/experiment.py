"""The inverse problem of a land model: parameters of each column from its observations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Context, on_records
from calibration.covariance import Errors, Whitened, whitened
from calibration.effective import spreads
from calibration.priors import Prior, parameters_of, require_prior, require_sound
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
from hybrid_land.variables import DAY, SOIL_WATER

FIRST_WATER = "first_soil_water"  # shift of the logit of the first soil water's saturation
_YEAR_DAYS = 365
_FEWEST = 10  # observations of a column that has any


@dataclass(frozen=True)
class FirstState:
    """Where the runs begin.

    Attributes:
        kind: `data`, the first state of the data, taken as known; `spun-up`, what `years` of the
            data's first year, over and over, make of it with the parameters that are tried, each
            of which costs a run of another year; or `sampled`, the data's with the soil water of
            all layers unknown: its saturation s becomes 1 / (1 + exp(-logit s - spread z)), and
            `first_soil_water`, the shift, is one more parameter of the posterior.
        years: of spin-up.
        spread: of the shift; 0.5 are 12% of the saturation where it is a half.
    """

    kind: str = "data"
    years: int = 1
    spread: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("data", "spun-up", "sampled"):
            raise InputError(
                f"first state {self.kind!r} is not known, expected data, spun-up or sampled; use "
                "one"
            )
        if self.years < 1 or not self.spread > 0.0:
            raise InputError(
                f"first state of {self.years} years and a spread of {self.spread:g}, expected at "
                "least one year and more than 0; correct it"
            )

    def described(self) -> str:
        """In words."""
        if self.kind == "spun-up":
            return f"spun up over {self.years} times the first year with the parameters tried"
        if self.kind == "sampled":
            return f"that of the data, soil water sampled with a spread of {self.spread:g}"
        return "that of the data, taken as known"


def land_problem(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    parameters: Sequence[str],
    errors: Errors,
    priors: Mapping[str, Prior] | None = None,
    first_state: FirstState | None = None,
) -> Problem:
    """The inverse problem of every column of `data`.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `assimilation.read_observations`.
        parameters: names without `clim_`, such as `theta_cap`.
        errors: beside those that the observations carry.
        priors: by parameter, numbers or `[column]`; see `calibration.priors` for the rest.
        first_state: where the runs begin; by default the data's.

    Raises:
        InputError: for an unknown parameter, data that do not fit the model, fewer than 10
            observations or a constant series in a column that has any, none at all, or a spin-up
            over data of less than a year.
    """
    require_model_fits(model, data)
    fixed = parameters_from(data)
    require_prior(parameters, tuple(fixed))
    for name, prior in (priors or {}).items():
        if name not in parameters:
            raise InputError(
                f"prior of {name!r}, expected one of the parameters to estimate, "
                f"{', '.join(parameters)}; leave it out or estimate it too"
            )
        if np.ndim(prior.first) == 0:
            require_sound(name, prior)
    require_informative(observations)
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
        priors=priors,
        shares=errors.parameters,
        first_state=first_state,
        year=_first_year(data) if first_state and first_state.kind == "spun-up" else None,
    )


def require_informative(observations: Observations) -> None:
    """Refuse columns from which nothing can be learnt.

    Raises:
        InputError: if there is no observation, or a column that has any has fewer than 10, or all
            those of a column and observable are the same.
    """
    count = np.asarray(observations.count)
    if not count.any():
        raise InputError("no observation, expected at least one on the records of the data; add it")
    few = np.flatnonzero((count > 0) & (count < _FEWEST))
    if few.size:
        raise InputError(
            f"{int(count[few[0]])} observations in column {few[0]}, expected at least {_FEWEST}; "
            "add some or leave the column out"
        )
    for name, mask in observations.mask.items():
        seen, values = np.asarray(mask) > 0, np.asarray(observations.values[name])
        high = np.where(seen, values, -np.inf).max(axis=0)
        same = np.flatnonzero(
            (seen.sum(axis=0) >= _FEWEST) & (high == np.where(seen, values, np.inf).min(axis=0))
        )
        if same.size:
            raise InputError(
                f"{name} is {high[same[0]]:g} in all observations of column {same[0]}, expected "
                "values that vary; check the instrument or leave the column out"
            )


def _first_year(data: xr.Dataset) -> ForcingSeries:
    records = round(_YEAR_DAYS * DAY / time_step_of(data))
    if data.sizes["time"] < records:
        raise InputError(
            f"data of {data.sizes['time']} records, expected a year ({records}) to spin up over; "
            "take the first state of the data"
        )
    return forcing_from(data, steps=slice(0, records))


def problem_of(
    model: Model,
    parameters: Parameters,
    state: State,
    forcing: ForcingSeries,
    seen: Whitened,
    *,
    names: Sequence[str],
    priors: Mapping[str, Prior] | None = None,
    shares: Mapping[str, float] | None = None,
    first_state: FirstState | None = None,
    year: Mapping[str, Float[Array, "year_record column"]] | None = None,
) -> Problem:
    """The same from arrays.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`; the named ones are what priors are made from.
        state: at the first record, leaves `[column]`.
        forcing: leaves `[record, column]`.
        seen: the observations, from `calibration.covariance.whitened`.
        names: parameters to estimate.
        priors: by parameter, numbers or `[column]`.
        shares: errors of parameters, see `calibration.covariance.Errors`.
        first_state: where the runs begin.
        year: forcing of the spin-up's year, leaves `[record, column]`.
    """
    begin = first_state or FirstState()
    order = tuple(names)
    physical = partial(_physical, names=order, spread=None)
    if begin.kind == "sampled":
        physical = partial(_physical, names=order, spread=begin.spread)
        order = (*order, FIRST_WATER)
    before = 0
    if year is not None:
        turns = [year] * begin.years
        before = begin.years * next(iter(year.values())).shape[0]
        forcing = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *turns, forcing)
    columns = next(iter(parameters.values())).shape[0]
    spread_out = {
        name: replace(
            prior,
            first=jnp.broadcast_to(jnp.asarray(prior.first, jnp.float32), (columns,)),
            second=jnp.broadcast_to(jnp.asarray(prior.second, jnp.float32), (columns,)),
        )
        for name, prior in (priors or {}).items()
    }

    def expected(z: Array, columns: Any) -> Float[Array, "observation column"]:
        given, first, weather, matrix, _ = columns
        drawn = given | physical(z, columns)
        if FIRST_WATER in drawn:
            first = _shifted(first, drawn.pop(FIRST_WATER), given["theta_max"])
        series = on_records(first, *rollout(model, drawn, first, weather))
        series = {name: values[before:] for name, values in series.items()}
        weather = {name: values[before:] for name, values in weather.items()}
        context = Context(model.time_step, drawn, weather)
        values = [OPERATORS[name](series, context)[at] for name, at in seen.records.items()]
        return jnp.einsum("ijc,jc->ic", matrix, jnp.concatenate(values))

    return Problem(
        names=order,
        columns=(parameters, state, forcing, jnp.asarray(seen.matrix, jnp.float32), spread_out),
        observed=jnp.asarray(seen.observed, jnp.float32),
        present=jnp.asarray(seen.present, jnp.float32),
        log_scale=jnp.asarray(seen.log_scale, jnp.float32),
        expected=expected,
        physical=physical,
        whitening=_whitening,
        records=seen.records,
        spread=spreads(shares, parameters, names=order, priors=spread_out) if shares else None,
    )


def _shifted(state: State, shift: Array, most: Array) -> State:
    """The state with the logit of its soil water's saturation moved by `shift`."""
    moved = {}
    for name in SOIL_WATER:
        if name in state:
            share = jnp.clip(state[name] / most, 1e-3, 1.0 - 1e-3)
            moved[name] = most * jax.nn.sigmoid(jnp.log(share / (1.0 - share)) + shift)
    return state | moved


def _whitening(columns: Any) -> Float[Array, "observation observation column"]:
    return columns[3]


def _physical(
    z: Array, columns: Any, *, names: tuple[str, ...], spread: float | None
) -> dict[str, Array]:
    given, priors = columns[0], columns[4]
    drawn = parameters_of(z[: len(names)], given, names=names, priors=priors)
    return drawn if spread is None else drawn | {FIRST_WATER: spread * z[len(names)]}
