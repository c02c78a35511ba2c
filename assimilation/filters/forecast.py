"""Members through a cycle: each its own run of the model, and what it says of the observations."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.filters.analyses import Predicted
from assimilation.operators import Context, Operator
from hybrid_land.interface import (
    Diagnostics,
    Forcing,
    Model,
    Parameters,
    State,
)
from hybrid_land.rollout import rollout
from hybrid_land.variables import VARIABLES

Members = dict[str, Float[Array, "member column"]]
Operators = tuple[tuple[str, Operator], ...]

_ON = "on"  # in the forcing: whether the members move


class _Held:
    """A model whose state stands still where the forcing says so."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.time_step, self.prognostic = model.time_step, model.prognostic
        self.diagnostic = model.diagnostic

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """The model's step, or none."""
        weather = {name: x for name, x in forcing.items() if name != _ON}
        new, diagnostics = self.model.step(parameters, state, weather)
        on = forcing[_ON] > 0
        return {n: jnp.where(on, x, state[n]) for n, x in new.items()}, diagnostics


def forecast(
    model: Model,
    parameters: Mapping[str, Float[Array, " column"]],
    members: Members,
    forcing: Mapping[str, Array],
    operators: Operators,
    *,
    window: int = 1,
    held_to: Array | None = None,
) -> tuple[list[Members], Predicted]:
    """Run the members for a cycle of R steps, or several, and look at them in the last one.

    A cycle begins at a record r that the members are at, and ends at r + R. Its observations are
    those of the instantaneous quantities at records r + 1 .. r + R, and those of the steps' means
    and amounts (fluxes, rain) of the steps that start at r .. r + R - 1. An operator that has a
    memory remembers no more than the cycle.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        members: leaves `[member, column]`: the state, and parameters that differ between members.
        forcing: records r .. r + R of a cycle, leaves `[record, column]` or
            `[record, member, column]`; the last record serves operators alone.
        operators: names and operators of the observables.
        window: cycles that the forcing spans.
        held_to: the number of the first record, if it may be negative: records before record 0
            then leave the members where they are.

    Returns:
        Members at the end of each cycle, and the predicted observations of the last one,
        `[member, observation, column]`, the records of the first observable first.
    """
    size, columns = next(iter(members.values())).shape
    state, fixed, weather = folded_members(model, parameters, members, forcing)
    steps = {name: x[:-1] for name, x in weather.items()}
    if held_to is not None:
        any_leaf = next(iter(steps.values()))
        on = held_to + jnp.arange(any_leaf.shape[0]) >= 0
        # Held records are those of the first few windows: the others do not pay for them.
        held = steps | {_ON: jnp.broadcast_to(on[:, None], any_leaf.shape).astype(any_leaf.dtype)}
        states, diagnostics = jax.lax.cond(
            on[0],
            lambda: rollout(model, fixed, state, steps),
            lambda: rollout(_Held(model), fixed, state, held),
        )
    else:
        states, diagnostics = rollout(model, fixed, state, steps)

    series: dict[str, Array] = {
        name: jnp.concatenate([state[name][None], after]) for name, after in states.items()
    }
    for name, values in diagnostics.items():
        padding = [values[:1], values] if _at_a_time(name) else [values, values[-1:]]
        series[name] = jnp.concatenate(padding)
    steps_in_all = next(iter(steps.values())).shape[0]
    every = steps_in_all // window
    series, weather = ({n: x[-every - 1 :] for n, x in part.items()} for part in (series, weather))
    context = Context(model.time_step, fixed, weather)
    rows = []
    for name, operator in operators:
        seen = operator(series, context)
        late = name not in diagnostics or _at_a_time(name)
        rows.append(seen[1:] if late else seen[:-1])
    predicted = jnp.concatenate(rows).reshape((-1, size, columns))
    ends = [
        members | {name: x[k].reshape((size, columns)) for name, x in states.items()}
        for k in range(every - 1, steps_in_all, every)
    ]
    return ends, jnp.moveaxis(predicted, 1, 0)


def folded_members(
    model: Model,
    parameters: Mapping[str, Float[Array, " column"]],
    members: Members,
    forcing: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """State, parameters and forcing with member and column in one, `[member * column]`."""
    size, columns = next(iter(members.values())).shape

    def folded(x: Array) -> Array:
        return x.reshape((*x.shape[:-2], size * columns))

    def of_members(x: Array, rank: int) -> Array:
        """A leaf that members share, and one that they do not."""
        if x.ndim == rank:
            x = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], size, columns))
        return folded(x)

    weather = {name: of_members(x, 2) for name, x in forcing.items()}
    fixed = {name: of_members(x, 1) for name, x in parameters.items()}
    fixed |= {name: folded(x) for name, x in members.items() if name not in model.prognostic}
    state = {name: folded(members[name]) for name in model.prognostic}
    return state, fixed, weather


def starts_step(name: str, diagnostic: tuple[str, ...]) -> bool:
    """Whether an observable belongs to the step that starts at its record, not to the record."""
    return name in diagnostic and not _at_a_time(name)


def _at_a_time(diagnostic: str) -> bool:
    """Whether a diagnostic holds at a time; one that the table does not know belongs to a step."""
    row = VARIABLES.get(diagnostic)
    return row is not None and row.kind == "instantaneous"


@partial(jax.jit, static_argnums=1, static_argnames=("every", "cycles"))
def by_cycle(
    leaves: list[list[Array]], early: tuple[bool, ...], *, every: int, cycles: int
) -> tuple[Array, ...]:
    """Observations on the data's records by cycle, `[cycle, observation, column]`.

    Args:
        leaves: values, errors and mask, each a list over observables, `[record, column]`.
        early: of each observable, whether the first cycle's are records 0 .. R - 1 (what belongs
            to a step), not 1 .. R; beyond the data's end all is zero.
        every: R.
        cycles: how many.
    """

    def one(series: Array, first: int) -> Array:
        rows = series[first : first + every * cycles]
        lacking = every * cycles - rows.shape[0]
        rows = jnp.concatenate([rows, jnp.zeros((lacking, rows.shape[1]), rows.dtype)])
        return rows.reshape((cycles, every, rows.shape[1]))

    firsts = [0 if e else 1 for e in early]
    return tuple(
        jnp.concatenate([one(x, k) for x, k in zip(group, firsts, strict=True)], axis=1)
        for group in leaves
    )
