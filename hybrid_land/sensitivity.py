"""How the time mean of a run answers to a column's parameters: curves and exact derivatives."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from hybrid_land.columns import (
    forcing_from,
    parameters_from,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.data import save
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError
from hybrid_land.figures import paper_style, pretty_units, save_figure
from hybrid_land.interface import Model, Parameters
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_WATER, VARIABLES

TARGETS = (*SOIL_WATER, "slhf", "e", "sro", "ssro")
SCALES = (0.80, 0.85, 0.90, 0.95, 1.0, 1.05, 1.10, 1.15, 1.20)
_CLASSES = ("tvh", "tvl", "sotype", "ctype")  # numbers that name a class
_LEAST_ROOM = 0.02  # m3 m-3 that field capacity must stay above the wilting point
_YEAR = 365.2422 * 86400.0


def sensitivity(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] = TARGETS,
    scales: Sequence[float] = SCALES,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Answer of the mean over time to each parameter, one at a time, from the same first state.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics; those the model lacks are left out.
        scales: factors on the parameter. Where field capacity would come within 0.02 m3 m-3 of
            the wilting point the answer is missing.
        out: folder for `sensitivity.nc`, `sensitivity.md` and `sensitivity.png`.
        progress: called with runs done and in all.

    Returns:
        For each target `<target>`, the mean over time with dims `(parameter, scale, column)` in
        the variable's unit (amounts per year), and `<target>_gradient`, its exact derivative with
        respect to the scale at 1 by forward mode through the rollout, dims `(parameter, column)`.

    Raises:
        InputError: for a parameter that is not in the data or names a class, or data that do not
            fit the model.
    """
    require_model_fits(model, data)
    fixed = parameters_from(data)
    for name in parameters:
        if name not in fixed or name in _CLASSES:
            known = ", ".join(key for key in fixed if key not in _CLASSES)
            raise InputError(
                f"parameter {name!r} cannot be varied, expected one of {known}; correct "
                "--parameters"
            )
    targets = tuple(n for n in targets if n in (*model.prognostic, *model.diagnostic))
    state, forcing = state_from(data, variables=model.prognostic), forcing_from(data)
    per_year = _YEAR / time_step_of(data)
    factor = {n: per_year if VARIABLES[n].kind == "amount" else 1.0 for n in targets}

    def means(varied: Parameters) -> dict[str, Float[Array, " column"]]:
        states, diagnostics = rollout(model, fixed | varied, state, forcing)
        series = states | diagnostics
        return {name: factor[name] * series[name].mean(axis=0) for name in targets}

    run = jax.jit(means)
    slope = jax.jit(lambda varied, change: jax.jvp(means, (varied,), (change,))[1])
    total = len(parameters) * (len(scales) + 1)
    done = 0
    curves: list[list[dict]] = []
    gradients: list[dict] = []
    for name in parameters:
        gradients.append(slope({name: fixed[name]}, {name: fixed[name]}))
        curve = []
        for scale in scales:
            value = scale * fixed[name]
            answer = run({name: value})
            possible = _possible(name, value, fixed)
            curve.append({key: jnp.where(possible, x, jnp.nan) for key, x in answer.items()})
            done += 1
            if progress is not None:
                progress(done, total)
        curves.append(curve)
        done += 1
    result = xr.Dataset(
        coords={"parameter": list(parameters), "scale": np.asarray(scales)},
        attrs={"title": "Answer of time means to parameters", "Conventions": "CF-1.8"},
    )
    for name in ("column", "lat", "lon"):
        if name in data.coords or name in data:
            result = result.assign_coords({name: ("column", data[name].to_numpy())})
    for name in targets:
        row = VARIABLES[name]
        units = f"{row.units} a-1" if row.kind == "amount" else row.units
        long_name = row.long_name.replace(" over the step", "")
        values = np.stack([[np.asarray(x[name]) for x in curve] for curve in curves])
        result[name] = (
            ("parameter", "scale", "column"),
            values,
            {"units": units, "long_name": f"mean over time of {long_name}"},
        )
        exact = np.stack([np.asarray(gradient[name]) for gradient in gradients])
        result[f"{name}_gradient"] = (
            ("parameter", "column"),
            exact,
            {"units": units, "long_name": f"derivative of mean {long_name} to the scale"},
        )
    if out is not None:
        folder = make_folder(out)
        save(result, folder / "sensitivity.nc")
        with atomic_path(folder / "sensitivity.md") as path:
            path.write_text(table(result), encoding="utf-8")
        with paper_style():
            save_figure(curves_figure(result), folder / "sensitivity.png")
    return result


def _possible(name: str, value: Float[Array, " column"], fixed: Parameters) -> Array:
    if name == "theta_cap":
        return value > fixed["theta_pwp"] + _LEAST_ROOM
    if name == "theta_pwp":
        return value < fixed["theta_cap"] - _LEAST_ROOM
    return jnp.ones_like(value, bool)


def _targets(result: xr.Dataset) -> list[str]:
    return [str(name) for name in result.data_vars if f"{name}_gradient" in result]


def table(result: xr.Dataset) -> str:
    """The answers as a Markdown table: exact derivative and difference over the range of scales."""
    low, high = float(result.scale[0]), float(result.scale[-1])
    lines = [
        "Answer of means over time to the scale of a parameter: mean over columns of the exact "
        f"derivative at 1, and of the difference quotient from {low:g} to {high:g}.",
        "",
        "| parameter | variable | unit | derivative | least | largest | quotient |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for parameter in result.parameter.to_numpy():
        for name in _targets(result):
            exact = result[f"{name}_gradient"].sel(parameter=parameter)
            curve = result[name].sel(parameter=parameter)
            quotient = (curve.isel(scale=-1) - curve.isel(scale=0)) / (high - low)
            lines.append(
                f"| {parameter} | {name} | {result[name].units} | {float(exact.mean()):.4g} | "
                f"{float(exact.min()):.4g} | {float(exact.max()):.4g} | "
                f"{float(quotient.mean()):.4g} |"
            )
    return "\n".join(lines) + "\n"


def curves_figure(result: xr.Dataset) -> Figure:
    """Change of each target with the scale: mean over columns, the middle 80%, the derivative."""
    names = _targets(result)
    rows = result.parameter.to_numpy()
    figure = Figure(figsize=(2.2 * len(names), 0.5 + 2.3 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(names), squeeze=False, sharex=True)
    scale = result.scale.to_numpy()
    middle = int(np.argmin(np.abs(scale - 1.0)))
    for i, parameter in enumerate(rows):
        for j, name in enumerate(names):
            axes = panels[i, j]
            curve = result[name].sel(parameter=parameter).to_numpy()
            change = curve - curve[middle]
            low, high = np.nanquantile(change, [0.1, 0.9], axis=1)
            axes.fill_between(scale, low, high, color="#0072b2", alpha=0.18, lw=0)
            axes.plot(scale, np.nanmean(change, axis=1), color="#0072b2", label="runs")
            exact = float(result[f"{name}_gradient"].sel(parameter=parameter).mean())
            axes.plot(
                scale, exact * (scale - 1.0), color="#1d2430", ls=":", label="derivative at 1"
            )
            if i == 0:
                axes.set_title(name)
            axes.set_ylabel(pretty_units(result[name].units), fontsize=8)
        panels[i, 0].set_ylabel(
            f"change with {parameter}\n({pretty_units(result[names[0]].units)})"
        )
    for axes in panels[-1]:
        axes.set_xlabel("scale")
    panels[0, 0].legend(loc="best", fontsize=7)
    return figure
