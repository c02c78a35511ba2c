"""Quantities that a filter only looks at: root zone, brightness temperature, any observable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.filters.forecast import Members, Operators, folded_members
from assimilation.operators import DERIVED, REMEMBERING, Context
from hybrid_land.interface import Model


@dataclass(frozen=True)
class Shown:
    """Mean and spread over the members of a quantity that is only looked at.

    Attributes:
        forecast_mean: at each record of the forecasts, `[cycle, record, column]`.
        forecast_spread: the same.
        analysis_mean: after the analysis at each cycle's end; of a diagnostic of the model, which
            the state alone does not tell, what the analysis makes of the forecast's.
        analysis_spread: the same.
        smoother_mean: with the observations of `Scheme.lag` more cycles, if there is a lag.
        smoother_spread: the same.
    """

    forecast_mean: Float[Array, "cycle record column"]
    forecast_spread: Float[Array, "cycle record column"]
    analysis_mean: Float[Array, "cycle column"]
    analysis_spread: Float[Array, "cycle column"]
    smoother_mean: Float[Array, "cycle column"] | None
    smoother_spread: Float[Array, "cycle column"] | None


def look(
    model: Model,
    parameters: Mapping[str, Float[Array, " column"]],
    members: Members,
    forcing: Mapping[str, Array],
    operators: Operators,
    *,
    otherwise: Float[Array, "member quantity column"],
) -> Float[Array, "member quantity column"]:
    """What each member's state says of the quantities.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        members: leaves `[member, column]`.
        forcing: of one record, as in `forecast.forecast`.
        operators: names and operators of the quantities.
        otherwise: what is taken for those that the state alone does not tell.
    """
    if not operators:
        return otherwise
    size, columns = next(iter(members.values())).shape
    state, fixed, weather = folded_members(model, parameters, members, forcing)
    series = {name: x[None] for name, x in state.items()}
    context = Context(model.time_step, fixed, weather)
    rows = []
    for k, (name, operator) in enumerate(operators):
        told = told_by_state(name, model.prognostic)
        seen = operator(series, context).reshape((size, columns)) if told else otherwise[:, k]
        rows.append(seen)
    return jnp.stack(rows, axis=1)


def told_by_state(name: str, prognostic: tuple[str, ...]) -> bool:
    """Whether a quantity follows from the state at the same time."""
    return name in prognostic or (name in DERIVED and name not in REMEMBERING)


def shown_of(
    names: tuple[str, ...],
    found: Mapping[str, Array],
    smoother: tuple[Any, Any],
    *,
    analysed: int,
    every: int,
) -> dict[str, Shown]:
    """The rows of a run's quantities by name.

    Args:
        names: of the quantities.
        found: what the scan gave.
        smoother: mean and spread of the variables analysed, then of the quantities, or nothing.
        analysed: variables analysed.
        every: records of a cycle.
    """
    rows = {}
    for k, name in enumerate(names):
        own = slice(k * every, (k + 1) * every)
        rows[name] = Shown(
            forecast_mean=found["shown_mean"][:, own],
            forecast_spread=found["shown_spread"][:, own],
            analysis_mean=found["shown_analysis_mean"][:, k],
            analysis_spread=found["shown_analysis_spread"][:, k],
            smoother_mean=None if smoother[0] is None else smoother[0][:, analysed + k],
            smoother_spread=None if smoother[1] is None else smoother[1][:, analysed + k],
        )
    return rows
