"""The table of variables: one row a quantity, looked up by name everywhere.

Names, units and signs are ECLand's (fluxes positive downwards, so that evaporation is negative).
Layer depths: IFS Documentation CY48R1, Part IV, section 8.5.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["prognostic", "diagnostic", "forcing", "parameter", "coordinate"]

LAYER_THICKNESS = (0.07, 0.21, 0.72, 1.89)  # m
DAY = 86400.0  # s
EARTH_RADIUS = 6371.0  # km, mean
WATER_DENSITY = 1000.0  # kg m-3
FREEZING = 273.16  # K, ECLand's RTT
LATENT_HEAT_VAPORISATION = 2.5008e6  # J kg-1, IFS RLVTT
LATENT_HEAT_SUBLIMATION = 2.8345e6  # J kg-1, IFS RLSTT
SNOW_PRESENT = 1e-2  # kg m-2: below this the inner variables of the snow mean nothing


@dataclass(frozen=True)
class Variable:
    """One quantity.

    `lower` and `upper` are the values a sound file can hold. `kind` says when a value holds:
    `instantaneous` at the record's time, `mean` or `amount` over the step that starts there,
    `fixed` for a column. `layer` is 1 to 4 for soil layers. `optional` files may lack it.
    """

    name: str
    role: Role
    units: str
    long_name: str
    lower: float = -math.inf
    upper: float = math.inf
    kind: Literal["instantaneous", "mean", "amount", "fixed"] = "instantaneous"
    layer: int | None = None
    optional: bool = False

    @property
    def thickness(self) -> float:
        """Thickness of the variable's soil layer, m."""
        if self.layer is None:
            raise ValueError(f"{self.name} is not a soil layer's variable")
        return LAYER_THICKNESS[self.layer - 1]


def _soil_layers() -> Iterable[Variable]:
    for layer in (1, 2, 3, 4):
        yield Variable(
            f"swvl{layer}",
            "prognostic",
            "m3 m-3",
            f"volumetric soil water layer {layer}",
            0.0,
            1.0,
            layer=layer,
        )
    for layer in (1, 2, 3, 4):
        yield Variable(
            f"stl{layer}",
            "prognostic",
            "K",
            f"soil temperature layer {layer}",
            180.0,
            360.0,
            layer=layer,
        )


def _parameter(
    name: str,
    units: str,
    long_name: str,
    lower: float = -math.inf,
    upper: float = math.inf,
    *,
    optional: bool = False,
) -> Variable:
    return Variable(
        f"clim_{name}", "parameter", units, long_name, lower, upper, "fixed", optional=optional
    )


