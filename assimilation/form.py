"""The Analysis form: what an analysis writes of its windows, and its scores against a truth."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import xarray as xr

from assimilation.methods import Scheme
from assimilation.observations import Observations
from assimilation.operators import DERIVED, OBSERVABLES, OPERATORS, Context, Series
from assimilation.window import Analysis
from hybrid_land.columns import require, time_step_of
from hybrid_land.errors import InputError
from hybrid_land.interface import Model, Parameters
from hybrid_land.variables import SOIL_WATER, VARIABLES

ROOT_ZONE = "root_zone_soil_moisture"


def observed_of(
    suffix: str, series: Series, names: tuple[str, ...], context: Context, keep: int
) -> dict[str, np.ndarray]:
    """What the named operators see of a trajectory, `[record, column]` each."""
    return {
        f"{name}{suffix}": np.asarray(OPERATORS[name](series, context)[:keep]) for name in names
    }


def innovations_of(result: Analysis, keep: int) -> dict[str, np.ndarray]:
    """Innovations, residuals and stated errors, `[record, column]`, of the first records."""
    found = {}
    kept = np.asarray(result.converged)
    for name, (before, reached) in result.innovations.items():
        after = np.where(kept, np.asarray(reached), np.asarray(before))
        found[f"{name}_innovation"] = np.asarray(before[:keep])
        found[f"{name}_residual"] = after[:keep]
        observed, background = result.stated[name]
        found[f"{name}_observation_error"] = np.asarray(observed[:keep])
        found[f"{name}_background_error"] = np.asarray(background[:keep])
    return found


def notes_of(result: Analysis, scheme: Scheme) -> dict[str, np.ndarray]:
    """What is told of a window, `[column]` each."""
    names = ("cost_start", "gradient_norm", "signal", "iterations", "converged")
    notes = {name: np.asarray(getattr(result, name)) for name in names}
    seen = [
        np.isfinite(np.asarray(before)).sum(axis=0) for before, _ in result.innovations.values()
    ]
    notes["observed"] = np.sum(seen, axis=0)
    notes |= {f"cost_{term}": np.asarray(value) for term, value in result.cost.items()}
    for k, label in enumerate(scheme.control.labels):
        if k >= len(scheme.control.start):
            notes[label] = np.asarray(result.control[k])
        notes[f"{label}_control_error"] = np.asarray(result.control_error[k])
    return notes


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


def require_same_form(truth: xr.Dataset, data: xr.Dataset) -> None:
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


def saved_names(
    model: Model, observations: Observations, control: tuple[str, ...]
) -> tuple[str, ...]:
    """What an analysis holds of the model: soil water, what was observed and what was corrected."""
    wanted = [*SOIL_WATER, ROOT_ZONE, *observations.values, *control]
    available = {*model.prognostic, *model.diagnostic, *DERIVED}
    return tuple(dict.fromkeys(name for name in wanted if name in available))


def analysis_dataset(data: xr.Dataset, pieces: list[dict[str, np.ndarray]]) -> xr.Dataset:
    """The windows' results side by side: series in time, and numbers by window."""
    place = [name for name in ("lat", "lon", "climate_index") if name in data]
    analysis = data[place].assign_coords(time=data["time"])
    for name, first in pieces[0].items():
        if first.ndim == 1:
            analysis[name] = (("window", "column"), np.stack([piece[name] for piece in pieces]))
            continue
        series = np.concatenate([piece[name] for piece in pieces]).astype(np.float32)
        base, what = _what(name)
        row = OBSERVABLES[base]
        attributes = {"units": row.units, "long_name": f"{row.long_name}, {what}"}
        analysis[name] = (("time", "column"), series, attributes)
    analysis.attrs = {"title": "Analysis", "Conventions": "CF-1.8"}
    return analysis


def _what(name: str) -> tuple[str, str]:
    """The observable that a series of the analysis belongs to, and what of it this is."""
    kinds = {
        "_background": "background",
        "_open_loop": "open loop",
        "_analysis_error": "standard deviation of the analysis error",
        "_innovation": "observation minus background",
        "_residual": "observation minus analysis",
        "_observation_error": "stated standard deviation of the observation error",
        "_background_error": "stated standard deviation of the background where it was observed",
    }
    for suffix, what in kinds.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), what
    return name, "analysis"


def add_parameters(
    analysis: xr.Dataset,
    control: tuple[str, ...],
    before: Parameters,
    after: Parameters,
    last: Mapping[str, np.ndarray],
) -> None:
    """Controlled parameters with dim `column`: their values, backgrounds and errors."""
    for name in control:
        if name in before:
            units = {"units": VARIABLES[f"clim_{name}"].units}
            error = last[f"{name}_control_error"]
            for suffix, value in (
                ("", after[name]),
                ("_background", before[name]),
                ("_analysis_error", error),
            ):
                analysis[f"{name}{suffix}"] = ("column", np.asarray(value), units)


def told(analysis: xr.Dataset, truth: xr.Dataset | None) -> xr.Dataset:
    """The analysis with its scores, and a notice if nothing was observed."""
    if not analysis.attrs["observations"]:
        analysis.attrs["notice"] = "no observation in any window: the analysis is the background"
    if truth is not None:
        analysis.attrs |= scores_against(truth, analysis)
    return analysis
