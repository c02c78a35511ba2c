"""Figures of an analysis: increments in time, before and after by layer, a map of the columns."""

from collections.abc import Sequence
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from assimilation.operators import OBSERVABLES
from assimilation.verification import run_of, shown_layers, with_root_zone
from hybrid_land.errors import InputError
from hybrid_land.figures import MODEL, SEQUENTIAL, TRUTH, date_axis, place, pretty_units
from hybrid_land.variables import LAYER_THICKNESS

OPEN_LOOP = "#e69f00"
BACKGROUND = "#8a939d"
ANALYSIS = MODEL
OBSERVED = "#d55e00"
DIVERGING = "PuOr_r"  # stays apart for colour-blind readers
RUN_COLOURS = {"open_loop": OPEN_LOOP, "background": BACKGROUND, "analysis": ANALYSIS}
_BAND = 1.96  # standard deviations either side hold 95%
_LEAST_SPAN = 20.0  # degrees that a map shows at least
_NAMES = {"root_zone_soil_moisture": "root zone"}


def short(name: str) -> str:
    """What a panel calls a variable."""
    if name in _NAMES:
        return _NAMES[name]
    row = OBSERVABLES[name]
    return f"{name}, {_depths(row.layer)}" if row.layer else name.replace("_", " ")


def _depths(layer: int) -> str:
    top = sum(LAYER_THICKNESS[: layer - 1])
    return f"{100 * top:.0f} to {100 * (top + LAYER_THICKNESS[layer - 1]):.0f} cm"


def units_of(name: str) -> str:
    """The unit of an observable as a figure writes it."""
    return pretty_units(OBSERVABLES[name].units) or "1"


def observed_names(analysis: xr.Dataset) -> list[str]:
    """Observables with at least one innovation in an analysis.

    Raises:
        InputError: if there is none.
    """
    found = [
        str(key).removesuffix("_innovation")
        for key in analysis.data_vars
        if str(key).endswith("_innovation") and bool(analysis[key].notnull().any())
    ]
    if not found:
        raise InputError("no observation in any window, expected some; there is nothing to draw")
    return found


