"""LETKF over many columns: time and memory, and whether they grow in line with the columns.

    python benchmarks/letkf_scale.py [--columns 1250 2500 5000 10000] [--members 40] [--steps 120]
    python benchmarks/letkf_scale.py --devices 8 --columns 512

The shipped emulator from 40 members, soil moisture of layer 1 observed every 3 days with a
standard deviation of 0.04; the packaged sample's columns, repeated on a grid 50 km apart; a radius
of 130 km reaches 21 columns. Each size runs in a process of its own, so that its peak memory is
its own; time is of a second call, compiled already. With `--devices` the columns lie on so many
host devices, and the analysis is compared with that of one. Prints JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

RADIUS = 130.0  # km
_SPACING = 50.0  # km
_EVERY = 12  # steps of six hours


def filtered(columns: int, members: int, steps: int, devices: int) -> dict[str, Any]:
    """One size: seconds, peak memory, and the spread's change."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from assimilation.filters import Scheme, run_filter
    from assimilation.filters.localisation import in_depth, over_columns
    from assimilation.observations import Observations
    from hybrid_land.columns import forcing_from, parameters_from, state_from
    from hybrid_land.data.samples import load_sample
    from hybrid_land.models.store import load_model
    from hybrid_land.variables import SOIL_WATER

    model = load_model("default")
    data = load_sample("unseen").isel(time=slice(0, steps)).load()
    wide = data.isel(column=np.arange(columns) % data.sizes["column"])
    parameters, forcing = parameters_from(wide), forcing_from(wide)
    state = state_from(wide, variables=model.prognostic)
    generator = np.random.default_rng(0)
    ensemble = {n: jnp.repeat(x[None], members, axis=0) for n, x in state.items()}
    for name in SOIL_WATER:
        draws = 0.03 * generator.standard_normal((members, columns)).astype(np.float32)
        moved = jnp.clip(ensemble[name] + draws, 0.02, parameters["theta_max"][None] - 0.02)
        ensemble[name] = moved
    shape = (steps, columns)
    seen = jnp.zeros(shape).at[_EVERY::_EVERY].set(1.0)
    values = jnp.asarray(0.25 + 0.04 * generator.standard_normal(shape), jnp.float32)
    observations = Observations(
        values={"swvl1": values}, errors={"swvl1": jnp.full(shape, 0.04)}, mask={"swvl1": seen}
    )
    side = int(np.ceil(np.sqrt(columns)))
    degrees = _SPACING / 111.19
    place = np.stack(np.divmod(np.arange(columns), side)) * degrees
    place = place - 0.5 * degrees * side  # about the equator, where degrees are alike
    local = over_columns(in_depth(SOIL_WATER, ("swvl1",)), *place, radius=RADIUS)
    scheme = Scheme(
        method="letkf", every=_EVERY, variables=SOIL_WATER, localisation=local, rtps=0.5
    )

    def run(ensemble: Any, forcing: Any, observations: Any, parameters: Any) -> Any:
        found = run_filter(
            *(model, parameters, ensemble, forcing, observations),
            scheme=scheme,
            key=jax.random.key(0),
        )
        return jax.block_until_ready(found)

    given = (ensemble, forcing, observations, parameters)
    first = run(*given)
    neighbours = 1 if local.neighbours is None else local.neighbours.shape[1]
    result: dict[str, Any] = {"columns": columns, "neighbours": neighbours}
    if devices > 1:
        mesh = Mesh(np.array(jax.devices()[:devices]), ("column",))

        def spread(x: Any) -> Any:
            axes = [None] * (x.ndim - 1)
            return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes, "column")))

        second = run(*jax.tree.map(spread, given))
        # `tree.map` sorts the members' names, which are the order of what is not analysed.
        order = np.asarray([second.names.index(name) for name in first.names])
        apart = jnp.abs(second.analysis_mean[:, order] - first.analysis_mean)
        scale = jnp.maximum(jnp.abs(first.analysis_mean), 1.0)
        result["largest relative difference"] = float(jnp.max(apart / scale))
        result["devices"] = len(second.ensemble["swvl1"].sharding.device_set)
        return result
    begin, spent = time.perf_counter(), time.process_time()
    run(*given)
    shrunk = first.analysis_spread[:, 0].mean() / first.forecast_spread[:, 0].mean()
    return result | {
        "seconds": round(time.perf_counter() - begin, 2),
        "cpu seconds": round(time.process_time() - spent, 2),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "spread of swvl1 after over before": round(float(shrunk), 3),
    }


def main() -> None:
    """Print JSON, a line a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--columns", type=int, nargs="*", default=[1250, 2500, 5000, 10000])
    parser.add_argument("--members", type=int, default=40)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        (columns,) = options.columns
        print(json.dumps(filtered(columns, options.members, options.steps, options.devices)))
        return
    environment = dict(os.environ)
    if options.devices > 1:
        flag = f"--xla_force_host_platform_device_count={options.devices}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flag}".strip()
    for columns in options.columns:
        chosen = ["--members", options.members, "--steps", options.steps]
        chosen += ["--devices", options.devices, "--columns", columns]
        command = [sys.executable, __file__, "--here", *map(str, chosen)]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
