"""The gradient of a run's own cost: a window in double precision, and where it is not finite."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assimilation.control import ControlVector
from assimilation.forced import PREFIX, forced
from assimilation.methods import Options, scheme_of
from assimilation.observations import Observations
from assimilation.variational import Problem
from hybrid_land.columns import forcing_from, parameters_from, state_from, time_step_of
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout

MOST_COLUMNS = 16  # that a test of the gradient takes


def window_problem(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    first_guess: xr.Dataset | None = None,
    method: str = "4dvar",
    window_days: float = 30.0,
    options: Options | None = None,
    most_columns: int = MOST_COLUMNS,
) -> Problem:
    """The cost of the first window that has observations, in JAX's present precision.

    Its background is the run without correction. Observed columns come first, so that those taken
    are the first of them.

    Args:
        model: anything with the `step` interface.
        data: forcing and parameters with dims `(time, column)`.
        observations: on the records of `data`.
        first_guess: prognostic variables with dim `column`; the data's first state if not given.
        method: one of `assimilation.methods.METHODS`.
        window_days: length of a window.
        options: everything else.
        most_columns: how many are taken.

    Raises:
        InputError: if nothing was observed, or for what `assimilate` refuses.
    """
    records = data.sizes["time"]
    length = min(max(1, round(window_days * 86400.0 / time_step_of(data))), records)
    seen = np.asarray(sum(mask for mask in observations.mask.values()))
    if not seen.any():
        raise InputError("no observation in any window, expected some; nothing can be tested")
    begin = int(np.flatnonzero(seen.any(axis=1))[0]) // length * length
    end = min(begin + length, records)
    order = np.argsort(seen[begin:end].sum(axis=0) == 0, kind="stable")[:most_columns]
    dtype = jnp.zeros(()).dtype

    def precise(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: jnp.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    cut = data.isel(column=order)
    guess = data if first_guess is None else first_guess
    own = precise(model)
    parameters = precise(parameters_from(cut))
    state = precise(state_from(guess.isel(column=order), variables=model.prognostic))
    forcing = precise(forcing_from(cut, steps=slice(0, end)))
    if begin:
        before = {name: series[:begin] for name, series in forcing.items()}
        state = {n: x[-1] for n, x in rollout(own, parameters, state, before)[0].items()}
    scheme = scheme_of(method, options or Options(), model, parameters)
    root = jnp.asarray(scheme.root, dtype)
    return Problem(
        model=own,
        parameters=parameters,
        background=state,
        forcing={name: series[begin:] for name, series in forcing.items()},
        observations=precise(jax.tree.map(lambda x: x[begin:end][:, order], observations)),
        root=jnp.repeat(root[..., None], len(order), axis=2),
        control=scheme.control,
    )


def fault_of(problem: Problem, *, window: int) -> InputError:
    """What to raise where no column has a finite gradient: it is the model or its data.

    A column alone keeps its background instead.

    Args:
        problem: the window's.
        window: its number.
    """
    where = not_finite(problem, 0) or "the gradient of the cost is not finite at the analysis"
    return InputError(
        f"window {window}, column 0: {where}, nor is there a finite gradient in any other column, "
        "expected numbers; look at the model and at what it is given there, or take the variable "
        "out of the control vector"
    )


def not_finite(problem: Problem, column: int) -> str:
    """Where a background's cost or its gradient is first not finite, in words; else nothing.

    The run itself is looked through forwards, its adjoint backwards: an adjoint that is not finite
    spoils all steps before the one that made it so.

    Args:
        problem: a window.
        column: of it.
    """
    problem = problem.only(np.array([column]))
    model, state, forcing = problem.model, problem.background, problem.forcing
    steps, columns = next(iter(forcing.values())).shape
    control = ControlVector(start=problem.control.start)
    still = jnp.zeros((control.size, columns), problem.root.dtype)
    free = replace(problem, control=control, root=jnp.zeros((control.size, *still.shape)))
    series, last = free.trajectory(still)
    run = {name: jnp.concatenate([series[name], last[name][None]]) for name in model.prognostic}
    found = _first(run)
    if found:
        return f"{found[0]} of the background's run is not finite at step {found[1]}"
    departures = jnp.split(free.departures(still, series), len(problem.observations.values))
    found = _first(dict(zip(problem.observations.values, departures, strict=True)))
    if found:
        return f"{found[0]} as it would be observed is not finite at step {found[1]}"

    def cost(begin: Any, moves: Any) -> Any:
        weather = forcing | {PREFIX + name: x for name, x in moves.items()}
        moving = replace(free, model=forced(model, tuple(moves)), background=begin, forcing=weather)
        return 0.5 * jnp.sum(moving.departures(still, moving.trajectory(still)[0]) ** 2)

    names = tuple(n for n in model.prognostic if n in state)
    none = {name: jnp.zeros((steps, columns), state[name].dtype) for name in names}
    start, adjoint = jax.grad(cost, argnums=(0, 1))(state, none)
    sweep = {name: jnp.concatenate([start[name][None], adjoint[name]]) for name in names}
    found = _first(sweep, backwards=True)
    if found:
        return f"the gradient of the cost by {found[0]} is not finite at step {found[1]}"

    def of_parameters(parameters: Any) -> Any:
        changed = replace(free, parameters=parameters)
        return 0.5 * jnp.sum(changed.departures(still, changed.trajectory(still)[0]) ** 2)

    for name, slope in jax.grad(of_parameters)(problem.parameters).items():
        if name in problem.control.start and not np.isfinite(np.asarray(slope)).all():
            return f"the gradient of the cost by {name} is not finite in some step"
    return ""


def _first(series: Any, *, backwards: bool = False) -> tuple[str, int] | None:
    """The variable and the first (or last) record that is not finite."""
    bad = {name: ~np.isfinite(np.asarray(x)).all(axis=1) for name, x in series.items()}
    records = {name: np.flatnonzero(x) for name, x in bad.items() if x.any()}
    if not records:
        return None
    ends = {name: int(x[-1] if backwards else x[0]) for name, x in records.items()}
    record = max(ends.values()) if backwards else min(ends.values())
    return next(name for name, value in ends.items() if value == record), record
