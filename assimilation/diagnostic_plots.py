"""Figures of whether an analysis can be believed: its statistics, its gradient, its errors."""

from collections.abc import Sequence

import matplotlib.dates as mdates
import numpy as np
import scipy.stats
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from assimilation.diagnostics import TaylorTest, desroziers, total_cost, whiteness
from assimilation.observations import Observations
from assimilation.plots import (
    ANALYSIS,
    BACKGROUND,
    OBSERVED,
    OPEN_LOOP,
    RUN_COLOURS,
    observed_names,
    short,
    units_of,
)
from assimilation.verification import (
    RUNS,
    run_of,
    withheld_skill,
)
from hybrid_land.figures import TRUTH, date_axis

_BINS = 40  # of the innovations in time, at most


def innovations_figure(analysis: xr.Dataset, *, names: Sequence[str] | None = None) -> Figure:
    """Are innovations as large as was said, unbiased, and the same all the time?

    Left: innovations over the root of H B H^T + R, and residuals over that of R, beside a standard
    normal. Middle: mean and standard deviation of the innovations in time, over columns, and the
    standard deviation as stated. Right: correlation with the column's later innovations, and the
    95% that white ones would keep to.

    Args:
        analysis: in the Analysis form.
        names: of observables; all if not given.
    """
    wanted = list(names or observed_names(analysis))
    figure = Figure(figsize=(9.6, 2.5 * len(wanted) + 0.3), layout="constrained")
    panels = figure.subplots(len(wanted), 3, squeeze=False, width_ratios=[1.0, 1.7, 0.8])
    for (left, right, memory), name in zip(panels, wanted, strict=True):
        before, after, observed, stated = _departures(analysis, name)
        line = np.linspace(-4.5, 4.5, 181)
        bins = np.linspace(-4.5, 4.5, 31)
        for values, spread, colour, label in (
            (before, np.hypot(observed, stated), BACKGROUND, "innovation"),
            (after, observed, ANALYSIS, "residual"),
        ):
            z = (values / spread)[np.isfinite(values)]
            left.hist(
                np.clip(z, -4.49, 4.49),
                bins=list(bins),
                density=True,
                histtype="stepfilled",
                facecolor=(colour, 0.3),
                edgecolor=colour,
                lw=1.2,
                label=f"{label}: {z.mean():+.2f} ± {z.std():.2f}",
            )
        left.plot(line, scipy.stats.norm.pdf(line), color=TRUTH, lw=1.1, label="standard normal")
        left.set(xlabel="departure / stated error", ylabel="density", title=short(name))
        left.set_ylim(0, 1.5 * left.get_ylim()[1])
        left.legend(fontsize=7, loc="upper left")
        _in_time(right, analysis["time"].to_numpy(), before, np.hypot(observed, stated))
        right.set_ylabel(f"innovation ({units_of(name)})")
        right.legend(fontsize=7, loc="upper left", ncols=3)
        found = whiteness(analysis, name)
        memory.bar(range(1, len(found) + 1), found, color=BACKGROUND, width=0.8)
        band = 1.96 / np.sqrt(max(np.isfinite(before).sum(), 1))
        memory.axhspan(-band, band, color=TRUTH, alpha=0.15, lw=0)
        memory.axhline(0, color=TRUTH, lw=0.6)
        memory.set(xlabel="observations later", ylabel="correlation")
        memory.set_ylim(-0.3, 1.0)
        memory.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _in_time(axes: Axes, time: np.ndarray, before: np.ndarray, stated: np.ndarray) -> None:
    """Mean and spread of departures over columns and short times."""
    middles, rows = [], []
    for part in np.array_split(np.arange(len(time)), min(_BINS, len(time))):
        values = before[part][np.isfinite(before[part])]
        if len(values) > 1:
            said = np.nanmedian(stated[part])
            middles.append(float(mdates.date2num(time[part]).mean()))
            rows.append((values.mean(), values.std(), said))
    if not rows:
        return
    mean, spread, said = np.array(rows).T
    axes.plot(middles, spread, "s-", ms=2.5, lw=1, color=OPEN_LOOP, label="standard deviation")
    axes.plot(middles, said, color=TRUTH, lw=1.1, ls=(0, (4, 2)), label="as stated (median)")
    axes.plot(middles, mean, "o-", ms=2.5, lw=1, color=ANALYSIS, label="mean")
    axes.axhline(0, color=TRUTH, lw=0.6)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
    axes.xaxis_date()
    date_axis(axes)


