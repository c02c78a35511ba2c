"""Ensemble filters over months of land: piece after piece, in the Analysis form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from assimilation.control import moved
from assimilation.ensemble import centred_draws
from assimilation.filter_options import FilterOptions, filter_scheme, first_root
from assimilation.filter_series import (
    aligned,
    first_rows,
    notes_of_piece,
    on_errors,
    rows_of,
)
from assimilation.filters import Run, Scheme, run_filter
from assimilation.filters.forcing_errors import Last, perturbed_forcing
from assimilation.filters.forecast import Members
from assimilation.form import add_parameters, analysis_dataset, observed_of, saved_names
from assimilation.observations import Observations
from assimilation.operators import Context
from assimilation.restart import load_window, save_window, settings_of
from assimilation.trajectory import trajectory
from hybrid_land.columns import forcing_from, parameters_from, time_step_of
from hybrid_land.compiled import run_compiled
from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State

_STATE_OF = "state/"  # in a piece's record of the run: what the next piece starts from


@dataclass(frozen=True)
class _Carry:
    """What goes from a piece to the next.

    Attributes:
        members: at the next piece's first record.
        free: state of the open loop there.
        errors: of the forcing, at the record before.
        edge: rows of the analysis at the next piece's first record.
    """

    members: Members
    free: State
    errors: Last
    edge: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """As a piece's record holds it."""
        groups = {
            "members": self.members,
            "free": self.free,
            "errors": self.errors,
            "edge": self.edge,
        }
        return {
            f"{_STATE_OF}{group}/{name}": np.asarray(x)
            for group, leaves in groups.items()
            for name, x in leaves.items()
        }

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> "_Carry":
        """From a piece's record."""

        def group(kind: str) -> dict[str, np.ndarray]:
            prefix = f"{_STATE_OF}{kind}/"
            return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}

        members, free = (
            {n: jnp.asarray(x) for n, x in group(kind).items()} for kind in ("members", "free")
        )
        return _Carry(members, free, group("errors"), group("edge"))


