"""What the soil emits at L-band: permittivity, reflectivity, effective temperature.

All functions act on each element, in the precision of their arguments, and can be differentiated.
"""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Parameters
from hybrid_land.variables import FREEZING

Polarisation = Literal["h", "v"]
Field = Float[Array, "*#shape"]
ComplexField = Complex[Array, "*#shape"]

FREQUENCY = 1.4e9  # Hz, as CMEM has it; SMAP and SMOS: 1.41
_VACUUM = 8.854e-12  # F m-1
_OPTICAL_LIMIT = 4.9  # permittivity of water at high frequency
_FROZEN = 5.0 + 0.5j  # permittivity of frozen soil at L-band, CMEM's
_DRIEST = 0.01  # m3 m-3, where the slope of the effective temperature ends: it has no bound at zero

# Clay by ECLand's soil class 1 to 7: centre of the class's area in the texture triangle of FAO and
# HYPRES (coarse: clay < 18%, sand > 65%; medium fine: clay < 35%, sand < 15%; fine: clay 35 to
# 60%; very fine: above; medium: the rest). ECLand's retention curves are HYPRES' for these classes
# (Wosten et al. 1999; Balsamo et al. 2009). Organic soils have no place in the triangle and take
# the medium value, as ECLand gives tropical organic soil the medium retention curve.
CLAY = (0.08, 0.18, 0.18, 0.47, 0.73, 0.18, 0.18)
# What tells the classes apart in data without a soil class (ECLand's table, classes 1 to 6).
_CLASS_VALUES = {
    "theta_max": (0.403, 0.439, 0.430, 0.520, 0.614, 0.766),
    "theta_cap": (0.242, 0.346, 0.382, 0.448, 0.541, 0.662),
    "theta_pwp": (0.059, 0.151, 0.133, 0.279, 0.335, 0.267),
}


def clay_fraction(parameters: Parameters) -> Float[Array, " column"]:
    """Clay of each column, share of mass: given, or of the soil class, or of the nearest class.

    Args:
        parameters: `clay` if there is; else `sotype`, ECLand's soil class 1 to 7; else what there
            is of `theta_max`, `theta_cap` and `theta_pwp`, by which the nearest class is found.
            The nearest class, and clay with it, jumps where these are varied.

    Raises:
        InputError: if the parameters have none of these.
    """
    if "clay" in parameters:
        return parameters["clay"]
    if "sotype" in parameters:
        kind = jnp.clip(jnp.round(parameters["sotype"]).astype(int), 1, len(CLAY))
        return jnp.asarray(CLAY, parameters["sotype"].dtype)[kind - 1]
    known = [name for name in _CLASS_VALUES if name in parameters]
    if not known:
        raise InputError(
            "the soil's texture is not known: no parameter clay, sotype, theta_max, theta_cap or "
            "theta_pwp; expected one of them; add clim_sotype to the data or clay to the parameters"
        )
    far = jnp.zeros(())
    for name in known:
        values = np.asarray(_CLASS_VALUES[name])
        far = far + ((parameters[name][None, :] - values[:, None]) / values.std()) ** 2
    return jnp.asarray(CLAY, parameters[known[0]].dtype)[jnp.argmin(far, axis=0)]


def permittivity(water: Field, clay: Field, *, frequency: float = FREQUENCY) -> ComplexField:
    """Relative permittivity of thawed soil, after Mironov et al. (2009).

    The refractive index n and the absorption k of dry soil, of bound water up to its greatest
    share w_t, and of free water add up (eqs. 11 to 13; coefficients of eqs. 17 to 25):

        n + i k = (n_d + i k_d) + (n_b - 1 + i k_b) min(w, w_t) + (n_u - 1 + i k_u) max(w - w_t, 0)
        epsilon = (n + i k)^2

    and the permittivity of each water is Debye's with an effective conductivity. Fitted between
    1 and 10 GHz at 20 to 22 degrees C, to mineral soils.

    Args:
        water: volumetric soil moisture, m3 m-3, zero or more.
        clay: share of mass.
        frequency: Hz.

    Returns:
        Permittivity with a positive imaginary part.
    """
    dry = (1.634 - 0.539 * clay + 0.2748 * clay**2, 0.03952 - 0.04038 * clay)
    most_bound = 0.02863 + 0.30673 * clay
    bound = _index_of_water(
        79.8 - 85.4 * clay + 32.7 * clay**2,
        1.062e-11 + 3.450e-12 * clay,
        0.3112 + 0.467 * clay,
        frequency,
    )
    free = _index_of_water(
        jnp.full_like(clay, 100.0), jnp.full_like(clay, 8.5e-12), 0.3631 + 1.217 * clay, frequency
    )
    in_bound = jnp.minimum(water, most_bound)
    in_free = jnp.maximum(water - most_bound, 0.0)
    n = dry[0] + (bound[0] - 1.0) * in_bound + (free[0] - 1.0) * in_free
    k = dry[1] + bound[1] * in_bound + free[1] * in_free
    return n**2 - k**2 + 2j * n * k


