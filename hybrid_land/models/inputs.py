"""What the emulator's network sees: ECLand's own intermediate quantities, one row a feature.

Field capacity enters where it enters ECLand and nowhere else: the soil-moisture stress of the
canopy and of bare ground, the share of layers in root uptake, the heat capacity of the soil and
the water that can freeze.

Features of a kind are computed together, `[feature, column]`: each operation costs time to
compile and to start, however few rows it has.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.columns import ALBEDO
from hybrid_land.compiled import apart
from hybrid_land.interface import Forcing, Parameters, State
from hybrid_land.models import air, soil
from hybrid_land.models.canopy import Plants, bare_stress, grow, leaf_area
from hybrid_land.models.rows import total
from hybrid_land.variables import FREEZING, SOIL_TEMPERATURE, SOIL_WATER

Row = Float[Array, " column"]
Layers = Float[Array, "4 column"]

LOW_TYPES = (1, 2, 7, 9, 10, 11, 13, 16, 17)
HIGH_TYPES = (3, 4, 5, 6, 18, 19)
SNOW_COVER_FACTOR = 4000.0  # tanh(4000 depth / density), ECLand with LESN09
INTERCEPTION_DEPTH = 0.2  # kg m-2 of leaf or bare ground, IFS Part IV, eq. 8.13
_ALBEDO_WHEN_UNKNOWN = 0.19  # mean of the training columns
_TIMES = (
    *("solar_time_sin", "solar_time_cos", "solar_zenith_end", "season", "season_slope"),
    *("day_of_year_sin", "day_of_year_cos"),
)
_BOTH = ("high", "low")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Land:
    """What ECLand's equations say of the columns at the start of a step.

    Attributes:
        swvl: soil water of the four layers, m3 m-3.
        temperature: of the four layers, K.
        liquid: share of their water that is liquid.
        available: available fraction of their water.
        plants: high and low vegetation.
        bare: share of the ground without plants.
        bare_stress: F2 of bare ground.
        demand: vapour that a conductance of 0.01 m s-1 would let through in the step, kg m-2.
        snow_cover: fraction of the ground.
        skin_capacity: water that leaves and bare ground can hold, kg m-2.
    """

    swvl: Layers
    temperature: Layers
    liquid: Layers
    available: Layers
    plants: Plants
    bare: Row
    bare_stress: Row
    demand: Row
    snow_cover: Row
    skin_capacity: Row


@partial(jax.tree_util.register_dataclass, data_fields=("rows",), meta_fields=("names",))
@dataclass(frozen=True)
class Features:
    """The network's inputs by name, `[feature, column]`."""

    names: tuple[str, ...]
    rows: Float[Array, "feature column"]


@apart
def survey(parameters: Parameters, state: State, forcing: Forcing, *, time_step: float) -> Land:
    """The columns as ECLand's equations see them; leaves `[column]`."""
    swvl = jnp.stack([state[name] for name in SOIL_WATER])
    temperature = jnp.stack([state[name] for name in SOIL_TEMPERATURE])
    liquid = soil.liquid_share(temperature)
    layered = {name: value[None] for name, value in parameters.items()}
    available = soil.available_water(swvl, liquid, layered)
    plants = grow(parameters, available, forcing, air.vapour_deficit(forcing))
    covered = total(plants.fraction)
    leaves = total(plants.fraction * leaf_area(forcing))
    return Land(
        swvl=swvl,
        temperature=temperature,
        liquid=liquid,
        available=available,
        plants=plants,
        bare=1.0 - covered,
        bare_stress=bare_stress(swvl[0], liquid[0], parameters, covered),
        demand=air.demand(forcing, time_step),
        snow_cover=snow_cover(state["sd"], state["rsn"]),
        skin_capacity=INTERCEPTION_DEPTH * (1.0 - covered + leaves),
    )


def snow_cover(sd: Row, rsn: Row) -> Row:
    """Snow cover fraction in [0, 1), tanh(4000 depth / density) with depth = sd / rsn in m."""
    return jnp.tanh(SNOW_COVER_FACTOR * sd / (rsn * rsn))


