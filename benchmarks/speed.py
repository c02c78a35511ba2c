"""How fast the emulator steps and rolls out, and what its gradient costs.

    python benchmarks/speed.py [--model default] [--trees RUN] [--columns 31000]

Each ratio is of medians measured in turn in one run, since the machine's speed drifts. The limit
is the rate of a 2048 x 2048 float32 matrix product on the same cores. Expected: the network
alone at 85% of that rate when fed in chunks of columns that fit the cache, half of the columns to
each core (IFS-size global batch of 31,000 columns); gradient over forward near 2 for theta_cap at
120 steps, in forward mode. Prints JSON.
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

from hybrid_land.chunks import in_chunks
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.devices import over_devices, use_cores
from hybrid_land.models.store import load_model
from hybrid_land.rollout import rollout

ROUNDS = 15


def timings(runs: dict[str, Callable[[], Any]], *, rounds: int = ROUNDS) -> dict[str, np.ndarray]:
    """Seconds of each of several calls, taken in turn, `[round]`."""
    for run in runs.values():
        jax.block_until_ready(run())
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            spent[name].append(time.perf_counter() - begin)
    return {name: np.array(values) for name, values in spent.items()}


def seconds(runs: dict[str, Callable[[], Any]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each of several calls, taken in turn."""
    return {name: float(np.median(x)) for name, x in timings(runs, rounds=rounds).items()}


def columns_of(model: Any, count: int, steps: int) -> tuple[Any, Any, Any]:
    """Parameters, state and forcing of `count` columns, the sample's repeated."""
    data = load_sample("unseen").isel(time=slice(0, steps)).load()
    index = np.arange(count) % data.sizes["column"]
    wide = data.isel(column=index)
    forcing = forcing_from(wide)
    return parameters_from(wide), state_from(wide, variables=model.prognostic), forcing


def products(model: Any) -> list[Any]:
    """The kernels of all matrix products of a step."""
    screen = model.screen
    beside = () if screen is None else (screen.layer, screen.head, screen.straight)
    return [layer.kernel[...] for layer in (*model.layers, model.head, *beside)]


def over_columns(function: Callable[..., Any], arguments: int) -> Callable[..., Any]:
    """`function` of so many arguments on all cores; columns are the last axis everywhere."""
    return over_devices(function, axes=(-1,) * arguments, result_axis=-1)


def placed(*trees: Any) -> Any:
    """The same with the columns already divided between the cores."""
    return over_columns(lambda *leaves: leaves, len(trees))(*trees)


def throughput(model: Any, columns: int) -> dict[str, Any]:
    """One step and a rollout of many columns against sgemm."""
    steps = 4
    parameters, state, forcing = columns_of(model, columns, steps)
    first = jax.tree.map(lambda series: series[0], forcing)
    flops = 2.0 * sum(kernel.size for kernel in products(model))
    alone = 2.0 * sum(layer.kernel[...].size for layer in (*model.layers, model.head))
    square = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    inputs = jax.jit(model.normalised_inputs)(parameters, state, first)
    whole, undivided = jax.jit(model.network), inputs
    inputs, parameters, state, first, forcing = placed(inputs, parameters, state, first, forcing)
    network = over_columns(in_chunks(model.network, axes=(1,)), 1)
    step = over_columns(in_chunks(model.step, axes=(0, 0, 0)), 3)
    roll = over_columns(in_chunks(partial(rollout, model), axes=(0, 0, 1)), 3)
    spent = timings(
        {
            "sgemm": lambda: product(square, square),
            "network": lambda: network(inputs),
            "network_unchunked": lambda: whole(undivided),
            "step": lambda: step(parameters, state, first),
            "rollout": lambda: roll(parameters, state, forcing),
        }
    )
    result: dict[str, Any] = {"columns": columns, "flops_per_column_step": int(flops)}
    # The median, and the fastest of each: other work on the machine only slows a run.
    for kind, of in (("median", np.median), ("fastest", np.min)):
        found = {name: float(of(values)) for name, values in spent.items()}
        peak = 2.0 * 2048**3 / found["sgemm"]
        rates = {
            name: columns * (steps if name == "rollout" else 1) / found[name]
            for name in found
            if name != "sgemm"
        }
        result[kind] = {
            "sgemm_gflops": round(peak / 1e9, 1),
            "microseconds_per_column_step": {k: round(1e6 / v, 3) for k, v in rates.items()},
            "fraction_of_sgemm": {
                k: round(v * (alone if k.startswith("network") else flops) / peak, 3)
                for k, v in rates.items()
            },
        }
    return result


