"""Figures of the answer to field capacity: curves of some places, slopes of all."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hybrid_land.figures import TRUTH as BLACK
from hybrid_land.figures import colour_of, place, pretty_units
from hybrid_land.sensitivity.field_capacity import (
    FIRST_STATE,
    NOISE,
    SPUN_UP,
    TRUTH,
    answers,
    of_year,
)

_CURVES = ("swvl1", "swvl3", "slhf", "ssro")
_MARKERS = ("o", "^", "s", "D")


def _models(result: xr.Dataset) -> list[str]:
    return [str(run) for run in result["run"].to_numpy() if run not in (TRUTH, FIRST_STATE)]


def most_telling(result: xr.Dataset, *, count: int = 4) -> list[int]:
    """Places of different climates with the largest answers of swvl3 in ECLand."""
    theirs = answers(result)["swvl3_range"].sel(run=TRUTH).to_numpy()
    climates = (
        result["climate_index"].to_numpy() if "climate_index" in result else range(len(theirs))
    )
    chosen: list[int] = []
    for i in np.argsort(-theirs):
        if climates[i] not in [climates[k] for k in chosen]:
            chosen.append(int(i))
    return chosen[:count]


def curves_figure(result: xr.Dataset, *, places: Sequence[int] | None = None) -> Figure:
    """Change of the mean over the run with theta_cap at some places: dots ECLand, lines models."""
    whole = of_year(result, None)
    places = most_telling(result) if places is None else list(places)
    names = [name for name in _CURVES if name in whole]
    models = _models(result)
    size = (2.5 * len(names) + 0.4, 1.9 * len(places) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(places), len(names), squeeze=False)
    for i, column in enumerate(places):
        x = whole["theta_cap"].to_numpy()[:, column]
        for j, name in enumerate(names):
            axes = panels[i, j]
            for k, run in enumerate((TRUTH, *models)):
                y = whole[name].sel(run=run).to_numpy()[:, column]
                change = y - y[len(y) // 2]
                if run == TRUTH:
                    axes.plot(x, change, "o", color=BLACK, ms=4, label="ECLand", zorder=3)
                else:
                    base = run.removesuffix(SPUN_UP)
                    style = "-" if base == run else "--"
                    colour = colour_of(base, k)
                    axes.plot(x, change, style, color=colour, label=_called(run))
            if i == 0:
                axes.set_title(f"{name} ({pretty_units(whole[name].attrs['units'])})")
        panels[i, 0].set_ylabel(place(whole, column).replace(", ", "\n"))
    for axes in panels[-1]:
        axes.set_xlabel("theta_cap (m³ m⁻³)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def slopes_figure(result: xr.Dataset) -> Figure:
    """Slope of each place's answer per unit of theta_cap; the band is 10% around ECLand's."""
    places = answers(result)
    names = [name for name in NOISE if f"{name}_slope" in places]
    models = _models(result)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.5 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        slope = places[f"{name}_slope"]
        theirs = slope.sel(run=TRUTH).to_numpy()
        room = 0.08 * max(float(np.ptp(theirs)), 1e-12)
        line = np.array([min(theirs.min(), 0.0) - room, max(theirs.max(), 0.0) + room])
        shown = line + 0.5 * np.array([-np.ptp(line), np.ptp(line)])
        axes.fill_between(line, 0.9 * line, 1.1 * line, color="#c9d1d9", alpha=0.6, lw=0)
        axes.plot(line, line, color=BLACK, lw=0.8)
        for k, run in enumerate(models):
            ours = slope.sel(run=run).to_numpy()
            axes.plot(
                theirs,
                np.clip(ours, *shown),
                _MARKERS[k % len(_MARKERS)],
                color=colour_of(run.removesuffix(SPUN_UP), k + 1),
                mfc="none" if run.endswith(SPUN_UP) else None,
                ms=4,
                alpha=0.8,
                label=_called(run),
            )
        axes.axhline(0, color="#8a939d", lw=0.6)
        axes.axvline(0, color="#8a939d", lw=0.6)
        axes.set_title(f"{name} ({pretty_units(slope.attrs['units'])})")
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for k, axes in enumerate(panels):
        if k % columns == 0:
            axes.set_ylabel("model")
        if k >= len(names) - columns:
            axes.set_xlabel("ECLand, per m³ m⁻³ of theta_cap")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=max(len(labels), 1))
    return figure


def _called(run: str) -> str:
    names = {"model": "emulator", "xgboost": "XGBoost"}
    base = run.removesuffix(SPUN_UP)
    return names.get(base, base) + (", own spin-up" if base != run else "")
