"""Scores of a model and its baselines on columns and a year that no training saw.

    python benchmarks/skill.py [--model default] [--trees TREES] [--out DIR]
    python benchmarks/skill.py --train-trees --trees TREES
    python benchmarks/skill.py --held-out-year [--model default] [--out DIR]

One free rollout of five years from the first state of `ecland_test.nc`: 60 columns, 7,303 steps.
Persistence holds the first record; climatology is the test file's own, an oracle. The trees are
one XGBoost regressor a variable with the emulator's inputs, trained on the emulator's training
columns (six `ecland_train*.nc`, places of the validation split withheld) and rolled out the same
way; training them takes some 25 minutes of one core, their rollout 1 to 2 minutes. Expected: the
model beats persistence and climatology on every prognostic variable. Prints JSON; with `--out` the
scoreboard, the figures and `skill.md`, the table below, are written too.

`--held-out-year` scores the training columns of `ecland_train.nc` over its last year, which the
training leaves out: a free run over all four years from the first state, and one from that year's
start. That is how aiLand was scored, at its training points in an unseen year; `ecland_test.nc`
is other columns as well.

aiLand v1's numbers stand in the table as a reference. They are ECMWF's, of its four-year free run
over its own points with its own forcing: scored elsewhere, on other data, and not run here.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.evaluation.evaluate import evaluate
from hybrid_land.evaluation.held_out import held_out_year_scores
from hybrid_land.evaluation.scoreboard import number
from hybrid_land.models.store import describe_model, load_model
from hybrid_land.models.trees import load_trees, save_trees
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split
from hybrid_land.training.trees import TreeSettings, train_trees
from hybrid_land.training.windows import validation_columns
from hybrid_land.variables import PROGNOSTIC

ROOT = Path(__file__).resolve().parents[1]
TRAINING = (
    "ecland_train.nc",
    *(f"ecland_train_wide_{i}.nc" for i in range(4)),
    "ecland_train_theta_cap.nc",
)
# RMSE (unit of the variable) and anomaly correlation of ECMWF's aiLand v1, free run of four years
# over its own training points in years it had not seen; as given in this project's goals, from
# ECMWF. The earlier emulators are Wesselkamp et al. (2025), doi 10.5194/gmd-18-921-2025.
AILAND = {
    "swvl1": (0.016, 0.953),
    "swvl2": (0.012, 0.961),
    "swvl3": (0.018, 0.855),
    "stl1": (1.72, 0.959),
    "stl2": (1.32, 0.962),
    "stl3": (1.29, 0.934),
    "snowc": (0.058, 0.945),
}


def say(record: Any) -> None:
    """Progress, apart from the result."""
    print(record, file=sys.stderr, flush=True)


def make_trees(folder: Path, out: Path, *, settings: TreeSettings) -> None:
    """Train the trees on the emulator's training columns and save them."""
    config = TrainingConfig.model_validate({})
    training, validation = [], []
    for name in TRAINING:
        kept, held = split(load(folder / name), config)
        training.append(kept.load())
        validation.append(held.load())
    begin = time.monotonic()
    model = train_trees(training, validation, settings=settings, report=say)
    facts = {"trained_on": list(TRAINING), "seconds": round(time.monotonic() - begin)}
    save_trees(model, out, facts=facts)


