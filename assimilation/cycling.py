"""Assimilation over months: window after window, each starting from the last one's analysis."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from assimilation.covariance import carried_root
from assimilation.ensemble import (
    analysed_members,
    centred_draws,
    ensemble_root,
    members_root,
    propagated,
)
from assimilation.filter_options import FilterOptions, options_of
from assimilation.filtering import filtered
from assimilation.form import (
    ROOT_ZONE,
    add_parameters,
    analysis_dataset,
    innovations_of,
    notes_of,
    observed_of,
    require_same_form,
    saved_names,
    told,
)
from assimilation.gradients import fault_of
from assimilation.hybrid_gain import make_hybrid_gain
from assimilation.methods import Options, Scheme, scheme_of, with_start
from assimilation.observations import Observations
from assimilation.operators import Context, Series
from assimilation.restart import load_window, save_window, settings_of
from assimilation.trajectory import trajectory
from assimilation.variational import Problem
from assimilation.window import Analysis, make_window_analysis
from hybrid_land.columns import (
    forcing_from,
    parameters_from,
    require,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.compiled import run_compiled
from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.variables import SOIL_WATER

_STATE_OF = "state/"  # in a window's record of the run: what the next window starts from


@dataclass(frozen=True)
class _Carry:
    """What goes from a window to the next.

    Attributes:
        parameters: as analysed so far.
        state: the background at the next window's start.
        free: state of the open loop there.
        members: perturbations of the control vector there, `[member, control, column]`, or none.
        root: U of the elements at the window's start there, where it is carried along.
    """

    parameters: Parameters
    state: State
    free: State
    members: Float[Array, "member control column"] | None = None
    root: Float[Array, "start start column"] | None = None


def assimilate(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    first_guess: xr.Dataset | None = None,
    method: str = "4dvar",
    window_days: float = 30.0,
    shift_days: float | None = None,
    options: Options | FilterOptions | None = None,
    truth: xr.Dataset | None = None,
    restart: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Assimilate observations into a model, window by window.

    - `4dvar`: the state at a window's start (and `theta_cap`) is corrected so that the model's
      own trajectory explains the window's observations; the next window starts from the analysis.
    - `weak-4dvar`: and the model's error on each sub-window.
    - `4denvar`: the background's covariance is half an ensemble's that goes along, and the slopes
      are those of its members' runs: neither tangent nor adjoint.
    - `hybrid-gain`: an ensemble's analysis, then part of the way to that of the static B.
    - `sekf`: one step with finite differences at the background, as ECMWF's simplified extended
      Kalman filter does in windows of a day (de Rosnay et al. 2013).
    - `enkf`, `etkf`, `enkf-n`, `denkf`, `letkf`, `enks`, `ienks`, `pf`: ensemble filters and
      smoothers, in cycles of a step unless told otherwise. Their first record is the first guess,
      which no observation corrects; between analyses the analysis is the members' mean run.

    A column whose minimisation fails keeps its background and is named in the attribute
    `not_converged`; where nothing was observed at all, the analysis is the background and the
    attribute `notice` says so. With a shift shorter than the window, windows overlap, the output is
    that of the last window but for its overlap, and observations in the overlap are used again.

    Args:
        model: anything with the `step` interface.
        data: forcing and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `read_observations`.
        first_guess: prognostic variables with dim `column`; the data's first state if not given.
        method: one of `assimilation.methods.METHODS` or of `assimilation.filter_options.FILTERS`.
        window_days: length of a window; the last one may be shorter. Of an ensemble method, of the
            pieces of the run, at most.
        shift_days: from a window's start to the next one's; the window's length if not given.
        options: everything else: `Options`, or `FilterOptions` of an ensemble method.
        truth: what the state was, for scores and nothing else.
        restart: a folder that keeps each window's result; a run that was killed goes on from
            there.
        progress: called with windows done and in all.

    Returns:
        The Analysis form: dims `(time, column)`; soil water, root-zone soil moisture, the observed
        and the controlled variables as `<name>`, `<name>_background`, `<name>_open_loop` and, in
        part, `<name>_analysis_error` (of an ensemble its spread); innovations of the observed ones
        as `<name>_innovation` and `<name>_residual` (observation minus background, and minus
        analysis); controlled parameters with dim `column`; per window and column the cost and its
        parts, iterations, gradient norm and degrees of freedom for signal, model errors and
        biases; attributes name the method, the windows and the scores.

    Raises:
        InputError: for an unknown method, option or control variable, a window longer than the
            data or shorter than a step, data that do not fit the model, a first guess or truth
            that does not fit the data, a restart folder of another run, or a gradient that is not
            finite in any column (the variable and the step are named).
    """
    options = options_of(method, options)
    require_model_fits(model, data)
    if truth is not None:
        require_same_form(truth, data)
    if isinstance(options, FilterOptions):
        if shift_days is not None:
            raise InputError(
                f"{method} with a shift of {shift_days:g} days, expected none: its windows do not "
                "overlap; leave it out"
            )
        chosen: Any = {"method": method, "window_days": window_days, "options": options}
        kept: Any = {"restart": restart, "progress": progress}
        state = _first_state(first_guess, model, data)
        return told(filtered(model, data, observations, state, **chosen, **kept), truth)
    given = parameters_from(data)
    scheme = scheme_of(method, options, model, given)
    state = _first_state(first_guess, model, data)
    length, shift = _steps(window_days, shift_days, model, data)
    begins = _begins(data.sizes["time"], length, shift)
    root = scheme.root.astype(next(iter(state.values())).dtype)
    columns = data.sizes["column"]
    key = jax.random.key(options.seed)
    drawn = centred_draws(key, root, scheme.members, columns) if scheme.members else None
    carry = _Carry(given, state, state, drawn)
    saved = saved_names(model, observations, scheme.control.start)
    cycle = _make_cycle(model, given, scheme, root, options, saved, key)
    settings = settings_of(method, options, begins, length, data, observations)
    pieces: list[dict[str, np.ndarray]] = []
    for number, begin in enumerate(begins):
        end = min(begin + length, data.sizes["time"])
        keep = end - begin if end == data.sizes["time"] else shift
        arrays = None if restart is None else load_window(restart, number, settings=settings)
        if arrays is None:
            weather = forcing_from(data, steps=slice(begin, end))
            arrays = cycle(number, carry, weather, observations.window(begin, end), keep)
            if restart is not None:
                save_window(restart, number, arrays, settings=settings)
        carry = _carry_from(arrays)
        pieces.append({n: x for n, x in arrays.items() if not n.startswith(_STATE_OF)})
        if progress is not None:
            progress(number + 1, len(begins))
    analysis = analysis_dataset(data, pieces)
    add_parameters(analysis, scheme.control.start, given, carry.parameters, pieces[-1])
    failed = np.argwhere(~analysis["converged"].to_numpy())
    analysis.attrs |= {
        "method": method,
        "window_days": float(window_days),
        "shift_days": shift * time_step_of(data) / 86400.0,
        "windows": len(begins),
        "control": ", ".join(scheme.control.start),
        "background_error": ", ".join(
            f"{n} {d:.3g}"
            for n, d in zip(scheme.control.labels, np.linalg.norm(root, axis=1), strict=True)
        ),
        "minimiser": scheme.minimiser,
        "not_converged": "; ".join(f"window {w} column {c}" for w, c in failed) or "none",
        "observations": int(sum(float(mask.sum()) for mask in observations.mask.values())),
    }
    return told(analysis, truth)


