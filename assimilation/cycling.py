"""Assimilation over months: window after window, each starting from the last one's analysis."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assimilation.covariance import background_root
from assimilation.observations import Observations
from assimilation.operators import (
    DERIVED,
    OBSERVABLES,
    OPERATORS,
    UNITS,
    Context,
    Series,
    on_records,
)
from assimilation.variational import CONTROL, make_window_analysis
from hybrid_land.columns import (
    forcing_from,
    parameters_from,
    require,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_WATER, VARIABLES

METHODS = ("4dvar",)
ROOT_ZONE = "root_zone_soil_moisture"


def assimilate(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    first_guess: xr.Dataset | None = None,
    method: str = "4dvar",
    window_days: float = 30.0,
    control: Sequence[str] = CONTROL,
    background_error: dict[str, float] | None = None,
    truth: xr.Dataset | None = None,
    max_iterations: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Assimilate observations into a model by strong-constraint 4D-Var, window by window.

    The state at a window's start is corrected so that the model's own trajectory explains the
    window's observations; the next window starts from the analysis. A column whose minimisation
    fails keeps its background and is named in the attribute `not_converged`.

    Args:
        model: anything with the `step` interface.
        data: forcing and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `read_observations`.
        first_guess: prognostic variables with dim `column`; the data's first state if not given.
        method: `"4dvar"`.
        window_days: length of a window; the last one may be shorter.
        control: prognostic variables, and `theta_cap`, that are corrected.
        background_error: standard deviations by name in place of the defaults of
            `assimilation.covariance`.
        truth: what the state was, for scores and nothing else.
        max_iterations: of the minimiser.
        progress: called with windows done and in all.

    Returns:
        The Analysis form: dims `(time, column)`; soil water, root-zone soil moisture, the
        observed and the controlled variables as `<name>`, `<name>_background`,
        `<name>_open_loop` and, in part, `<name>_analysis_error`; controlled parameters with dim
        `column`; per window and column the cost and its parts, iterations, gradient norm and
        degrees of freedom for signal; attributes name the method, the windows and the scores.

    Raises:
        InputError: for an unknown method or control variable, a window longer than the data or
            shorter than a step, data that do not fit the model, or a first guess or truth that
            does not fit the data.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known, expected {', '.join(METHODS)}; use that")
    require_model_fits(model, data)
    if truth is not None:
        _require_same_form(truth, data)
    parameters = parameters_from(data)
    for place, name in enumerate(control):
        if name in control[:place]:
            raise InputError(
                f"control variable {name!r} is named twice, expected once; remove one of them"
            )
        if name not in model.prognostic and name not in parameters:
            raise InputError(
                f"control variable {name!r} is not known, expected a prognostic variable or a "
                f"parameter such as {', '.join(CONTROL)} or theta_cap; correct it"
            )
    if first_guess is not None:
        require(first_guess, tuple(model.prognostic), source="the first guess")
        if first_guess.sizes.get("column") != data.sizes["column"]:
            raise InputError(
                f"the first guess has {first_guess.sizes.get('column')} columns, expected "
                f"{data.sizes['column']} as in the data; cut it to the same columns"
            )
    records = data.sizes["time"]
    steps = window_days * 86400.0 / time_step_of(data)
    if not steps > 0.5:
        raise InputError(
            f"window of {window_days:g} days is shorter than the model's step; expected at least "
            f"{model.time_step / 86400.0:g}; lengthen it"
        )
    length = round(min(steps, records + 1.0))
    if length > records:
        raise InputError(
            f"window of {window_days:g} days is longer than the data, expected at most "
            f"{records * time_step_of(data) / 86400.0:g} days; shorten it or give longer data"
        )
    state = state_from(data if first_guess is None else first_guess, variables=model.prognostic)
    saved = _saved(model, observations, control)
    with_error = tuple(n for n in saved if n in SOIL_WATER or n == ROOT_ZONE or n in control)
    analyse = make_window_analysis(
        model, control=control, error_of=with_error, max_iterations=max_iterations
    )
    root = background_root(control, deviation=background_error).astype(jnp.float32)
    begins = list(range(0, records, length))
    forward = jax.jit(partial(_forward, model))
    free, free_parameters = state, parameters
    collected: list[dict[str, dict[str, np.ndarray]]] = []
    notes: list[dict[str, np.ndarray]] = []
    first_parameters, parameter_error = parameters, np.zeros(0)
    for number, begin in enumerate(begins):
        end = min(begin + length, records)
        forcing = forcing_from(data.isel(time=slice(begin, end)))
        result = analyse(parameters, state, forcing, observations.window(begin, end), root)
        kept = np.asarray(result.converged)
        after = _where(kept, result.series, result.background)
        # In the first window the background is the open loop.
        uncorrected, free = (
            (result.background, result.background_state)
            if number == 0
            else forward(free_parameters, free, forcing)
        )
        context = Context(model.time_step, parameters, forcing)
        collected.append(
            {
                "": _observed(after, saved, context),
                "_background": _observed(result.background, saved, context),
                "_open_loop": _observed(uncorrected, saved, context),
                "_analysis_error": {n: np.asarray(result.error[n]) for n in with_error},
            }
        )
        notes.append(_notes(result))
        state = {n: jnp.where(kept, result.state[n], result.background_state[n]) for n in state}
        for k, name in enumerate(control):
            if name in parameters:
                value = jnp.where(kept, result.control[k], parameters[name])
                parameters = parameters | {name: value}
        parameter_error = np.asarray(result.control_error)
        if progress is not None:
            progress(number + 1, len(begins))
    analysis = _dataset(data, collected)
    for k, name in enumerate(control):
        if name in first_parameters:
            units = VARIABLES[f"clim_{name}"].units
            analysis[name] = ("column", np.asarray(parameters[name]), {"units": units})
            analysis[f"{name}_background"] = (
                "column",
                np.asarray(first_parameters[name]),
                {"units": units},
            )
            analysis[f"{name}_analysis_error"] = ("column", parameter_error[k], {"units": units})
    for name in notes[0]:
        analysis[name] = (("window", "column"), np.stack([note[name] for note in notes]))
    failed = np.argwhere(~analysis["converged"].to_numpy())
    analysis.attrs |= {
        "method": method,
        "window_days": float(window_days),
        "windows": len(begins),
        "control": ", ".join(control),
        "background_error": ", ".join(
            f"{n} {d:.3g}" for n, d in zip(control, np.linalg.norm(root, axis=1), strict=True)
        ),
        "not_converged": "; ".join(f"window {w} column {c}" for w, c in failed) or "none",
        "observations": int(sum(float(mask.sum()) for mask in observations.mask.values())),
    }
    if truth is not None:
        analysis.attrs |= scores_against(truth, analysis)
    return analysis


def _observed(series: Series, names: Sequence[str], context: Context) -> dict[str, np.ndarray]:
    """What the named operators see of a trajectory, `[record, column]` each."""
    return {name: np.asarray(OPERATORS[name](series, context)) for name in names}


def _forward(model: Model, parameters: Any, state: Any, forcing: Any) -> tuple[Series, Any]:
    """A window's trajectory on the data's records, and the state after it."""
    states, diagnostics = rollout(model, parameters, state, forcing)
    return on_records(state, states, diagnostics), {n: x[-1] for n, x in states.items()}


def scores_against(truth: xr.Dataset, analysis: xr.Dataset) -> dict[str, float]:
    """RMSE of open loop, background and analysis against a truth, pooled over times and columns.

    Returns:
        `rmse_<which>_<name>` for soil water and the root zone where the truth has them.
    """
    arrays = {
        name: jnp.asarray(truth[name].transpose("time", "column").to_numpy())
        for name in SOIL_WATER
        if name in truth
    }
    result = {}
    for name in (*SOIL_WATER, ROOT_ZONE):
        if name not in analysis or not set(SOIL_WATER) <= set(arrays):
            continue
        actual = np.asarray(OPERATORS[name](arrays, Context(time_step_of(truth))))
        for which in ("open_loop", "background", "analysis"):
            key = name if which == "analysis" else f"{name}_{which}"
            error = analysis[key].to_numpy() - actual
            result[f"rmse_{which}_{name}"] = float(np.sqrt(np.nanmean(np.square(error))))
    return result


def _require_same_form(truth: xr.Dataset, data: xr.Dataset) -> None:
    """Raise unless the truth has the soil water at the data's times and columns."""
    require(truth, SOIL_WATER, source="the truth")
    if truth.sizes.get("column") != data.sizes["column"]:
        raise InputError(
            f"the truth has {truth.sizes.get('column')} columns, expected {data.sizes['column']} "
            "as in the data; cut it to the same columns"
        )
    if "time" not in truth or not np.array_equal(truth["time"].to_numpy(), data["time"].to_numpy()):
        raise InputError(
            f"the truth has other times than the data, expected the same {data.sizes['time']} "
            "records; cut it to the same times"
        )


