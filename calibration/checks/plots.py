"""Figures of the checks of a posterior, one a check, from what the check returns."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calibration.checks.trials import uniformity
from hybrid_land.figures import MODEL, SPARE_COLOURS, TRUTH, date_axis, pretty_units
from hybrid_land.variables import VARIABLES

_PALE = "#c9d1d9"
_BINS = 16
_MOST = 4  # columns shown of many


def ranks_figure(found: xr.Dataset) -> Figure:
    """Histogram of the truth's ranks, and their cumulative distribution less a uniform one's.

    Ranks piled up at both ends belong to posteriors that are too narrow, in the middle to ones
    too wide; a slope to ones that lie too high or too low. Right ones keep within the grey, with
    a probability of 95%: each bar by itself on the left, the whole line on the right.

    Args:
        found: of `ranks`.
    """
    names = [str(name) for name in found["quantity"].to_numpy()]
    figure = Figure(figsize=(7.4, 0.4 + 2.1 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), name in zip(panels, names, strict=True):
        row = found.sel(quantity=name)
        values = row["position"].to_numpy()
        count = len(values) / _BINS
        spread = 1.96 * np.sqrt(count * (1.0 - 1.0 / _BINS))
        left.axhspan(count - spread, count + spread, color=_PALE, lw=0)
        left.hist(values, bins=_BINS, range=(0.0, 1.0), color=MODEL, rwidth=0.9)
        p_value = float(row["chi_squared"])
        left.set(title=f"{name}: p = {p_value:.2g}", xlabel="rank of the truth", ylabel="number")
        _band(right, values)
        right.set(xlabel="rank of the truth", ylabel="ECDF less uniform")
    return figure


def _band(axes: Axes, values: np.ndarray) -> None:
    test = uniformity(values)
    axes.fill_between(test.at, test.low - test.at, test.high - test.at, color=_PALE, lw=0)
    axes.plot(test.at, test.found - test.at, color=MODEL if test.inside else SPARE_COLOURS[2])
    axes.axhline(0.0, color=TRUTH, lw=0.6)


def coverage_figure(found: xr.Dataset) -> Figure:
    """Share of the truths that central intervals hold, against what the intervals promise.

    Args:
        found: of `coverage`.
    """
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
    axes = figure.subplots()
    level = 100 * found["level"].to_numpy()
    names = [str(name) for name in found["quantity"].to_numpy()]
    for i, name in enumerate(names):
        row = 100 * found.sel(quantity=name)
        centre = row["coverage"].to_numpy()
        bar = np.abs(np.stack([row["low"].to_numpy(), row["high"].to_numpy()]) - centre)
        at = level + 0.6 * (i - 0.5 * (len(names) - 1))
        colour = (MODEL, *SPARE_COLOURS)[i % 4]
        axes.errorbar(at, centre, bar, fmt="o", ms=4, color=colour, label=name)
    axes.plot([0, 100], [0, 100], color=TRUTH, lw=0.8)
    least = min(40.0, 100 * float(found["low"].min()) - 2.0)
    axes.set(xlabel="promised (%)", ylabel="held (%)", xlim=(40, 101), ylim=(least, 101))
    axes.legend(loc="upper left")
    return figure


def expected_coverage_figure(found: xr.Dataset) -> Figure:
    """Expected coverage of regions about random points against their probability.

    Args:
        found: of `expected_coverage`.
    """
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
    axes = figure.subplots()
    level = found["level"].to_numpy()
    axes.fill_between(level, found["low"].to_numpy(), found["high"].to_numpy(), color=_PALE, lw=0)
    colour = MODEL if found.attrs["inside"] else SPARE_COLOURS[2]
    axes.plot(level, found["coverage"].to_numpy(), color=colour)
    axes.plot([0, 1], [0, 1], color=TRUTH, lw=0.8)
    axes.set(xlabel="probability of the region", ylabel="share of truths in it")
    return figure


def predictive_figure(
    found: Mapping[str, xr.Dataset],
    *,
    labels: Sequence[str] | None = None,
    times: np.ndarray | None = None,
) -> Figure:
    """Observations of some columns within the intervals of prior and posterior.

    Args:
        found: of `predictive`, by name: `prior` and `posterior`.
        labels: of the columns.
        times: of the records, `[record]`; without them the axis counts records.
    """
    first = next(iter(found.values()))
    columns = _spread(first.sizes["column"])
    observables = (
        list(dict.fromkeys(first["observable"].to_numpy().tolist()))
        if "observable" in first.coords
        else [""]
    )
    figure = Figure(
        figsize=(7.4, 0.5 + 1.9 * len(columns) * len(observables)), layout="constrained"
    )
    panels = figure.subplots(len(columns) * len(observables), 1, sharex=True, squeeze=False)[:, 0]
    counted = "record" if "record" in first.coords else "observation"
    rows = [(column, name) for column in columns for name in observables]
    colours = {"prior": _PALE, "posterior": MODEL}
    for axes, (column, name) in zip(panels, rows, strict=True):
        for which, dataset in found.items():
            part = dataset.isel(column=column)
            if name:
                part = part.isel(observation=np.flatnonzero(part["observable"] == name))
            seen = np.isfinite(part["observed"].to_numpy())
            x = part[counted].to_numpy()[seen]
            x = x if times is None else times[x]
            low, high, mean = (part[key].to_numpy()[seen] for key in ("low", "high", "mean"))
            solid = which == "prior"
            colour = colours.get(which, SPARE_COLOURS[0])
            axes.fill_between(
                x,
                low,
                high,
                color=colour,
                alpha=1.0 if solid else 0.25,
                lw=0,
                label=f"{which}, {100 * dataset.attrs['interval']:.0f}%",
            )
            if not solid:
                axes.plot(x, mean, color=colour, lw=1.1)
                axes.plot(
                    x, part["observed"].to_numpy()[seen], ".", ms=4, color=TRUTH, label="observed"
                )
        axes.set(title=labels[column] if labels else f"column {column}", ylabel=_axis(name))
    if times is None:
        panels[-1].set_xlabel(counted)
    else:
        date_axis(panels[-1])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    return figure


def _axis(name: str) -> str:
    if not name:
        return "observation"
    units = pretty_units(VARIABLES[name].units) if name in VARIABLES else ""
    return f"{name} ({units})" if units else name


def loo_figure(found: xr.Dataset) -> Figure:
    """Pareto's k of each observation: those above 0.7 decide the posterior by themselves.

    Args:
        found: of `loo`.
    """
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    axes = figure.subplots()
    size = found["pareto_k"].to_numpy()
    for column in range(size.shape[1]):
        axes.plot(size[:, column], ".", ms=3, color=MODEL, alpha=0.6)
    axes.axhline(0.7, color=SPARE_COLOURS[2], lw=0.9)
    axes.set(xlabel="observation", ylabel="Pareto's k")
    return figure


def comparison_figure(found: xr.Dataset) -> Figure:
    """How far apart two posteriors of each column are.

    Args:
        found: of `compare`.
    """
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    panels = figure.subplots(1, 3)
    names = found["parameter"].to_numpy() if "parameter" in found.coords else None
    told = found["accuracy"].to_numpy()
    panels[0].hist(100 * told, bins=np.arange(40, 101, 4).tolist(), color=MODEL, rwidth=0.9)
    panels[0].axvline(50, color=TRUTH, lw=0.8)
    panels[0].set(xlabel="classifier is right (%)", ylabel="columns")
    for axes, key, exact, text in (
        (panels[1], "shift", 0.0, "shift of the mean\n(standard deviations)"),
        (panels[2], "ratio", 1.0, "ratio of the\nstandard deviations"),
    ):
        for i, row in enumerate(found[key].to_numpy()):
            label = None if names is None else str(names[i])
            colour = (MODEL, *SPARE_COLOURS)[i % 4]
            axes.plot(np.sort(row), np.arange(1, len(row) + 1), ".-", color=colour, label=label)
        axes.axvline(exact, color=TRUTH, lw=0.8)
        axes.set(xlabel=text, ylabel="columns up to here")
    if names is not None:
        panels[2].legend()
    return figure


def identifiability_figure(found: xr.Dataset) -> Figure:
    """Profiles of some columns, and the share of the prior's spread left in every direction.

    A profile as flat as the prior's (dashed) was not changed by the observations. The line at
    1.92 cuts off the 95% interval. With one parameter the shares are shown by column.

    Args:
        found: of `identifiability`.
    """
    names = [str(name) for name in found["parameter"].to_numpy()]
    figure = Figure(figsize=(max(7.5, 2.5 * (len(names) + 1)), 2.7), layout="constrained")
    panels = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    for i, (axes, name) in enumerate(zip(panels, names, strict=False)):
        for column in _spread(found.sizes["column"]):
            part = found.isel(parameter=i, column=column)
            axes.plot(part["profile_z"].to_numpy(), part["profile"].to_numpy(), color=MODEL, lw=1)
        line = np.linspace(-3.0, 3.0, 61)
        axes.plot(line, 0.5 * line**2, color=TRUTH, lw=0.9, ls=(0, (4, 2)))
        axes.axhline(1.92, color=_PALE, lw=0.9)
        axes.set(xlabel=f"{name} (standard normal)", ylim=(-0.2, 8.0))
    panels[0].set_ylabel("least -log posterior")
    left = found["spread_left"].to_numpy()
    panels[-1].set(ylabel="prior's spread that is left", ylim=(0.0, 1.05))
    if len(left) == 1:
        panels[-1].plot(range(left.shape[1]), left[0], "o", ms=3, color=MODEL)
        panels[-1].set_xlabel("column")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
    for column in range(left.shape[1]):
        panels[-1].plot(range(1, len(left) + 1), left[:, column], "o-", ms=3, color=MODEL, lw=0.7)
    panels[-1].set_xlabel("direction, best seen first")
    panels[-1].set_xticks(range(1, len(left) + 1))
    return figure


def _spread(columns: int) -> list[int]:
    """A few columns evenly over all."""
    return np.unique(np.linspace(0, columns - 1, min(columns, _MOST)).round().astype(int)).tolist()