def _make_cycle(
    model: Model,
    given: Parameters,
    scheme: Scheme,
    root: Float[Array, "control control"],
    options: Options,
    saved: tuple[str, ...],
    key: Array,
) -> Callable[..., dict[str, np.ndarray]]:
    """The work of one window: its results and what the next one starts from, by name."""
    start = scheme.control.start
    with_error = tuple(n for n in saved if n in SOIL_WATER or n == ROOT_ZONE or n in start)
    choices: dict[str, Any] = {
        "control": scheme.control,
        "error_of": with_error,
        "growth": scheme.growth,
        "minimiser": scheme.minimiser,
        "max_iterations": scheme.max_iterations,
    }
    analyse = make_window_analysis(model, amplitude=scheme.amplitude, **choices)
    by_gain = make_hybrid_gain(model, weight=options.ensemble_weight, **choices)

    def cycle(
        number: int, carry: _Carry, forcing: ForcingSeries, seen: Observations, keep: int
    ) -> dict[str, np.ndarray]:
        now, here = root, (carry.parameters, carry.state, forcing, seen)
        if scheme.hybrid_gain and carry.members is not None:
            now = members_root(carry.members)
            first, result = by_gain(*here, now, root, keep=keep)
            covariance = first.covariance
        else:
            if carry.members is not None:
                now = ensemble_root(root, carry.members, weight=options.ensemble_weight)
            elif carry.root is not None:
                now = with_start(root, carry.root)
            result = analyse(*here, now, keep=keep)
            covariance = result.covariance
        if not np.isfinite(np.asarray(result.gradient_norm)).any():
            wide = jnp.zeros((*now.shape[:2], result.v.shape[-1]), now.dtype)
            raise fault_of(Problem(model, *here, wide, scheme.control), window=number)
        kept = np.asarray(result.converged)
        head = {name: series[:keep] for name, series in forcing.items()}
        free, free_end = run_compiled(trajectory, model, given, carry.free, head)
        after = _where(kept, result.series, result.background)
        parameters, begin = result.begin(start, carry.parameters, carry.state)
        state = _state_at(model, result, after, kept, keep)
        known = partial(Context, model.time_step)
        analysed, before = known(parameters, forcing), known(carry.parameters, forcing)
        arrays = {
            **observed_of("", after, saved, analysed, keep),
            **observed_of("_background", result.background, saved, before, keep),
            **observed_of("_open_loop", free, saved, known(given, head), keep),
            **{f"{n}_analysis_error": np.asarray(result.error[n][:keep]) for n in with_error},
            **innovations_of(result, keep),
            **notes_of(result, scheme),
        }
        end = {f"{_STATE_OF}parameters/{n}": x for n, x in parameters.items()}
        end |= {f"{_STATE_OF}state/{n}": x for n, x in state.items()}
        end |= {f"{_STATE_OF}free/{n}": x for n, x in free_end.items()}
        if carry.members is not None:
            draws = analysed_members(
                jax.random.fold_in(key, number), now, covariance, scheme.members
            )
            spread = run_compiled(propagated, model, parameters, begin, draws, head, names=start)
            end[f"{_STATE_OF}members"] = options.inflation * spread
        if scheme.propagate:
            end[f"{_STATE_OF}root"] = carried_root(
                result.next_root,
                sound=jnp.asarray(kept),
                otherwise=root[: len(start), : len(start)],
            )
        return arrays | {name: np.asarray(x) for name, x in end.items()}

    return cycle


