"""Simulation-based calibration of the methods of calibration, on the emulator.

    python benchmarks/calibration_sbc.py [--methods nuts,laplace] [--parameters theta_cap]
        [--trials 256] [--days 182] [--model small] [--options JSON] [--out DIR]

Columns are those of `ecland_train_wide_0.nc`, each one experiment (Talts et al. 2018): parameters
from the prior, swvl1 every 3 days from the emulator with them, with an error of 0.02 m3 m-3 and
the emulator's own as the likelihood has it; then the posterior by each method, all experiments in
one call. Right posteriors have uniform ranks of the truth (chi-squared and Kolmogorov p-values,
and whether the ECDF keeps within the simultaneous 95% band), of the log-likelihood too, and TARP's
coverage. Prints a line an outcome and JSON; figures and draws go to `--out`.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from assimilation import make_observations, read_observations
from calibration.checks.coverage import coverage, expected_coverage
from calibration.checks.plots import expected_coverage_figure, ranks_figure
from calibration.checks.ranks import ranks
from calibration.checks.trials import Trials, run_trials
from calibration.covariance import Errors
from calibration.experiment import land_problem
from calibration.methods import METHODS
from calibration.problem import Problem
from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.devices import use_cores
from hybrid_land.figures import paper_style, save_figure
from hybrid_land.models.store import load_model

_FILE = "ecland_train_wide_0.nc"
_ERROR, _EVERY = 0.02, 12  # m3 m-3; records: three days
_OPTIONS: dict[str, dict[str, Any]] = {"nuts": {"warmup": 20, "draws": 50, "max_tree_depth": 1}}


def problem_of(
    folder: Path, *, model: str, parameters: list[str], days: int, columns: int
) -> Problem:
    """The problem whose observations are to be simulated: only their places and errors count."""
    whole = load(folder / _FILE)
    data: xr.Dataset = whole.isel(
        time=slice(0, 4 * days), column=slice(0, min(columns, whole.sizes["column"]))
    ).load()
    seen = make_observations(data, errors={"swvl1": _ERROR}, every=_EVERY, first=_EVERY, seed=0)
    emulator = load_model(model)
    errors = Errors({}, {}, dict(getattr(emulator, "expected_error", ())))
    observations = read_observations(seen, data)
    return land_problem(emulator, data, observations, parameters=parameters, errors=errors)


def outcome(trials: Trials, out: Path | None, name: str) -> dict[str, Any]:
    """Tests, words and figures of a method's experiments."""
    ranked, words = ranks(trials)
    covered, covered_words = coverage(trials)
    regions, region_words = expected_coverage(trials)
    print(f"{name}\n  {words}\n  {covered_words}\n  {region_words}", flush=True)
    if out is not None:
        with paper_style():
            save_figure(ranks_figure(ranked), out / f"{name}_ranks.png")
            save_figure(expected_coverage_figure(regions), out / f"{name}_tarp.png")
        with atomic_path(out / f"{name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, truth=trials.truth, draws=trials.draws)
    return {
        "chi_squared": dict(
            zip(trials.names, ranked["chi_squared"].to_numpy().tolist(), strict=True)
        ),
        "kolmogorov": dict(
            zip(trials.names, ranked["kolmogorov"].to_numpy().tolist(), strict=True)
        ),
        "inside": dict(zip(trials.names, ranked["inside"].to_numpy().tolist(), strict=True)),
        "coverage_90": dict(
            zip(
                trials.names,
                covered["coverage"].sel(level=0.9).to_numpy().tolist(),
                strict=False,
            )
        ),
        "tarp": regions.attrs["kolmogorov"],
        "tarp_inside": bool(regions.attrs["inside"]),
    }


def main() -> None:
    """Parse the command line, run every method and print."""
    root = Path(__file__).resolve().parents[1]
    home = Path(os.environ.get("HYBRID_LAND_DATA", root.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="nuts")
    parser.add_argument("--parameters", default="theta_cap")
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--days", type=int, default=182)
    parser.add_argument("--model", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    use_cores()
    parameters = given.parameters.split(",")
    problem = problem_of(
        home, model=given.model, parameters=parameters, days=given.days, columns=given.trials
    )
    if given.out is not None:
        make_folder(given.out)
    results = {}
    for method in given.methods.split(","):
        options = _OPTIONS.get(method, {}) | given.options.get(method, {})
        begun = time.perf_counter()

        def run(problem: Problem, name: str = method, chosen: Any = options, **given: Any) -> Any:
            return METHODS[name](problem, **given, **chosen)

        trials = run_trials(problem, run, key=jax.random.key(given.seed), trials=given.trials)
        seconds = time.perf_counter() - begun
        name = f"{method}_{'_'.join(parameters)}"
        results[name] = {"seconds": round(seconds, 1)} | outcome(trials, given.out, name)
    print(json.dumps(vars(given) | {"out": str(given.out), "results": results}))


if __name__ == "__main__":
    main()