_TABLE: tuple[Variable, ...] = (
    *_soil_layers(),
    Variable("sd", "prognostic", "kg m-2", "snow water equivalent", 0.0, 2e4),
    Variable("rsn", "prognostic", "kg m-3", "snow density", 20.0, 1000.0),
    Variable("tsn", "prognostic", "K", "snow temperature", 180.0, 275.0),
    Variable("asn", "prognostic", "1", "snow albedo", 0.0, 1.0),
    Variable("snowc", "prognostic", "1", "snow cover fraction", 0.0, 1.0),
    Variable("src", "prognostic", "kg m-2", "skin reservoir content", 0.0, 10.0),
    Variable("skt", "diagnostic", "K", "skin temperature", 150.0, 380.0),
    Variable("t2m", "diagnostic", "K", "2 m temperature", 150.0, 350.0),
    Variable("d2m", "diagnostic", "K", "2 m dewpoint temperature", 120.0, 350.0),
    Variable(
        "sshf", "diagnostic", "W m-2", "sensible heat flux, positive downwards", -2e3, 2e3, "mean"
    ),
    Variable(
        "slhf", "diagnostic", "W m-2", "latent heat flux, positive downwards", -2e3, 2e3, "mean"
    ),
    Variable(
        "aco2gpp",
        "diagnostic",
        "kg m-2 s-1",
        "gross primary production (mass of CO2)",
        -1e-6,
        1e-4,
        "mean",
    ),
    Variable(
        "e",
        "diagnostic",
        "kg m-2",
        "evaporation over the step, positive downwards",
        -200.0,
        200.0,
        "amount",
    ),
    Variable("sro", "diagnostic", "kg m-2", "surface runoff over the step", -1e-3, 2e3, "amount"),
    Variable(
        "ssro", "diagnostic", "kg m-2", "sub-surface runoff over the step", -50.0, 2e3, "amount"
    ),
    Variable("met_ctpf", "forcing", "1", "convective fraction of precipitation", 0.0, 1.0, "mean"),
    Variable("met_lwdown", "forcing", "W m-2", "downward longwave radiation", 20.0, 800.0, "mean"),
    Variable("met_psurf", "forcing", "Pa", "surface pressure", 4e4, 1.15e5, "mean"),
    Variable("met_qair", "forcing", "kg kg-1", "specific humidity", 0.0, 0.06, "mean"),
    Variable("met_rainf", "forcing", "kg m-2 s-1", "rainfall rate", 0.0, 0.1, "mean"),
    Variable("met_snowf", "forcing", "kg m-2 s-1", "snowfall rate", 0.0, 0.1, "mean"),
    Variable("met_swdown", "forcing", "W m-2", "downward shortwave radiation", 0.0, 1500.0, "mean"),
    Variable("met_tair", "forcing", "K", "air temperature", 180.0, 340.0, "mean"),
    Variable("met_wind_e", "forcing", "m s-1", "eastward wind", -100.0, 100.0, "mean"),
    Variable("met_wind_n", "forcing", "m s-1", "northward wind", -100.0, 100.0, "mean"),
    Variable("lai_hv", "forcing", "m2 m-2", "leaf area index, high vegetation", 0.0, 15.0, "mean"),
    Variable("lai_lv", "forcing", "m2 m-2", "leaf area index, low vegetation", 0.0, 15.0, "mean"),
    _parameter("cvh", "1", "high vegetation cover", 0.0, 1.0),
    _parameter("cvl", "1", "low vegetation cover", 0.0, 1.0),
    _parameter("tvh", "1", "high vegetation type", 0.0, 20.0),
    _parameter("tvl", "1", "low vegetation type", 0.0, 20.0),
    _parameter("sotype", "1", "soil type", 0.0, 8.0),
    _parameter("theta_cap", "m3 m-3", "soil moisture at field capacity", 0.0, 1.0),
    _parameter("theta_pwp", "m3 m-3", "soil moisture at permanent wilting point", 0.0, 1.0),
    _parameter("theta_sat", "m3 m-3", "soil moisture at saturation", 0.0, 1.0),
    _parameter("theta_res", "m3 m-3", "residual soil moisture", 0.0, 1.0),
    _parameter(
        "theta_max", "m3 m-3", "largest soil moisture a layer can hold", 0.0, 1.0, optional=True
    ),
    _parameter("vg_alpha", "m-1", "van Genuchten alpha", 0.0, 100.0),
    _parameter("vg_n", "1", "van Genuchten n", 1.0, 10.0),
    _parameter("vg_l", "1", "van Genuchten-Mualem l", -10.0, 10.0),
    _parameter("ksat", "m s-1", "saturated hydraulic conductivity", 0.0, 1e-2),
    _parameter("veg_covh", "1", "vegetation cover within the high vegetation", 0.0, 1.0),
    _parameter("veg_covl", "1", "vegetation cover within the low vegetation", 0.0, 1.0),
    _parameter("veg_z0mh", "m", "momentum roughness length, high vegetation", 0.0, 20.0),
    _parameter("veg_z0ml", "m", "momentum roughness length, low vegetation", 0.0, 20.0),
    _parameter("veg_rsminh", "s m-1", "minimum stomatal resistance, high vegetation", 0.0, 2e3),
    _parameter("veg_rsminl", "s m-1", "minimum stomatal resistance, low vegetation", 0.0, 2e3),
    _parameter("geopot", "m2 s-2", "surface geopotential", -1e4, 1e5),
    _parameter("sdor", "m", "standard deviation of orography", 0.0, 5e3),
    _parameter("ctype", "1", "photosynthesis pathway of low vegetation (3: C3, 4: C4)", 0.0, 4.0),
    _parameter("malbedo", "1", "monthly background albedo", 0.0, 1.0, optional=True),
    _parameter("cu", "1", "urban cover", 0.0, 1.0, optional=True),
    _parameter("clake", "1", "lake cover", 0.0, 1.0, optional=True),
    _parameter("glm", "1", "glacier mask", 0.0, 1.0, optional=True),
    _parameter("landsea", "1", "land sea mask", 0.0, 1.0, optional=True),
    _parameter("sdfor", "m", "standard deviation of filtered orography", 0.0, 5e3, optional=True),
    _parameter(
        "mlail", "m2 m-2", "monthly leaf area index, low vegetation", 0.0, 15.0, optional=True
    ),
    _parameter(
        "mlaih", "m2 m-2", "monthly leaf area index, high vegetation", 0.0, 15.0, optional=True
    ),
    Variable("lat", "coordinate", "degrees_north", "latitude", -90.0, 90.0, "fixed"),
    Variable("lon", "coordinate", "degrees_east", "longitude", -180.0, 360.0, "fixed"),
    Variable(
        "climate_index",
        "coordinate",
        "1",
        "climate class of the weather generator",
        0.0,
        50.0,
        "fixed",
        optional=True,
    ),
)

VARIABLES: dict[str, Variable] = {row.name: row for row in _TABLE}

# Named as the weather generator of the ECLand runs numbers them (`climate_index`).
CLIMATE_CLASSES = (
    "tropical_wet",
    "monsoon",
    "savanna",
    "hot_desert",
    "cold_steppe",
    "mediterranean",
    "humid_subtropical",
    "oceanic",
    "humid_continental",
    "boreal",
    "tundra",
    "highland",
)


def names(role: Role) -> tuple[str, ...]:
    """Names of all variables with a role, in the order of the table."""
    return tuple(row.name for row in _TABLE if row.role == role)


PROGNOSTIC = names("prognostic")
DIAGNOSTIC = names("diagnostic")
FORCING = names("forcing")
SOIL_WATER = tuple(name for name in PROGNOSTIC if name.startswith("swvl"))
SOIL_TEMPERATURE = tuple(name for name in PROGNOSTIC if name.startswith("stl"))
SNOW_INNER = ("rsn", "tsn", "asn")
