"""From a filter's cycles to rows on the data's records, as the Analysis form has them."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from assimilation.filters import Run, Scheme
from assimilation.filters.forcing_errors import ForcingErrors
from assimilation.filters.forecast import Members, starts_step
from assimilation.filters.inflation import spread
from assimilation.filters.shown import look, told_by_state
from assimilation.observations import Observations
from assimilation.operators import operator_of
from hybrid_land.interface import Model, Parameters

Rows = dict[str, np.ndarray]

_SUFFIXES = (
    "_background",
    "_analysis_error",
    "_innovation",
    "_residual",
    "_observation_error",
    "_background_error",
)
_DEPARTURES = _SUFFIXES[2:]


def rows_of(
    run: Run, model: Model, scheme: Scheme, seen: Observations, *, smoothed: bool = False
) -> Rows:
    """Rows of a run, `[step, column]`: of what holds at a time, at each step's end.

    Between analyses the analysis is the members' mean run since the last one, as the background is;
    a smoother's has later observations at the cycles' ends alone.

    Args:
        run: of the filter, with the quantities to write as `shown`.
        model: that was run.
        scheme: of the run.
        seen: the observations that the run was given.
        smoothed: whether the analysis is the smoother's.
    """
    rows: Rows = {}
    for name, shown in run.shown.items():
        rows[f"{name}_background"] = _flat(shown.forecast_mean)
        mean = shown.smoother_mean if smoothed else shown.analysis_mean
        error = shown.smoother_spread if smoothed else shown.analysis_spread
        rows[name] = _with_ends(shown.forecast_mean, mean)
        rows[f"{name}_analysis_error"] = _with_ends(shown.forecast_spread, error)
    every = scheme.every
    for k, name in enumerate(seen.values):
        own = slice(k * every, (k + 1) * every)
        innovation = _flat(run.innovation[:, own])
        known = np.isfinite(innovation)
        first = 0 if starts_step(name, tuple(model.diagnostic)) else 1
        error = np.asarray(seen.errors[name])[first : first + len(innovation)]
        rows[f"{name}_innovation"] = innovation
        rows[f"{name}_residual"] = _flat(run.residual[:, own])
        rows[f"{name}_observation_error"] = np.where(known, error, np.nan)
        stated = _flat(run.predicted_spread[:, own])
        rows[f"{name}_background_error"] = np.where(known, stated, np.nan)
    return rows


def _flat(x: Array) -> np.ndarray:
    whole = np.asarray(x)
    return whole.reshape((-1, whole.shape[-1]))


def _with_ends(between: Array, ends: Array | None) -> np.ndarray:
    whole = np.array(between)
    whole[:, -1] = np.asarray(ends)
    return whole.reshape((-1, whole.shape[-1]))


def first_rows(
    model: Model,
    parameters: Parameters,
    members: Members,
    forcing: Mapping[str, Array],
    names: tuple[str, ...],
    rows: Rows,
) -> Rows:
    """Rows at the first record: the first guess, which no observation corrects.

    What the state alone does not tell repeats the next row.

    Args:
        model: that is run.
        parameters: leaves `[column]`.
        members: at that record.
        forcing: from that record on.
        names: of the quantities.
        rows: of the steps from there, from `rows_of`.
    """
    told = tuple((n, operator_of(n)) for n in names if told_by_state(n, model.prognostic))
    size, columns = next(iter(members.values())).shape
    blank = jnp.zeros((size, len(told), columns))
    now = {name: x[:1] for name, x in forcing.items()}
    seen = look(model, parameters, members, now, told, otherwise=blank)
    edge = {name: x[0] for name, x in rows.items()}
    for k, (name, _) in enumerate(told):
        edge[name] = edge[f"{name}_background"] = np.asarray(seen[:, k].mean(axis=0))
        edge[f"{name}_analysis_error"] = np.asarray(spread(seen[:, k]))
    for name, row in edge.items():
        if name.endswith(_DEPARTURES):
            edge[name] = np.full_like(row, np.nan)
    return edge


def aligned(rows: Rows, edge: Rows, count: int, diagnostic: tuple[str, ...]) -> tuple[Rows, Rows]:
    """Rows on a piece's records, and those that fall on the next piece's first one.

    What holds at a time is known at a step's end, one record on; means and amounts belong to the
    step that starts at the record.

    Args:
        rows: of the piece's steps.
        edge: rows at the piece's first record, of what holds at a time.
        count: records of the piece that the data have.
        diagnostic: names of the model.
    """
    found, following = {}, {}
    for name, whole in rows.items():
        base = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
        if not starts_step(base, diagnostic):
            following[name] = whole[-1]
            whole = np.concatenate([edge[name][None], whole[:-1]])
        found[name] = whole[:count]
    return found, following


def notes_of_piece(rows: Rows, run: Run, observed: tuple[str, ...], count: int) -> Rows:
    """What is told of a piece, `[column]` each.

    Degrees of freedom for signal and the cost at the minimum count each observation by itself,
    given those before it: exact where a cycle holds one observation a column.

    Args:
        rows: on the piece's records.
        run: of the piece.
        observed: names of the observables.
        count: records of the piece that the data have.
    """
    columns = run.failures.shape[-1]
    seen, signal, before, left = (np.zeros(columns) for _ in range(4))
    for name in observed:
        departure = rows[f"{name}_innovation"].astype(np.float64)
        variance = rows[f"{name}_background_error"].astype(np.float64) ** 2
        noise = rows[f"{name}_observation_error"].astype(np.float64) ** 2
        share = variance / (variance + noise)
        cost = 0.5 * departure**2 / (variance + noise)
        seen += np.isfinite(departure).sum(axis=0)
        signal += np.nansum(share, axis=0)
        before += np.nansum(share * cost, axis=0)
        left += np.nansum((1.0 - share) * cost, axis=0)
    cycles = -(-count // (len(run.observed) // max(len(observed), 1)))
    return {
        "observed": seen.astype(np.int64),
        "signal": signal,
        "cost_background": before,
        "cost_observation": left,
        "converged": np.ones(columns, bool),
        "members_replaced": np.asarray(run.failures)[:cycles].sum(axis=0),
    }


def on_errors(errors: ForcingErrors) -> str:
    """The forcing's errors in words."""
    said = ", ".join(f"{name} {getattr(errors, name):g}" for name in errors.perturbed)
    if not said:
        return "none"
    return f"{said}; memory {errors.memory_days:g} days; over {errors.correlation_km:g} km"
