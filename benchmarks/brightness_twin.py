"""L-band brightness temperature into soil water and soil temperature: a twin.

    python benchmarks/brightness_twin.py [MODEL] [--columns 12] [--days 60] [--out DIR]

Truth is ECLand at columns of `ecland_test.nc` that no training saw and whose ground neither freezes
nor is under snow in that time. Its own states give brightness temperatures of both polarisations at
40 degrees by the package's tau-omega operator; noise of 1.3 K is added, which is what SMAP's
radiometer must not exceed and does not (Piepmeier et al. 2017, IEEE Trans. Geosci. Remote Sens. 55,
1853). They are assimilated by the same operator every 3 days, so that its own error, the larger
part with real data, is left out: this shows what the chain can do at best. The model is given rain
times a lognormal error (standard deviation 0.3) and a first guess wrong by 0.06 m3 m-3 (one error
for the profile) and by 3 K in the first two layers. R is the noise alone. Runs: soil water and
temperature in the control vector; the same with R of 2.7 K, which is what Desroziers' diagnostic of
a first trial asked for (the emulator's own error against ECLand is no noise of the radiometer);
soil water alone; and, for what brightness is worth, soil moisture with an error of 0.04 m3 m-3 at
the same times. Prints a table and JSON.
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
from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.models.store import load_model
from hybrid_land.simulation import simulate
from hybrid_land.variables import SNOW_PRESENT, SOIL_WATER

ROOT = Path(__file__).resolve().parents[1]
ROOT_ZONE = "root_zone_soil_moisture"
TB = ("brightness_temperature_h", "brightness_temperature_v")
NOISE, RAIN, WRONG_WATER, WRONG_HEAT = 1.3, 0.3, 0.06, 3.0
DIAGNOSED = 2.7  # K
WINDOW_DAYS, EVERY_DAYS, THAWED = 20, 3, 275.16
_HEAT = ("stl1", "stl2")
_ERROR = dict(zip(SOIL_WATER, (0.03, 0.025, 0.02, 0.015), strict=True)) | {"stl1": 2.0, "stl2": 1.5}
RUNS: dict[str, dict[str, Any]] = {
    "brightness": {"errors": dict.fromkeys(TB, NOISE), "control": (*SOIL_WATER, *_HEAT)},
    "brightness, R of 2.7 K": {
        "errors": dict.fromkeys(TB, NOISE),
        "stated": DIAGNOSED,
        "control": (*SOIL_WATER, *_HEAT),
    },
    "brightness, soil water alone": {
        "errors": dict.fromkeys(TB, NOISE),
        "control": SOIL_WATER,
    },
    "soil moisture, 0.04 m3 m-3": {"errors": {"swvl1": 0.04}, "control": SOIL_WATER},
}


def problem(folder: Path, columns: int, days: int) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Truth, what the model is given, and the first guess."""
    whole = load(folder / "ecland_test.nc").isel(time=slice(0, 4 * days)).load()
    warm = (whole["stl1"] > THAWED).all("time") & (whole["sd"] < SNOW_PRESENT).all("time")
    chosen = np.flatnonzero(warm.to_numpy())[:columns]
    truth = whole.isel(column=chosen)
    generator = np.random.default_rng(4)
    spread = np.sqrt(np.log1p(RAIN**2))
    factor = np.exp(spread * generator.standard_normal(truth["met_rainf"].shape) - spread**2 / 2)
    given = truth.assign(met_rainf=truth["met_rainf"] * factor.astype(np.float32))
    given["met_rainf"].attrs = truth["met_rainf"].attrs
    guess = truth.isel(time=0, drop=True)
    guess = guess[[name for name in guess.data_vars if "column" in guess[name].dims]].copy()
    most = truth["clim_theta_max"].to_numpy()
    wrong = WRONG_WATER * generator.standard_normal(len(chosen))
    for name in SOIL_WATER:
        moved = np.clip(guess[name].to_numpy() + wrong, 0.01, most - 0.005)
        guess[name] = ("column", moved.astype(np.float32))
    warmer = WRONG_HEAT * generator.standard_normal(len(chosen))
    for name in _HEAT:
        guess[name] = ("column", (guess[name].to_numpy() + warmer).astype(np.float32))
    series = {n: jnp.asarray(truth[n].transpose("time", "column").to_numpy()) for n in SOIL_WATER}
    root = np.asarray(root_zone_soil_moisture(series))
    return truth.assign({ROOT_ZONE: (("time", "column"), root)}), given, guess


def errors_of(run: xr.Dataset, truth: xr.Dataset, suffix: str = "") -> dict[str, float]:
    """RMSE of soil water and temperature, over all times and at the first record."""
    found = {}
    for name in (*SOIL_WATER[:3], ROOT_ZONE, *_HEAT):
        if f"{name}{suffix}" in run:
            error = (run[f"{name}{suffix}"] - truth[name]).transpose("time", "column").to_numpy()
            found[name] = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
            found[f"{name} at the start"] = float(np.sqrt(np.mean(error[0].astype(float) ** 2)))
    return found


def main() -> None:
    """Parse the command line, run and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    truth, given, guess = problem(home, options.columns, options.days)
    model = load_model(options.model)
    free = simulate(model, given, initial=guess)
    series = {n: jnp.asarray(free[n].to_numpy()) for n in SOIL_WATER}
    free[ROOT_ZONE] = (("time", "column"), np.asarray(root_zone_soil_moisture(series)))
    result: dict[str, Any] = {"open loop": errors_of(free, truth)}
    print(json.dumps(result), file=sys.stderr, flush=True)
    for name, run in RUNS.items():
        begin = time.monotonic()
        made = make_observations(truth, errors=run["errors"], every=4 * EVERY_DAYS, seed=1)
        if "stated" in run:
            made = made.assign({f"{key}_error": ((), run["stated"]) for key in run["errors"]})
        analysis = assimilate(
            model,
            given,
            read_observations(made, given),
            first_guess=guess,
            method="4dvar",
            window_days=float(WINDOW_DAYS),
            options=Options(
                control=run["control"], background_error={n: _ERROR[n] for n in run["control"]}
            ),
        )
        row: dict[str, Any] = errors_of(analysis, truth)
        for which in ("swvl1", ROOT_ZONE, "stl1"):
            if f"{which}_analysis_error" in analysis:
                covered = coverage(analysis, truth, which)
                row[f"{which} covered"] = [round(share, 3) for share in covered.values()]
        row["chi_squared"] = chi_squared(analysis)["ratio"]
        row["observation_factor"] = {
            key: desroziers(analysis, key)["observation_factor"] for key in run["errors"]
        }
        row["not_converged"] = analysis.attrs["not_converged"]
        row["seconds"] = round(time.monotonic() - begin, 1)
        result[name] = row
        print(json.dumps({name: row}), file=sys.stderr, flush=True)
    keys = (*SOIL_WATER[:3], ROOT_ZONE, *_HEAT)
    heads = [*keys, *(f"{name} at the start" for name in ("swvl1", ROOT_ZONE, *_HEAT))]
    lines = ["| run | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for name, row in result.items():
        cells = [f"{row[key]:.4g}" if key in row else "" for key in heads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join([f"{truth.sizes['column']} columns, {options.days} days", "", *lines])
    print(text)
    print(json.dumps(result, indent=1))
    if options.out is not None:
        folder = make_folder(options.out)
        with atomic_path(folder / "brightness_twin.md") as path:
            path.write_text(text + "\n", encoding="utf-8")
        with atomic_path(folder / "brightness_twin.json") as path:
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