def scores_by_run(result: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """`rmse` and `acc`: variable to run to number."""
    rows = {name: {"model": r, **r["baselines"]} for name, r in result["variables"].items()}
    return {
        key: {name: {run: x[key] for run, x in row.items()} for name, row in rows.items()}
        for key in ("rmse", "acc")
    }


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """RMSE and anomaly correlation of every run, and what the model beats."""
    runs = ["model", *result["baselines"]]
    scores = scores_by_run(result)
    rmse = scores["rmse"]

    def beaten(run: str) -> list[str]:
        pairs = ((name, rmse[name]["model"], rmse[name][run]) for name in PROGNOSTIC)
        return [name for name, ours, theirs in pairs if ours and theirs and ours < theirs]

    return {
        "model": result["model"],
        "columns": result["columns"],
        "steps": result["steps"],
        **scores,
        "energy_budget": {
            "model": result["energy_budget"],
            "ecland": result["truth"]["energy_budget"],
        },
        "water_budget": {
            "model": result["water_budget"],
            **{run: result["baselines"][run]["water_budget"] for run in runs if run == "xgboost"},
        },
        "prognostic_variables": len(PROGNOSTIC),
        "model_better_in_prognostic": {run: len(beaten(run)) for run in runs[1:]},
        "model_worse_in_prognostic": {
            run: [name for name in PROGNOSTIC if name not in beaten(run)] for run in runs[1:]
        },
    }


def with_reference(found: dict[str, Any]) -> dict[str, Any]:
    """A summary with aiLand's numbers, and where the model is better than them on both."""
    better = [
        name
        for name, (rmse, acc) in AILAND.items()
        if (found["rmse"][name]["model"] or rmse) < rmse
        and (found["acc"][name]["model"] or acc) > acc
    ]
    reference = {
        "scored": "elsewhere: ECMWF's own points and forcing, unseen year",
        "rmse": {name: rmse for name, (rmse, _) in AILAND.items()},
        "acc": {name: acc for name, (_, acc) in AILAND.items()},
        "model_better_on_both": better,
        "model_worse_on_one": [name for name in AILAND if name not in better],
    }
    return found | {"ailand_v1": reference}


def table(result: dict[str, Any]) -> str:
    """RMSE and anomaly correlation of every run, and aiLand's in columns of their own."""
    first = next(iter(result["variables"].values()))
    runs = ["model", *first["baselines"]]
    heads = [*(f"{run} RMSE" for run in runs), "aiLand v1 RMSE (elsewhere)"]
    heads += [*(f"{run} ACC" for run in runs), "aiLand v1 ACC (elsewhere)"]
    lines = [
        "| " + " | ".join(["variable", "unit", *heads]) + " |",
        "| --- " * (2 + len(heads)) + "|",
    ]
    for name, row in result["variables"].items():
        by_run = {"model": row, **row["baselines"]}
        theirs = AILAND.get(name, (None, None))
        cells = [number(by_run[run]["rmse"]) for run in runs] + [number(theirs[0])]
        cells += [number(by_run[run]["acc"]) for run in runs] + [number(theirs[1])]
        lines.append("| " + " | ".join([name, row["units"], *cells]) + " |")
    lines.append("")
    lines.append(
        f"{result['columns']} columns, {result['steps']} steps. aiLand v1: ECMWF's numbers for its "
        "own points and forcing in an unseen year, scored elsewhere and not comparable in the last "
        "digit."
    )
    return "\n".join(lines) + "\n"


def held_out_year(model: str, path: Path) -> dict[str, Any]:
    """Scores over the withheld last year at the columns that the model was trained on."""
    config = TrainingConfig.model_validate(describe_model(model).get("config", {}))
    whole = load(path)
    if not config.leave_out_last_year:
        say("this model's configuration did not leave the last year out: the year is not unseen")
    held = validation_columns(whole, share=config.validation_share, seed=config.split_seed)
    trained = whole.isel(column=~held)
    return held_out_year_scores(load_model(model), trained.load())


def main() -> None:
    """Parse the command line and print the result as JSON."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", type=Path, default=runs / "ecland_test.nc")
    parser.add_argument("--trees", type=Path, default=None)
    parser.add_argument("--train-trees", action="store_true")
    parser.add_argument("--tree-rows", type=int, default=TreeSettings.rows)
    parser.add_argument("--tree-rounds", type=int, default=TreeSettings.rounds)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--held-out-year", action="store_true")
    options = parser.parse_args()
    if options.train_trees:
        if options.trees is None:
            parser.error("--train-trees needs --trees, the folder to save them in")
        settings = TreeSettings(rows=options.tree_rows, rounds=options.tree_rounds)
        make_trees(runs, options.trees, settings=settings)
        return
    begin = time.monotonic()
    name = Path(options.model).name
    if options.held_out_year:
        result = held_out_year(options.model, runs / "ecland_train.nc")
        found: dict[str, Any] = {
            "model": name,
            "columns": result["columns"],
            "steps": result["steps"],
            "model_steps": result["model_steps"],
            **scores_by_run(result),
        }
    else:
        others = {} if options.trees is None else {"xgboost": load_trees(options.trees)}
        model, data = load_model(options.model), load(options.data)
        result = evaluate(model, data, out=options.out, others=others, name=name, report=say)
        found = summary(result)
    found = with_reference(found) | {"seconds": round(time.monotonic() - begin, 1)}
    if options.out is not None:
        file = "held_out_year.md" if options.held_out_year else "skill.md"
        with atomic_path(make_folder(options.out) / file) as path:
            path.write_text(table(result), encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
