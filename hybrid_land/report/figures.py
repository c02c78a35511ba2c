"""Figures of the demonstration: assimilation, calibration and the answer to field capacity."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hybrid_land.figures import MODEL, TRUTH, date_axis, place
from hybrid_land.variables import LAYER_THICKNESS, VARIABLES

FIRST_GUESS, OBSERVED, PALE = "#d55e00", "#009e73", "#c9d1d9"
LAYER_COLOURS = ("#56b4e9", "#0072b2", "#009e73", "#cc79a7")
ROOT_ZONE = ("swvl1", "swvl2", "swvl3")  # the first metre


def root_zone(ds: xr.Dataset) -> xr.DataArray:
    """Soil moisture of the first metre: the mean of layers 1 to 3 weighted by thickness, m3 m-3."""
    layers = xr.concat([ds[name] for name in ROOT_ZONE], dim="layer")
    thickness = xr.DataArray(list(LAYER_THICKNESS[: len(ROOT_ZONE)]), dims="layer")
    return layers.weighted(thickness).mean("layer")


def assimilation_figure(
    *,
    truth: xr.Dataset,
    first_guess: xr.Dataset,
    analysis: xr.Dataset,
    observations: xr.Dataset,
    columns: Sequence[int],
    error: xr.DataArray | None = None,
) -> Figure:
    """Surface (observed) and root zone (not observed) of some columns, window and forecast.

    Args:
        truth: ECLand, `(time, column)`, over the window and the forecast after it.
        first_guess: the model from the first guess, same times.
        analysis: the model from the analysis, same times.
        observations: `swvl1` over the window, NaN where nothing was observed.
        columns: positions of the columns to show.
        error: standard deviation of the analysed root zone over the window; drawn twice as wide.
    """
    end = observations.time.to_numpy()[-1]
    figure = Figure(figsize=(3.1 * len(columns), 4.6), layout="constrained")
    grid = figure.subplots(2, len(columns), sharex=True, squeeze=False)
    for j, column in enumerate(columns):
        runs = (
            (truth, "ECLand (truth)", {"color": TRUTH, "zorder": 3}),
            (first_guess, "first guess", {"color": FIRST_GUESS, "ls": (0, (4, 1.5))}),
            (analysis, "analysis", {"color": MODEL, "zorder": 4}),
        )
        for run, label, style in runs:
            time = run.time.to_numpy()
            grid[0, j].plot(time, run.swvl1.isel(column=column), label=label, lw=1.0, **style)
            style = {**style, "lw": 1.8}
            grid[1, j].plot(time, root_zone(run).isel(column=column), **style)
        if error is not None:
            middle = root_zone(analysis).isel(column=column)[: error.sizes["time"]]
            width = 2.0 * error.isel(column=column).to_numpy()
            low, high = middle.to_numpy() - width, middle.to_numpy() + width
            grid[1, j].fill_between(error.time, low, high, color=MODEL, alpha=0.18, lw=0)
        seen = observations.swvl1.isel(column=column)
        grid[0, j].plot(
            *(observations.time, seen),
            ls="none",
            marker="o",
            ms=3.2,
            mfc="white",
            mec=OBSERVED,
            mew=1.0,
            label="observation",
            zorder=5,
        )
        for axes in grid[:, j]:
            axes.axvspan(end, truth.time.to_numpy()[-1], color="#f1f3f6", zorder=0)
            axes.margins(x=0)
        grid[0, j].set_title(place(truth, column))
        date_axis(grid[1, j])
    grid[0, 0].set_ylabel("surface, 0-7 cm\nsoil moisture (m³ m⁻³)")
    grid[1, 0].set_ylabel("root zone, 0-1 m\nsoil moisture (m³ m⁻³)")
    grid[1, -1].text(
        *(0.99, 0.02),
        "forecast (shaded)",
        transform=grid[1, -1].transAxes,
        ha="right",
        color="#5b6675",
        fontsize=8,
    )
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def improvement_figure(
    *, first_guess: np.ndarray, analysis: np.ndarray, labels: Sequence[str]
) -> Figure:
    """Root-zone error of each column before and after the assimilation, largest first."""
    before, after = first_guess, analysis
    order = [int(i) for i in np.argsort(before)]
    rows = np.arange(len(order))
    figure = Figure(figsize=(9.3, 1.0 + 0.24 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(rows, before[order], after[order], color=PALE, lw=2.2, zorder=1)
    axes.plot(before[order], rows, "o", color=FIRST_GUESS, ms=5, label="first guess")
    axes.plot(after[order], rows, "o", color=MODEL, ms=5, label="analysis")
    axes.set_yticks(rows, [labels[i] for i in order])
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0.0)
    axes.set_xlabel("RMSE of root-zone soil moisture over the window (m³ m⁻³)")
    axes.legend(loc="lower right")
    return figure


def calibration_figure(
    *,
    draws: np.ndarray,
    prior: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str],
    interval: float,
) -> Figure:
    """Posterior interval of each column beside the prior's and the true value.

    Args:
        draws: posterior, `[draw, column]`.
        prior: sample of the prior, `[draw, column]`.
        truth: what ECLand was run with, `[column]`.
        labels: name of each column.
        interval: probability of the long bar; the thick one holds half.
    """
    tail = (1.0 - interval) / 2
    order = [int(i) for i in np.argsort(truth)]
    rows = np.arange(len(order))
    wide = np.quantile(draws, [tail, 1 - tail], axis=0)[:, order]
    half = np.quantile(draws, [0.25, 0.75], axis=0)[:, order]
    before = np.quantile(prior, [tail, 1 - tail], axis=0)[:, order]
    percent = f"{100 * interval:.0f}%"
    figure = Figure(figsize=(9.3, 1.2 + 0.3 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(rows, *before, color=PALE, lw=9, label=f"prior, {percent}")
    axes.hlines(rows, *wide, color=MODEL, lw=1.6, label=f"posterior, {percent}")
    axes.hlines(rows, *half, color=MODEL, lw=4.5, label="posterior, 50%")
    axes.plot(truth[order], rows, "D", color=TRUTH, ms=4.5, label="true value", ls="none")
    axes.set_yticks(rows, [labels[i] for i in order])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("field capacity theta_cap (m³ m⁻³)")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def response_figure(
    *,
    theta_cap: np.ndarray,
    ecland: dict[str, np.ndarray],
    emulator: dict[str, np.ndarray],
    labels: Sequence[str],
    columns: Sequence[int],
) -> Figure:
    """Mean soil moisture against theta_cap for some columns, and slopes of all columns.

    Args:
        theta_cap: `[member, column]`, m3 m-3.
        ecland: layer name to mean over time `[member, column]`, m3 m-3.
        emulator: the same from the emulator.
        labels: name of each column.
        columns: positions of the columns to draw as curves.
    """
    figure = Figure(figsize=(3.0 * (len(columns) + 1), 3.3), layout="constrained")
    panels = figure.subplots(1, len(columns) + 1)
    for axes, column in zip(panels[:-1], columns, strict=True):
        for colour, name in zip(LAYER_COLOURS, ecland, strict=False):
            x = theta_cap[:, column]
            middle = len(x) // 2
            for values, style in (
                (ecland, {"marker": "o", "ls": "none", "ms": 3.6}),
                (emulator, {}),
            ):
                y = values[name][:, column]
                axes.plot(x, y - y[middle], color=colour, **style)
        axes.set_title(labels[column])
        axes.set_xlabel("theta_cap (m³ m⁻³)")
    panels[0].set_ylabel("change of mean soil moisture (m³ m⁻³)")
    panels[0].plot([], [], "o", color="#5b6675", ms=3.6, label="ECLand")
    panels[0].plot([], [], color="#5b6675", label="emulator")
    panels[0].legend(loc="best")
    last = panels[-1]
    for colour, name in zip(LAYER_COLOURS, ecland, strict=False):
        pair = [slopes(theta_cap, values[name]) for values in (ecland, emulator)]
        last.plot(
            *pair, "o", color=colour, ms=4, alpha=0.85, label=f"layer {VARIABLES[name].layer}"
        )
    low, high = last.get_xlim()
    last.axline((low, low), (high, high), color=TRUTH, lw=0.8, zorder=0)
    last.set_title("all columns: slope")
    last.set_xlabel("ECLand (m³ m⁻³ per m³ m⁻³)")
    last.set_ylabel("emulator")
    last.legend(loc="best")
    return figure


def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of y over x along the first axis: `[member, column]` to `[column]`."""
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    return (dx * dy).sum(axis=0) / (dx * dx).sum(axis=0)
