"""What the emulator's network sees: ECLand's own intermediate quantities, one row a feature.

All functions take leaves `[column]` and give leaves `[column]`. Field capacity enters where it
enters ECLand and nowhere else: the soil-moisture stress of the canopy and of bare ground, the
share of layers in root uptake, and the heat capacity of the soil.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hybrid_land.columns import ALBEDO
from hybrid_land.interface import Forcing, Parameters, State
from hybrid_land.variables import (
    FREEZING,
    LATENT_HEAT_SUBLIMATION,
    LATENT_HEAT_VAPORISATION,
    SOIL_TEMPERATURE,
    SOIL_WATER,
    WATER_DENSITY,
)

Row = Float[Array, " column"]
Rows = Float[Array, "*layer column"]
Given = dict[str, Float[Array, "*#layer column"]]  # parameters, the same in all layers

# Share of roots in each layer by vegetation type: IFS Documentation CY48R1, Part IV, Table 8.2
# (Zeng et al. 1998 profile); types without roots or not in the table draw as short grass.
ROOT_SHARE = {
    1: (0.24, 0.41, 0.31, 0.04),
    2: (0.35, 0.38, 0.23, 0.04),
    3: (0.26, 0.39, 0.29, 0.06),
    4: (0.26, 0.38, 0.29, 0.07),
    5: (0.24, 0.38, 0.31, 0.07),
    6: (0.25, 0.34, 0.27, 0.14),
    7: (0.27, 0.37, 0.27, 0.09),
    8: (1.00, 0.00, 0.00, 0.00),
    9: (0.47, 0.45, 0.08, 0.00),
    10: (0.24, 0.41, 0.31, 0.04),
    11: (0.17, 0.31, 0.33, 0.19),
    13: (0.25, 0.34, 0.27, 0.14),
    16: (0.23, 0.36, 0.30, 0.11),
    17: (0.23, 0.36, 0.30, 0.11),
    18: (0.19, 0.35, 0.36, 0.10),
    19: (0.19, 0.35, 0.36, 0.10),
}
_ROOTS = np.array([ROOT_SHARE.get(i, ROOT_SHARE[2]) for i in range(21)], np.float32)
LOW_TYPES = (1, 2, 7, 9, 10, 11, 13, 16, 17)
HIGH_TYPES = (3, 4, 5, 6, 18, 19)
LATENT_HEAT_FUSION = LATENT_HEAT_SUBLIMATION - LATENT_HEAT_VAPORISATION  # J kg-1
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


def available_water(swvl: Rows, parameters: Given) -> Rows:
    """(theta - theta_pwp) / (theta_cap - theta_pwp) within [0, 1]; 1 where nothing limits."""
    room = jnp.maximum(parameters["theta_cap"] - parameters["theta_pwp"], 1e-3)
    return jnp.clip((swvl - parameters["theta_pwp"]) / room, 0.0, 1.0)


def frozen_fraction(temperature: Rows) -> Rows:
    """Share of soil water that is frozen: 0 above 1 degree C, 1 below -3 (IFS Part IV, 8.75)."""
    x = jnp.clip((FREEZING + 1.0 - temperature) / 4.0, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def freezing_inertia(temperature: Row, swvl: Row, parameters: Parameters) -> Row:
    """By how much freezing and thawing add to the soil's heat capacity, as a ratio to it.

    L rho theta |df/dT| / C with f of `frozen_fraction`, theta the water that can freeze, at most
    theta_cap, and C = (1 - theta_sat) 1.6e6 + theta_cap 4.18e6 J m-3 K-1 (IFS Part IV, 8.76).
    """
    x = jnp.clip((FREEZING + 1.0 - temperature) / 4.0, 0.0, 1.0)
    slope = 6.0 * x * (1.0 - x) / 4.0
    water = jnp.minimum(swvl, parameters["theta_cap"])
    capacity = (1.0 - parameters["theta_sat"]) * 1.6e6 + parameters["theta_cap"] * 4.18e6
    return LATENT_HEAT_FUSION * WATER_DENSITY * water * slope / capacity


def retention(swvl: Rows, parameters: Given) -> tuple[Rows, Rows]:
    """Logarithms of suction head (m) and of conductivity relative to saturation.

    van Genuchten (1980): h = (S^(-1/m) - 1)^(1/n) / alpha, m = 1 - 1/n, and Mualem's
    K = S^l (1 - (1 - S^(1/m))^m)^2, S = (theta - res) / (sat - res) within [1e-3, 1 - 1e-4].
    """
    room = jnp.maximum(parameters["theta_sat"] - parameters["theta_res"], 1e-2)
    saturation = jnp.clip((swvl - parameters["theta_res"]) / room, 1e-3, 1.0 - 1e-4)
    n = parameters["vg_n"]
    m = 1.0 - 1.0 / n
    log_s = jnp.log(saturation)
    wet = jnp.exp(log_s / m)
    log_head = (jnp.log1p(-wet) - log_s / m) / n - jnp.log(parameters["vg_alpha"])
    dry = jnp.maximum(-jnp.expm1(m * jnp.log1p(-wet)), 1e-12)
    log_conductivity = jnp.maximum(parameters["vg_l"] * log_s + 2.0 * jnp.log(dry), -30.0)
    return log_head, log_conductivity


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


def _stress(water: Row) -> Row:
    """ECLand's F2 = 2 x - x^2 of the available fraction x."""
    return 2.0 * water - water * water


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
    saturation = soil / layered["theta_max"]
    available = available_water(soil, layered)
    log_head, log_conductivity = retention(soil, layered)
    for k in range(1, 5):
        out[f"saturation_{k}"] = saturation[k - 1]
        out[f"available_{k}"] = available[k - 1]
        if k < 4:
            out[f"log_head_{k}"] = log_head[k - 1]
        out[f"log_conductivity_{k}"] = log_conductivity[k - 1]
    roots = jnp.asarray(_ROOTS, state["sd"].dtype)
    for cover, kind in (("high", "tvh"), ("low", "tvl")):
        share = roots[jnp.clip(parameters[kind].astype(int), 0, 20)]
        water = jnp.sum(share.T * available, axis=0)
        out[f"stress_{cover}"] = _stress(water)
        out[f"root_top_{cover}"] = share[:, 0]
        out[f"root_deep_{cover}"] = share[:, 3]
        cover_fraction = parameters[f"cv{cover[0]}"] * parameters[f"veg_cov{cover[0]}"]
        resistance = parameters[f"veg_rsmin{cover[0]}"]
        leaf = forcing["lai_hv" if cover == "high" else "lai_lv"]
        out[f"conductance_{cover}"] = (
            cover_fraction * leaf * out[f"stress_{cover}"] * 100.0 / resistance
        )
        out[f"cover_{cover}"] = cover_fraction
        out[f"leaf_{cover}"] = leaf
        out[f"log_resistance_{cover}"] = jnp.log(jnp.maximum(resistance, 1.0))
        out[f"log_roughness_{cover}"] = jnp.log(jnp.maximum(parameters[f"veg_z0m{cover[0]}"], 1e-4))
    out["stress_bare"] = _stress(available[0])
    capacity = skin_capacity(parameters, forcing)
    out["skin_filled"] = state["src"] / capacity
    out["skin_capacity"] = capacity

    # Temperature, freezing and the heat that it takes to change them.
    temperature = jnp.stack([state[name] for name in SOIL_TEMPERATURE])
    frozen = frozen_fraction(temperature)
    near_freezing = jnp.clip(temperature - FREEZING, -2.0, 2.0)
    air = forcing["met_tair"]
    out["air_minus_soil"] = air - temperature[0]
    for k in range(3):
        out[f"gradient_{k + 1}"] = temperature[k] - temperature[k + 1]
    for k in range(4):
        out[f"temperature_{k + 1}"] = temperature[k]
        out[f"frozen_{k + 1}"] = frozen[k]
        out[f"near_freezing_{k + 1}"] = near_freezing[k]
    out["heat_capacity"] = (1.0 - parameters["theta_sat"]) * 1.6 + parameters["theta_cap"] * 4.18

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