def filtered(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    state: State,
    *,
    method: str,
    window_days: float,
    options: FilterOptions,
    restart: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """An ensemble filter or smoother over the data. See `assimilation.assimilate`.

    Args:
        model: anything with the `step` interface.
        data: forcing and parameters with dims `(time, column)`.
        observations: on the records of `data`.
        state: first guess, leaves `[column]`.
        method: one of `filter_options.FILTERS`.
        window_days: length of the pieces that the run is made in, at most.
        options: everything else.
        restart: a folder that keeps each piece's result.
        progress: called with pieces done and in all.

    Raises:
        InputError: for options that cannot be, and if all members of a column failed.
    """
    step = time_step_of(data)
    if not (isfinite(window_days) and window_days * 86400.0 > 0.5 * step):
        raise InputError(
            f"window of {window_days:g} days, expected at least a step of {step / 86400.0:g}; "
            "correct it"
        )
    given = parameters_from(data)
    observed = tuple(observations.values)
    scheme = filter_scheme(method, options, model, given, data, observed)
    saved = saved_names(model, observations, scheme.variables)
    records = data.sizes["time"]
    cycles = ceil(records / scheme.every)
    most = max(1, int(min(window_days * 86400.0 / step, records)) // scheme.every)
    pieces = ceil(cycles / most)
    length = ceil(cycles / pieces) * scheme.every
    begins = [k * length for k in range(pieces)]
    for_first, for_weather, for_filter = jax.random.split(jax.random.key(options.seed), 3)
    members = first_members(for_first, options, given, state)
    work = _Work(model, data, observations, given, scheme, options, saved, for_weather, for_filter)
    carry = _Carry(members, state, {}, {})
    settings = settings_of(method, options, begins, length, data, observations)
    kept: list[dict[str, np.ndarray]] = []
    for number, begin in enumerate(begins):
        arrays = None if restart is None else load_window(restart, number, settings=settings)
        if arrays is None:
            arrays = work.piece(carry, begin, length)
            if restart is not None:
                save_window(restart, number, arrays, settings=settings)
        carry = _Carry.of(arrays)
        kept.append({n: x for n, x in arrays.items() if not n.startswith(_STATE_OF)})
        if progress is not None:
            progress(number + 1, pieces)
    analysis = analysis_dataset(data, kept)
    ends = {n: carry.members[n] for n in options.control if n in given}
    errors = {f"{n}_control_error": np.std(np.asarray(x), 0, ddof=1) for n, x in ends.items()}
    means = given | {n: x.mean(axis=0) for n, x in ends.items()}
    add_parameters(analysis, options.control, given, means, errors)
    spread = np.linalg.norm(np.asarray(first_root(options)), axis=1)
    analysis.attrs |= {
        "method": method,
        "window_days": length * step / 86400.0,
        "shift_days": length * step / 86400.0,
        "windows": pieces,
        "cycle_days": scheme.every * step / 86400.0,
        "members": options.members,
        "control": ", ".join(options.control),
        "background_error": ", ".join(
            f"{n} {d:.3g}" for n, d in zip(options.control, spread, strict=True)
        ),
        "inflation": options.inflation,
        "relaxation": options.relaxation,
        "forcing_error": on_errors(options.forcing),
        "model_error_a_day": ", ".join(f"{n} {x:g}" for n, x in options.growth.items()) or "none",
        "between_analyses": "mean and spread of the members' runs since the last analysis",
        "not_converged": "none",
        "members_replaced": int(analysis["members_replaced"].sum()),
        "observations": int(analysis["observed"].sum()),
    }
    for name in ("localisation_km", "localisation_depth_m"):
        if getattr(options, name) is not None:
            analysis.attrs[name] = float(getattr(options, name))
    if scheme.lag:
        analysis.attrs["lag_days"] = scheme.lag * scheme.every * step / 86400.0
    return analysis


def first_members(key: Array, options: FilterOptions, given: Parameters, state: State) -> Members:
    """Members about the first guess, by draws from its error, within bounds."""
    columns = next(iter(state.values())).shape[0]
    root = first_root(options).astype(next(iter(state.values())).dtype)
    draws = centred_draws(key, root, options.members, columns)
    members = {n: jnp.repeat(x[None], options.members, axis=0) for n, x in state.items()}
    for k, name in enumerate(options.control):
        first = state[name] if name in state else given[name]
        by = draws[:, k]
        members[name] = jax.vmap(lambda d, n=name, x=first: moved(n, x, d, given))(by)
    return members


@dataclass(frozen=True)
class _Work:
    """What a piece of the run needs beside what the last one left."""

    model: Model
    data: xr.Dataset
    observations: Observations
    given: Parameters
    scheme: Scheme
    options: FilterOptions
    saved: tuple[str, ...]
    for_weather: Array
    for_filter: Array

    def piece(self, carry: _Carry, begin: int, length: int) -> dict[str, np.ndarray]:
        """Rows of a piece's records and what the next one starts from, by name.

        All pieces are as long, so that they compile once: beyond the data's end nothing is
        observed, the last weather goes on, and what comes out is cut.
        """
        records = self.data.sizes["time"]
        count = min(length, records - begin)
        weather = self._weather(begin, length)
        members, errors = self._perturbed(weather, begin, carry.errors)
        last = begin + count == records
        run = self._run(carry.members, members, begin, length)
        ended, rows = run.ensemble, rows_of(run, self.model, self.scheme, self._seen(begin, length))
        if self.scheme.lag:
            ended, rows = self._smoothed(carry, begin, length, (run, members, errors), last=last)
        edge = carry.edge or first_rows(
            self.model, self.given, carry.members, weather, self.saved, rows
        )
        arrays, following = aligned(rows, edge, count, tuple(self.model.diagnostic))
        free, free_end = run_compiled(trajectory, self.model, self.given, carry.free, weather)
        context = Context(self.model.time_step, self.given, weather)
        arrays |= observed_of("_open_loop", free, self.saved, context, count)
        arrays |= notes_of_piece(arrays, run, tuple(self.observations.values), count)
        return arrays | _Carry(ended, free_end, errors, following).arrays()

    def _weather(self, begin: int, length: int) -> ForcingSeries:
        stop = min(begin + length, self.data.sizes["time"])
        forcing = forcing_from(self.data, steps=slice(begin, stop))
        return {name: _padded(x, length) for name, x in forcing.items()}

    def _perturbed(
        self, weather: ForcingSeries, begin: int, last: Last
    ) -> tuple[dict[str, Array], Last]:
        place = {
            name: self.data[short].to_numpy() if short in self.data.variables else None
            for name, short in (("latitude", "lat"), ("longitude", "lon"))
        }
        return perturbed_forcing(
            self.for_weather,
            weather,
            errors=self.options.forcing,
            members=self.options.members,
            time_step=self.model.time_step,
            begin=begin,
            last=last or None,
            **place,
        )

    def _seen(self, begin: int, length: int) -> Observations:
        """Observations from a record on, nothing beyond the end; one record more than steps."""
        part = self.observations.window(begin, begin + length + 1)
        return Observations(
            {n: _padded(x, length + 1) for n, x in part.values.items()},
            {n: _padded(x, length + 1) for n, x in part.errors.items()},
            {n: _padded(x, length + 1, blank=True) for n, x in part.mask.items()},
        )

    def _run(self, members: Members, forcing: Mapping[str, Array], begin: int, length: int) -> Run:
        return run_filter(
            self.model,
            self.given,
            members,
            forcing,
            self._seen(begin, length),
            scheme=self.scheme,
            key=self.for_filter,
            shown=self.saved,
            first=begin // self.scheme.every,
        )

    def _smoothed(
        self,
        carry: _Carry,
        begin: int,
        length: int,
        alone: tuple[Run, Mapping[str, Array], Last],
        *,
        last: bool,
    ) -> tuple[Members, dict[str, np.ndarray]]:
        """A smoother's rows: the piece is run again with the lag behind it, but for the last."""
        run, members, errors = alone
        if last:
            return run.ensemble, rows_of(
                run, self.model, self.scheme, self._seen(begin, length), smoothed=True
            )
        beyond = begin + length
        more = self.scheme.lag * self.scheme.every
        after, _ = self._perturbed(self._weather(beyond, more), beyond, errors)
        forcing = {n: jnp.concatenate([x, after[n]]) for n, x in members.items()}
        longer = self._run(carry.members, forcing, begin, length + more)
        seen = self._seen(begin, length + more)
        rows = rows_of(longer, self.model, self.scheme, seen, smoothed=True)
        return run.ensemble, {name: x[:length] for name, x in rows.items()}


def _padded(x: Array, length: int, *, blank: bool = False) -> Array:
    """The last row repeated, or zeros, up to a length."""
    lacking = length - x.shape[0]
    if lacking <= 0:
        return x[:length]
    more = jnp.zeros_like(x[:1]) if blank else x[-1:]
    return jnp.concatenate([x, jnp.repeat(more, lacking, axis=0)])
