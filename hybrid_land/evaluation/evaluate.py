"""Evaluation of a model or a run against ECLand: numbers, table and figures in one place."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.columns import require
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError
from hybrid_land.evaluation.baselines import BASELINES, baseline
from hybrid_land.evaluation.budget import NEEDED, water_budget
from hybrid_land.evaluation.energy import energy_budget
from hybrid_land.evaluation.growth import error_growth
from hybrid_land.evaluation.plots import save_figures
from hybrid_land.evaluation.scoreboard import scoreboard
from hybrid_land.evaluation.scores import (
    Pair,
    anomaly_correlation,
    column_errors,
    errors,
    finite_or_none,
    pair,
    pooled,
)
from hybrid_land.evaluation.skill import ilamb_scores, mlbees_scores
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import CLIMATE_CLASSES, DIAGNOSTIC, PROGNOSTIC, VARIABLES

Report = Callable[[str], None]


def evaluate(
    model: Model | xr.Dataset,
    truth: xr.Dataset,
    *,
    out: str | Path | None = None,
    baselines: Sequence[str] = BASELINES,
    others: Mapping[str, Model | xr.Dataset] | None = None,
    name: str = "model",
    most_starts: int = 12,
    figures: bool = True,
    report: Report | None = None,
) -> dict[str, Any]:
    """Roll a model out freely over the whole of `truth` and score it with its baselines.

    Args:
        model: a model, or a run of one over the truth's times.
        truth: ECLand, dims `(time, column)`.
        out: where to write `scores.json`, `scoreboard.md` and the figures; nothing is written
            without it.
        baselines: of `persistence` (the first record held) and `climatology` (the truth's own,
            an oracle).
        others: more models or runs for the same table by name, such as `{"xgboost": trees}`.
        name: what to call the model.
        most_starts: of the error growth, see `growth.error_growth`; 0 leaves it out.
        figures: draw them.
        report: called with a sentence before each part of the work.

    Returns:
        The content of `scores.json`.

    Raises:
        InputError: if the truth lacks what the model needs, a run has other times or columns, or
            `out` cannot be written.
    """
    say = report or (lambda sentence: None)
    place = None if out is None else make_folder(out)
    taken = {"model", *baselines} & set(others or {})
    if taken:
        raise ValueError(f"others named {', '.join(taken)}; expected names not yet in the table")
    given: dict[str, Model | xr.Dataset] = {"model": model, **(others or {})}
    runs: dict[str, xr.Dataset] = {}
    for run_name, run in given.items():
        if isinstance(run, xr.Dataset):
            runs[run_name] = run
        else:
            say(f"rolling out {name if run_name == 'model' else run_name}")
            runs[run_name] = simulate(run, truth)
    variables = scored_variables(runs["model"], truth)
    for kind in baselines:
        runs[kind] = baseline(kind, truth, variables)
    order = ["model", *baselines, *(others or {})]
    runs = {run_name: runs[run_name] for run_name in order}
    say("scoring")
    result = score_datasets(truth, runs, name=name)
    if most_starts:
        say("error growth with lead time")
        sources = {run_name: given.get(run_name, runs[run_name]) for run_name in order}
        result["error_growth"] = error_growth(truth, sources, variables, most_starts=most_starts)
    if place is not None:
        say("writing the scoreboard and the figures")
        with atomic_path(place / "scores.json") as path:
            path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
        with atomic_path(place / "scoreboard.md") as path:
            path.write_text(scoreboard(result), encoding="utf-8")
        if figures:
            save_figures(place, truth, runs, result)
    return result


def scored_variables(run: xr.Dataset, truth: xr.Dataset) -> tuple[str, ...]:
    """Prognostic and diagnostic variables that a run and the truth share, in the table's order.

    Raises:
        InputError: if there is none.
    """
    shared = tuple(v for v in (*PROGNOSTIC, *DIAGNOSTIC) if v in run and v in truth)
    if not shared:
        raise InputError(
            "the run and the data share no prognostic or diagnostic variable; expected at least "
            f"one of {', '.join((*PROGNOSTIC, *DIAGNOSTIC))}; give ECLand's output as data"
        )
    return shared


def score_datasets(
    truth: xr.Dataset, predictions: Mapping[str, xr.Dataset], *, name: str = "model"
) -> dict[str, Any]:
    """Scores of runs over the truth's times: the first as the model, the rest as its baselines.

    The first record is the given state and is not scored. Numbers that are not finite (a run that
    blew up, a score that is not defined) are null.

    Returns:
        `variables`, `water_budget`, `energy_budget`, `climate_classes`, `baselines`, `truth` (the
        budgets of the data themselves), `columns`, `steps`, `model`.

    Raises:
        InputError: if a run has other times or columns than the truth, or lacks a variable.
    """
    runs = list(predictions)
    if not runs:
        raise ValueError("no run to score; expected at least one")
    variables = scored_variables(predictions[runs[0]], truth)
    for run_name, run in predictions.items():
        _require_same_form(run, truth, run_name)
        require(run, variables, source=run_name)
    time = truth["time"].to_numpy()[1:]
    groups = _climate_classes(truth)
    table: dict[str, Any] = {}
    classes: dict[str, Any] = {
        group: {"columns": len(members), "variables": {}} for group, members in groups.items()
    }
    for variable in variables:
        scored: dict[str, Any] = {}
        for run_name in runs:
            values = pair(predictions[run_name], truth, variable)
            columns = column_errors(values)
            scored[run_name] = _scores_of(values, columns, time)
            for group, members in groups.items():
                found = classes[group]["variables"].setdefault(variable, {})
                found[run_name] = pooled(columns, members)
        table[variable] = {"units": VARIABLES[variable].units, **_as_row(scored, runs)}
    for content in classes.values():
        content["variables"] = {
            variable: _as_row(found, runs) for variable, found in content["variables"].items()
        }
    budgets = {run_name: _budgets(run) for run_name, run in predictions.items()}
    return finite_or_none(
        {
            "model": name,
            "columns": truth.sizes["column"],
            "steps": truth.sizes["time"] - 1,
            "variables": table,
            **budgets[runs[0]],
            "baselines": {run_name: budgets[run_name] for run_name in runs[1:]},
            "truth": _budgets(truth),
            "climate_classes": classes,
        }
    )


def _as_row(scored: Mapping[str, Any], runs: Sequence[str]) -> dict[str, Any]:
    """The first run's scores with the others' under `baselines`."""
    return {**scored[runs[0]], "baselines": {run_name: scored[run_name] for run_name in runs[1:]}}


def _scores_of(values: Pair, columns: xr.Dataset, time: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {
        **errors(values),
        **anomaly_correlation(columns),
        "scores": {**mlbees_scores(values), **ilamb_scores(values, time)},
    }
    if bool((values.prediction.notnull() | values.truth.isnull()).all()):
        return row
    # A run with gaps would be scored on what is left of it.
    nothing = dict.fromkeys(row["scores"], float("nan"))
    return {**dict.fromkeys(row, float("nan")), "scores": nothing}


def _climate_classes(truth: xr.Dataset) -> dict[str, np.ndarray]:
    """Columns of each climate class in the data, by the class's name."""
    if "climate_index" not in truth:
        return {}
    index = truth["climate_index"].to_numpy().astype(int)
    return {
        CLIMATE_CLASSES[value] if 0 <= value < len(CLIMATE_CLASSES) else f"class_{value}": (
            np.flatnonzero(index == value)
        )
        for value in np.unique(index)
    }


def _require_same_form(run: xr.Dataset, truth: xr.Dataset, run_name: str) -> None:
    if run.sizes.get("column") != truth.sizes["column"]:
        raise InputError(
            f"{run_name}: {run.sizes.get('column')} columns, expected the data's "
            f"{truth.sizes['column']}; give a run over the same columns"
        )
    if not np.array_equal(run["time"].to_numpy(), truth["time"].to_numpy()):
        raise InputError(
            f"{run_name}: its {run.sizes['time']} times are not the data's "
            f"{truth.sizes['time']} ({truth.time.to_numpy()[0]} to {truth.time.to_numpy()[-1]}); "
            "give a run over the same times"
        )


def _budgets(run: xr.Dataset) -> dict[str, dict[str, float] | None]:
    """The budgets of water and energy, null for a run that lacks a part."""
    whole = all(name in run for name in NEEDED)
    return {
        "water_budget": water_budget(run) if whole else None,
        "energy_budget": energy_budget(run),
    }
