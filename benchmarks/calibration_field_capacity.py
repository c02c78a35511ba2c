"""Field capacity found again from ECLand's own soil moisture, by NUTS on the emulator.

    python benchmarks/calibration_field_capacity.py [MODEL] --observed swvl1|swvl1,slhf
        [--method nuts|grid] [--draws 200] [--groups 4] [--data train|withheld] [--factor 1]
        [--structure column|pooled|hierarchical] [--twin] [--again FILE --longer 3] [--out DIR]

Truth: the 24 places times 9 values of theta_cap of `ecland_theta_cap.nc`, first year. Observed
every 3 days: swvl1 of ECLand plus noise of 0.02 m3 m-3; and, with slhf, the mean latent heat flux
of the 6 hours every 3.25 days (so that all hours of the day come round) plus noise of 15 W m-2. The
first state is ECLand's own. The model's error is that of its validation by lead and lag, and of
its effective theta_cap about the true one (`errors.nc`, `benchmarks/parameter_error.py`); a factor
other than 1 is on the former alone, 0 takes both away. `--data withheld`: the 80 columns withheld
from training, of the wide files, each place with its own theta_cap.

Chains are those of `calibration.nuts` for one parameter, one leapfrog step a transition. Columns go
through in random order in groups of 54, each of which is kept in `--out`, so that a killed run goes
on (with other `--draws`, if they are given) and a part of the groups is a fair sample of all.
`--again`: the JSON of such a run; only its columns with an R-hat of 1.01 or more are drawn anew, by
chains that are made longer until they agree, and take the place of what they had.

With `--structure pooled` or `hierarchical` the 24 places of each of the nine values are calibrated
together (`--method grid`, by `calibration.shared_quadrature`): a transfer function from theta_pwp
and theta_sat to theta_cap, without or with an effect of each place.

Then the value goes back: a free run of both years from the first state with the mean of the
posterior of the effective value,
the default (the middle of the nine values, which is ECLand's for that place) and the true value,
scored against ECLand in the second year.

Goals: error of the posterior mean below 10% of the range of the place's nine values in 90% of the
columns where the data are informative (posterior standard deviation below half the prior's); 90%
intervals that cover 85 to 95%; R-hat below 1.01; no divergence.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import arviz as az
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array
from scipy.stats import norm
from scores.probability import crps_for_ensemble

from assimilation import make_observations, read_observations
from calibration.covariance import Errors
from calibration.effective import true_values
from calibration.experiment import land_problem
from calibration.hierarchy import share
from calibration.nuts import AGREED, nuts
from calibration.priors import field_capacity_range
from calibration.problem import Problem, chosen_columns, with_observations
from calibration.quadrature import grid
from calibration.shared_quadrature import shared_grid
from hybrid_land.any_model import own_errors
from hybrid_land.columns import parameters_from
from hybrid_land.data import flatten_members, load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.devices import use_cores
from hybrid_land.interface import Model
from hybrid_land.models.store import describe_model, load_model
from hybrid_land.simulation import simulate
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split
from hybrid_land.variables import SOIL_WATER

ROOT = Path(__file__).resolve().parents[1]
ERROR = {"swvl1": 0.02, "slhf": 15.0}
EVERY = {"swvl1": 12, "slhf": 13}  # records
ENDS = 0.02  # of the prior, on either side
YEAR = 1460
GROUP = 54
COVARIATES = ("theta_pwp", "theta_sat")  # of the transfer function
FILES = {
    "test": ("ecland_theta_cap.nc",),
    "train": ("ecland_train_theta_cap.nc",),
    "withheld": tuple(f"ecland_train_wide_{k}.nc" for k in range(4)),
}


def truth(folder: Path, which: str, config: TrainingConfig) -> xr.Dataset:
    """ECLand's runs with dims `(time, column)`, coordinates `place` and `value` on column."""
    files = [folder / name for name in FILES[which]]
    if which == "test":
        data = flatten_members(open_netcdf(files[0]).load())
        places = len(np.unique(data["base_column"]))
        data = data.drop_vars(["column", "member", "base_column"], errors="ignore")
    elif which == "train":
        data = load(files[0]).load()
        places = data.sizes["column"] // 3
        data = data.drop_vars("column", errors="ignore")
    else:  # each place with its own value of theta_cap and another year
        parts = [split(load(path), config)[1].load() for path in files]
        parts = [part.isel(time=slice(0, YEAR)) for part in parts]
        time = parts[0]["time"]
        data = xr.concat([part.assign_coords(time=time) for part in parts], "column")
        data = data.drop_vars("column", errors="ignore")
        places = data.sizes["column"]
    number = np.arange(data.sizes["column"])
    value = data["clim_theta_cap"].to_numpy().reshape(-1, places)
    data = data.assign_coords(
        place=("column", number % places),
        value=("column", number // places),
        span=("column", np.where(len(value) > 1, np.ptp(value, axis=0), np.nan)[number % places]),
        default=("column", value[len(value) // 2][number % places]),
    )
    return data.isel(column=np.random.default_rng(1).permutation(number))


def problem_for(
    model: Model, name: str, data: xr.Dataset, observed: list[str], factor: float
) -> Problem:
    """The inverse problem of the first year, with a factor on the model's own error."""
    first = data.isel(time=slice(0, YEAR))
    tables = [
        make_observations(first, errors={key: ERROR[key]}, every=EVERY[key], seed=seed)
        for seed, key in enumerate(ERROR)
        if key in observed
    ]
    seen = read_observations(xr.merge(tables, join="outer"), first)
    errors = Errors()
    if factor > 0.0:
        errors = own_errors(model, name, factor=factor)
    return land_problem(model, first, seen, parameters=("theta_cap",), errors=errors)


def twin(problem: Problem, data: xr.Dataset) -> Problem:
    """The same with the emulator in ECLand's place: what these data would say of a right model."""
    low, high = map(np.asarray, field_capacity_range(parameters_from(data)))
    share = (data["clim_theta_cap"].to_numpy() - low) / (high - low)
    z = norm.ppf(np.clip(share, 1e-3, 1.0 - 1e-3))[None, None]
    noise = np.random.default_rng(2).standard_normal(problem.observed.shape)
    return with_observations(problem, problem.evaluate(z.astype(np.float32))[0] + noise)


def together(
    problem: Problem,
    *,
    values: int,
    key: Array,
    pooled: bool,
    draws: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws for columns that share a transfer function with those of the same value."""
    found, effective, statistics = [], [], []
    for number, rows in enumerate(np.arange(problem.count).reshape(values, -1)):
        some = chosen_columns(problem, rows)
        covariates = {name: np.asarray(some.columns[0][name]) for name in COVARIATES}
        shared = share(some, covariates, pooled=pooled)
        z, said = shared_grid(shared, key=jax.random.fold_in(key, number), draws=draws)
        own = shared.by_column(z.reshape(-1, *z.shape[2:]))
        found.append(own.reshape(*z.shape[:2], 1, len(rows)))
        effective.append(said["effective"])
        each = np.moveaxis(z[..., 0], -1, 0)
        common = each if pooled else each[: -len(rows)]
        statistics.append(
            {
                "common_rhat": max(float(az.rhat(series)) for series in common),
                "common_diverging": int(said["diverging"].sum()),
            }
        )
        progress(number + 1, values)
    whole = {name: np.array([row[name] for row in statistics]) for name in statistics[0]}
    return np.concatenate(effective, axis=-1), whole | {"true": np.concatenate(found, axis=-1)}


def drawn(
    problem: Problem, run: Callable[..., Any], *, folder: Path, label: str, group: int = GROUP
) -> list[dict[str, np.ndarray]]:
    """A method on all columns, group after group; what a killed run has done is read again."""
    pieces = []
    for begin in range(0, problem.count, group):
        path = folder / f"{label}_{begin}.npz"
        if not path.exists():
            some = chosen_columns(problem, np.arange(begin, min(begin + group, problem.count)))
            start = time.monotonic()
            z, statistics = run(
                some,
                key=jax.random.key(begin),
                progress=lambda done, total, at=begin: print(
                    f"columns from {at}: {done} of {total}, load {os.getloadavg()[0]:.1f}",
                    file=sys.stderr,
                    flush=True,
                ),
            )
            spent = np.asarray(time.monotonic() - start)
            with atomic_path(path) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, z=z, spent=spent, **statistics)
        with np.load(path) as stored:
            pieces.append({key: stored[key] for key in stored.files})
    return pieces


def by_column(
    problem: Problem, pieces: list[dict[str, np.ndarray]], actual: np.ndarray
) -> dict[str, np.ndarray]:
    """What the draws say of each column, `[column]`, and what that is worth."""
    rows: dict[str, list[np.ndarray]] = {}
    begin = 0
    for piece in pieces:
        z = piece["z"]
        chains, draws, _, count = z.shape
        some = chosen_columns(problem, np.arange(begin, begin + count))
        begin += count
        effective = z.reshape(chains * draws, 1, count)
        true = piece.get("true", np.zeros(0)).reshape(-1, 1, count)
        if not true.size:
            true = effective
            if some.spread is not None:
                true = true_values(effective, some.spread, key=jax.random.key(begin))
        flat = some.parameters(true)["theta_cap"]
        low, high = np.quantile(flat, [0.05, 0.95], axis=0)
        each = np.moveaxis(z[:, :, 0, :], -1, 0)
        densest = np.array([az.hdi(series, hdi_prob=0.9) for series in flat.T])
        found = {
            "mean": flat.mean(axis=0),
            "effective_mean": some.parameters(effective)["theta_cap"].mean(axis=0),
            "sd": flat.std(axis=0),
            "crps": _crps(flat, actual[begin - count : begin]),
            "low": low,
            "high": high,
            "densest_low": densest[:, 0],
            "densest_high": densest[:, 1],
            "rhat": np.array([float(az.rhat(column)) for column in each]),
            "ess": np.array([float(az.ess(column)) for column in each]),
            "draws": np.full(count, chains * draws),
            "diverging": piece.get("diverging", np.zeros((1, 1, count))).sum(axis=(0, 1)),
        }
        for key, values in found.items():
            rows.setdefault(key, []).append(values)
    columns = {key: np.concatenate(values) for key, values in rows.items()}
    prior_z = np.random.default_rng(0).standard_normal((2000, 1, problem.count))
    prior = problem.parameters(prior_z)["theta_cap"]
    return columns | {"prior_mean": prior.mean(axis=0), "prior_sd": prior.std(axis=0)}


def _crps(drawn: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of some 800 of the draws `[draw, column]`, m3 m-3."""
    some = drawn[:: max(1, len(drawn) // 800)]
    return crps_for_ensemble(
        xr.DataArray(some, dims=("draw", "column")),
        xr.DataArray(actual, dims="column"),
        "draw",
        preserve_dims="column",
    ).to_numpy()


def scores(columns: dict[str, np.ndarray], data: xr.Dataset) -> dict[str, Any]:
    """What the posterior is worth against the true values."""
    actual = np.asarray(parameters_from(data)["theta_cap"], np.float64)
    span = data["span"].to_numpy()
    error = columns["mean"] - actual
    share = np.abs(error) / span
    informative = columns["sd"] < 0.5 * columns["prior_sd"]
    mixed = columns["rhat"] < 1.05
    inside = (columns["low"] <= actual) & (actual <= columns["high"])
    densest = (columns["densest_low"] <= actual) & (actual <= columns["densest_high"])
    lowest, highest = map(np.asarray, field_capacity_range(parameters_from(data)))
    inner = np.abs((actual - lowest) / (highest - lowest) - 0.5) < 0.5 - ENDS

    def of(where: np.ndarray) -> dict[str, float]:
        if not where.any():
            return {"columns": 0}
        return {
            "columns": int(where.sum()),
            "error_below_10_percent": float((share[where] < 0.1).mean()),
            "median_error_share": float(np.median(share[where])),
            "rmse": float(np.sqrt(np.mean(error[where] ** 2))),
            "crps": float(columns["crps"][where].mean()),
            "stated_sd": float(np.sqrt(np.mean(columns["sd"][where] ** 2))),
            "coverage_90": float(inside[where].mean()),
            "coverage_of_densest_90": float(densest[where].mean()),
        }

    return {
        "all": of(np.ones(len(actual), bool)),
        "mixed": of(mixed),
        "informative": of(informative),
        "informative_and_mixed": of(informative & mixed),
        "not_informative": of(~informative),
        # Of which a central interval can tell; at an end of the prior none can.
        "inner": of(inner),
        "inner_informative": of(inner & informative),
        # Where the posterior itself promises the goal: 1.645 standard deviations are 10%.
        "promised": of(1.645 * columns["sd"] / span < 0.1),
        "prior_rmse": float(np.sqrt(np.mean((columns["prior_mean"] - actual) ** 2))),
        "rmse_of_the_default": float(np.sqrt(np.mean((data["default"] - actual) ** 2))),
        "convergence": {
            f"{count} draws": {
                "columns": int(here.sum()),
                "median_rhat": float(np.median(columns["rhat"][here])),
                "rhat_below_1.01": float((columns["rhat"][here] < 1.01).mean()),
                "rhat_above_1.05": float((columns["rhat"][here] > 1.05).mean()),
                "median_ess": float(np.median(columns["ess"][here])),
                "divergences": int(columns["diverging"][here].sum()),
                "columns_with_divergences": int((columns["diverging"][here] > 0).sum()),
            }
            for count in np.unique(columns["draws"])
            for here in [columns["draws"] == count]
        },
        "places_not_mixed": {
            int(place): int(count)
            for place, count in zip(
                *np.unique(data["place"].to_numpy()[~mixed], return_counts=True), strict=True
            )
        },
    }


def second_year(model: Model, data: xr.Dataset, mean: np.ndarray) -> dict[str, dict[str, float]]:
    """RMSE against ECLand in the second year of free runs with three values of theta_cap.

    The estimated one is the mean of the effective values, with which the model does best.
    """
    actual, default = data["clim_theta_cap"].to_numpy(), data["default"].to_numpy()
    away = actual != default
    result: dict[str, dict[str, float]] = {}
    for label, value in (("default", default), ("estimated", mean), ("true", actual)):
        changed = data.assign(clim_theta_cap=("column", value.astype(np.float32)))
        run = simulate(model, changed)
        row = {}
        for name in (*SOIL_WATER[:3], "slhf"):
            error = (run[name] - data[name]).transpose("time", "column").to_numpy()[YEAR:]
            square = np.nanmean(error.astype(np.float64) ** 2, axis=0)
            row[name] = float(np.sqrt(square.mean()))
            row[f"{name}, not at the default"] = float(np.sqrt(square[away].mean()))
            row[f"{name} by column"] = np.sqrt(square)  # type: ignore[assignment]
        result[label] = row
    for name in (*SOIL_WATER[:3], "slhf"):
        series = [result[label].pop(f"{name} by column") for label in list(result)]
        better = np.asarray(series[1])[away] < np.asarray(series[0])[away]
        result["estimated"][f"{name}, share of columns better than default"] = float(better.mean())
    return result


def main() -> None:
    """Parse the command line, calibrate, score and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--observed", default="swvl1")
    parser.add_argument("--method", choices=("nuts", "grid"), default="nuts")
    parser.add_argument(
        "--structure", choices=("column", "pooled", "hierarchical"), default="column"
    )
    parser.add_argument("--data", choices=sorted(FILES), default="test")
    parser.add_argument("--groups", type=int, default=None, help="stop after so many")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--factor", type=float, default=1.0, help="0: the model is right")
    parser.add_argument("--twin", action="store_true", help="observe the emulator instead")
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--longer", type=int, default=0, help="doublings of chains that disagree")
    parser.add_argument("--again", type=Path, default=None, help="JSON of a run to mend")
    parser.add_argument("--out", type=Path, default=Path("calibration-field-capacity"))
    options = parser.parse_args()
    if options.structure != "column" and options.groups is not None:
        parser.error("--groups are of columns that share nothing; leave it out")
    if options.structure != "column" and options.method != "grid":
        parser.error("what columns share is found by --method grid; give it")
    if options.again is not None and (options.method != "nuts" or not options.longer):
        parser.error("--again is of chains that are made longer; give --method nuts and --longer")
    use_cores()
    folder = make_folder(options.out)
    observed = options.observed.split(",")
    model = load_model(options.model)
    most = None if options.groups is None else options.groups * GROUP
    config = TrainingConfig.model_validate(describe_model(options.model).get("config", {}))
    data = truth(home, options.data, config)
    # All columns are observed, so that a column's noise does not depend on how many are used.
    problem = problem_for(model, options.model, data, observed, options.factor)
    if options.twin:
        problem = twin(problem, data)
    order, group = np.arange(data.sizes["column"])[:most], GROUP
    if options.structure != "column":
        order = np.argsort(data["value"].to_numpy(), kind="stable")
        group = len(order)
    data, problem = data.isel(column=order), chosen_columns(problem, order)
    label = "_".join([options.data, options.model, *observed, options.method])
    if options.factor != 1.0:
        label += f"_factor{options.factor:g}"
    if options.twin:
        label += "_twin"
    run = partial(nuts, draws=options.draws, warmup=options.warmup, longer=options.longer)
    if options.method == "grid":
        run = partial(grid, draws=options.draws)
    if options.structure != "column":
        values = len(np.unique(data["value"]))
        pooled = options.structure == "pooled"
        run = partial(together, values=values, pooled=pooled, draws=options.draws)
        label += f"_{options.structure}"
    actual = data["clim_theta_cap"].to_numpy()
    if options.again is None:
        pieces = drawn(problem, run, folder=folder, label=label, group=group)
        columns = by_column(problem, pieces, actual)
    else:
        label += "_again"
        known = json.loads(options.again.read_text())["by_column"]
        columns = {name: np.asarray(values) for name, values in known.items()}
        apart = np.flatnonzero(columns["rhat"] >= AGREED)
        some = chosen_columns(problem, apart)
        pieces = drawn(some, run, folder=folder, label=label)
        for name, values in by_column(some, pieces, actual[apart]).items():
            columns[name][apart] = values
    found = scores(columns, data) | {"observed": observed}
    found["seconds"] = sum(float(piece["spent"]) for piece in pieces)
    for name in ("common_rhat", "common_diverging"):
        if name in pieces[0]:
            found[name] = pieces[0][name].tolist()
    if data.sizes["time"] > YEAR:
        found["second_year"] = second_year(model, data, columns["effective_mean"])
    with atomic_path(folder / f"{label}.json") as path:
        kept = {key: values.tolist() for key, values in columns.items()}
        path.write_text(json.dumps(found | {"by_column": kept}), encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