def gradient_cost(model: Any, *, columns: int, steps: int) -> dict[str, Any]:
    """Gradient over forward, and memory with and without checkpointing."""
    parameters, state, forcing = columns_of(model, columns, steps)

    def outcome(capacity: Any, start: Any, segments: int | None) -> Any:
        states, _ = rollout(
            model,
            parameters | {"theta_cap": capacity},
            start,
            forcing,
            checkpoint_segments=segments,
        )
        return jnp.mean(states["swvl1"]) + jnp.mean(states["swvl3"])

    def forward_mode(capacity: Any, start: Any) -> Any:
        # Columns are independent: one tangent of ones gives the slope of every column.
        def by_column(capacity: Any) -> Any:
            given = parameters | {"theta_cap": capacity}
            states, _ = rollout(model, given, start, forcing)
            return states["swvl1"].mean(axis=0) + states["swvl3"].mean(axis=0)

        return jax.jvp(by_column, (capacity,), (jnp.ones_like(capacity),))

    capacity = parameters["theta_cap"]
    segments = int(np.sqrt(steps))
    compiled = {
        "forward": jax.jit(lambda c, s: outcome(c, s, None)),
        "theta_cap": jax.jit(jax.grad(lambda c, s: outcome(c, s, None))),
        "state": jax.jit(jax.grad(lambda c, s: outcome(c, s, None), argnums=1)),
        "theta_cap_checkpointed": jax.jit(jax.grad(lambda c, s: outcome(c, s, segments))),
        "theta_cap_forward_mode": jax.jit(forward_mode),
    }
    programs = {name: f.lower(capacity, state).compile() for name, f in compiled.items()}
    found = seconds({name: (lambda p=p: p(capacity, state)) for name, p in programs.items()})
    memory = {}
    for name, program in programs.items():
        analysis = program.memory_analysis()
        memory[name] = analysis.temp_size_in_bytes if analysis is not None else float("nan")
    return {
        "columns": columns,
        "steps": steps,
        "gradient_over_forward": {
            name: round(found[name] / found["forward"], 2) for name in found if name != "forward"
        },
        "forward_seconds": round(found["forward"], 4),
        "working_memory_mb": {name: round(size / 1e6, 2) for name, size in memory.items()},
        "checkpointed_over_plain_memory": round(
            memory["theta_cap_checkpointed"] / memory["theta_cap"], 3
        ),
    }


def against_trees(model: Any, trees: Path, *, columns: int) -> dict[str, Any]:
    """One step of the emulator against one of the gradient-boosted trees, in one run."""
    from hybrid_land.models.trees import load_trees

    other = load_trees(trees)
    parameters, state, forcing = columns_of(model, columns, 2)
    first = jax.tree.map(lambda series: series[0], forcing)
    ours = over_columns(in_chunks(model.step, axes=(0, 0, 0)), 3)
    theirs = jax.jit(other.step)
    divided = placed(parameters, state, first)
    found = seconds(
        {
            "emulator": lambda: ours(*divided),
            "trees": lambda: theirs(parameters, state, first),
        },
        rounds=3,
    )
    return {
        "columns": columns,
        "microseconds_per_column": {k: round(v / columns * 1e6, 3) for k, v in found.items()},
        "trees_over_emulator": round(found["trees"] / found["emulator"], 1),
    }


def main() -> None:
    """Parse the command line and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--trees", type=Path, default=None)
    parser.add_argument("--columns", type=int, default=31000)
    options = parser.parse_args()
    use_cores()
    model = load_model(options.model)
    result = {
        "cores": os.cpu_count(),
        "throughput": throughput(model, options.columns),
        "gradient": gradient_cost(model, columns=256, steps=120),
    }
    if options.trees is not None:
        result["against_xgboost"] = against_trees(model, options.trees, columns=options.columns)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
