"""What the emulator's network sees: ECLand's own intermediate quantities, one row a feature.

All functions take leaves `[column]` and give leaves `[column]`. Field capacity enters where it
enters ECLand and nowhere else: the soil-moisture stress of the canopy and of bare ground, the
share of layers in root uptake, the heat capacity of the soil and the water that can freeze.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.columns import ALBEDO
from hybrid_land.interface import Forcing, Parameters, State
from hybrid_land.models.canopy import bare_stress, covers
from hybrid_land.models.soil import (
    available_water,
    freezable_water,
    heat_capacity,
    liquid_share,
    retention,
)
from hybrid_land.variables import FREEZING, SOIL_TEMPERATURE, SOIL_WATER

Row = Float[Array, " column"]

LOW_TYPES = (1, 2, 7, 9, 10, 11, 13, 16, 17)
HIGH_TYPES = (3, 4, 5, 6, 18, 19)
SNOW_COVER_FACTOR = 4000.0  # tanh(4000 depth / density), ECLand with LESN09
INTERCEPTION_DEPTH = 0.2  # kg m-2 of leaf or bare ground, IFS Part IV, eq. 8.13
_DRY_AIR_RATIO = 0.622
_ALBEDO_WHEN_UNKNOWN = 0.19  # mean of the training columns


def skin_capacity(parameters: Parameters, forcing: Forcing) -> Row:
    """Water that leaves and bare ground can hold, kg m-2 (IFS Part IV, eq. 8.13)."""
    high = parameters["cvh"] * parameters["veg_covh"]
    low = parameters["cvl"] * parameters["veg_covl"]
    leaves = high * forcing["lai_hv"] + low * forcing["lai_lv"]
    return INTERCEPTION_DEPTH * (1.0 - high - low + leaves)


def snow_cover(sd: Row, rsn: Row) -> Row:
    """Snow cover fraction in [0, 1), tanh(4000 depth / density) with depth = sd / rsn in m."""
    return jnp.tanh(SNOW_COVER_FACTOR * sd / (rsn * rsn))


def saturation_humidity(temperature: Row, pressure: Row) -> Row:
    """Saturation specific humidity over water, kg kg-1 (Tetens; IFS Part IV, eq. 7.5)."""
    vapour = 611.21 * jnp.exp(17.502 * (temperature - FREEZING) / (temperature - 32.19))
    return _DRY_AIR_RATIO * vapour / (pressure - (1.0 - _DRY_AIR_RATIO) * vapour)


def dewpoint(humidity: Row, pressure: Row) -> Row:
    """Dewpoint over water, K: the inverse of `saturation_humidity`."""
    q = jnp.maximum(humidity, 1e-6)
    vapour = pressure * q / (_DRY_AIR_RATIO + (1.0 - _DRY_AIR_RATIO) * q)
    x = jnp.log(vapour / 611.21)
    return (17.502 * FREEZING - 32.19 * x) / (17.502 - x)


def vapour_deficit(forcing: Forcing) -> Row:
    """By how much the air's vapour pressure lacks saturation, Pa."""
    pressure, humid = forcing["met_psurf"], forcing["met_qair"]
    lacking = saturation_humidity(forcing["met_tair"], pressure) - humid
    return jnp.maximum(lacking, 0.0) * pressure / _DRY_AIR_RATIO


