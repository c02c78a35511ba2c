"""Figures of an ensemble: rank histograms, spread and error with lead, reliability of intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hybrid_land.evaluation.ensemble_table import HEADLINE_DAYS
from hybrid_land.figures import MODEL, TRUTH, paper_style, pretty_units, save_figure
from hybrid_land.variables import VARIABLES

SHOWN = ("swvl1", "swvl3", "swvl4", "stl1", "stl4", "sd", "slhf", "skt")
_RAW = "#8a939d"
_STYLES = {
    "raw": {"color": _RAW, "label": "raw members"},
    "calibrated": {"color": MODEL, "label": "calibrated"},
}


def save_ensemble_figures(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """Draw and write `rank_histograms.png`, `spread_and_error.png` and `intervals.png`.

    Args:
        folder: where to.
        result: the content of `ensemble.json`.

    Returns:
        Their paths.
    """
    with paper_style():
        drawn = {
            "rank_histograms": rank_histograms(result),
            "spread_and_error": spread_and_error(result),
            "intervals": intervals(result),
        }
        return [save_figure(figure, folder / f"{key}.png") for key, figure in drawn.items()]


def _shown(result: Mapping[str, Any]) -> list[str]:
    found = [name for name in SHOWN if name in result["variables"]]
    return found or list(result["variables"])[:1]


def _kinds(result: Mapping[str, Any]) -> list[str]:
    return list(result["sound"])


def _headlines(result: Mapping[str, Any]) -> list[int]:
    days = result["lead_days"]
    return [i for i, day in enumerate(days) if day in HEADLINE_DAYS] or list(range(len(days)))


def rank_histograms(result: Mapping[str, Any]) -> Figure:
    """Share of cases by the rank of the truth among the members; level where reliable."""
    names, leads, kinds = _shown(result), _headlines(result), _kinds(result)
    bins = result["members"] + 1
    figure = Figure(figsize=(1.45 * len(names) + 0.8, 1.5 * len(leads) + 0.7), layout="constrained")
    axes = figure.subplots(len(leads), len(names), sharex=True, sharey="row", squeeze=False)
    for i, lead in enumerate(leads):
        for j, name in enumerate(names):
            axis = axes[i, j]
            row = result["variables"][name]["leads"][lead]
            for kind in kinds:
                rank = row[kind]["rank"]
                if rank is None or not sum(rank["counts"]):
                    continue
                share = np.array(rank["counts"]) / sum(rank["counts"])
                if kind == "raw":
                    axis.bar(range(bins), share, width=0.9, color="#ccd2d8", label="raw members")
                else:
                    axis.stairs(
                        share, np.arange(bins + 1) - 0.5, lw=1.4, baseline=None, **_STYLES[kind]
                    )
            axis.axhline(1.0 / bins, color=TRUTH, lw=0.8, ls="--", label="reliable")
            axis.set_xticks([0, bins - 1])
            axis.grid(visible=False)
            if i == 0:
                axis.set_title(name)
        axes[i, 0].set_ylabel(f"{result['lead_days'][lead]:g} d: share")
    figure.supxlabel("rank of ECLand among the members", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def spread_and_error(result: Mapping[str, Any]) -> Figure:
    """RMSE of the mean and spread (with its (K + 1) / K) against the lead."""
    names, kinds = _shown(result), _kinds(result)
    across = min(4, len(names))
    down = -(-len(names) // across)
    correction = np.sqrt((result["members"] + 1) / result["members"])
    figure = Figure(figsize=(2.3 * across, 1.9 * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, squeeze=False).ravel()
    days = np.array(result["lead_days"])
    for axis, name in zip(axes, names, strict=False):
        rows = result["variables"][name]["leads"]

        def of(kind: str, key: str, rows: Any = rows) -> np.ndarray:
            return np.array([row[kind][key] for row in rows], float)

        axis.plot(days, of("raw", "rmse"), color=TRUTH, marker="o", ms=3, label="RMSE of the mean")
        for kind in kinds:
            spread = correction * of(kind, "spread")
            axis.plot(days, spread, marker="s", ms=3, ls="--", **(_STYLES[kind] | _spread(kind)))
        axis.set_xscale("log")
        axis.set_xticks(days, [f"{day:g}" for day in days])
        axis.minorticks_off()
        axis.set_ylim(bottom=0.0)
        units = pretty_units(VARIABLES[name].units)
        axis.set_title(f"{name} ({units})" if units else name)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("lead (days)", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _spread(kind: str) -> dict[str, str]:
    return {"label": "spread, raw" if kind == "raw" else "spread, calibrated"}


def intervals(result: Mapping[str, Any]) -> Figure:
    """How often ECLand lies within an interval against how often it should; a line a variable."""
    leads, kinds = _headlines(result), _kinds(result)
    figure = Figure(figsize=(2.2 * len(leads) + 0.9, 2.15 * len(kinds) + 0.5), layout="constrained")
    axes = figure.subplots(len(kinds), len(leads), sharex=True, sharey=True, squeeze=False)
    colours = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#8a939d", "#cc79a7", TRUTH)
    for i, kind in enumerate(kinds):
        for j, lead in enumerate(leads):
            axis = axes[i, j]
            axis.plot([0, 1], [0, 1], color=TRUTH, lw=0.8, ls="--")
            for name, colour in zip(_shown(result), colours, strict=False):
                row = result["variables"][name]["leads"][lead][kind]["coverage"]
                known = [
                    (level, row[f"{level:g}"])
                    for level in result["levels"]
                    if row.get(f"{level:g}") is not None
                ]
                if known:
                    axis.plot(
                        *zip(*known, strict=True), color=colour, marker="o", ms=2.5, label=name
                    )
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            axis.set_title(f"{kind}, {result['lead_days'][lead]:g} d")
        axes[i, 0].set_ylabel("share covered")
    figure.supxlabel("nominal probability of the interval", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure
