"""L-band brightness temperature of soil under vegetation by the tau-omega model.

With what each class of vegetation is given in L-MEB and in CMEM, ECMWF's community microwave
emission model (Wigneron et al. 2007; Drusch et al. 2009; de Rosnay et al. 2009).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.soil_emission import (
    Field,
    Polarisation,
    clay_fraction,
    effective_temperature,
    permittivity,
    rough_reflectivity,
    smooth_reflectivity,
    with_frost,
)
from hybrid_land.errors import InputError

ANGLE = 40.0  # degrees, of SMAP
_SMAP_EXPONENT = 2.0  # of the cosine in the roughness, where the roughness is given


@dataclass(frozen=True)
class Emission:
    """What a class of cover is given in L-MEB (Wigneron et al. 2007, as tabulated in CMEM 5.1).

    Attributes:
        slope: b', optical depth at nadir for a unit of leaf area.
        base: b'', optical depth at nadir without leaves; all of it in forests, where branches
            attenuate and leaves hardly do (Grant et al. 2008).
        albedo: omega, single scattering albedo.
        turn: tt of horizontal and vertical polarisation, tau = tau_nadir (cos^2 + tt sin^2).
        roughness: h of dry soil.
        drying: fall of h with soil moisture (m3 m-3), for the litter of grassland.
        exponent: n of horizontal and vertical polarisation, h cos^n.
    """

    slope: float = 0.0
    base: float = 0.0
    albedo: float = 0.0
    turn: tuple[float, float] = (1.0, 1.0)
    roughness: float = 0.1
    drying: float = 0.0
    exponent: tuple[float, float] = (0.0, -1.0)


BARE = Emission()
DECIDUOUS = Emission(base=0.7, albedo=0.07, turn=(0.49, 0.46), roughness=1.0, exponent=(1.0, 2.0))
CONIFEROUS = Emission(base=0.69, albedo=0.08, turn=(0.8, 0.8), roughness=1.2, exponent=(1.75, 0.0))
RAIN_FOREST = Emission(base=0.7, albedo=0.095, roughness=1.3, exponent=(1.0, 0.0))
GRASS = Emission(
    slope=0.0375, base=0.05, albedo=0.05, roughness=1.3, drying=1.13, exponent=(1.0, 0.0)
)
CROPS = Emission(slope=0.05, turn=(1.0, 2.0))

# By ECLand's vegetation type, 0 to 20, as CMEM assigns them.
CLASSES: tuple[Emission, ...] = (
    BARE,  # none
    CROPS,
    GRASS,  # short grass
    CONIFEROUS,  # evergreen needleleaf
    CONIFEROUS,  # deciduous needleleaf
    DECIDUOUS,  # deciduous broadleaf
    RAIN_FOREST,  # evergreen broadleaf
    GRASS,  # tall grass
    BARE,  # desert
    GRASS,  # tundra
    CROPS,  # irrigated
    GRASS,  # semi-desert
    BARE,  # ice
    GRASS,  # bogs and marshes
    BARE,  # inland water
    BARE,  # ocean
    GRASS,  # evergreen shrubs
    GRASS,  # deciduous shrubs
    DECIDUOUS,  # mixed forest
    DECIDUOUS,  # interrupted forest
    BARE,  # water and land
)


def tau_omega(
    soil: Field, canopy: Field, reflectivity: Field, depth: Field, albedo: Field, *, angle: float
) -> Field:
    """Brightness temperature above a canopy, K (Mo et al. 1982; Wigneron et al. 2007).

        T_B = T_s (1 - r) g + T_c (1 - w) (1 - g) (1 + r g),   g = exp(-tau / cos t)

    Radiation from the sky is left out, as in SMAP's algorithm, whose brightness temperatures are
    corrected for it and for the atmosphere; it is about 5 r g^2 K.

    Args:
        soil: effective temperature of the soil T_s, K.
        canopy: temperature of the canopy T_c, K.
        reflectivity: of the rough soil, r.
        depth: optical depth tau along the vertical, in this polarisation.
        albedo: single scattering albedo w.
        angle: of incidence t, degrees.
    """
    through = jnp.exp(-depth / math.cos(math.radians(angle)))
    from_soil = soil * (1.0 - reflectivity) * through
    return from_soil + canopy * (1.0 - albedo) * (1.0 - through) * (1.0 + reflectivity * through)


def optical_depth(
    kind: Field, leaf_area: Field, *, angle: float, polarisation: Polarisation
) -> Field:
    """Vegetation optical depth, (b' LAI + b'') (cos^2 t + tt sin^2 t) (Wigneron et al. 2007).

    Args:
        kind: ECLand's vegetation type.
        leaf_area: of the ground that the plants cover, m2 m-2.
        angle: of incidence t, degrees.
        polarisation: `"h"` or `"v"`.
    """
    sine = math.sin(math.radians(angle)) ** 2
    which = "hv".index(polarisation)
    nadir = _of(kind, [c.slope for c in CLASSES]) * leaf_area + _of(kind, [c.base for c in CLASSES])
    return nadir * (1.0 - sine + sine * _of(kind, [c.turn[which] for c in CLASSES]))


def brightness_temperature(
    series: Mapping[str, Float[Array, "record column"]],
    parameters: Mapping[str, Float[Array, " column"]],
    forcing: Mapping[str, Float[Array, "record column"]],
    *,
    polarisation: Polarisation,
    angle: float = ANGLE,
    roughness: float | None = None,
    canopy: str = "stl1",
) -> Float[Array, "record column"]:
    """L-band brightness temperature at the top of the canopy, K.

    The mean of bare ground, low and high vegetation by ECLand's covers, each with its own optical
    depth, albedo and roughness, over one soil: Mironov's permittivity of layer 1 with ECLand's
    share of frost, Fresnel's reflectivity, and an effective temperature between layers 1 and 3
    (0 to 7 cm, 28 to 100 cm; CMEM's choice).

    Not in it, so that such observations must be screened: snow, which hides and insulates the
    soil, standing water (lakes, floods, wetlands), towns, and rain on the leaves. Frozen ground is
    in it, but its permittivity is poorly known.

    Args:
        series: holds `swvl1`, `stl1`, `stl3` and the canopy's temperature.
        parameters: hold `cvl`, `cvh`, `veg_covl`, `veg_covh`, `tvl`, `tvh`, and the soil's texture
            or class (`clay_fraction`).
        forcing: holds `lai_lv` and `lai_hv`.
        polarisation: `"h"` or `"v"`.
        angle: of incidence, degrees; 40 for SMAP, 0 to 60 for SMOS.
        roughness: h of all ground, with cos^2, as in SMAP's algorithm, where it is 0.10 to 0.16
            (O'Neill et al. 2019); L-MEB's values by class if not given.
        canopy: name of the canopy's temperature in the series: `stl1` as CMEM's default, or `skt`
            or `t2m`.

    Raises:
        InputError: if a variable or parameter is missing, or the angle is not within 0 to 70.
    """
    if not 0.0 <= angle <= 70.0:
        raise InputError(
            f"brightness temperature: angle of incidence is {angle:g} degrees, expected 0 to 70; "
            "give it in degrees from the vertical"
        )
    _require(series, ("swvl1", "stl1", "stl3", canopy), source="the model's series")
    wanted = ("cvl", "cvh", "veg_covl", "veg_covh", "tvl", "tvh")
    _require(parameters, wanted, source="the set of parameters")
    _require(forcing, ("lai_lv", "lai_hv"), source="the forcing")
    water = series["swvl1"]
    given = {name: parameters[name][None, :] for name in wanted}
    clay = clay_fraction(dict(parameters))[None, :]
    medium = with_frost(permittivity(water, clay), series["stl1"])
    smooth = smooth_reflectivity(medium, angle=angle, polarisation=polarisation)
    soil = effective_temperature(series["stl1"], series["stl3"], water)

    def above(kind: Field, leaf_area: Field) -> Field:
        if roughness is None:
            which = "hv".index(polarisation)
            h = _of(kind, [c.roughness for c in CLASSES])
            h = jnp.maximum(h - _of(kind, [c.drying for c in CLASSES]) * water, 0.0)
            n = _of(kind, [c.exponent[which] for c in CLASSES])
        else:
            h, n = jnp.full_like(kind, roughness), jnp.full_like(kind, _SMAP_EXPONENT)
        return tau_omega(
            soil,
            series[canopy],
            rough_reflectivity(smooth, h, n, angle=angle),
            optical_depth(kind, leaf_area, angle=angle, polarisation=polarisation),
            _of(kind, [c.albedo for c in CLASSES]),
            angle=angle,
        )

    low, high = given["cvl"] * given["veg_covl"], given["cvh"] * given["veg_covh"]
    none = jnp.zeros_like(low)
    return (
        (1.0 - low - high) * above(none, none)
        + low * above(given["tvl"], forcing["lai_lv"])
        + high * above(given["tvh"], forcing["lai_hv"])
    )


def _of(kind: Field, values: list[float]) -> Field:
    """A class's value for each vegetation type."""
    which = jnp.clip(jnp.round(kind).astype(int), 0, len(values) - 1)
    return jnp.asarray(values, kind.dtype)[which]


def _require(given: Mapping[str, Array], wanted: tuple[str, ...], *, source: str) -> None:
    """Raise `InputError` naming what an operator needs and does not find."""
    absent = [name for name in wanted if name not in given]
    if absent:
        raise InputError(
            f"brightness temperature: {source} lacks {', '.join(absent)}, expected "
            f"{', '.join(wanted)}; add them or leave this observable out"
        )