def _index_of_water(
    static: Field, relaxation: Field, conductivity: Field, frequency: float
) -> tuple[Field, Field]:
    """Refractive index and normalised absorption of water, Debye's with a conductivity.

    Args:
        static: permittivity at low frequency.
        relaxation: time, s.
        conductivity: effective, S m-1.
        frequency: Hz.
    """
    turn = 2.0 * math.pi * frequency * relaxation
    debye = (static - _OPTICAL_LIMIT) / (1.0 + turn**2)
    real = _OPTICAL_LIMIT + debye
    imaginary = debye * turn + conductivity / (2.0 * math.pi * _VACUUM * frequency)
    size = jnp.sqrt(real**2 + imaginary**2)
    return jnp.sqrt(0.5 * (size + real)), jnp.sqrt(0.5 * (size - real))


def with_frost(thawed: ComplexField, temperature: Field) -> ComplexField:
    """Permittivity with the frozen share of the soil at 5 + 0.5 i.

    CMEM mixes thawed and frozen soil by a share of frost with a step at -0.5 degrees C. Here the
    share is ECLand's own, which has a slope everywhere: (1 - sin(pi/2 (T - T0) / 1 K)) / 2 within
    1 K of the freezing point T0.

    Args:
        thawed: permittivity as if nothing were frozen.
        temperature: of the layer, K.
    """
    thaw = 0.5 + 0.5 * jnp.sin(0.5 * math.pi * jnp.clip(temperature - FREEZING, -1.0, 1.0))
    return thaw * thawed + (1.0 - thaw) * _FROZEN


def smooth_reflectivity(
    permittivity: ComplexField, *, angle: float, polarisation: Polarisation
) -> Field:
    """Share of power that a smooth surface reflects (Fresnel's equations; Ulaby et al. 1986).

        r_h = |(cos t - g) / (cos t + g)|^2,   r_v = |(e cos t - g) / (e cos t + g)|^2
        g = sqrt(e - sin^2 t)

    Args:
        permittivity: e, relative.
        angle: of incidence t, degrees from the vertical.
        polarisation: `"h"` or `"v"`.
    """
    cosine = math.cos(math.radians(angle))
    g = jnp.sqrt(permittivity - math.sin(math.radians(angle)) ** 2)
    first = cosine * permittivity if polarisation == "v" else cosine
    ratio = (first - g) / (first + g)
    return jnp.real(ratio) ** 2 + jnp.imag(ratio) ** 2


def rough_reflectivity(smooth: Field, roughness: Field, exponent: Field, *, angle: float) -> Field:
    """Reflectivity of a rough surface: r exp(-h cos^n t) (Wang and Choudhury 1981, with Q = 0).

    Polarisations do not mix at L-band (Wigneron et al. 2007).

    Args:
        smooth: reflectivity r of the smooth surface.
        roughness: h, without unit.
        exponent: n, without unit; depends on polarisation.
        angle: of incidence t, degrees.
    """
    cosine = math.cos(math.radians(angle))
    return smooth * jnp.exp(-roughness * jnp.exp(exponent * math.log(cosine)))


def effective_temperature(
    surface: Field,
    deep: Field,
    water: Field,
    *,
    wettest: float = 0.3,
    power: float = 0.3,
) -> Field:
    """Temperature of the soil that emits, K.

        T = T_deep + C (T_surface - T_deep),   C = min((w / w0)^b, 1)

    The form is Choudhury et al.'s (1982), with C of the moisture by Wigneron et al. (2001) and the
    values of L-MEB (Wigneron et al. 2007); CMEM has w0 = 0.41, b = 0.35. Dry soil emits from
    deeper. Below 0.01 m3 m-3 C keeps its value.

    Args:
        surface: temperature of the top centimetres.
        deep: temperature at 50 cm or so.
        water: soil moisture at the surface, m3 m-3.
        wettest: w0, m3 m-3.
        power: b.
    """
    weight = (jnp.clip(water, _DRIEST, wettest) / wettest) ** power
    return deep + weight * (surface - deep)
