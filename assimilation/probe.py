"""What a probe in the ground reads: the model's layers interpolated to its depth."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.variables import LAYER_THICKNESS, SOIL_TEMPERATURE, SOIL_WATER

# Depths at which networks such as SCAN, USCRN and AmeriFlux put their probes, cm.
PROBE_DEPTHS = (5, 10, 15, 20, 30, 50, 100)
_LAYERS = {"soil_moisture": SOIL_WATER, "soil_temperature": SOIL_TEMPERATURE}


def probe_weights(depth: float) -> tuple[float, ...]:
    """Weight of each layer in a reading at a depth.

    Linear between the middles of layers (0.035, 0.175, 0.64 and 1.945 m); the first layer's value
    above its middle, the last one's below.

    Args:
        depth: m.

    Raises:
        InputError: if the depth is above the ground or below the lowest layer.
    """
    deepest = sum(LAYER_THICKNESS)
    if not 0.0 <= depth <= deepest + 1e-9:
        raise InputError(
            f"a probe at {depth:g} m, expected 0 to {deepest:g} m as the model's soil; leave it "
            "out or correct its depth"
        )
    middles = [sum(LAYER_THICKNESS[:k]) + 0.5 * d for k, d in enumerate(LAYER_THICKNESS)]
    weights = [0.0] * len(middles)
    below = next((k for k, middle in enumerate(middles) if middle >= depth), len(middles))
    if below in (0, len(middles)):
        weights[min(below, len(middles) - 1)] = 1.0
        return tuple(weights)
    share = (depth - middles[below - 1]) / (middles[below] - middles[below - 1])
    weights[below - 1], weights[below] = 1.0 - share, share
    return tuple(weights)


def at_depth(
    series: Mapping[str, Float[Array, "record column"]],
    *,
    depth: float,
    quantity: str = "soil_moisture",
) -> Float[Array, "record column"]:
    """Soil moisture (m3 m-3) or temperature (K) at a depth, see `probe_weights`.

    Args:
        series: holds the layers that count.
        depth: of the probe, m.
        quantity: `soil_moisture` or `soil_temperature`.

    Raises:
        InputError: for another quantity, or a depth outside the soil.
    """
    if quantity not in _LAYERS:
        raise InputError(f"a probe of {quantity!r}, expected {' or '.join(_LAYERS)}; use one")
    weighted = zip(_LAYERS[quantity], probe_weights(depth), strict=True)
    parts = [weight * series[name] for name, weight in weighted if weight > 0.0]
    return jnp.asarray(sum(parts[1:], start=parts[0]))


def probe_name(quantity: str, centimetres: int) -> str:
    """The observable of a probe: `soil_moisture_5cm` and the like."""
    return f"{quantity}_{centimetres}cm"
