"""Does the model answer to field capacity as ECLand does, and to other parameters?

    python benchmarks/field_capacity.py [MODEL] [--trees TREES] [--spin-up 3] [--out DIR] [--json]
    python benchmarks/field_capacity.py [MODEL] --causes [--out DIR] [--json]
    python benchmarks/field_capacity.py [MODEL] --partial [--out DIR] [--json]

`ecland_theta_cap.nc`: ECLand at 24 places with nine values of theta_cap each, 2 years, everything
else the same. The model runs from each run's own first state. Never trained on and nothing tuned
on it. Goals: slope within 10% of ECLand's, correlation over the nine values at least 0.95, the
sign right everywhere. To check the reading: per unit scale of theta_cap ECLand's latent heat flux
answers with 4.2 W m-2 (less evaporation; 4.6 in the first year), swvl3 with 0.041 m3 m-3, skin
temperature with 0.44 K. As each run starts from what ECLand's own spin-up with its theta_cap left,
holding the first state gives the slope of soil water within 12% and its sign at 96% of places;
`--spin-up N` adds runs that are handed none of it.

`--causes` asks where the answer is wrong: the shares of places within 10 and 20% by the size of
ECLand's own answer, and the slopes of a run that is handed ECLand's soil water at the start of each
step (`given`). What is wrong in that one too is not inherited from the model's soil water.

`--partial` asks the same of theta_pwp, stomatal resistance, conductivity and cover, on the wide
training files, where no run has one of them changed alone: weaker evidence, see
`hybrid_land.sensitivity.partial_dependence`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data import flatten_members, load, save
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.figures import paper_style, save_figure
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State
from hybrid_land.models.store import load_model
from hybrid_land.models.trees import load_trees
from hybrid_land.rollout import rollout
from hybrid_land.sensitivity import field_capacity, partial_dependence
from hybrid_land.sensitivity.field_capacity_plots import curves_figure, slopes_figure
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_WATER, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
GIVEN = "given_"
STEPS_A_YEAR = 1461.0
WIDE = tuple(f"ecland_train_wide_{i}.nc" for i in range(4))


def say(sentence: str) -> None:
    """Progress, apart from the result."""
    print(sentence, file=sys.stderr, flush=True)


def against_ecland(
    models: dict[str, Model], data: Path, *, spin_up: int, out: Path | None
) -> tuple[dict[str, Any], str]:
    """The comparison on runs with theta_cap alone changed: numbers, and a table in words."""
    result = field_capacity.compare_field_capacity(
        models, open_netcdf(data).load(), spin_up=spin_up, report=say
    )
    found: dict[str, Any] = {"all_years": field_capacity.summary(result)}
    text = ["# All years\n", field_capacity.scoreboard(found["all_years"])]
    if result.sizes["year"] > 1:
        found["last_year"] = field_capacity.summary(result, year=-1)
        text += ["# The last year alone\n", field_capacity.scoreboard(found["last_year"])]
    if out is not None:
        folder = make_folder(out)
        save(result, folder / "field_capacity.nc")
        save(field_capacity.answers(result), folder / "field_capacity_places.nc")
        with atomic_path(folder / "field_capacity.md") as path:
            path.write_text("\n".join(text), encoding="utf-8")
        with paper_style():
            save_figure(curves_figure(result), folder / "field_capacity_curves.png")
            save_figure(slopes_figure(result), folder / "field_capacity_slopes.png")
    return found, "\n".join(text)


class GivenWater:
    """A model whose soil water at the start of each step comes with the forcing."""

    def __init__(self, model: Model) -> None:
        """Wrap a model; the rest of the state stays its own."""
        self.model, self.time_step = model, model.time_step
        self.prognostic, self.diagnostic = model.prognostic, model.diagnostic

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """The model's step from the given soil water."""
        own = state | {name: forcing[f"{GIVEN}{name}"] for name in SOIL_WATER}
        met = {name: x for name, x in forcing.items() if not name.startswith(GIVEN)}
        return self.model.step(parameters, own, met)