def convergence_figure(analysis: xr.Dataset) -> Figure:
    """Did each window's minimisation end: iterations, gradient, what the observations told.

    Median and middle 90% of the columns, a point a window.
    """
    figure = Figure(figsize=(8.2, 2.5), layout="constrained")
    panels = figure.subplots(1, 3)
    rows = (
        ("Iterations", analysis["iterations"], "iterations"),
        ("Gradient at the minimum", analysis["gradient_norm"], "norm of the gradient of J"),
        ("Degrees of freedom for signal", analysis["signal"], "of each column"),
    )
    windows = np.arange(1, analysis.sizes["window"] + 1)
    for axes, (title, values, label) in zip(panels, rows, strict=True):
        numbers = values.transpose("window", "column").to_numpy().astype(float)
        low, middle, high = np.nanquantile(numbers, [0.05, 0.5, 0.95], axis=1)
        axes.fill_between(windows, low, high, color=ANALYSIS, alpha=0.22, lw=0)
        axes.plot(windows, middle, "o-", ms=2.5, color=ANALYSIS)
        axes.set(title=title, ylabel=label, xlabel="window")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if np.nanmax(analysis["gradient_norm"].to_numpy()) > 0:
        panels[1].set_yscale("log")
    panels[0].set_ylim(bottom=0)
    failed = int((~analysis["converged"].astype(bool)).sum())
    total = analysis["converged"].size
    figure.suptitle(f"{failed} of {total} minimisations failed", fontsize=9)
    return figure


def chi_squared_figure(analysis: xr.Dataset) -> Figure:
    """2 Jmin over the number of observations: 1 if B and R are right.

    Left by window, right by column, with the 95% that right errors would keep to.
    """
    sound = analysis["converged"].astype(bool)
    cost = total_cost(analysis).where(sound, 0.0)
    count = analysis["observed"].where(sound, 0)
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, over, label in zip(
        panels, ("column", "window"), ("window", "column, in order of 2 J / p"), strict=True
    ):
        p = count.sum(over).to_numpy()
        j = 2.0 * cost.sum(over).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = j / p
        order = np.arange(len(p)) if over == "column" else np.argsort(ratio)
        order = order[p[order] > 0]
        places = order + 1 if over == "column" else np.arange(1, len(order) + 1)
        low, high = (scipy.stats.chi2.ppf(q, p[order]) / p[order] for q in (0.025, 0.975))
        axes.vlines(places, low, high, color=BACKGROUND, lw=3, alpha=0.35, label="95% if right")
        axes.plot(places, ratio[order], "o", ms=3.5, color=ANALYSIS, label="2 J / p")
        axes.axhline(1, color=TRUTH, lw=0.8)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    total = float(count.sum())
    ratio = 2.0 * float(cost.sum()) / total if total else float("nan")
    panels[0].set(ylabel="2 J at the minimum / observations", ylim=(0, None))
    panels[0].set_title(f"all: {ratio:.2f}")
    panels[1].legend(fontsize=7, loc="lower right")
    return figure


def desroziers_figure(analysis: xr.Dataset, *, names: Sequence[str] | None = None) -> Figure:
    """Errors as diagnosed from the departures against those stated: on the line if consistent.

    Large: all columns together, with the factor by which to multiply what was stated. Small: each
    column with at least ten observations.

    Args:
        analysis: in the Analysis form.
        names: of observables; all if not given.
    """
    wanted = list(names or observed_names(analysis))
    figure = Figure(figsize=(3.7 * len(wanted) + 0.2, 3.6), layout="constrained")
    panels = figure.subplots(1, len(wanted), squeeze=False)[0]
    for axes, name in zip(panels, wanted, strict=True):
        pooled = desroziers(analysis, name)
        seen = analysis[f"{name}_innovation"].notnull().sum("time").to_numpy() >= 10
        largest = 0.0
        for kind, colour, mark in (("observation", OBSERVED, "o"), ("background", ANALYSIS, "s")):
            found = pooled[f"{kind}_error"]
            said = pooled[f"stated_{kind}_error"]
            each = [desroziers(analysis.isel(column=[c]), name) for c in np.flatnonzero(seen)]
            pairs = [(row[f"stated_{kind}_error"], row[f"{kind}_error"]) for row in each]
            dots = [pair for pair in pairs if np.isfinite(pair).all()]
            if dots:
                axes.plot(*np.array(dots).T, mark, color=colour, ms=3, alpha=0.35, lw=0)
            axes.plot(
                said,
                found,
                mark,
                color=colour,
                ms=9,
                mec="white",
                label=f"{kind}: factor {pooled[f'{kind}_factor']:.2f}",
            )
            largest = max(largest, said, found, *(max(pair) for pair in dots))
        axes.plot([0, 1.2 * largest], [0, 1.2 * largest], color=TRUTH, lw=0.9)
        units = units_of(name)
        axes.set(xlim=(0, 1.2 * largest), ylim=(0, 1.2 * largest), aspect="equal")
        axes.locator_params(nbins=5)
        axes.set(xlabel=f"stated error ({units})", ylabel=f"diagnosed error ({units})")
        axes.set_title(short(name))
        axes.legend(fontsize=7.5, loc="upper left")
    return figure


