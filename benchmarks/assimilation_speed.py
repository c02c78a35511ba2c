"""How many columns a second 4D-Var analyses, against SciPy's L-BFGS-B column by column.

    python benchmarks/assimilation_speed.py [--model default] [--columns 10000] [--batch 96]

A window of 30 days (120 steps of 6 h); the control vector is soil water in four layers; surface
soil moisture is observed every 3 days with an error of 0.04 m3 m-3. Columns are those of
`ecland_test.nc` again and again, each with a truth and noise of its own (a draw from B, sd 0.06).
Ours: `small_hessian` on all columns in one compiled call, which takes those that still move in
rounds of a batch that fits the memory's cache. SciPy: the same cost
and its gradient (reverse mode, compiled once) of one column handed to `scipy.optimize.minimize`
with its L-BFGS-B, for a sample of columns. Both start at the background.
SciPy's time counts until its cost is first within 0.01 of our minimum (`until`), and until it stops
(`scipy`). 0.01 in J is a seventh of the analysis error's standard deviation. Compilation is timed
apart. Wall time, and processor time beside it, since others may use the machine.

Goals: 50 times SciPy's columns a second. Prints JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array

from assimilation.control import CONTROL, ControlVector
from assimilation.covariance import background_root
from assimilation.minimise import small_hessian
from assimilation.observations import Observations
from assimilation.variational import Problem
from assimilation.window import make_window_analysis
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data import load
from hybrid_land.models.store import load_model
from hybrid_land.tangents import in_turn

ROOT = Path(__file__).resolve().parents[1]
STEPS, EVERY = 120, 12
ERROR = 0.04  # m3 m-3
SAME = 0.01  # difference of J that counts as the same minimum
_TOLERANCE = 0.1  # of the minimiser, in units of the analysis error


class Case:
    """The problem of any columns of a data set, as arrays."""

    def __init__(self, model: Any, path: Path, begin: int) -> None:
        data = load(path).isel(time=slice(begin, begin + STEPS)).load()
        self.model, self.count = model, data.sizes["column"]
        self.parameters = parameters_from(data)
        self.state = state_from(data, variables=model.prognostic)
        self.forcing = forcing_from(data)
        self.root = background_root(CONTROL)

    def problem(self, data: Any, *, forward: bool = False) -> Problem:
        """From the arrays of some columns; for forward mode alone, whose tangents go in turn."""
        parameters, state, forcing, values, mask = data
        columns = values.shape[-1]
        return Problem(
            model=in_turn(self.model) if forward else self.model,
            parameters=parameters,
            background=state,
            forcing=forcing,
            observations=Observations(
                values={"swvl1": values},
                errors={"swvl1": jnp.full_like(values, ERROR)},
                mask={"swvl1": mask},
            ),
            root=jnp.repeat(self.root[..., None], columns, axis=2),
            control=ControlVector(start=CONTROL),
        )

    def arrays(self, first: int, columns: int, observe: Callable[..., Array]) -> Any:
        """Columns `first` and on, the file's again and again, with observations of a truth."""
        index = np.arange(first, first + columns) % self.count
        cut = partial(jax.tree.map, lambda leaf: leaf[..., index])
        mask = jnp.zeros((STEPS, columns)).at[EVERY // 2 :: EVERY].set(1.0)
        blank = (
            cut(self.parameters),
            cut(self.state),
            cut(self.forcing),
            jnp.zeros_like(mask),
            mask,
        )
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), first))
        v = jax.random.normal(keys[0], (len(CONTROL), columns))
        noise = ERROR * jax.random.normal(keys[1], mask.shape)
        return (*blank[:3], mask * (observe(blank, v) + noise), mask)