def causes(model: Model, data: Path, *, out: Path | None) -> tuple[dict[str, Any], str]:
    """Slopes by the size of ECLand's answer, free and with ECLand's soil water at each step."""
    runs = open_netcdf(data).load()
    flat = flatten_members(runs)
    say("a free run")
    free = simulate(model, flat)
    say("a run with ECLand's soil water at the start of each step")
    forcing = dict(forcing_from(flat))
    for name in SOIL_WATER:
        series = flat[name].transpose("time", "column").to_numpy()
        forcing[f"{GIVEN}{name}"] = jnp.asarray(series, jnp.float32)
    state = state_from(flat, variables=model.prognostic)
    given = jax.jit(lambda *columns: rollout(GivenWater(model), *columns))(
        parameters_from(flat), state, forcing
    )[1]
    lines = [
        "Places within 10% and within 20% of ECLand's answer: all, those where it exceeds the "
        "noise, those where it exceeds a tenth of the largest place's; r: range of the answer "
        "over theta_cap. Changes: places where the sign of ECLand's answer differs between years.",
        "",
        "| variable | run | slope | all | above noise | above a tenth | wrong sign, r | "
        "changes, r |",
        "|" + " --- |" * 8,
    ]
    rows: dict[str, Any] = {}
    for name in (*SOIL_WATER, "slhf", "sro", "ssro"):
        scale = STEPS_A_YEAR if VARIABLES[name].kind == "amount" else 1.0
        theirs = _answers(flat[name].to_numpy(), runs, scale=scale)
        found = {"free": free[name].to_numpy()}
        if name not in SOIL_WATER:
            found["given"] = np.asarray(given[name])
        for run, series in found.items():
            ours = _answers(series, runs, scale=scale)
            row = rows[f"{name} {run}"] = _shares(theirs, ours, runs, field_capacity.NOISE[name])
            shares = " | ".join(
                f"{100 * a:.0f}%, {100 * b:.0f}% of {n}" for a, b, n in row["within"].values()
            )
            listed = (", ".join(f"{r:.2g}" for r in row[key]) for key in ("wrong", "changes"))
            lines.append(
                f"| {name} | {run} | {row['slope']:.2f} | {shares} | {' | '.join(listed)} |"
            )
    text = "\n".join(lines) + "\n"
    if out is not None:
        with atomic_path(make_folder(out) / "field_capacity_causes.md") as path:
            path.write_text(text, encoding="utf-8")
    return {"causes": rows}, text


def _answers(series: np.ndarray, runs: xr.Dataset, *, scale: float) -> np.ndarray:
    """Means over each of two years less those over theta_cap, `[year, member, column]`."""
    shape = (runs.sizes["member"], runs.sizes["column"])
    halves = np.array_split(series.astype(np.float64), 2)
    means = scale * np.stack([half.mean(axis=0).reshape(shape) for half in halves])
    return means - means.mean(axis=1, keepdims=True)


def _shares(theirs: np.ndarray, ours: np.ndarray, runs: xr.Dataset, noise: float) -> dict[str, Any]:
    """Of one variable: slopes, shares of places by size of answer, and doubtful signs."""
    theta_cap = runs["theta_cap"].transpose("member", "column").to_numpy()
    x = theta_cap - theta_cap.mean(axis=0)
    truth, model = theirs.mean(axis=0), ours.mean(axis=0)
    own = (truth * model).sum(axis=0) / np.maximum((truth**2).sum(axis=0), 1e-30)
    size = np.ptp(truth, axis=0)
    miss = np.abs(own - 1.0)
    sign = np.sign((theirs * x).sum(axis=1))
    wrong = np.sign((model * x).sum(axis=0)) != np.sign((truth * x).sum(axis=0))
    within = {}
    for key, least in (("all", -1.0), ("noise", noise), ("tenth", 0.1 * float(size.max()))):
        among = miss[size > least]
        within[key] = [float((among <= g).mean()) for g in (0.1, 0.2)] + [len(among)]
    return {
        "slope": float((truth * model).sum() / (truth**2).sum()),
        "within": within,
        "wrong": size[wrong].tolist(),
        "changes": size[sign[0] != sign[1]].tolist(),
    }


def partial(model: Model, folder: Path, *, out: Path | None) -> tuple[dict[str, Any], str]:
    """The other parameters, by partial dependence and by regression between columns."""
    rows = partial_dependence.compare_partial_dependence(
        model, [load(folder / name) for name in WIDE], report=say
    )
    text = partial_dependence.table(rows)
    if out is not None:
        place = make_folder(out)
        with atomic_path(place / "partial_dependence.md") as path:
            path.write_text(text, encoding="utf-8")
        with paper_style():
            save_figure(partial_dependence.figure(rows), place / "partial_dependence.png")
    return {"partial_dependence": rows}, text


def main() -> None:
    """Parse the command line and print the result."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--data", type=Path, default=runs / "ecland_theta_cap.nc")
    parser.add_argument("--trees", type=Path, default=None)
    parser.add_argument("--spin-up", type=int, default=0)
    parser.add_argument("--causes", action="store_true")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begin = time.monotonic()
    model = load_model(options.model)
    if options.partial:
        found, text = partial(model, runs, out=options.out)
    elif options.causes:
        found, text = causes(model, options.data, out=options.out)
    else:
        models: dict[str, Model] = {"model": model}
        if options.trees is not None:
            models["xgboost"] = load_trees(options.trees)
        found, text = against_ecland(models, options.data, spin_up=options.spin_up, out=options.out)
    found |= {"model": Path(options.model).name, "seconds": round(time.monotonic() - begin, 1)}
    print(json.dumps(found, indent=1) if options.json else text)


if __name__ == "__main__":
    main()
