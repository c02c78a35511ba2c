"""Scores of a model and its baselines on columns and a year that no training saw.

    python benchmarks/skill.py [--model default] [--trees TREES] [--out DIR]
    python benchmarks/skill.py --train-trees --trees TREES

One free rollout of five years from the first state of `ecland_test.nc`: 60 columns, 7,303 steps.
Persistence holds the first record; climatology is the test file's own, an oracle. The trees are
one XGBoost regressor a variable with the emulator's inputs, trained on the emulator's training
columns (six `ecland_train*.nc`, places of the validation split withheld) and rolled out the same
way; training them takes some 25 minutes of one core, their rollout 1 to 2 minutes. Expected: the
model beats persistence and climatology on every prognostic variable. Prints JSON; with `--out` the
scoreboard and figures are written too.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hybrid_land.data import load
from hybrid_land.evaluation.evaluate import evaluate
from hybrid_land.models.store import load_model
from hybrid_land.models.trees import load_trees, save_trees
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split
from hybrid_land.training.trees import TreeSettings, train_trees
from hybrid_land.variables import PROGNOSTIC

ROOT = Path(__file__).resolve().parents[1]
TRAINING = (
    "ecland_train.nc",
    *(f"ecland_train_wide_{i}.nc" for i in range(4)),
    "ecland_train_theta_cap.nc",
)


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


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """RMSE and anomaly correlation of every run, and what the model beats."""
    runs = ["model", *result["baselines"]]

    def of(key: str) -> dict[str, dict[str, float | None]]:
        return {
            name: {run: (row if run == "model" else row["baselines"][run])[key] for run in runs}
            for name, row in result["variables"].items()
        }

    rmse = of("rmse")

    def beaten(run: str) -> list[str]:
        pairs = ((name, rmse[name]["model"], rmse[name][run]) for name in PROGNOSTIC)
        return [name for name, ours, theirs in pairs if ours and theirs and ours < theirs]

    return {
        "model": result["model"],
        "columns": result["columns"],
        "steps": result["steps"],
        "rmse": rmse,
        "acc": of("acc"),
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
    options = parser.parse_args()
    if options.train_trees:
        if options.trees is None:
            parser.error("--train-trees needs --trees, the folder to save them in")
        settings = TreeSettings(rows=options.tree_rows, rounds=options.tree_rounds)
        make_trees(runs, options.trees, settings=settings)
        return
    others = {} if options.trees is None else {"xgboost": load_trees(options.trees)}
    begin = time.monotonic()
    result = evaluate(
        load_model(options.model),
        load(options.data),
        out=options.out,
        others=others,
        name=Path(options.model).name,
        report=say,
    )
    found = summary(result) | {"seconds": round(time.monotonic() - begin, 1)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
