"""The gradient of a rollout against central finite differences, in float64.

    python benchmarks/gradient.py [--model default] [--steps 120]

Expected: relative error below 1e-6 for the first state, the meteorological forcing and theta_cap
at 120 steps; finite at 1,460 steps. Leaf area stands apart: it sets what the skin can hold, a skin
that is exactly full has a kink there, and the gradient is then that of one side. Prints JSON. The
data are the packaged unseen columns.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.models.store import load_model
from hybrid_land.rollout import rollout
from hybrid_land.variables import FORCING, SOIL_TEMPERATURE, SOIL_WATER

STEP = 1e-6  # relative; the fourth-order difference uses it and its half


def as_float64(tree: Any) -> Any:
    """All leaves of a pytree as float64."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def directional_errors(
    scalar: Callable[[Any], Float[Array, ""]], at: Any, *, directions: int, seed: int
) -> list[float]:
    """|gradient . d - difference| / |gradient . d| for random d.

    The difference is central, D(h) = (J(x + h d) - J(x - h d)) / 2h, and freed of its error of
    second order: (4 D(h / 2) - D(h)) / 3. Directions are random in sign and proportional to each
    number's own size, so that humidity and pressure count alike.
    """
    gradient = jax.jit(jax.grad(scalar))(at)
    value = jax.jit(scalar)
    leaves, tree = jax.tree.flatten(at)
    slopes = jax.tree.leaves(gradient)
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(directions):
        ways = [generator.choice([-1.0, 1.0], x.shape) * np.abs(np.asarray(x)) for x in leaves]
        exact = sum(float(jnp.vdot(g, w)) for g, w in zip(slopes, ways, strict=True))

        def moved(size: float, ways: list[np.ndarray] = ways) -> Any:
            pairs = zip(leaves, ways, strict=True)
            return jax.tree.unflatten(tree, [x + size * w for x, w in pairs])

        def central(size: float, moved: Callable[[float], Any] = moved) -> float:
            return float(value(moved(size)) - value(moved(-size))) / (2 * size)

        difference = (4 * central(STEP / 2) - central(STEP)) / 3
        errors.append(abs(exact - difference) / abs(exact))
    return errors


def measure(model_name: str, *, steps: int, directions: int = 6) -> dict[str, Any]:
    """The relative errors, and whether the gradient is finite over a year."""
    with jax.enable_x64(True):
        data = load_sample("unseen").isel(time=slice(0, 1460)).load()
        model = load_model(model_name, dtype=jnp.float64)
        parameters = as_float64(parameters_from(data))
        state = as_float64(state_from(data, variables=model.prognostic))
        forcing = as_float64(forcing_from(data))
        short = jax.tree.map(lambda series: series[:steps], forcing)
        weights = dict.fromkeys(SOIL_WATER, 100.0) | dict.fromkeys(SOIL_TEMPERATURE, 1.0)

        def outcome(parameters: Any, state: Any, forcing: Any) -> Float[Array, ""]:
            states, diagnostics = rollout(model, parameters, state, forcing)
            water = sum(w * jnp.mean(states[name] ** 2) for name, w in weights.items())
            return water + jnp.mean(diagnostics["slhf"] ** 2)

        def of_state(part: Any) -> Float[Array, ""]:
            return outcome(parameters, state | part, short)

        def of_forcing(part: Any) -> Float[Array, ""]:
            return outcome(parameters, state, short | part)

        def of_capacity(part: Any) -> Float[Array, ""]:
            return outcome(parameters | part, state, short)

        inner = {name: state[name] for name in (*SOIL_WATER, *SOIL_TEMPERATURE, "sd")}
        capacity = {"theta_cap": parameters["theta_cap"]}
        weather = {name: short[name] for name in FORCING if name.startswith("met_")}
        leaves = {name: short[name] for name in FORCING if name.startswith("lai_")}
        result: dict[str, Any] = {"steps": steps, "columns": int(data.sizes["column"])}
        for name, scalar, at in (
            ("initial_state", of_state, inner),
            ("forcing", of_forcing, weather),
            ("leaf_area", of_forcing, leaves),
            ("theta_cap", of_capacity, capacity),
        ):
            errors = directional_errors(scalar, at, directions=directions, seed=1)
            result[name] = {"largest": max(errors), "median": float(np.median(errors))}
        year = jax.jit(
            jax.grad(lambda part: outcome(parameters | part[0], state | part[1], forcing))
        )((capacity, inner))
        result["finite_at_1460_steps"] = all(
            bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(year)
        )
    return result


def main() -> None:
    """Parse the command line and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    print(json.dumps(measure(options.model, steps=options.steps), indent=1))


if __name__ == "__main__":
    main()