def taylor_figure(test: TaylorTest) -> Figure:
    """Remainder of the cost's tangent against the step, on log axes, beside orders 1 and 2."""
    figure = Figure(figsize=(3.9, 3.3), layout="constrained")
    axes = figure.subplots()
    steps, remainders = test.lengths, np.maximum(test.remainders, 1e-300)
    for order, style in ((2, "-"), (1, ":")):
        line = remainders[0] * (steps / steps[0]) ** order
        axes.plot(steps, line, color=BACKGROUND, ls=style, lw=1.1, label=f"order {order}")
    label = f"remainder, order {test.order:.2f}"
    axes.plot(steps, remainders, "o", color=ANALYSIS, ms=5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="length of the step h")
    axes.set_ylabel(r"$|J(v + h w) - J(v) - h\,w \cdot \nabla J|$")
    positive = test.remainders[test.remainders > 0]
    if len(positive):
        axes.set_ylim(positive.min() / 10, positive.max() * 10)
    axes.set_title("Taylor test of the gradient")
    axes.legend(fontsize=7.5)
    return figure


def adjoint_figure(pairs: Sequence[tuple[float, float]], *, precision: float = 2.2e-16) -> Figure:
    """Relative difference of ⟨G w, z⟩ and ⟨w, Gᵀ z⟩ for some random w and z, beside rounding.

    Args:
        pairs: the two sides of each.
        precision: of the arithmetic.
    """
    figure = Figure(figsize=(3.9, 3.3), layout="constrained")
    axes = figure.subplots()
    gaps = [abs(a - b) / max(abs(a), abs(b), 1e-300) for a, b in pairs]
    axes.plot(range(1, len(gaps) + 1), np.maximum(gaps, precision / 10), "o", color=ANALYSIS)
    axes.axhline(precision, color=TRUTH, lw=1, ls=(0, (4, 2)))
    axes.text(1, precision * 1.3, "rounding of one number", fontsize=7.5, va="bottom")
    axes.set(yscale="log", ylim=(precision / 30, max(1e-6, 10 * max(gaps))))
    axes.set(
        xlabel="random pair w, z",
        ylabel=r"$|\langle Gw, z\rangle - \langle w, G^T z\rangle| / |\langle Gw, z\rangle|$",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"Tangent and adjoint: at most {max(gaps):.1e} apart")
    return figure


def withheld_figure(analysis: xr.Dataset, withheld: Observations) -> Figure:
    """RMSE against withheld observations, by column: below the line is better than open loop.

    Args:
        analysis: in the Analysis form.
        withheld: from `withhold`.
    """
    names = [n for n, mask in withheld.mask.items() if bool(np.asarray(mask).any())]
    figure = Figure(figsize=(3.7 * max(len(names), 1) + 0.2, 3.6), layout="constrained")
    panels = figure.subplots(1, max(len(names), 1), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        pooled = withheld_skill(analysis, withheld, name)
        seen = np.asarray(withheld.mask[name]) > 0
        some = seen.any(axis=0)
        observed = np.where(seen, np.asarray(withheld.values[name], float), np.nan)[:, some]
        errors = {
            run: np.sqrt(np.nanmean((run_of(analysis, name, run)[:, some] - observed) ** 2, axis=0))
            for run in RUNS
        }
        for run, mark in (("background", "s"), ("analysis", "o")):
            label = f"{run}: {pooled[run]['rmse']:.3g} (skill {pooled[run]['skill']:+.2f})"
            axes.plot(
                errors["open_loop"],
                errors[run],
                mark,
                color=RUN_COLOURS[run],
                ms=4,
                alpha=0.7,
                lw=0,
                label=label,
            )
        most = 1.1 * max(float(x.max()) for x in errors.values())
        axes.plot([0, most], [0, most], color=TRUTH, lw=0.9)
        units = units_of(name)
        axes.set(xlim=(0, most), ylim=(0, 1.25 * most))
        axes.set_xlabel(f"RMSE of the open loop ({units}); all: {pooled['open_loop']['rmse']:.3g}")
        axes.set_ylabel(f"RMSE of the corrected run ({units})")
        axes.set_title(f"{int(seen.sum())} withheld observations, {name}")
        axes.legend(fontsize=7.5, loc="upper left")
        axes.locator_params(nbins=5)
    return figure


def _departures(analysis: xr.Dataset, name: str) -> tuple[np.ndarray, ...]:
    """Innovations, residuals and the stated errors of observation and background."""
    kinds = ("innovation", "residual", "observation_error", "background_error")
    return tuple(analysis[f"{name}_{kind}"].to_numpy().astype(np.float64) for kind in kinds)