def _saved(model: Model, observations: Observations, control: Sequence[str]) -> tuple[str, ...]:
    wanted = [*SOIL_WATER, ROOT_ZONE, *observations.values, *control]
    available = {*model.prognostic, *model.diagnostic, *DERIVED}
    return tuple(dict.fromkeys(name for name in wanted if name in available))


def _where(kept: np.ndarray, analysed: Series, before: Series) -> Series:
    return {name: jnp.where(kept[None, :], analysed[name], before[name]) for name in analysed}


def _notes(result: Any) -> dict[str, np.ndarray]:
    names = (
        "cost_start",
        "cost_background",
        "cost_observation",
        "gradient_norm",
        "signal",
        "iterations",
        "converged",
    )
    return {name: np.asarray(getattr(result, name)) for name in names}


def _dataset(data: xr.Dataset, collected: list[dict[str, dict[str, np.ndarray]]]) -> xr.Dataset:
    place = [name for name in ("lat", "lon", "climate_index") if name in data]
    analysis = data[place].assign_coords(time=data["time"])
    for suffix in ("", "_background", "_open_loop", "_analysis_error"):
        for name in collected[0][suffix]:
            series = np.concatenate([piece[suffix][name] for piece in collected])
            attributes = {"units": UNITS[name], "long_name": _long_name(name, suffix)}
            analysis[f"{name}{suffix}"] = (
                ("time", "column"),
                series.astype(np.float32),
                attributes,
            )
    analysis.attrs = {"title": "Analysis", "Conventions": "CF-1.8"}
    return analysis


def _long_name(name: str, suffix: str) -> str:
    base = OBSERVABLES[name].long_name
    what = {
        "": "analysis",
        "_background": "background",
        "_open_loop": "open loop",
        "_analysis_error": "standard deviation of the analysis error",
    }
    return f"{base}, {what[suffix]}"
