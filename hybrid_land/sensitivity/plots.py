"""Figures of the adjoint, of Sobol indices and of integrated gradients."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybrid_land.figures import MODEL, TRUTH, date_axis, place, pretty_units
from hybrid_land.sensitivity.adjoint import INITIAL, amount_of, effects
from hybrid_land.sensitivity.integrated import rows_of
from hybrid_land.sensitivity.problem import words_of

_WEATHER = ("met_rainf", "met_swdown", "met_tair", "met_qair")
_NAMES = {
    "met_rainf": "rain",
    "met_snowf": "snowfall",
    "met_swdown": "shortwave",
    "met_lwdown": "longwave",
    "met_tair": "air temperature",
    "met_qair": "humidity",
    "met_psurf": "pressure",
    "met_ctpf": "convective share",
    "met_wind_e": "wind, east",
    "met_wind_n": "wind, north",
    "lai_hv": "leaf area, high",
    "lai_lv": "leaf area, low",
}
_COLOURS = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#1d2430")
_MOST_BARS = 10
A_FIGURE = 4  # targets in one figure


def called(name: str) -> str:
    """What a figure calls an input: weather in words, the first state by variable."""
    if name.startswith(INITIAL):
        return f"first {name.removeprefix(INITIAL)}"
    return _NAMES.get(name, name)


def in_figures(targets: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Targets in groups that fit one figure."""
    for start in range(0, len(targets), A_FIGURE):
        yield tuple(targets[start : start + A_FIGURE])


