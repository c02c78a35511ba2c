"""Figures of an evaluation: time series, scatter, error growth and a map of the columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from hybrid_land.columns import time_step_of
from hybrid_land.evaluation.scores import column_errors, counted, pair
from hybrid_land.figures import (
    MODEL,
    SEQUENTIAL,
    TRUTH,
    colour_of,
    date_axis,
    paper_style,
    place,
    pretty_units,
    save_figure,
)
from hybrid_land.variables import VARIABLES

SHOWN = ("swvl1", "swvl3", "stl1", "sd", "slhf", "sshf")  # what the scatter shows
_SERIES = ("swvl1", "swvl3", "stl1", "slhf")
_MAPPED = ("swvl1", "swvl4", "stl1", "slhf")
_MOST_COLUMNS = 4
_LAST_DAYS = 730


def save_figures(
    folder: Path,
    truth: xr.Dataset,
    runs: Mapping[str, xr.Dataset],
    result: Mapping[str, Any],
) -> list[Path]:
    """Draw and write all figures of an evaluation.

    Args:
        folder: where to.
        truth: ECLand.
        runs: by name, the model under `model`.
        result: the content of `scores.json`.

    Returns:
        Their paths: `time_series.png`, `scatter.png`, `map.png` and, where there is a growth of
        errors, `error_growth.png`.
    """
    name = str(result["model"])
    with paper_style():
        drawn = {
            "time_series": time_series(truth, runs["model"], name=name),
            "scatter": scatter(truth, runs["model"], name=name),
            "map": error_map(truth, runs["model"], name=name),
        }
        if result.get("error_growth", {}).get("lead_days"):
            drawn["error_growth"] = growth_figure(result)
        return [save_figure(figure, folder / f"{key}.png") for key, figure in drawn.items()]


def _shared(wanted: Sequence[str], truth: xr.Dataset, run: xr.Dataset) -> list[str]:
    found = [name for name in wanted if name in truth and name in run]
    return found or [name for name in VARIABLES if name in truth and name in run][:1]


def typical_columns(
    truth: xr.Dataset, run: xr.Dataset, variable: str, *, most: int = _MOST_COLUMNS
) -> list[int]:
    """Columns to show: of each of some climate classes the one with the median error.

    Neither the best nor the worst; classes spread over the table, all columns as one class where
    the data give none.
    """
    error = column_errors(pair(run, truth, variable))["rmse"].fillna(0.0).to_numpy()
    if "climate_index" not in truth:
        order = np.argsort(error)
        return [int(order[i]) for i in np.unique(np.linspace(0, len(order) - 1, most).astype(int))]
    index = truth["climate_index"].to_numpy()
    found = np.unique(index)
    chosen = found[np.unique(np.linspace(0, len(found) - 1, most).astype(int))]
    columns = []
    for value in chosen:
        members = np.flatnonzero(index == value)
        order = members[np.argsort(error[members])]
        columns.append(int(order[(len(order) - 1) // 2]))
    return columns


def time_series(truth: xr.Dataset, run: xr.Dataset, *, name: str = "model") -> Figure:
    """Daily means of truth and model over the last two years, in a column of typical error each.

    Rows are variables, columns are places. The rollout began at the file's first record.
    """
    variables = _shared(_SERIES, truth, run)
    columns = typical_columns(truth, run, variables[0])
    figure = Figure(figsize=(2.9 * len(columns), 1.75 * len(variables) + 0.5), layout="constrained")
    axes = figure.subplots(len(variables), len(columns), sharex=True, squeeze=False)
    a_day = max(1, round(86400.0 / time_step_of(truth)))
    last = slice(-min(_LAST_DAYS, truth.sizes["time"] // a_day or 1) * a_day, None)
    for i, variable in enumerate(variables):
        for j, column in enumerate(columns):
            for data, title, style in (
                (truth, "ECLand (truth)", {"color": TRUTH, "lw": 1.8}),
                (run, name, {"color": MODEL, "lw": 0.8}),
            ):
                series = data[variable].isel(column=column, time=last)
                daily = series.coarsen(time=a_day, boundary="trim").mean()
                axes[i, j].plot(daily["time"], daily, label=title, **style)
            if i == 0:
                axes[i, j].set_title(place(truth, column))
        row = VARIABLES[variable]
        axes[i, 0].set_ylabel(f"{variable} ({pretty_units(row.units) or '1'})")
    for axis in axes[-1]:
        date_axis(axis)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def scatter(truth: xr.Dataset, run: xr.Dataset, *, name: str = "model") -> Figure:
    """Model against truth, every record and column, as counts in hexagons on a log scale."""
    variables = _shared(SHOWN, truth, run)
    across = min(3, len(variables))
    down = -(-len(variables) // across)
    figure = Figure(figsize=(3.1 * across + 0.4, 2.9 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    cells = None
    for axis, variable in zip(axes, variables, strict=False):
        where = counted(truth, variable).transpose("time", "column").to_numpy()
        x = truth[variable].transpose("time", "column").to_numpy()[where]
        y = run[variable].transpose("time", "column").to_numpy()[where]
        sound = np.isfinite(y)
        x, y = x[sound], y[sound]
        if x.size == 0:
            axis.set_title(f"{variable}: nothing to show")
            continue
        low, high = _limits(x, y)
        cells = axis.hexbin(
            x,
            y,
            gridsize=60,
            extent=(low, high, low, high),
            norm=LogNorm(vmin=1),
            mincnt=1,
            cmap=SEQUENTIAL,
            linewidths=0.1,
        )
        axis.plot([low, high], [low, high], color="#d55e00", lw=0.9, ls=(0, (5, 3)))
        axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axis.locator_params(nbins=5)
        rmse = float(np.sqrt(np.mean(np.square(y.astype(float) - x))))
        units = pretty_units(VARIABLES[variable].units)
        axis.set_title(variable)
        axis.text(
            0.04, 0.95, f"RMSE {rmse:.3g} {units}".rstrip(), transform=axis.transAxes, va="top"
        )
        axis.set_xlabel(f"ECLand ({units or '1'})")
        axis.set_ylabel(f"{name} ({units or '1'})")
    for axis in axes[len(variables) :]:
        axis.set_visible(False)
    if cells is not None:
        figure.colorbar(cells, ax=list(axes), label="records in a cell", shrink=0.6)
    return figure


def _limits(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Bounds of both axes without the rarest values, which would shrink the rest to a point."""
    both = np.concatenate([x, y])
    low, high = (float(value) for value in np.percentile(both, (0.005, 99.995)))
    room = 0.02 * (high - low) or 1.0
    return low - room, high + room