def _state_at(model: Model, result: Analysis, after: Series, kept: np.ndarray, keep: int) -> State:
    """The analysed state at the next window's start."""
    records = next(iter(after.values())).shape[0]
    if keep < records:
        return {name: after[name][keep] for name in model.prognostic}
    return {
        name: jnp.where(kept, result.state[name], result.background_state[name])
        for name in model.prognostic
    }


def _carry_from(arrays: Mapping[str, np.ndarray]) -> _Carry:
    def group(kind: str) -> dict[str, Array]:
        prefix = f"{_STATE_OF}{kind}/"
        return {n.removeprefix(prefix): jnp.asarray(arrays[n]) for n in arrays if prefix in n}

    members, root = (arrays.get(f"{_STATE_OF}{name}") for name in ("members", "root"))
    return _Carry(
        group("parameters"),
        group("state"),
        group("free"),
        None if members is None else jnp.asarray(members),
        None if root is None else jnp.asarray(root),
    )


def _first_state(first_guess: xr.Dataset | None, model: Model, data: xr.Dataset) -> State:
    """The first guess, or the data's first state."""
    if first_guess is None:
        return state_from(data, variables=model.prognostic)
    require(first_guess, tuple(model.prognostic), source="the first guess")
    if first_guess.sizes.get("column") != data.sizes["column"]:
        raise InputError(
            f"the first guess has {first_guess.sizes.get('column')} columns, expected "
            f"{data.sizes['column']} as in the data; cut it to the same columns"
        )
    return state_from(first_guess, variables=model.prognostic)


def _steps(
    window_days: float, shift_days: float | None, model: Model, data: xr.Dataset
) -> tuple[int, int]:
    """Records of a window, and from its start to the next one's."""
    records, day = data.sizes["time"], 86400.0 / time_step_of(data)
    if not window_days * day > 0.5:
        raise InputError(
            f"window of {window_days:g} days is shorter than the model's step; expected at least "
            f"{model.time_step / 86400.0:g}; lengthen it"
        )
    length = round(min(window_days * day, records + 1.0))
    if length > records:
        raise InputError(
            f"window of {window_days:g} days is longer than the data, expected at most "
            f"{records / day:g} days; shorten it or give longer data"
        )
    shift = length if shift_days is None else round(shift_days * day)
    if not 1 <= shift <= length:
        raise InputError(
            f"shift of {shift_days:g} days, expected from one step to the window's "
            f"{window_days:g} days; correct it"
        )
    return length, shift


def _begins(records: int, length: int, shift: int) -> list[int]:
    """First records of the windows; the last window ends with the data."""
    begins = [0]
    while begins[-1] + length < records:
        begins.append(begins[-1] + shift)
    return begins


def _where(kept: np.ndarray, analysed: Series, before: Series) -> Series:
    return {name: jnp.where(kept[None, :], analysed[name], before[name]) for name in analysed}
