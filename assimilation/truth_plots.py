"""Figures of an analysis against the truth of a twin: is it as sure as it may be?"""

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from assimilation.diagnostics import coverage
from assimilation.plots import ANALYSIS, BACKGROUND, OPEN_LOOP, short
from assimilation.verification import SpreadError, TruthRank, shown_layers, with_root_zone
from hybrid_land.figures import TRUTH

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95, 0.99)
_LINES = ("o-", "s-", "^-", "D-", "v-")
_COLOURS = (ANALYSIS, OPEN_LOOP, "#009e73", "#cc79a7", TRUTH)


def rank_figure(ranks: Mapping[str, TruthRank]) -> Figure:
    """Rank histograms of the truth: flat if the analysis is as sure as it says.

    Args:
        ranks: by variable, from `rank_of_truth`.
    """
    across = min(3, len(ranks))
    down = -(-len(ranks) // across)
    figure = Figure(figsize=(2.6 * across + 0.4, 2.2 * down + 0.2), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for axes, (name, rank) in zip(panels, ranks.items(), strict=False):
        size = len(rank.shares)
        axes.bar(range(1, size + 1), rank.shares * size, width=0.9, color=ANALYSIS, alpha=0.8)
        axes.axhline(1, color=TRUTH, lw=0.9)
        axes.set_title(short(name))
        words = f"bias {rank.bias:+.2f}, dispersion {rank.dispersion:.2f}"
        axes.text(0.5, 0.97, words, transform=axes.transAxes, fontsize=7.5, ha="center", va="top")
        axes.set_ylim(0, 1.25 * max(1.2, float(rank.shares.max()) * size))
        axes.grid(visible=False, axis="x")
    for axes in panels[len(ranks) :]:
        axes.set_visible(False)
    figure.supxlabel("rank of the truth among the analysis' members", fontsize=9)
    figure.supylabel("frequency / expected", fontsize=9)
    return figure


def coverage_figure(analysis: xr.Dataset, truth: xr.Dataset) -> Figure:
    """Share of the truth within the stated error against the share that should be."""
    actual = with_root_zone(truth)
    figure = Figure(figsize=(3.9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=BACKGROUND, lw=1.2)
    for k, name in enumerate(shown_layers(analysis)):
        found = coverage(analysis, actual, name, levels=LEVELS)
        style = {"ms": 3.5, "color": _COLOURS[k], "lw": 1.1, "label": short(name)}
        axes.plot(list(found), list(found.values()), _LINES[k], **style)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="share that should be covered")
    axes.set(ylabel="share of the truth covered", title="Coverage of the stated error")
    axes.legend(fontsize=7, loc="upper left")
    return figure


def spread_figure(found: Mapping[str, SpreadError]) -> Figure:
    """RMSE against stated error, a point for each part of the values: on the line if honest.

    Args:
        found: by variable, from `spread_and_error`.
    """
    figure = Figure(figsize=(3.9, 3.6), layout="constrained")
    axes = figure.subplots()
    for k, (name, one) in enumerate(found.items()):
        label = f"{short(name)}: ratio {one.ratio:.2f}, CRPS {one.crps:.2g}"
        style = {"ms": 3.5, "color": _COLOURS[k], "lw": 1.1, "label": label}
        axes.plot(one.stated, one.rmse, _LINES[k], **style)
    most = 1.05 * max(float(max(one.stated.max(), one.rmse.max())) for one in found.values())
    axes.plot([0, most], [0, most], color=BACKGROUND, lw=1.2, zorder=0)
    axes.set(xlim=(0, most), ylim=(0, 1.4 * most), xlabel="stated error (m³ m⁻³)")
    axes.set(ylabel="RMSE of the analysis (m³ m⁻³)", title="Stated error against error")
    axes.legend(fontsize=7, loc="upper left")
    return figure