def adjoint_figure(result: xr.Dataset, targets: Sequence[str]) -> Figure:
    """When weather matters, and how much first state and parameters do.

    Above, for each day: the change of the target if that day had more of the weather, median and
    middle 80% of columns. Below: changes of first state and parameters, a dot for each column.
    """
    weather = [name for name in _WEATHER if f"{targets[0]}_by_{name}" in result]
    heights = (1.5 * len(weather) + 0.5, 2.6)
    figure = Figure(figsize=(3.2 * len(targets) + 0.6, sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    panels = above.subplots(len(weather), len(targets), squeeze=False)
    starts = below.subplots(1, len(targets), squeeze=False)[0]
    day = result["time"].to_numpy().astype("datetime64[D]")
    days, index = np.unique(day, return_inverse=True)
    rows = effects(result)
    for j, target in enumerate(targets):
        units, _ = words_of(target, at=result.attrs["at"])
        for i, name in enumerate(weather):
            axes = panels[i, j]
            amount, words = amount_of(name)
            by_day = np.zeros((len(days), result.sizes["column"]))
            np.add.at(by_day, index, amount * result[f"{target}_by_{name}"].to_numpy())
            low, middle, high = np.quantile(by_day, [0.1, 0.5, 0.9], axis=1)
            axes.fill_between(days, low, high, color=MODEL, alpha=0.22, lw=0)
            axes.plot(days, middle, color=MODEL, lw=0.9)
            axes.axhline(0, color=TRUTH, lw=0.5)
            date_axis(axes)
            axes.ticklabel_format(axis="y", scilimits=(-2, 3))
            if j == 0:
                axes.set_ylabel(f"{called(name)}\n+{words}")
            if i == 0:
                axes.set_title(f"{target} ({pretty_units(units)})")
            if i < len(weather) - 1:
                axes.tick_params(labelbottom=False)
        fixed = [row for row in rows if row["target"] == target and row["days"] is None]
        _dots(starts[j], result, target, [row["input"] for row in fixed][:_MOST_BARS], fixed)
    what = "value at the end" if result.attrs["at"] == "end" else "mean over the run"
    above.suptitle(f"Effect on the {what} of a change of the weather on one day", fontsize=9)
    below.suptitle("and of a change of first state and parameters", fontsize=9)
    return figure


def _dots(axes: Axes, result: xr.Dataset, target: str, names: list[str], rows: list[dict]) -> None:
    changes = {row["input"]: row["change"] for row in rows}
    for k, name in enumerate(names):
        values = result[f"{target}_by_{name}"].to_numpy()
        scale = (
            0.1 * result[name].to_numpy()
            if name in result
            else amount_of(name.removeprefix(INITIAL))[0]
        )
        axes.plot(values * scale, np.full(len(values), k), "o", color=MODEL, ms=3, alpha=0.35)
        axes.plot(np.mean(values * scale), k, "|", color=TRUTH, ms=10, mew=1.6)
    axes.set_yticks(range(len(names)), [f"{called(name)} +{changes[name]}" for name in names])
    axes.tick_params(axis="y", labelsize=7)
    axes.axvline(0, color=TRUTH, lw=0.5)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.ticklabel_format(axis="x", scilimits=(-2, 3))


def sobol_figure(result: xr.Dataset, targets: Sequence[str]) -> Figure:
    """First-order and total index of each parameter: the columns' mean, and a dot a column."""
    names = [str(name) for name in result["parameter"].to_numpy()]
    columns = min(A_FIGURE, len(targets))
    rows = -(-len(targets) // columns)
    figure = Figure(
        figsize=(2.7 * columns + 0.6, rows * (0.9 + 0.42 * len(names)) + 0.5), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
    place_of = np.arange(len(names))
    for axes, target in zip(panels.ravel(), targets, strict=False):
        for key, shift, colour in (("first_order", -0.2, MODEL), ("total", 0.2, "#e69f00")):
            mean = result[f"{target}_{key}_of_mean"].to_numpy()
            half = result[f"{target}_{key}_of_mean_confidence"].to_numpy()
            axes.barh(
                place_of + shift,
                mean,
                0.36,
                xerr=half,
                color=colour,
                alpha=0.75,
                error_kw={"lw": 1.2, "ecolor": TRUTH},
                label=key.replace("_", " "),
            )
            dots = result[f"{target}_{key}"].to_numpy()
            spots = np.broadcast_to((place_of + shift)[:, None], dots.shape)
            axes.plot(dots, spots, "o", color=TRUTH, ms=2, alpha=0.35, ls="none")
        axes.set_title(target)
        axes.set_yticks(place_of, names)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(-0.05, 1.1)
    panels[0, 0].invert_yaxis()
    for axes in panels.ravel()[len(targets) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("share of the variance")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    dot = panels[0, 0].plot([], [], "o", color=TRUTH, ms=2, ls="none")
    figure.legend(
        [*handles, *dot],
        [f"{label}, of the columns' mean" for label in labels] + ["each column"],
        loc="outside upper center",
        ncols=3,
    )
    return figure


def attribution_figure(result: xr.Dataset, targets: Sequence[str], *, column: int = 0) -> Figure:
    """What a target's difference from its baseline comes from: all columns, and one in time.

    Left: sum over time of the attribution to each input, a dot a column, in order of size. Right:
    for one column the attributions to its largest weather, added up since the start.
    """
    figure = Figure(figsize=(9.3, 2.3 * len(targets) + 0.4), layout="constrained")
    panels = figure.subplots(len(targets), 2, squeeze=False, width_ratios=[1.0, 1.35])
    rows = {row["target"]: row for row in rows_of(result)}
    time = mdates.date2num(result["time"].to_numpy())
    for (left, right), target in zip(panels, targets, strict=True):
        names = list(rows[target]["attributions"])[:8]
        units = pretty_units(rows[target]["units"])
        for k, name in enumerate(names):
            values = result[f"{target}_from_{name}"]
            total = values.sum("time") if "time" in values.dims else values
            left.plot(total, np.full(total.size, k), "o", color=MODEL, ms=3, alpha=0.35)
            left.plot(float(total.mean()), k, "|", color=TRUTH, ms=9, mew=1.6)
        left.set_yticks(range(len(names)), [called(name) for name in names])
        left.invert_yaxis()
        left.axvline(0, color=TRUTH, lw=0.5)
        left.grid(visible=False, axis="y")
        left.set_title(target)
        left.set_xlabel(f"attribution ({units})" if units else "attribution")
        start = f"{target}_from_"
        whole = [
            str(key).removeprefix(start)
            for key in result.data_vars
            if str(key).startswith(start) and "time" in result[key].dims
        ]
        series = {
            name: np.cumsum(result[f"{target}_from_{name}"].isel(column=column).to_numpy())
            for name in whole
        }
        largest = sorted(whole, key=lambda name: -float(np.abs(series[name]).max()))[:4]
        for k, name in enumerate(largest):
            right.plot(time, series[name], color=_COLOURS[k], label=called(name))
        right.plot(time, sum(series.values()), color=TRUTH, ls=":", label="all weather")
        right.axhline(0, color=TRUTH, lw=0.5)
        right.xaxis_date()
        date_axis(right)
        right.set_title(f"{target}, {place(result, column)}: added up", fontweight="normal")
        right.set_ylabel(units)
        right.legend(fontsize=7, ncols=2, loc="best")
    return figure