def features(
    parameters: Parameters, state: State, forcing: Forcing, *, time_step: float
) -> dict[str, Row]:
    """The network's inputs by name, in physical or dimensionless form, before normalisation."""
    out: dict[str, Row] = {}
    zero = jnp.zeros_like(state["sd"])

    # Soil water and what it means to plants and to the flow of water.
    # The four layers as one array: a quarter of the operations to compile and to start.
    layered = {name: value[None] for name, value in parameters.items()}
    soil = jnp.stack([state[name] for name in SOIL_WATER])
    temperature = jnp.stack([state[name] for name in SOIL_TEMPERATURE])
    liquid = liquid_share(temperature)
    saturation = soil / layered["theta_max"]
    available = available_water(soil, liquid, layered)
    log_head, log_conductivity = retention(soil, layered)
    for k in range(1, 5):
        out[f"saturation_{k}"] = saturation[k - 1]
        out[f"available_{k}"] = available[k - 1]
        if k < 4:
            out[f"log_head_{k}"] = log_head[k - 1]
        out[f"log_conductivity_{k}"] = log_conductivity[k - 1]
    deficit = vapour_deficit(forcing)
    plants = covers(parameters, available, forcing, deficit)
    for kind, cover in plants.items():
        letter = kind[0]
        out[f"stress_{kind}"] = cover.stress
        out[f"root_top_{kind}"] = cover.roots[0]
        out[f"root_deep_{kind}"] = cover.roots[3]
        out[f"conductance_{kind}"] = cover.fraction * cover.conductance
        out[f"cover_{kind}"] = cover.fraction
        out[f"leaf_{kind}"] = forcing[f"lai_{letter}v"]
        resistance = parameters[f"veg_rsmin{letter}"]
        out[f"log_resistance_{kind}"] = jnp.log(jnp.maximum(resistance, 1.0))
        out[f"log_roughness_{kind}"] = jnp.log(jnp.maximum(parameters[f"veg_z0m{letter}"], 1e-4))
    out["stress_bare"] = bare_stress(
        soil[0], liquid[0], parameters, plants["high"].fraction + plants["low"].fraction
    )
    capacity = skin_capacity(parameters, forcing)
    out["skin_filled"] = state["src"] / capacity
    out["skin_capacity"] = capacity

    # Temperature, freezing and the heat that it takes to change them.
    near_freezing = jnp.clip(temperature - FREEZING, -2.0, 2.0)
    air = forcing["met_tair"]
    out["air_minus_soil"] = air - temperature[0]
    for k in range(3):
        out[f"gradient_{k + 1}"] = temperature[k] - temperature[k + 1]
    for k in range(4):
        out[f"temperature_{k + 1}"] = temperature[k]
        out[f"frozen_{k + 1}"] = 1.0 - liquid[k]
        out[f"near_freezing_{k + 1}"] = near_freezing[k]
    out["heat_capacity"] = 1e-6 * heat_capacity(parameters)
    out["freezable"] = freezable_water(parameters)

    # Snow; its inner variables mean nothing without it.
    presence = state["sd"] / (state["sd"] + 0.1)
    out["snow_presence"] = presence
    out["snow_mass"] = jnp.log1p(state["sd"])
    out["snow_cover"] = snow_cover(state["sd"], state["rsn"])
    out["snow_depth"] = jnp.log1p(100.0 * state["sd"] / state["rsn"])
    out["snow_density"] = presence * (state["rsn"] - 100.0)
    out["snow_cold"] = presence * (FREEZING - state["tsn"])
    out["snow_albedo"] = presence * (state["asn"] - 0.85)

    # Weather.
    rain = forcing["met_rainf"] * time_step
    snow = forcing["met_snowf"] * time_step
    pressure = forcing["met_psurf"]
    known = (forcing[ALBEDO] >= 0.0).astype(zero.dtype)
    albedo = jnp.where(known > 0, forcing[ALBEDO], _ALBEDO_WHEN_UNKNOWN)
    humid = saturation_humidity(air, pressure)
    out["rain"] = jnp.log1p(rain)
    out["rain_light"] = jnp.minimum(rain, 2.0)
    out["snowfall"] = jnp.log1p(snow)
    out["convective"] = forcing["met_ctpf"]
    out["air"] = air
    out["air_near_freezing"] = jnp.clip(air - FREEZING, -4.0, 4.0)
    out["humidity"] = forcing["met_qair"]
    out["humidity_deficit"] = humid - forcing["met_qair"]
    out["relative_humidity"] = jnp.clip(forcing["met_qair"] / humid, 0.0, 1.5)
    out["shortwave"] = forcing["met_swdown"]
    out["shortwave_net"] = forcing["met_swdown"] * (1.0 - albedo)
    out["longwave"] = forcing["met_lwdown"]
    out["longwave_net"] = forcing["met_lwdown"] - 5.67e-8 * temperature[0] ** 4
    wind = jnp.sqrt(forcing["met_wind_e"] ** 2 + forcing["met_wind_n"] ** 2 + 1e-2)
    out["wind"] = jnp.log(wind)
    out["wind_deficit"] = wind * (humid - forcing["met_qair"])
    out["pressure"] = pressure
    out["albedo"] = albedo
    out["albedo_known"] = known
    for name in (
        "solar_time_sin",
        "solar_time_cos",
        "solar_zenith_end",
        "season",
        "season_slope",
        "day_of_year_sin",
        "day_of_year_cos",
    ):
        out[name] = forcing[name]

    # What stays fixed for a column.
    out["pwp"] = parameters["theta_pwp"]
    out["sat"] = parameters["theta_sat"]
    out["max"] = parameters["theta_max"]
    out["log_alpha"] = jnp.log(parameters["vg_alpha"])
    out["vg_n"] = parameters["vg_n"]
    out["vg_l"] = parameters["vg_l"]
    out["log_ksat"] = jnp.log(parameters["ksat"])
    out["c4"] = (parameters["ctype"] > 3.5).astype(zero.dtype)
    out["log_orography"] = jnp.log1p(parameters["sdor"])
    for kind in LOW_TYPES:
        out[f"low_type_{kind}"] = (parameters["tvl"] == kind).astype(zero.dtype)
    for kind in HIGH_TYPES:
        out[f"high_type_{kind}"] = (parameters["tvh"] == kind).astype(zero.dtype)
    return out
