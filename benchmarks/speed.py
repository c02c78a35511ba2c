"""How fast the emulator steps and rolls out, and what its gradient costs.

    python benchmarks/speed.py [--model default] [--trees RUN] [--columns 31000]

Each ratio is of medians measured in turn in one run, since the machine's speed drifts. The limit
is the rate of a 2048 x 2048 float32 matrix product with the same threads. Expected: the network
alone at 85% of that rate when fed in chunks of columns that fit the cache (IFS-size global batch
of 31,000 columns); gradient over forward 2.2 for theta_cap at 120 steps. Prints JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybrid_land.chunks import in_chunks
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.models.store import load_model
from hybrid_land.rollout import rollout

CHUNK = 1024
ROUNDS = 7


def seconds(runs: dict[str, Callable[[], Any]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each of several calls, taken in turn."""
    for run in runs.values():
        jax.block_until_ready(run())
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            spent[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in spent.items()}


def columns_of(model: Any, count: int, steps: int) -> tuple[Any, Any, Any]:
    """Parameters, state and forcing of `count` columns, the sample's repeated."""
    data = load_sample("unseen").isel(time=slice(0, steps)).load()
    index = np.arange(count) % data.sizes["column"]
    wide = data.isel(column=index)
    forcing = forcing_from(wide)
    return parameters_from(wide), state_from(wide, variables=model.prognostic), forcing


def throughput(model: Any, columns: int) -> dict[str, Any]:
    """One step and a rollout of many columns against sgemm."""
    steps = 4
    parameters, state, forcing = columns_of(model, columns, steps)
    first = jax.tree.map(lambda series: series[0], forcing)
    weights = [layer.kernel[...] for layer in (*model.layers, model.head)]
    flops = 2.0 * sum(kernel.size for kernel in weights)
    square = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    inputs = jax.jit(model.normalised_inputs)(parameters, state, first)
    network = jax.jit(in_chunks(model.network, chunk=CHUNK, axes=(1,)))
    whole = jax.jit(model.network)
    step = jax.jit(in_chunks(model.step, chunk=CHUNK, axes=(0, 0, 0)))
    roll = jax.jit(in_chunks(lambda p, s, f: rollout(model, p, s, f), chunk=CHUNK, axes=(0, 0, 1)))
    found = seconds(
        {
            "sgemm": lambda: product(square, square),
            "network": lambda: network(inputs),
            "network_unchunked": lambda: whole(inputs),
            "step": lambda: step(parameters, state, first),
            "rollout": lambda: roll(parameters, state, forcing),
        }
    )
    peak = 2.0 * 2048**3 / found["sgemm"]

    def fraction(name: str, count: int = 1) -> float:
        return round(columns * count * flops / found[name] / peak, 3)

    return {
        "columns": columns,
        "sgemm_gflops": round(peak / 1e9, 1),
        "flops_per_column_step": int(flops),
        "microseconds_per_column": {
            "network": round(found["network"] / columns * 1e6, 3),
            "step": round(found["step"] / columns * 1e6, 3),
            "rollout_step": round(found["rollout"] / columns / steps * 1e6, 3),
        },
        "fraction_of_sgemm": {
            "network": fraction("network"),
            "network_unchunked": fraction("network_unchunked"),
            "step": fraction("step"),
            "rollout": fraction("rollout", steps),
        },
    }


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

    capacity = parameters["theta_cap"]
    segments = int(np.sqrt(steps))
    compiled = {
        "forward": jax.jit(lambda c, s: outcome(c, s, None)),
        "theta_cap": jax.jit(jax.grad(lambda c, s: outcome(c, s, None))),
        "state": jax.jit(jax.grad(lambda c, s: outcome(c, s, None), argnums=1)),
        "theta_cap_checkpointed": jax.jit(jax.grad(lambda c, s: outcome(c, s, segments))),
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
    ours = jax.jit(in_chunks(model.step, chunk=CHUNK, axes=(0, 0, 0)))
    theirs = jax.jit(other.step)
    found = seconds(
        {
            "emulator": lambda: ours(parameters, state, first),
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
