"""Accuracy against cost: models of several widths on the test file, and their time on one core.

    python benchmarks/cost.py default RUN1 RUN2 ... [--columns 2048]

Error: a free run of five years over `ecland_test.nc`; the score is the mean over prognostic
variables of RMSE over the truth's spread about each column's mean. Time: a rollout of 20 steps on
one core, in pieces of 512 columns, models in turn, median of 9 rounds; beside it ECLand's own 200
to 285 microseconds for 6 hours of a column on one core (see the data's README; measured on another
day, on a machine of the same kind). Nothing is chosen here. Prints JSON and, before it, a table.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

# One core, before JAX counts them.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
from speed import columns_of, products, seconds

from hybrid_land.chunks import in_chunks
from hybrid_land.data import load
from hybrid_land.models.store import load_model
from hybrid_land.rollout import rollout
from hybrid_land.training.validation import validation_scores

ROOT = Path(__file__).resolve().parents[1]
ECLAND = (200.0, 285.0)  # microseconds of one core for 6 hours of a column
STEPS = 20
SHOWN = ("swvl1", "swvl2", "swvl3", "swvl4", "stl1", "stl3", "sd", "snowc", "slhf", "sro")


def times(models: dict[str, Any], columns: int) -> dict[str, float]:
    """Microseconds of one core for a column and step, by model; `sgemm` in GFLOP/s."""
    square = jnp.ones((1024, 1024))
    product = jax.jit(jnp.matmul)
    compiled = jax.jit(
        lambda model, *given: in_chunks(lambda *x: rollout(model, *x), axes=(0, 0, 1))(*given)
    )
    runs: dict[str, Any] = {"sgemm": lambda: product(square, square)}
    for name, model in models.items():
        given = columns_of(model, columns, STEPS)
        runs[name] = lambda model=model, given=given: compiled(model, *given)
    found = seconds(runs, rounds=9)
    peak = 2.0 * 1024**3 / found.pop("sgemm") / 1e9
    return {"sgemm": peak} | {k: 1e6 * v / columns / STEPS for k, v in found.items()}


def main() -> None:
    """Parse the command line, measure and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--columns", type=int, default=2048)
    options = parser.parse_args()
    models: dict[str, Any] = {Path(name).name: load_model(name) for name in options.models}
    spent = times(models, options.columns)
    truth = load(home / "ecland" / "ecland_test.nc").load()
    result = {}
    for name, model in models.items():
        kernels = products(model)
        scores, errors = validation_scores(model, [truth])
        flops = 2 * sum(kernel.size for kernel in kernels)
        result[name] = {
            "hidden": list(model.hidden),
            "weights": sum(kernel.size for kernel in kernels),
            "microseconds": round(spent[name], 2),
            "times_faster_than_ecland": [round(x / spent[name]) for x in ECLAND],
            "share_of_sgemm": round(1e-3 * flops / spent[name] / spent["sgemm"], 3),
            "score": round(scores["score"], 4),
            "rmse": {key: float(f"{errors[key]:.3g}") for key in SHOWN},
        }
    heads = ["model", "hidden", "microseconds", "faster than ECLand", "score", *SHOWN]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for name, row in result.items():
        cells = [name, " x ".join(map(str, row["hidden"])), row["microseconds"]]
        cells += ["{} to {}".format(*row["times_faster_than_ecland"]), row["score"]]
        print("| " + " | ".join(map(str, [*cells, *row["rmse"].values()])) + " |")
    print(json.dumps({"sgemm_gflops": round(spent["sgemm"], 1), "models": result}, indent=1))


if __name__ == "__main__":
    main()
