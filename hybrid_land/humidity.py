"""How much vapour air can hold."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.variables import FREEZING

Row = Float[Array, " column"]

DRY_AIR_RATIO = 0.622  # molar masses of water and dry air


def saturation_humidity(temperature: Row, pressure: Row) -> Row:
    """Saturation specific humidity over water, kg kg-1 (Tetens; IFS Part IV, eq. 7.5)."""
    vapour = 611.21 * jnp.exp(17.502 * (temperature - FREEZING) / (temperature - 32.19))
    return DRY_AIR_RATIO * vapour / (pressure - (1.0 - DRY_AIR_RATIO) * vapour)
