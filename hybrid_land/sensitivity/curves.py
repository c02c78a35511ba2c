"""How the time mean of a run answers to a column's parameters: curves and exact derivatives."""

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float
from matplotlib.figure import Figure

from hybrid_land.data import save
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.figures import paper_style, pretty_units, save_figure
from hybrid_land.interface import Model, Parameters
from hybrid_land.sensitivity.problem import empty_result, problem_of, words_of
from hybrid_land.sensitivity.ranges import in_order

SCALES = (0.80, 0.85, 0.90, 0.95, 1.0, 1.05, 1.10, 1.15, 1.20)
_MOST_ACROSS = 4  # panels of a figure side by side


def sensitivity(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] | None = None,
    at: str = "mean",
    scales: Sequence[float] = SCALES,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Answer of the mean over time to each parameter, one at a time, from the same first state.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics of the model; by default soil water,
            evaporation and runoff, as far as the model has them.
        at: `mean` over the run, or `end` for the value after the last step.
        scales: factors on the parameter. Where field capacity would come within 0.02 m3 m-3 of
            the wilting point or 0.005 of saturation the answer is missing.
        out: folder for `sensitivity.nc`, `sensitivity.md` and `sensitivity.png`.
        progress: called with runs done and in all.

    Returns:
        For each target `<target>`, the mean over time with dims `(parameter, scale, column)` in
        the variable's unit (amounts per year), and `<target>_gradient`, its exact derivative with
        respect to the scale at 1 by forward mode through the rollout, dims `(parameter, column)`.

    Raises:
        InputError: for a parameter that is not in the data or names a class, a target that the
            model has not, or data that do not fit the model.
    """
    problem = problem_of(model, data, parameters=parameters, targets=targets, at=at)
    fixed = problem.parameters

    def means(varied: Parameters) -> dict[str, Float[Array, " column"]]:
        return problem.answer(fixed | varied, problem.state, problem.forcing)

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
            possible = in_order(name, np.asarray(value), fixed)
            curve.append(
                {key: np.where(possible, np.asarray(x), np.nan) for key, x in answer.items()}
            )
            done += 1
            if progress is not None:
                progress(done, total)
        curves.append(curve)
        done += 1
    result = empty_result(
        data,
        title="Answer of time means to parameters",
        parameter=list(parameters),
        scale=np.asarray(scales),
    )
    for name in problem.targets:
        units, long_name = words_of(name, at=at)
        values = np.stack([[np.asarray(x[name]) for x in curve] for curve in curves])
        result[name] = (
            ("parameter", "scale", "column"),
            values,
            {"units": units, "long_name": long_name},
        )
        exact = np.stack([np.asarray(gradient[name]) for gradient in gradients])
        result[f"{name}_gradient"] = (
            ("parameter", "column"),
            exact,
            {"units": units, "long_name": f"derivative to the scale of {long_name}"},
        )
    if out is not None:
        folder = make_folder(out)
        save(result, folder / "sensitivity.nc")
        with atomic_path(folder / "sensitivity.md") as path:
            path.write_text(table(result), encoding="utf-8")
        with paper_style():
            save_figure(curves_figure(result), folder / "sensitivity.png")
    return result


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
    """Change of each target with the scale: mean over columns, the middle 80%, the derivative.

    The columns are the same along a curve: scales that half of them cannot take (field capacity
    beyond saturation) are left out, and then columns that cannot take all that remain.
    """
    names = _targets(result)
    rows = result.parameter.to_numpy()
    across = min(len(names), _MOST_ACROSS)
    deep = ceil(len(names) / across)  # rows of panels for a parameter
    figure = Figure(
        figsize=(2.4 * across + 0.5, 0.5 + 2.2 * deep * len(rows)), layout="constrained"
    )
    panels = figure.subplots(deep * len(rows), across, squeeze=False)
    scales = result.scale.to_numpy()
    middle = int(np.argmin(np.abs(scales - 1.0)))
    for i, parameter in enumerate(rows):
        for j, name in enumerate(names):
            axes = panels[i * deep + j // across, j % across]
            curve = result[name].sel(parameter=parameter).to_numpy()
            shown, columns = _shared(np.isfinite(curve))
            change, scale = (curve - curve[middle])[np.ix_(shown, columns)], scales[shown]
            low, high = np.quantile(change, [0.1, 0.9], axis=1)
            axes.fill_between(scale, low, high, color="#0072b2", alpha=0.18, lw=0)
            axes.plot(scale, change.mean(axis=1), color="#0072b2", label="runs")
            gradient = result[f"{name}_gradient"].sel(parameter=parameter).to_numpy()
            exact = float(gradient[columns].mean())
            axes.plot(
                scale, exact * (scale - 1.0), color="#1d2430", ls=":", label="derivative at 1"
            )
            axes.set_title(name)
            axes.set_ylabel(f"change ({pretty_units(result[name].units)})", fontsize=8)
            axes.set_xlabel(f"scale of {parameter}", fontsize=8)
        for axes in panels[(i + 1) * deep - 1, len(names) - (deep - 1) * across :]:
            axes.set_axis_off()
    panels[0, 0].legend(loc="best", fontsize=7)
    return figure


def _shared(known: Bool[np.ndarray, "scale column"]) -> tuple[np.ndarray, np.ndarray]:
    """Scales that half of the columns take, and the columns that take all of those."""
    share = known.mean(axis=1)
    scales = np.flatnonzero(share >= 0.5)
    while not known[scales].all(axis=0).any():
        scales = np.delete(scales, np.argmin(share[scales]))
    return scales, np.flatnonzero(known[scales].all(axis=0))
