"""Posteriors of field capacity in milliseconds, for columns and weather that were never seen.

    python benchmarks/calibration_amortised.py [MODEL] [--columns 96] [--simulations 64]
        [--judge train|test] [--out DIR] [--json]

A flow and DBUQ learn the posterior of theta_cap from simulations of some columns of the wide
training files (2010, 2012, 2014), given the likelihood at nine probes. They are judged on other
columns: those of the wide file of 2016 (`train`), on which what was chosen was chosen, or those of
`ecland_test.nc` (`test`), for the number alone. There ECLand's own surface soil moisture was
observed every 3 days of a year with an error of 0.02 m3 m-3; the exact posterior is by quadrature,
method `grid`, 96 runs of each column. `interpolated` is what the probes say without a network:
moments of the posterior under the interpolated runs.

Differences of mean and spread are in exact standard deviations; the time of a new column is that of
its probes, a run each, and that of drawing 1,000 values from the network.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from assimilation import make_observations, read_observations
from calibration.amortised import AmortisedPosterior, load_amortised, save_amortised
from calibration.amortised.simulations import joined, simulate
from calibration.amortised.training import train_on
from calibration.covariance import Errors
from calibration.experiment import land_problem
from calibration.problem import Problem
from calibration.quadrature import grid
from hybrid_land.data import load
from hybrid_land.devices import use_cores
from hybrid_land.evaluation.error_covariance import load_errors
from hybrid_land.interface import Model
from hybrid_land.models.store import load_model

ROOT = Path(__file__).resolve().parents[1]
LEARN, JUDGE = (0, 1, 2), {"train": "ecland_train_wide_3.nc", "test": "ecland_test.nc"}
YEAR, EVERY, ERROR, FACTOR = 1460, 12, 0.02, 2.0
PROBES, DRAWS = 9, 1000
JUDGED = 30  # columns
KINDS = ("flow", "dbuq")


def problem_for(model: Model, errors: Errors, path: Path, columns: slice) -> Problem:
    """The inverse problem of a year of some columns of a file."""
    data = load(path).isel(time=slice(0, YEAR), column=columns).load()
    observed = make_observations(data, errors={"swvl1": ERROR}, every=EVERY, seed=0)
    seen = read_observations(observed, data)
    return land_problem(model, data, seen, parameters=("theta_cap",), errors=errors)


def exact(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of z of each column, from the draws of method `grid`."""
    z, _ = grid(problem, key=jax.random.key(0), draws=DRAWS)
    draws = z.reshape(-1, problem.count).astype(np.float64)
    return draws.mean(axis=0), draws.std(axis=0)


def against(
    mean: np.ndarray, spread: np.ndarray, truth: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """How far mean and spread are from the exact ones."""
    off = np.abs(mean - truth[0]) / truth[1]
    ratio = spread / truth[1]
    return {
        "mean_off_median": float(np.median(off)),
        "mean_off_90": float(np.quantile(off, 0.9)),
        "spread_ratio_median": float(np.median(ratio)),
        "spread_ratio_5": float(np.quantile(ratio, 0.05)),
        "spread_ratio_95": float(np.quantile(ratio, 0.95)),
    }


def learn(
    problems: list[Problem], count: int, folder: Path
) -> tuple[dict[str, AmortisedPosterior], dict[str, float]]:
    """Each kind trained on simulations of the problems, or read again; and seconds."""
    if all((folder / kind).is_dir() for kind in KINDS):
        return {kind: load_amortised(folder / kind) for kind in KINDS}, {}
    start = time.monotonic()
    made = [
        simulate(problem, key=jax.random.key(i), count=count, probes=PROBES)
        for i, problem in enumerate(problems)
    ]
    together = joined(made)
    seconds = {"simulations": time.monotonic() - start}
    learnt = {}
    for kind in KINDS:
        start = time.monotonic()
        learnt[kind] = train_on(
            together,
            names=("theta_cap",),
            key=jax.random.key(7),
            kind=kind,
            probes=PROBES,
            updates=3000,
        )
        seconds[kind] = time.monotonic() - start
        save_amortised(learnt[kind], folder / kind)
    return learnt, seconds


def judged(problem: Problem, learnt: dict[str, AmortisedPosterior]) -> dict[str, Any]:
    """Each kind against the exact posterior, and its milliseconds."""
    truth = exact(problem)
    one = next(iter(learnt.values()))
    one.features(problem)
    start = time.perf_counter()
    features = one.features(problem)
    probing = 1e3 * (time.perf_counter() - start) / problem.count
    rows = {"interpolated": against(features[:, 0], np.exp(features[:, 1]), truth)}
    rows["interpolated"]["ms_to_draw"] = 0.0
    for kind, posterior in learnt.items():
        posterior.sample(features, jax.random.key(0), draws=DRAWS)
        start = time.perf_counter()
        z = posterior.sample(features, jax.random.key(1), draws=DRAWS)[:, 0]
        spent = 1e3 * (time.perf_counter() - start) / problem.count
        rows[kind] = against(z.mean(axis=0), z.std(axis=0), truth) | {"ms_to_draw": spent}
    rows["prior"] = against(np.zeros_like(truth[0]), np.ones_like(truth[0]), truth)
    rows["prior"]["ms_to_draw"] = 0.0
    return {
        "methods": rows,
        "columns": problem.count,
        "ms_to_probe": probing,
        "exact_spread_quantiles": np.quantile(truth[1], [0.1, 0.5, 0.9]).round(3).tolist(),
    }


def main() -> None:
    """Learn, judge, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--columns", type=int, default=96)
    parser.add_argument("--simulations", type=int, default=64)
    parser.add_argument("--judge", choices=tuple(JUDGE), default="train")
    parser.add_argument("--out", type=Path, required=True, help="where what is learnt is kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    use_cores()
    folder = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    model = load_model(options.model)
    errors = Errors(table=load_errors(options.model).table, table_factor=FACTOR)
    each = slice(0, options.columns // len(LEARN))
    problems = [
        problem_for(model, errors, folder / f"ecland_train_wide_{i}.nc", each) for i in LEARN
    ]
    learnt, seconds = learn(problems, options.simulations, options.out)
    print(f"learnt: {seconds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    problem = problem_for(model, errors, folder / JUDGE[options.judge], slice(0, JUDGED))
    result: dict[str, Any] = judged(problem, learnt) | {"seconds": seconds}
    if options.json:
        print(json.dumps(result))
        return
    keys = list(next(iter(result["methods"].values())))
    print(f"| method | {' | '.join(keys)} |\n|" + " --- |" * (len(keys) + 1))
    for name, row in result["methods"].items():
        print(f"| {name} | " + " | ".join(f"{row[key]:.3g}" for key in keys) + " |")
    print({key: value for key, value in result.items() if key != "methods"})


if __name__ == "__main__":
    main()
