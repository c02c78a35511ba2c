"""The air above the ground: its humidity, and the vapour that it takes from a surface."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.humidity import DRY_AIR_RATIO, saturation_humidity
from hybrid_land.interface import Forcing
from hybrid_land.variables import FREEZING

Row = Float[Array, " column"]

_GAS_CONSTANT = 287.06  # J kg-1 K-1, dry air
_HEATED_BY_SUN = 0.02  # K m2 W-1, by which dry ground is warmer than the air
_LEAST_DEFICIT = 2e-4  # kg kg-1: ground warmer than the air gives vapour to saturated air too
_CONDUCTANCE = 0.01  # m s-1, the unit in which conductances are given


def dewpoint(humidity: Row, pressure: Row) -> Row:
    """Dewpoint over water, K: the inverse of `saturation_humidity`."""
    q = jnp.maximum(humidity, 1e-6)
    vapour = pressure * q / (DRY_AIR_RATIO + (1.0 - DRY_AIR_RATIO) * q)
    x = jnp.log(vapour / 611.21)
    return (17.502 * FREEZING - 32.19 * x) / (17.502 - x)


def vapour_deficit(forcing: Forcing) -> Row:
    """By how much the air's vapour pressure lacks saturation, Pa."""
    pressure, humid = forcing["met_psurf"], forcing["met_qair"]
    lacking = saturation_humidity(forcing["met_tair"], pressure) - humid
    return jnp.maximum(lacking, 0.0) * pressure / DRY_AIR_RATIO


def demand(forcing: Forcing, time_step: float) -> Row:
    """Vapour that a conductance of 0.01 m s-1 would let through in a step, kg m-2.

    Air density times what the air's humidity lacks to saturation at the temperature of dry ground,
    which the sun warms by 0.02 K for each W m-2 on the mean of 6 hours. With that number and the
    conductance of its equations ECLand's driest deserts evaporate by day 1.00 to 1.21 times as much
    (9 training columns, correlation over the steps 0.96).
    """
    pressure = forcing["met_psurf"]
    warm = forcing["met_tair"] + _HEATED_BY_SUN * jnp.maximum(forcing["met_swdown"], 0.0)
    lacking = jnp.maximum(saturation_humidity(warm, pressure) - forcing["met_qair"], 0.0)
    density = pressure / (_GAS_CONSTANT * forcing["met_tair"])
    return _CONDUCTANCE * time_step * density * (lacking + _LEAST_DEFICIT)
