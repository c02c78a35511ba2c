"""Surface soil moisture into the root zone: every method against ECLand as the truth.

    python benchmarks/assimilation_twin.py [--columns 40] [--days 365] [--methods ...] [--out DIR]

Truth is ECLand at columns of `ecland_test.nc` that no training saw, in its first year. The model is
given rain times a lognormal error (mean 1, standard deviation 0.3, each step and column apart), a
first guess of soil water that is wrong by 0.06 m3 m-3, and surface soil moisture every 3 days with
an error of 0.04 m3 m-3 where the ground is neither frozen nor under snow. Root zone: 0 to 1 m.
`sekf` is ECMWF's simplified extended Kalman filter in windows of a day, the peer. Observations are
unbiased and B and R are told as they are. Goals: root-zone error 40% below the open loop's and
below the SEKF's; surface error below the observations'; the stated error covers the truth in 68
and 95% within 5 points. Prints a table and JSON.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from assimilation import Options, assimilate, make_observations, read_observations
from assimilation.diagnostics import chi_squared, coverage, desroziers
from assimilation.operators import root_zone_soil_moisture
from hybrid_land.columns import time_step_of
from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.models.store import load_model
from hybrid_land.variables import SOIL_WATER

ROOT = Path(__file__).resolve().parents[1]
ROOT_ZONE = "root_zone_soil_moisture"
_ERROR, _WRONG, _RAIN = 0.04, 0.06, 0.3
_EVERY_DAYS = 3
_CAPACITY = (*SOIL_WATER, "theta_cap")
# Windows of 20 days and B of the first guess, but for the peer, which has ECMWF's: a day, 0.01.
RUNS: dict[str, dict[str, Any]] = {
    "4dvar": {"method": "4dvar", "window_days": 20.0},
    "weak-4dvar": {"method": "weak-4dvar", "window_days": 20.0},
    "4dvar + theta_cap": {"method": "4dvar", "window_days": 20.0, "control": _CAPACITY},
    "4denvar": {"method": "4denvar", "window_days": 20.0},
    "sekf": {"method": "sekf", "window_days": 1.0},
}
_PEER_ERROR = dict.fromkeys(SOIL_WATER, 0.01)
_CYCLED_ERROR = dict(zip(SOIL_WATER, (0.03, 0.025, 0.02, 0.015), strict=True))


def problem(folder: Path, columns: int, days: int) -> tuple[xr.Dataset, ...]:
    """Truth, what the model is given, observations, first guess and five years of truth."""
    whole = load(folder / "ecland_test.nc").isel(column=slice(0, columns)).load()
    records = round(days * 86400.0 / time_step_of(whole))
    truth = whole.isel(time=slice(0, records))
    generator = np.random.default_rng(4)
    spread = np.sqrt(np.log1p(_RAIN**2))
    factor = np.exp(spread * generator.standard_normal(truth["met_rainf"].shape) - spread**2 / 2)
    given = truth.assign(met_rainf=truth["met_rainf"] * factor.astype(np.float32))
    given["met_rainf"].attrs = truth["met_rainf"].attrs
    every = round(_EVERY_DAYS * 86400.0 / time_step_of(whole))
    seen = make_observations(truth, errors={"swvl1": _ERROR}, every=every, seed=1)
    thawed = (truth["stl1"] > 274.16) & (truth["sd"] < 0.1)
    thawed = thawed.transpose("time", "column").isel(time=slice(0, None, every)).to_numpy()
    seen["swvl1"] = seen["swvl1"].where(thawed)
    first = truth.isel(time=0, drop=True)
    most = truth["clim_theta_max"].to_numpy()
    guess = first[[name for name in first.data_vars if "column" in first[name].dims]].copy()
    for name in SOIL_WATER:
        wrong = first[name] + _WRONG * generator.standard_normal(columns)
        guess[name] = ("column", np.clip(wrong.to_numpy(), 0.01, most - 0.005).astype(np.float32))
    return truth, given, seen, guess, whole


def scores(values: np.ndarray, truth: np.ndarray, normal: np.ndarray) -> dict[str, float]:
    """RMSE, unbiased RMSE and anomaly correlation, pooled and as means over columns."""
    error = values - truth
    bias = error.mean(axis=0, keepdims=True)
    a, b = values - normal, truth - normal
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    known = (b.std(axis=0) > 1e-4) & (size > 0)
    correlation = (a * b).sum(axis=0)[known] / size[known]
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "ubrmse": float(np.sqrt(((error - bias) ** 2).mean())),
        "acc": float(correlation.mean()),
    }


def main() -> None:
    """Parse the command line, run every method and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--methods", default=",".join(RUNS))
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    truth, given, seen, guess, whole = problem(home, options.columns, options.days)
    model = load_model(options.model)
    observations = read_observations(seen, given)
    series = {n: jnp.asarray(whole[n].transpose("time", "column").to_numpy()) for n in SOIL_WATER}
    whole_root = np.asarray(root_zone_soil_moisture(series), np.float64)
    normal = fit_climatology(whole_root, whole["time"].to_numpy()).at(truth["time"].to_numpy())
    actual = whole_root[: truth.sizes["time"]]
    truth = truth.assign({ROOT_ZONE: (("time", "column"), actual)})
    result: dict[str, Any] = {}
    for name in options.methods.split(","):
        chosen = dict(RUNS[name])
        peer = name == "sekf"
        begin = time.monotonic()
        analysis = assimilate(
            model,
            given,
            observations,
            first_guess=guess,
            method=chosen["method"],
            window_days=chosen["window_days"],
            options=Options(
                control=chosen.get("control", SOIL_WATER),
                background_error=_PEER_ERROR if peer else _CYCLED_ERROR,
            ),
        )
        spent = time.monotonic() - begin
        if "open loop" not in result:
            free = analysis[f"{ROOT_ZONE}_open_loop"].to_numpy().astype(np.float64)
            surface = analysis["swvl1_open_loop"] - truth["swvl1"]
            result["open loop"] = scores(free, actual, normal) | {
                "surface_rmse": float(np.sqrt((surface**2).mean()))
            }
        surface = analysis["swvl1"] - truth["swvl1"]
        covered = coverage(analysis, truth, ROOT_ZONE)
        result[name] = scores(analysis[ROOT_ZONE].to_numpy().astype(float), actual, normal) | {
            "surface_rmse": float(np.sqrt((surface**2).mean())),
            "covered_68": covered[0.68],
            "covered_95": covered[0.95],
            "chi_squared_ratio": chi_squared(analysis)["ratio"],
            "observation_factor": desroziers(analysis, "swvl1", error=_ERROR)["observation_factor"],
            "not_converged": analysis.attrs["not_converged"].count("column"),
            "seconds": round(spent, 1),
        }
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    keys = list(next(reversed(result.values())))
    lines = ["| run | " + " | ".join(keys) + " |", "| --- " * (len(keys) + 1) + "|"]
    for name, row in result.items():
        cells = [f"{row[key]:.3g}" if key in row else "" for key in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    print(json.dumps(result, indent=1))
    if options.out is not None:
        with atomic_path(make_folder(options.out) / "assimilation_twin.md") as path:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