def timed(call: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """The result, and wall and processor seconds."""
    begin = np.array([time.perf_counter(), time.process_time()])
    result = jax.block_until_ready(call())
    return result, np.array([time.perf_counter(), time.process_time()]) - begin


def by_scipy(value_and_slope: Callable[..., Any], data: Any, goal: float) -> dict[str, Any]:
    """One column's minimum by SciPy and what it took, in wall and processor seconds."""
    begin = np.array([time.perf_counter(), time.process_time()])
    reached: list[np.ndarray] = []

    def evaluate(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_slope(jnp.asarray(v[:, None], jnp.float32), data)
        value = float(value)
        if value < goal + SAME and not reached:
            reached.append(np.array([time.perf_counter(), time.process_time()]) - begin)
        return value, np.asarray(slope, np.float64)[:, 0]

    start = np.zeros(len(CONTROL))
    found = scipy.optimize.minimize(evaluate, start, jac=True, method="L-BFGS-B")
    spent = np.array([time.perf_counter(), time.process_time()]) - begin
    return {
        "until": reached[0] if reached else np.full(2, np.nan),
        "scipy": spent,
        "cost": float(found.fun),
        "v": found.x,
        "evaluations": int(found.nfev),
    }


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--columns", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--begin", type=int, default=600, help="first record of the window")
    parser.add_argument("--whole", action="store_true", help="time `make_window_analysis` as well")
    options = parser.parse_args()
    default = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("HYBRID_LAND_DATA", default)) / "ecland"
    case = Case(load_model(options.model), folder / "ecland_test.nc", options.begin)

    observe = jax.jit(lambda data, v: case.problem(data).trajectory(v)[0]["swvl1"])
    cost = jax.jit(lambda data, v: case.problem(data).cost(v))

    @jax.jit
    def ours(data: Any) -> tuple[Array, Array, Array]:
        start = jnp.zeros((len(CONTROL), data[-1].shape[-1]))
        v, hessian, iterations = small_hessian(
            lambda v, data: case.problem(data, forward=True).residuals(v),
            start,
            data,
            max_iterations=12,
            tolerance=_TOLERANCE,
            batch=options.batch,
        )
        return v, jnp.linalg.inv(hessian), iterations

    @jax.jit
    def one_round(data: Any) -> Any:
        start = jnp.zeros((len(CONTROL), data[-1].shape[-1]))
        return small_hessian(
            lambda v, data: case.problem(data, forward=True).residuals(v),
            start,
            data,
            max_iterations=0,
        )

    result: dict[str, Any] = {"columns": options.columns, "batch": options.batch}
    everything = case.arrays(0, options.columns, observe)
    first = jax.tree.map(lambda leaf: leaf[..., : options.batch], everything)
    zero = jnp.zeros((len(CONTROL), options.batch))
    for run in (lambda: cost(first, zero), lambda: one_round(first)):
        jax.block_until_ready(run())
    rounds = [
        (timed(lambda: cost(first, zero))[1], timed(lambda: one_round(first))[1]) for _ in range(7)
    ]
    forward, sweep = np.median(np.array(rounds), axis=0)
    result["outer iteration over forward run, wall and processor"] = (sweep / forward).tolist()
    compiled, compile_time = timed(lambda: ours.lower(everything).compile())
    result["seconds of compilation"] = round(float(compile_time[0]), 1)
    (v, _, iterations), spent = timed(lambda: compiled(everything))
    value = cost(first, v[:, : options.batch])
    result["columns a second, wall and processor"] = (options.columns / spent).tolist()
    result["iterations, mean and most"] = [float(iterations.mean()), int(iterations.max())]

    if options.whole:
        analyse = make_window_analysis(
            case.model, control=ControlVector(start=CONTROL), minimiser="small-hessian"
        )
        problem = case.problem(first)
        given = (problem.parameters, problem.background, problem.forcing, problem.observations)
        analysed = jax.jit(lambda given: analyse(*given, case.root).control_error)
        jax.block_until_ready(analysed(given))
        whole = np.median([timed(lambda: analysed(given))[1] for _ in range(3)], axis=0)
        result["columns a second with series and errors"] = (options.batch / whole).tolist()

    value_and_slope = jax.jit(
        lambda v, data: jax.value_and_grad(lambda v: case.problem(data).cost(v)[0])(v)
    )
    places = np.linspace(0, options.batch - 1, options.sample).astype(int)
    singles = [jax.tree.map(lambda leaf, k=k: leaf[..., k : k + 1], first) for k in places]
    _, compile_time = timed(lambda: value_and_slope(zero[:, :1], singles[0]))
    result["seconds of SciPy's compilation"] = round(float(compile_time[0]), 1)
    peers = [
        by_scipy(value_and_slope, data, float(value[k]))
        for data, k in zip(singles, places, strict=True)
    ]
    gaps = np.array([float(value[k]) - p["cost"] for p, k in zip(peers, places, strict=True)])
    ways = np.array([np.abs(v[:, k] - p["v"]).max() for p, k in zip(peers, places, strict=True)])
    result["our cost less SciPy's, least and most"] = [float(gaps.min()), float(gaps.max())]
    result["largest difference of v"] = float(ways.max())
    result["SciPy's evaluations"] = float(np.mean([p["evaluations"] for p in peers]))
    for name in ("until", "scipy"):
        seconds = np.nanmean([p[name] for p in peers], axis=0)
        result[f"SciPy columns a second, {name}"] = (1.0 / seconds).tolist()
        result[f"ratio, {name}, wall and processor"] = (options.columns / spent * seconds).tolist()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
