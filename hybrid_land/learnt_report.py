"""What a learnt model error leaves in its folder: the hybrid, its scores by cycle and figures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hybrid_land.any_model import save_learnt
from hybrid_land.columns import parameters_from
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.evaluation.budget import NEEDED, water_budget
from hybrid_land.figures import MODEL, TRUTH, colour_of, label, paper_style, save_figure
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_TEMPERATURE, SOIL_WATER

if TYPE_CHECKING:
    from assimilation.model_error.land import LandLearnt, LandLoop

SCORED = (*SOIL_WATER[:3], *SOIL_TEMPERATURE[:3])


def report_of(
    learnt: "LandLearnt",
    data: xr.Dataset,
    folder: Path,
    *,
    base: str,
    loop: "LandLoop",
    first_guess: xr.Dataset | None = None,
    truth: xr.Dataset | None = None,
) -> dict[str, Any]:
    """Write the hybrid, `learnt.json` and the figures; what `learnt.json` says.

    Scores are those of free runs of the columns held out; `factors` those of corrected parameters,
    mean and standard deviation over all columns. With a truth, they hold RMSE of soil
    water and temperature of layers 1 to 3 against it, by cycle.

    Args:
        learnt: of `learn_land_error`.
        data: that it learnt from.
        folder: made if absent.
        base: name or directory of the model that was corrected.
        loop: options of the loop, for the description.
        first_guess: of the free runs, in place of the data's first state.
        truth: on the data's times and columns.

    Raises:
        InputError: if the folder cannot be written, or the truth lacks a variable.
    """
    target = make_folder(folder)
    columns = np.flatnonzero(learnt.held_out)
    held = data.isel(column=columns)
    guess = None if first_guess is None else first_guess.isel(column=columns)
    rows, last = [], None
    for number, one in enumerate(learnt.rounds):
        row: dict[str, Any] = {"cycle": number, "score": one.score}
        row["departures"] = {n: _rms(x) for n, x in one.departures.items()}
        if one.hybrid.form == "parameters":
            found = one.hybrid.correction(parameters_from(data), {}, {})
            factors = {name: np.exp(np.asarray(x)) for name, x in found.items()}
            row["factors"] = {
                name: {"mean": float(x.mean()), "sd": float(x.std())} for name, x in factors.items()
            }
        if truth is not None or number == learnt.best:
            run = simulate(one.hybrid, held, initial=guess)
            last = run if number == learnt.best else last
            if truth is not None:
                row["rmse"] = rmse(run, truth.isel(column=columns))
        rows.append(row)
    result: dict[str, Any] = {
        "best": learnt.best,
        "stopped_by_score": learnt.stopped,
        "columns_learnt_from": int((~learnt.held_out).sum()),
        "columns_held_out": len(columns),
        "rounds": rows,
    }
    if last is not None and all(name in last for name in NEEDED):
        result["water_budget"] = water_budget(last)
    options = asdict(loop)
    options["reanalysis"].pop("root")
    save_learnt(learnt.hybrid, target, base=base, facts={"learnt": result, "loop": options})
    with atomic_path(target / "learnt.json") as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with paper_style():
        save_figure(score_figure(learnt), target / "score.png")
        save_figure(columns_figure(learnt), target / "columns.png")
        if truth is not None:
            save_figure(rmse_figure([row["rmse"] for row in rows]), target / "rmse.png")
    return result


def rmse(run: xr.Dataset, truth: xr.Dataset) -> dict[str, float]:
    """RMSE of soil water and temperature of layers 1 to 3, over columns and times."""
    return {
        name: float(np.sqrt(np.mean((run[name] - truth[name]).to_numpy().astype(np.float64) ** 2)))
        for name in SCORED
        if name in run and name in truth
    }


def score_figure(learnt: "LandLearnt") -> Figure:
    """The held-out score by cycle, and the departures from each observable."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = np.arange(len(learnt.rounds))
    left.plot(numbers, [one.score for one in learnt.rounds], "o-", color=MODEL)
    left.plot(learnt.best, learnt.rounds[learnt.best].score, "o", ms=9, mfc="none", color=TRUTH)
    left.set_title("Held-out score")
    left.set_ylabel("departures, first model's = 1")
    for k, name in enumerate(learnt.rounds[0].departures):
        shown = [_rms(one.departures[name]) for one in learnt.rounds]
        right.plot(numbers, shown, "o-", color=colour_of(name, k), label=name)
    right.axhline(1.0, color=TRUTH, lw=0.6)
    right.set_title("Free run less observations")
    right.set_ylabel("RMS over the observations' error")
    right.legend()
    for axes in (left, right):
        axes.set_xticks(numbers)
        axes.set_xlabel("cycle of the loop")
    return figure


def columns_figure(learnt: "LandLearnt") -> Figure:
    """Each column held out: departures of the hybrid against those of the first model."""
    names = list(learnt.rounds[0].departures)
    figure = Figure(figsize=(3.2 * len(names), 3.0), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        x = learnt.rounds[0].departures[name]
        y = learnt.rounds[learnt.best].departures[name]
        axes.plot(x, y, "o", ms=4, color=MODEL, alpha=0.7)
        ends = np.nanmin([x, y]), np.nanmax([x, y])
        axes.plot(ends, ends, color=TRUTH, lw=0.7)
        axes.set_title(f"{name}, columns held out")
        axes.set_xlabel("model, RMS departure over error")
        axes.set_ylabel("hybrid")
    return figure


def rmse_figure(rows: list[dict[str, float]]) -> Figure:
    """RMSE against the truth by cycle, a panel a variable."""
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    panels = figure.subplots(2, 3).reshape(-1)
    for axes, name in zip(panels, rows[0], strict=False):
        axes.plot(np.arange(len(rows)), [row[name] for row in rows], "o-", color=MODEL)
        axes.set_title(name)
        axes.set_xticks(np.arange(len(rows)))
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel(label(name, what="RMSE").rsplit("(", 1)[-1].rstrip(")"))
    figure.supxlabel("cycle of the loop", fontsize=9)
    return figure


def _rms(columns: np.ndarray) -> float | None:
    """Root of the mean square over the columns that have observations."""
    known = columns[np.isfinite(columns)]
    return float(np.sqrt(np.mean(known.astype(np.float64) ** 2))) if known.size else None