def typical_column(analysis: xr.Dataset) -> int:
    """The column to show: of those observed, the one whose correction is the median in size."""
    names = shown_layers(analysis)[:3]
    size = sum(
        np.square(run_of(analysis, n, "analysis") - run_of(analysis, n, "background")).mean(axis=0)
        for n in names
    )
    observed = analysis["observed"].sum("window").to_numpy() > 0
    members = np.flatnonzero(observed) if observed.any() else np.arange(analysis.sizes["column"])
    order = members[np.argsort(np.asarray(size)[members])]
    return int(order[(len(order) - 1) // 2])


def window_edges(analysis: xr.Dataset) -> np.ndarray:
    """Times at which windows begin, but for the first."""
    start, windows = analysis["time"].to_numpy()[0], analysis.sizes["window"]
    shift = analysis.attrs["shift_days"] * 86400e9 * np.arange(1, windows)
    return start + shift.astype("timedelta64[ns]")


def increments_figure(
    analysis: xr.Dataset, *, column: int | None = None, names: Sequence[str] | None = None
) -> Figure:
    """What the observations changed: analysis less background in time, a panel a layer.

    Of one column, or of all: their median, and the middle 50 and 90%.

    Args:
        analysis: in the Analysis form.
        column: of the data, by position; all if not given.
        names: of variables; soil water and the root zone if not given.
    """
    wanted = list(names or shown_layers(analysis))
    figure = Figure(figsize=(7.2, 1.15 * len(wanted) + 0.7), layout="constrained")
    panels = figure.subplots(len(wanted), 1, sharex=True, squeeze=False)[:, 0]
    time = mdates.date2num(analysis["time"].to_numpy())
    for axes, name in zip(panels, wanted, strict=True):
        increment = run_of(analysis, name, "analysis") - run_of(analysis, name, "background")
        if column is None:
            rows = np.nanquantile(increment, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
            axes.fill_between(time, rows[0], rows[4], color=ANALYSIS, alpha=0.15, lw=0)
            axes.fill_between(time, rows[1], rows[3], color=ANALYSIS, alpha=0.35, lw=0)
            axes.plot(time, rows[2], color=ANALYSIS, lw=1.1)
        else:
            axes.plot(time, increment[:, column], color=ANALYSIS, lw=1.1)
        axes.axhline(0, color=TRUTH, lw=0.6)
        axes.set_title(short(name))
        _mark_windows(axes, analysis)
        axes.margins(x=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    panels[-1].xaxis_date()
    date_axis(panels[-1])
    units = units_of(wanted[0])
    figure.supylabel(f"analysis minus background ({units})", fontsize=9)
    words = (
        f"median, middle 50% and 90% of {analysis.sizes['column']} columns"
        if column is None
        else place(analysis, column)
    )
    figure.suptitle(f"Increments: {words}; dotted: windows begin", fontsize=9)
    return figure


def _mark_windows(axes: Axes, analysis: xr.Dataset) -> None:
    edges = window_edges(analysis)
    if len(edges) <= 60:
        for edge in mdates.date2num(edges):
            axes.axvline(edge, color=BACKGROUND, lw=0.6, ls=":")


def before_after_figure(
    analysis: xr.Dataset,
    *,
    column: int | None = None,
    truth: xr.Dataset | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Open loop and analysis with its 95% band in one column, by layer; truth and observations.

    Args:
        analysis: in the Analysis form.
        column: of the data, by position; one of typical correction if not given.
        truth: at the same times and columns, if there is one.
        names: of variables; soil water and the root zone if not given.
    """
    wanted = list(names or shown_layers(analysis))
    at = typical_column(analysis) if column is None else column
    actual = None if truth is None else with_root_zone(truth)
    figure = Figure(figsize=(7.2, 1.3 * len(wanted) + 0.8), layout="constrained")
    panels = figure.subplots(len(wanted), 1, sharex=True, squeeze=False)[:, 0]
    time = mdates.date2num(analysis["time"].to_numpy())
    handles: dict[str, Any] = {}
    for axes, name in zip(panels, wanted, strict=True):
        free = run_of(analysis, name, "open_loop")[:, at]
        corrected = run_of(analysis, name, "analysis")[:, at]
        handles["open loop"] = axes.plot(time, free, color=OPEN_LOOP, lw=1.2, ls=(0, (4, 1.5)))[0]
        if f"{name}_analysis_error" in analysis:
            half = _BAND * analysis[f"{name}_analysis_error"].to_numpy()[:, at]
            handles["analysis ± 95%"] = axes.fill_between(
                time, corrected - half, corrected + half, color=ANALYSIS, alpha=0.2, lw=0
            )
        handles["analysis"] = axes.plot(time, corrected, color=ANALYSIS, lw=1.3)[0]
        if actual is not None and name in actual:
            series = actual[name].transpose("time", "column").to_numpy()[:, at]
            handles["truth"] = axes.plot(time, series, color=TRUTH, lw=1.0)[0]
        if f"{name}_innovation" in analysis:
            seen = (
                run_of(analysis, name, "background")[:, at]
                + (analysis[f"{name}_innovation"].to_numpy()[:, at])
            )
            some = np.isfinite(seen)
            error = analysis[f"{name}_observation_error"].to_numpy()[some, at]
            handles[r"observation ± $\sigma$"] = axes.errorbar(
                time[some], seen[some], error, fmt="o", ms=2.2, lw=0.5, color=OBSERVED, zorder=4
            )
        axes.set_title(short(name))
        axes.margins(x=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    panels[-1].xaxis_date()
    date_axis(panels[-1])
    kinds = {OBSERVABLES[name].units for name in wanted}
    what = "soil moisture" if kinds == {"m3 m-3"} else "value"
    figure.supylabel(f"{what} ({units_of(wanted[0])})", fontsize=9)
    figure.suptitle(f"Before and after: {place(analysis, at)}", fontsize=9)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles)
    )
    return figure


def columns_map(
    analysis: xr.Dataset, *, truth: xr.Dataset | None = None, name: str | None = None
) -> Figure:
    """Where the observations worked, a dot a column at its latitude and longitude.

    Degrees of freedom for signal (what the observations told), the mean size of the increments,
    and, with a truth, the change of the RMSE from open loop to analysis.

    Args:
        analysis: in the Analysis form.
        truth: at the same times and columns, if there is one.
        name: of the variable; the root zone if not given.

    Raises:
        InputError: if the data have no latitude and longitude, or no such variable.
    """
    if not {"lat", "lon"} <= set(analysis.variables):
        raise InputError("no lat and lon in the analysis, expected them for a map; give such data")
    shown = name or shown_layers(analysis)[-1]
    corrected, before, free = (
        run_of(analysis, shown, run) for run in ("analysis", "background", "open_loop")
    )
    units = units_of(shown)
    panels: list[tuple[str, str, np.ndarray, bool]] = [
        (
            "Degrees of freedom for signal",
            "a window",
            analysis["signal"].mean("window").to_numpy(),
            False,
        ),
        (
            f"Analysis minus background, {short(shown)}",
            f"RMS ({units})",
            np.sqrt(np.nanmean((corrected - before) ** 2, axis=0)),
            False,
        ),
    ]
    if truth is not None:
        actual = with_root_zone(truth)[shown].transpose("time", "column").to_numpy()
        old, new = (np.sqrt(np.nanmean((x - actual) ** 2, axis=0)) for x in (free, corrected))
        title = f"Change of RMSE from open loop to analysis, {short(shown)}"
        panels.append((title, f"change ({units})", new - old, True))
    longitude = (analysis["lon"].to_numpy() + 180.0) % 360.0 - 180.0
    latitude = analysis["lat"].to_numpy()
    wide, high = (_extent(x, most) for x, most in ((longitude, 180.0), (latitude, 90.0)))
    shape = (high[1] - high[0]) / (wide[1] - wide[0])
    figure = Figure(
        figsize=(6.4, len(panels) * (min(max(5.0 * shape, 1.6), 4.5) + 0.45)), layout="constrained"
    )
    rows = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, label, values, signed) in zip(rows, panels, strict=True):
        largest = float(np.nanmax(np.abs(values))) or 1.0
        order = np.argsort(np.abs(np.nan_to_num(values)))  # the largest on top
        points = axes.scatter(
            longitude[order],
            latitude[order],
            c=values[order],
            cmap=DIVERGING if signed else SEQUENTIAL,
            vmin=-largest if signed else 0.0,
            vmax=largest,
            s=34,
            edgecolors=TRUTH,
            linewidths=0.4,
            zorder=3,
            clip_on=False,
        )
        axes.set(xlim=wide, ylim=high, aspect="equal", title=title)
        _graticule(axes)
        figure.colorbar(points, ax=axes, label=label, shrink=0.9, pad=0.02)
    return figure


def _extent(values: np.ndarray, most: float) -> tuple[float, float]:
    """What a map shows of latitude or longitude: all of it, or around the columns."""
    low, high = float(np.min(values)), float(np.max(values))
    span = max(1.2 * (high - low), _LEAST_SPAN)
    if span > most:
        return -most, most
    middle = 0.5 * (low + high)
    return max(middle - span / 2, -most), min(middle + span / 2, most)


def _graticule(axes: Axes) -> None:
    for axis, words in ((axes.xaxis, "WE"), (axes.yaxis, "SN")):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 1.5, 2, 3, 5, 6, 10]))
        axis.set_major_formatter(FuncFormatter(lambda x, _, w=words: _degrees(x, w)))
    axes.tick_params(length=0, labelsize=7.5)


def _degrees(value: float, words: str) -> str:
    if abs(value) < 1e-9 or abs(value) == 180.0:
        return f"{abs(value):.0f}°"
    return f"{abs(value):g}°{words[0] if value < 0 else words[1]}"
