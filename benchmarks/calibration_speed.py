"""Speed of the methods of calibration: parameters of 256 columns from a year of soil moisture.

    python benchmarks/calibration_speed.py [--model small] [--each 64] [--methods nuts,metropolis]
        [--parameters theta_cap]

Columns are those of the four `ecland_train_wide` files, spread evenly; ECLand's swvl1 every 3 days
with an error of 0.02 m3 m-3 is observed, and theta_cap is estimated by each method from the same
observations (errors: observation's and model's own). The posterior is known: by method `grid`,
quadrature with the same model, 130 runs a column, and 3,267 with two parameters (`--parameters
theta_cap,theta_pwp`), 4,000 draws from equal shares. The method `grid` itself takes its default.

For each method: processor seconds of compilation, and wall and processor seconds of the run without
it; effective draws (ArviZ's bulk ESS of the parameter that has least, summed over columns) a
processor second; and errors of the posterior's mean and standard deviation, in exact standard
deviations (median and 90th percentile over columns and parameters).

Random-walk Metropolis runs in the same batch as NUTS. `chain a column` is NumPyro's own MCMC with
NUTS on one column and the gradient by reverse mode, as a user would write it, for `--alone` columns
whose mean stands for all.

Cost at equal accuracy: the mean of n independent draws is off by 1 / sqrt(n) standard deviations,
so a method whose error is e (root mean square over columns) does the work of 1 / e^2 of them,
which is its `worth` a column. Prints JSON.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

from assimilation import make_observations, read_observations
from calibration.covariance import Errors
from calibration.experiment import land_problem
from calibration.methods import METHODS
from calibration.problem import Problem, chosen_columns
from calibration.quadrature import grid
from hybrid_land.data import load
from hybrid_land.devices import use_cores
from hybrid_land.models.store import load_model

ROOT = Path(__file__).resolve().parents[1]
FILES = tuple(f"ecland_train_wide_{i}.nc" for i in range(4))
RECORDS, EVERY, ERROR = 1460, 12, 0.02
GRID, DRAWS = {1: 65, 2: 33}, 1000  # of the truth: points along an axis, draws of each chain
_SAID = (  # by methods of themselves
    *("n_steps", "acceptance_rate", "converged", "diverging", "stages", "steps"),
    *("surrogate_error", "plausible", "share_wave_1", "share_wave_3"),
)
_COMPILING = ("backend_compile_duration", "jaxpr_to_mlir_module_duration")
SETTINGS: dict[str, dict[str, Any]] = {
    "nuts": {"chains": 4, "warmup": 6, "draws": 44},
    "metropolis": {"chains": 4, "warmup": 30, "draws": 80},
    "laplace": {"starts": 2, "max_iterations": 10},
    "eki": {"chains": 1, "draws": 40},
    "smc": {"chains": 1, "draws": 64, "moves": 3},
    "svi": {"steps": 60, "particles": 4},
    "eks": {"chains": 1, "draws": 128, "members": 16, "warmup": 15},
    "grid": {},
    "bayesopt": {},
    "history": {},
}

SEVERAL: dict[str, dict[str, Any]] = {  # of several parameters: a step size is to be found
    "nuts": {"warmup": 40, "draws": 40, "max_tree_depth": 3},
    "metropolis": {"warmup": 60, "draws": 160},
}


def say(sentence: str) -> None:
    """Progress, apart from the result."""
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


def make_problem(model: Any, folder: Path, *, each: int, parameters: tuple[str, ...]) -> Problem:
    """`each` columns of every file, joined: they have the same records and the same errors."""
    errors = Errors({}, {}, dict(model.expected_error))
    parts = []
    for seed, name in enumerate(FILES):
        data = load(folder / name)
        at = np.linspace(0, data.sizes["column"] - 1, each).astype(int)
        data = data.isel(column=at, time=slice(0, RECORDS)).load()
        made = make_observations(data, errors={"swvl1": ERROR}, every=EVERY, seed=seed)
        seen = read_observations(made, data)
        parts.append(land_problem(model, data, seen, parameters=parameters, errors=errors))

    def join(*leaves: Any) -> Any:
        return jnp.concatenate(leaves, axis=-1)

    fields = ("columns", "observed", "present", "log_scale", "spread")
    joined = {k: jax.tree.map(join, *[getattr(part, k) for part in parts]) for k in fields}
    return replace(parts[0], **joined)


class Clock:
    """Wall and processor seconds of calls, those of compilation apart."""

    def __init__(self) -> None:
        """Listen to JAX's own account of compilation, and look at both clocks all the time."""
        self.looks = [(time.perf_counter(), time.process_time())]
        self.spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._add)
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(0.05)
            self.looks.append((time.perf_counter(), time.process_time()))

    def _add(self, event: str, duration_secs: float, **kwargs: str | int | float) -> None:
        if event.endswith(_COMPILING):
            end = time.perf_counter()
            self.spans.append((end - duration_secs, end))

    def timed(self, call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """A result, and the seconds it took."""
        wall, processor, before = time.perf_counter(), time.process_time(), len(self.spans)
        result = call()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        walls, processors = np.asarray(self.looks).T
        spans = np.asarray(self.spans[before:]).reshape(-1, 2)
        compiling = [
            float(np.diff(x, axis=1).sum()) for x in (spans, np.interp(spans, walls, processors))
        ]
        return result, {
            "compile": round(compiling[1], 1),
            "wall": round(wall - compiling[0], 1),
            "processor": round(processor - compiling[1], 1),
        }


def exact(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and standard deviations, `[parameter, column]`, by quadrature."""
    points = GRID[len(problem.names)]
    z, _ = grid(problem, key=jax.random.key(0), points=points, draws=DRAWS)
    values = physical(problem, z)
    return values.mean(axis=1), values.std(axis=1)


def physical(problem: Problem, z: np.ndarray) -> np.ndarray:
    """Parameters of draws `[chain, draw, parameter, column]`, as `[parameter, draw, column]`."""
    values = problem.parameters(z.reshape(-1, *z.shape[2:]))
    return np.stack([values[name].astype(np.float64) for name in problem.names])


def scored(
    problem: Problem, z: np.ndarray, truth: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, Any]:
    """Effective draws and R-hat of the worst parameter; errors in exact standard deviations."""
    chains, draws, size, count = z.shape
    values = physical(problem, z)
    each = values.reshape(size, chains, draws, count)
    ess = np.min([[float(az.ess(x[..., k])) for k in range(count)] for x in each], axis=0)
    found = {"ess_median": round(float(np.median(ess)), 1), "ess_sum": round(float(ess.sum()), 1)}
    if truth is not None:
        mean, spread = truth
        off = np.abs(values.mean(axis=1) - mean) / spread
        wide = np.abs(values.std(axis=1) / spread - 1.0)
        found |= {
            "mean_error": [round(float(np.quantile(off, q)), 3) for q in (0.5, 0.9)],
            "worth": round(float(1.0 / np.mean(off**2)), 1),
            "sd_error": [round(float(np.quantile(wide, q)), 3) for q in (0.5, 0.9)],
        }
    if chains > 1:
        rhat = np.max([[float(az.rhat(x[..., k])) for k in range(count)] for x in each], axis=0)
        found["rhat_90"] = round(float(np.quantile(rhat, 0.9)), 3)
    return found


def one_column(problem: Problem, k: int, clock: Clock) -> dict[str, Any]:
    """NumPyro's NUTS on a column alone, one chain."""
    own = chosen_columns(problem, np.asarray([k]))

    def model() -> None:
        z = jnp.asarray(numpyro.sample("z", dist.Normal(0.0, 1.0)))
        departures = own.observed - own.expected(z[None, None], own.columns)
        numpyro.factor("observations", -0.5 * jnp.sum(departures**2))

    sampler = MCMC(NUTS(model), num_warmup=50, num_samples=50, progress_bar=False)

    def sampled() -> None:
        sampler.run(jax.random.key(k), extra_fields=("num_steps",))
        jax.block_until_ready(sampler.get_samples())

    _, seconds = clock.timed(sampled)
    z = np.asarray(sampler.get_samples(group_by_chain=True)["z"])
    values = own.parameters(z.reshape(-1, 1, 1))["theta_cap"].reshape(z.shape)
    steps = float(np.mean(sampler.get_extra_fields()["num_steps"]))
    return {"ess": round(float(az.ess(values)), 1), **seconds, "n_steps": steps}


def main() -> None:
    """Parse the command line and print the result."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--data", type=Path, default=runs)
    parser.add_argument("--parameters", default="theta_cap")
    parser.add_argument("--each", type=int, default=64)
    parser.add_argument("--alone", type=int, default=3)
    parser.add_argument("--methods", default=",".join(SETTINGS))
    options = parser.parse_args()
    use_cores()
    model = load_model(options.model)
    names = tuple(options.parameters.split(","))
    if options.alone and len(names) > 1:
        parser.error("--alone is of one parameter; give --alone 0")
    problem = make_problem(model, options.data, each=options.each, parameters=names)
    say(f"{problem.count} columns, {int(problem.present.sum())} observations")
    clock = Clock()
    result: dict[str, Any] = {
        "model": options.model,
        "parameters": names,
        "columns": problem.count,
        "load": os.getloadavg(),
    }
    truth = None
    if len(names) in GRID:
        truth, seconds = clock.timed(lambda: exact(problem))
        count = (1 + len(names)) * GRID[len(names)] ** len(names)
        say(f"grid of {count} runs a column: {seconds}")
        result["truth"] = {"runs": count, **seconds}
        result["spread"] = [round(float(x), 4) for x in np.quantile(truth[1][0], (0.1, 0.5, 0.9))]
    for name in filter(None, options.methods.split(",")):
        run, settings = METHODS[name], SETTINGS[name]
        if len(names) > 1:
            settings = settings | SEVERAL.get(name, {})
        (z, statistics), both = clock.timed(
            lambda run=run, settings=settings: run(problem, key=jax.random.key(1), **settings)
        )
        row = {"settings": settings, **both, **scored(problem, z, truth)}
        row["ess_a_second"] = round(row["ess_sum"] / both["processor"], 2)
        for key in _SAID:
            if key in statistics:
                row[key] = round(float(np.mean(statistics[key])), 3)
        result[name] = row
        say(f"{name}: {json.dumps(row)}")
    if options.alone:
        chosen = np.linspace(0, problem.count - 1, options.alone).astype(int)
        rows = []
        for k in chosen:
            rows.append(one_column(problem, int(k), clock))
            say(f"column {k} alone: {json.dumps(rows[-1])}")
        result["chain_a_column"] = rows
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