@apart
def features(
    land: Land, parameters: Parameters, state: State, forcing: Forcing, *, time_step: float
) -> Features:
    """The network's inputs, in physical or dimensionless form, before normalisation.

    Args:
        land: of `survey`.
        parameters: leaves `[column]`.
        state: at the start of the step.
        forcing: over the step.
        time_step: s.
    """
    names: list[str] = []
    blocks: list[Float[Array, "feature column"]] = []

    def add(rows: Float[Array, "feature column"], *given: str) -> None:
        names.extend(given)
        blocks.append(rows)

    def by_layer(name: str, layers: int = 4) -> list[str]:
        return [f"{name}_{k + 1}" for k in range(layers)]

    def by_kind(name: str) -> list[str]:
        return [f"{name}_{kind}" for kind in _BOTH]

    # The layers.
    layered = {name: value[None] for name, value in parameters.items()}
    log_head, log_conductivity = soil.retention(land.swvl, layered)
    near_freezing = jnp.clip(land.temperature - FREEZING, -2.0, 2.0)
    add(land.swvl / layered["theta_max"], *by_layer("saturation"))
    add(land.available, *by_layer("available"))
    add(log_head[:3], *by_layer("log_head", 3))
    add(log_conductivity, *by_layer("log_conductivity"))
    add(land.temperature, *by_layer("temperature"))
    add(1.0 - land.liquid, *by_layer("frozen"))
    add(near_freezing, *by_layer("near_freezing"))
    add(land.temperature[:3] - land.temperature[1:], *by_layer("gradient", 3))

    # Plants and bare ground.
    plants = land.plants
    add(plants.stress, *by_kind("stress"))
    add(plants.roots[0], *by_kind("root_top"))
    add(plants.roots[3], *by_kind("root_deep"))
    add(plants.fraction * plants.conductance, *by_kind("conductance"))
    add(plants.fraction, *by_kind("cover"))

    # Weather, snow and what is computed of them, row by row.
    temperature, humidity = forcing["met_tair"], forcing["met_qair"]
    sun = forcing["met_swdown"]
    rain, snowfall = forcing["met_rainf"] * time_step, forcing["met_snowf"] * time_step
    known = forcing[ALBEDO] >= 0.0
    albedo = jnp.where(known, forcing[ALBEDO], _ALBEDO_WHEN_UNKNOWN)
    saturated = air.saturation_humidity(temperature, forcing["met_psurf"])
    wind = jnp.sqrt(forcing["met_wind_e"] ** 2 + forcing["met_wind_n"] ** 2 + 1e-2)
    presence = state["sd"] / (state["sd"] + 0.1)
    dtype = temperature.dtype
    rows = {
        "stress_bare": land.bare_stress,
        "skin_filled": state["src"] / land.skin_capacity,
        "skin_capacity": land.skin_capacity,
        "air_minus_soil": temperature - land.temperature[0],
        "heat_capacity": 1e-6 * soil.heat_capacity(parameters),
        "freezable": soil.freezable_water(parameters),
        "snow_presence": presence,
        "snow_cover": land.snow_cover,
        "snow_density": presence * (state["rsn"] - 100.0),
        "snow_cold": presence * (FREEZING - state["tsn"]),
        "snow_albedo": presence * (state["asn"] - 0.85),
        "rain_light": jnp.minimum(rain, 2.0),
        "air_near_freezing": jnp.clip(temperature - FREEZING, -4.0, 4.0),
        "humidity_deficit": saturated - humidity,
        "relative_humidity": jnp.clip(humidity / saturated, 0.0, 1.5),
        "shortwave_net": sun * (1.0 - albedo),
        "longwave_net": forcing["met_lwdown"] - 5.67e-8 * land.temperature[0] ** 4,
        "wind_deficit": wind * (saturated - humidity),
        "albedo": albedo,
        "albedo_known": known.astype(dtype),
        "c4": (parameters["ctype"] > 3.5).astype(dtype),
    }
    add(jnp.stack(list(rows.values())), *rows)
    logarithms = {
        "log_resistance_high": jnp.maximum(parameters["veg_rsminh"], 1.0),
        "log_resistance_low": jnp.maximum(parameters["veg_rsminl"], 1.0),
        "log_roughness_high": jnp.maximum(parameters["veg_z0mh"], 1e-4),
        "log_roughness_low": jnp.maximum(parameters["veg_z0ml"], 1e-4),
        "log_alpha": parameters["vg_alpha"],
        "log_ksat": parameters["ksat"],
        "log_orography": 1.0 + parameters["sdor"],
        "wind": wind,
        "log_demand": land.demand,
        "rain": 1.0 + rain,
        "snowfall": 1.0 + snowfall,
        "snow_mass": 1.0 + state["sd"],
        "snow_depth": 1.0 + 100.0 * state["sd"] / state["rsn"],
    }
    add(jnp.log(jnp.stack(list(logarithms.values()))), *logarithms)

    # What needs no computation.
    raw = {
        "leaf_high": forcing["lai_hv"],
        "leaf_low": forcing["lai_lv"],
        "convective": forcing["met_ctpf"],
        "air": temperature,
        "humidity": humidity,
        "shortwave": sun,
        "longwave": forcing["met_lwdown"],
        "pressure": forcing["met_psurf"],
        **{name: forcing[name] for name in _TIMES},
        "pwp": parameters["theta_pwp"],
        "sat": parameters["theta_sat"],
        "max": parameters["theta_max"],
        "vg_n": parameters["vg_n"],
        "vg_l": parameters["vg_l"],
    }
    add(jnp.stack(list(raw.values())), *raw)
    for kind, types in (("low", LOW_TYPES), ("high", HIGH_TYPES)):
        is_type = parameters[f"tv{kind[0]}"][None] == jnp.asarray(types, dtype)[:, None]
        add(is_type.astype(dtype), *(f"{kind}_type_{one}" for one in types))
    return Features(names=tuple(names), rows=jnp.concatenate(blocks))