def growth_figure(result: Mapping[str, Any]) -> Figure:
    """RMSE against lead time on log axes, the model beside its baselines."""
    growth = result["error_growth"]
    variables = [name for name in SHOWN if name in growth["rmse"]] or list(growth["rmse"])[:1]
    across = min(3, len(variables))
    down = -(-len(variables) // across)
    figure = Figure(figsize=(3.0 * across, 2.5 * down + 0.4), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, squeeze=False).ravel()
    days = growth["lead_days"]
    for axis, variable in zip(axes, variables, strict=False):
        for i, (run, values) in enumerate(growth["rmse"][variable].items()):
            title = str(result["model"]) if run == "model" else run
            axis.plot(
                days,
                [np.nan if x is None or x <= 0.0 else x for x in values],
                marker="o",
                ms=3.5,
                lw=2.0 if run == "model" else 1.2,
                color=colour_of(run, i),
                zorder=3 if run == "model" else 2,
                label=title,
            )
        axis.set(xscale="log", yscale="log")
        _plain_log_ticks(axis)
        axis.set_title(variable)
        axis.set_ylabel(f"RMSE ({pretty_units(VARIABLES[variable].units) or '1'})")
    for axis in axes[len(variables) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(variables) - across) : len(variables)]:
        axis.set_xlabel("lead time (days)")
        axis.set_xticks([0.25, 1, 10, 30, 90, 365], ["¼", "1", "10", "30", "90", "365"])
        axis.tick_params(labelbottom=True)
        axis.minorticks_off()
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper right",
        ncols=len(next(iter(growth["rmse"].values()))),
    )
    return figure


def _plain_log_ticks(axis: Axes) -> None:
    """Ticks at 1, 2, 5 times powers of ten, written out; powers alone over a wide range."""
    low, high = axis.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 500.0 else (1.0,)
    axis.yaxis.set_major_locator(LogLocator(subs=subs))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def error_map(truth: xr.Dataset, run: xr.Dataset, *, name: str = "model") -> Figure:
    """Where the errors are: each column's RMSE in time, at its latitude and longitude."""
    variables = _shared(_MAPPED, truth, run)
    across = min(2, len(variables))
    down = -(-len(variables) // across)
    figure = Figure(figsize=(4.6 * across, 2.6 * down), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    longitude = (truth["lon"].to_numpy() + 180.0) % 360.0 - 180.0
    for axis, variable in zip(axes, variables, strict=False):
        error = column_errors(pair(run, truth, variable))["rmse"].to_numpy()
        order = np.argsort(np.nan_to_num(error))  # the largest on top
        points = axis.scatter(
            longitude[order],
            truth["lat"].to_numpy()[order],
            c=error[order],
            cmap=SEQUENTIAL,
            vmin=0.0,
            s=26,
            edgecolors="white",
            linewidths=0.4,
            zorder=3,
        )
        _graticule(axis)
        axis.set_title(f"RMSE of {name}, {variable}")
        units = pretty_units(VARIABLES[variable].units)
        figure.colorbar(points, ax=axis, label=units or "1", shrink=0.85, pad=0.02)
    for axis in axes[len(variables) :]:
        axis.set_visible(False)
    return figure


def _graticule(axis: Axes) -> None:
    axis.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
    axis.set_xticks(range(-180, 181, 60), [_degrees(x, "W", "E") for x in range(-180, 181, 60)])
    axis.set_yticks(range(-90, 91, 30), [_degrees(y, "S", "N") for y in range(-90, 91, 30)])
    axis.tick_params(length=0, labelsize=7.5)


def _degrees(value: int, negative: str, positive: str) -> str:
    if value in (0, 180, -180):
        return f"{abs(value)}°"
    return f"{abs(value)}°{negative if value < 0 else positive}"
