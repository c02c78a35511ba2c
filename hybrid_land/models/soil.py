"""ECLand's own physics of the soil at the emulator's step: freezing, flow of water and of heat.

ECLand solves these each half hour; here one implicit step of 6 hours is taken, and the network says
by which factor each conductance differs from it. The forms are those of ECLand's soil scheme (IFS
Documentation CY48R1, Part IV, chapter 8; van Genuchten 1980), checked against its output: deep
drainage is the conductivity of layer 4 to a part in a thousand.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.compiled import apart
from hybrid_land.interface import Parameters
from hybrid_land.variables import (
    FREEZING,
    LATENT_HEAT_SUBLIMATION,
    LATENT_HEAT_VAPORISATION,
    LAYER_THICKNESS,
    WATER_DENSITY,
)

Row = Float[Array, " column"]
Rows = Float[Array, "*layer column"]
Layers = Float[Array, "4 column"]
Unknowns = Float[Array, "layer column"]
Beside = Float[Array, "below column"]
System = tuple[Beside, Unknowns, Beside, Unknowns]
Given = dict[str, Float[Array, "*#layer column"]]  # parameters, the same in all layers

LATENT_HEAT_FUSION = LATENT_HEAT_SUBLIMATION - LATENT_HEAT_VAPORISATION  # J kg-1
# Of sin(pi x / 2) within 6e-9 on [-1, 1] (Hastings 1955, sheet 16).
_SINE = (1.57079631847, -0.64596371106, 0.07968967928, -0.00467376557, 0.00015148419)
_DRIEST, _WETTEST = 1e-3, 0.999  # range of effective saturation in the hydraulic functions
_RUNOFF_DEPTHS = (0.07, 0.21, 0.22)  # m of each layer within the 0.5 m that decide surface runoff
_CONDUCTIVITY_SOLID = 3.0  # W m-1 K-1, mean of mineral soils; the network corrects it
_CONDUCTIVITY_WATER, _CONDUCTIVITY_ICE = 0.57, 2.2  # W m-1 K-1
_CONDUCTIVITY_DRY = 0.19  # W m-1 K-1


def liquid_share(temperature: Rows) -> Rows:
    """Share of soil water that is liquid, (1 + sin(pi/2 (T - T0) / 1 K)) / 2 within 1 K of T0.

    IFS Part IV, 8.75, with the range of ECLand 2.0, seen in its output: the drainage of freezing
    layers follows it to a part in a hundred, that of the documentation (-3 to 1 degrees C) not.
    """
    return jnp.maximum(0.5 + 0.5 * _quarter_sine(temperature - FREEZING), 0.0)


def _quarter_sine(x: Rows) -> Rows:
    """Sin(pi x / 2) within [-1, 1] and its end values beyond.

    By a polynomial: the processor's own sine takes one number at a time.
    """
    x = jnp.clip(x, -1.0, 1.0)
    return x * _polynomial(x * x, _SINE)


def _quarter_sine_slope(x: Rows) -> Rows:
    """Derivative of `_quarter_sine`."""
    square = jnp.minimum(x * x, 1.0)
    inside = _polynomial(square, tuple((2 * i + 1) * c for i, c in enumerate(_SINE)))
    return jnp.where(square < 1.0, inside, 0.0)


def _polynomial(x: Rows, coefficients: Sequence[float]) -> Rows:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = coefficient + x * value
    return value


def available_water(swvl: Rows, liquid: Rows, parameters: Given) -> Rows:
    """(liquid theta - theta_pwp) / (theta_cap - theta_pwp) within [0, 1]; 1: nothing limits."""
    room = jnp.maximum(parameters["theta_cap"] - parameters["theta_pwp"], 1e-3)
    return jnp.clip((swvl * liquid - parameters["theta_pwp"]) / room, 0.0, 1.0)


def heat_capacity(parameters: Given) -> Rows:
    """(1 - theta_sat) 1.6e6 + theta_cap 4.18e6, J m-3 K-1 (IFS Part IV, 8.76)."""
    return (1.0 - parameters["theta_sat"]) * 1.6e6 + parameters["theta_cap"] * 4.18e6


def freezable_water(parameters: Given) -> Rows:
    """Water that can freeze, m3 m-3: field capacity where plants grow, however wet the soil is.

    IFS Part IV, 8.75; that the cover is the effective one is seen in ECLand's output, where the
    heat that freezing layers 3 and 4 take has a correlation of 0.985 with it.
    """
    high = parameters["cvh"] * parameters["veg_covh"]
    return (high + parameters["cvl"] * parameters["veg_covl"]) * parameters["theta_cap"]


def freezing_heat(parameters: Given) -> Rows:
    """Heat that freezes all water that can freeze, J m-3."""
    return LATENT_HEAT_FUSION * WATER_DENSITY * freezable_water(parameters)


@apart
def warmed(temperature: Rows, heat: Rows, parameters: Given) -> Rows:
    """Temperature after a layer took up heat, part of which thaws what is frozen.

    Solves C (T' - T) + H (s(T') - s(T)) = heat for T', with C of `heat_capacity`, H of
    `freezing_heat` and s of `liquid_share`.

    Args:
        temperature: K.
        heat: J m-3.
        parameters: of the columns, with the layers' axis where the temperature has one.
    """
    ratio = freezing_heat(parameters) / heat_capacity(parameters)  # K
    ratio = jnp.broadcast_to(ratio, temperature.shape)
    total = temperature - FREEZING + ratio * liquid_share(temperature)
    total = total + heat / heat_capacity(parameters)
    # Outside the range the answer is explicit; inside, one iteration of Halley's and two of
    # Newton's from near the inverse sine. The derivative is that of the last iteration, which is
    # the derivative of the root.
    below, above = total <= -1.0, total >= 1.0 + ratio
    held = jax.lax.stop_gradient
    y = jnp.clip(2.0 * (total + 1.0) / (2.0 + ratio) - 1.0, -1.0, 1.0)
    start = y * (1.0 - 0.36 * ratio / (1.0 + ratio) * jnp.sqrt(jax.nn.relu(1.0 - y * y)))
    x, half = held(start), 0.5 * ratio
    for order in (3, 2, 1):
        sine, slope = _quarter_sine(x), 1.0 + half * _quarter_sine_slope(x)
        miss = x + half * (1.0 + sine) - total
        if order == 1:
            x = x - miss / held(slope)
        else:
            bend = (order - 2) * 0.25 * math.pi**2 * half * sine  # minus the second derivative
            x = held(jnp.clip(x - miss * slope / (slope * slope + 0.5 * miss * bend), -1.0, 1.0))
    return FREEZING + jnp.where(below, total, jnp.where(above, total - ratio, x))


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


@apart
def conductivity_and_diffusivity(swvl: Rows, parameters: Given) -> tuple[Rows, Rows]:
    """K (m s-1) and D = K dh/dtheta (m2 s-1) of van Genuchten (1980) and Mualem.

    D = (1 - m) Ks / (alpha m (sat - res)) S^(l - 1/m) (w + 1/w - 2), w = (1 - S^(1/m))^m.

    D stays at its value for S = 0.999 beyond; K goes on to that of saturation. Both are seen in
    ECLand's flow into saturated layers. The last part of K is a straight line here, since its
    slope at saturation has no bound.
    """
    room = jnp.maximum(parameters["theta_sat"] - parameters["theta_res"], 1e-2)
    saturation = (swvl - parameters["theta_res"]) / room
    s = jnp.clip(saturation, _DRIEST, _WETTEST)
    m = 1.0 - 1.0 / parameters["vg_n"]
    log_s = jnp.log(s)
    power = jnp.exp(jnp.maximum(log_s / m, -25.0))  # nothing flows there; its square fits float32
    dry = -jnp.expm1(m * jnp.log1p(-power))  # 1 - w, and w + 1/w - 2 = (1 - w)^2 / w
    full = parameters["ksat"]
    conductivity = full * jnp.exp(parameters["vg_l"] * log_s) * jnp.square(dry)
    scale = (1.0 - m) / (parameters["vg_alpha"] * m * room)
    diffusivity = scale * conductivity / ((1.0 - dry) * power)
    beyond = jnp.clip((saturation - _WETTEST) / (1.0 - _WETTEST), 0.0, 1.0)
    return conductivity + beyond * (full - conductivity), diffusivity


def thickness(like: Layers) -> Float[Array, "4 1"]:
    """Of the layers, m, in the precision of an array."""
    return jnp.asarray(LAYER_THICKNESS, like.dtype)[:, None]


def flow(
    swvl: Layers,
    liquid: Layers,
    parameters: Parameters,
    *,
    faster: Layers,
    wetter: Float[Array, "3 column"],
    time_step: float,
) -> Layers:
    """Water that leaves each layer downwards by gravity and suction over a step, kg m-2.

    Darcy's law with ECLand's choices: conductivity and diffusivity between two layers are those of
    the wetter one, times the larger liquid share (with which ECLand's flow into freezing layer 4
    has a correlation above 0.99, with the smaller one 0.4); free drainage below. Implicit in the
    water content (gravity as K(theta_0) theta / theta_0), so that no layer falls below zero.

    Args:
        swvl: m3 m-3.
        liquid: share of it that is liquid.
        parameters: of the columns.
        faster: factors on the conductivity below each layer.
        wetter: factors on the diffusivity below layers 1 to 3.
        time_step: s.
    """
    given = {name: value[None] for name, value in parameters.items()}
    below = jnp.concatenate([jnp.maximum(swvl[:-1], swvl[1:]), swvl[-1:]])
    below = jnp.minimum(below, given["theta_max"])  # rain not yet run off is no wetter soil
    passing = jnp.concatenate([jnp.maximum(liquid[:-1], liquid[1:]), liquid[-1:]])
    conductivity, diffusivity = conductivity_and_diffusivity(below, given)
    depth = thickness(swvl)
    distance = 0.5 * (depth[:-1] + depth[1:])
    fall = time_step * passing * conductivity * faster / jnp.maximum(swvl, 1e-3)
    spread = time_step / distance * passing[:3] * diffusivity[:3] * wetter
    none = jnp.zeros_like(spread[:1])
    diagonal = depth + fall + jnp.concatenate([spread, none]) + jnp.concatenate([none, spread])
    new = _tridiagonal(-(fall[:3] + spread), diagonal, -spread, depth * swvl)
    sucked = jnp.concatenate([spread * (new[:-1] - new[1:]), none])
    return WATER_DENSITY * (fall * new + sucked)


@apart
def runoff_share(surface: Row, swvl: Rows, liquid: Rows, parameters: Parameters) -> Row:
    """Share of the water at the surface that runs off: variable infiltration capacity.

    Liquid water of the upper half metre against what it holds, with a spread of capacities that
    grows with the standard deviation of the orography (Balsamo et al. 2009, eqs. 2 to 4).

    Args:
        surface: rain, drip and melt at the ground over the step, kg m-2.
        swvl: m3 m-3, four layers.
        liquid: share of it that is liquid.
        parameters: of the columns.
    """
    dry = parameters["theta_pwp"]
    water = full = jnp.zeros_like(surface)
    for k, depth in enumerate(_RUNOFF_DEPTHS):
        water = water + depth * (dry + liquid[k] * jax.nn.relu(swvl[k] - dry))
        full = full + depth * (dry + liquid[k] * (parameters["theta_sat"] - dry))
    rough = (parameters["sdor"] - 100.0) / (parameters["sdor"] + 1000.0)
    power = 1.0 + jnp.clip(rough, 0.01, 0.5)
    amount = jnp.maximum(surface, 1e-3) / WATER_DENSITY
    empty = jnp.clip(1.0 - water / full, 1e-4, 1.0)
    left = jax.nn.relu(jnp.exp(jnp.log(empty) / power) - amount / (power * full))
    running = amount - full * (empty - jnp.exp(power * jnp.log(jnp.maximum(left, 1e-6))))
    return jnp.clip(running / amount, 0.0, 1.0)


@apart
def thermal_conductivity(swvl: Rows, liquid: Rows, parameters: Given) -> Rows:
    """W m-1 K-1 by Johansen's interpolation in the logarithm of wetness (IFS Part IV, 8.78-8.81).

    Solids count with one conductivity for all soils.
    """
    full = parameters["theta_sat"]
    log_solid, log_ice, log_water = (
        jnp.log(x) for x in (_CONDUCTIVITY_SOLID, _CONDUCTIVITY_ICE, _CONDUCTIVITY_WATER)
    )
    saturated = jnp.exp(
        (1.0 - full) * log_solid + full * (log_ice + liquid * (log_water - log_ice))
    )
    kersten = 1.0 + jnp.log(jnp.clip(swvl / full, 0.1, 1.0)) / jnp.log(10.0)
    return _CONDUCTIVITY_DRY + kersten * (saturated - _CONDUCTIVITY_DRY)


def conduction(
    temperature: Layers,
    top: Row,
    swvl: Layers,
    liquid: Layers,
    parameters: Parameters,
    *,
    faster: Float[Array, "3 column"],
    time_step: float,
) -> Float[Array, "3 column"]:
    """Heat that layers 2, 3 and 4 take up by conduction over a step, J m-3 each.

    Implicit, with the heat of freezing at the step's start in the capacity; no heat leaves below.

    Args:
        temperature: K, at the start of the step.
        top: mean temperature of layer 1 over the step, K.
        swvl: m3 m-3.
        liquid: share of it that is liquid.
        parameters: of the columns.
        faster: factors on the conductance below layers 1 to 3.
        time_step: s.
    """
    given = {name: value[None] for name, value in parameters.items()}
    conductivity = thermal_conductivity(swvl, liquid, given)
    depth = thickness(swvl)
    link = time_step / (depth[:-1] + depth[1:]) * (conductivity[:-1] + conductivity[1:]) * faster
    thawing = 0.5 * _quarter_sine_slope(temperature[1:] - FREEZING)
    store = depth[1:] * (heat_capacity(given) + freezing_heat(given) * thawing)
    none = jnp.zeros_like(link[:1])
    diagonal = store + link + jnp.concatenate([link[1:], none])
    right = store * temperature[1:] + jnp.concatenate([link[:1] * top[None], none, none])
    new = _tridiagonal(-link[1:], diagonal, -link[1:], right)
    into = link * (jnp.concatenate([top[None], new[:-1]]) - new)
    return (into - jnp.concatenate([into[1:], none])) / depth[1:]


@jax.custom_jvp
def _tridiagonal(lower: Beside, diagonal: Unknowns, upper: Beside, right: Unknowns) -> Unknowns:
    """Solve a small tridiagonal system A x = b a column, by elimination without pivots.

    The change of x solves A dx = db - dA x with the same elimination, which takes less work than
    the elimination's own derivative.

    Args:
        lower: `[layer - 1, column]`, A's diagonal below the main one.
        diagonal: `[layer, column]`.
        upper: `[layer - 1, column]`.
        right: `[layer, column]`, b.
    """
    return _substituted(*_eliminated(lower, diagonal, upper), upper, right)


@_tridiagonal.defjvp
def _change_of_tridiagonal(primals: System, tangents: System) -> tuple[Unknowns, Unknowns]:
    lower, diagonal, upper, right = primals
    d_lower, d_diagonal, d_upper, d_right = tangents
    ratios, pivots = _eliminated(lower, diagonal, upper)
    x = _substituted(ratios, pivots, upper, right)
    change = d_right - _product(d_lower, d_diagonal, d_upper, x)
    return x, _substituted(ratios, pivots, upper, change)


@apart
def _product(lower: Beside, diagonal: Unknowns, upper: Beside, x: Unknowns) -> Unknowns:
    """A x."""
    none = jnp.zeros_like(x[:1])
    below = jnp.concatenate([none, lower * x[:-1]])
    return diagonal * x + below + jnp.concatenate([upper * x[1:], none])


@apart
def _eliminated(lower: Beside, diagonal: Unknowns, upper: Beside) -> tuple[list[Row], list[Row]]:
    """By what share of the row above each row is lessened, and each row's pivot."""
    ratios, pivots = [], [diagonal[0]]
    for k in range(1, len(diagonal)):
        ratios.append(lower[k - 1] / pivots[-1])
        pivots.append(diagonal[k] - ratios[-1] * upper[k - 1])
    return ratios, pivots


@apart
def _substituted(
    ratios: Sequence[Row], pivots: Sequence[Row], upper: Beside, right: Unknowns
) -> Unknowns:
    """The solution for a right-hand side, given the elimination."""
    values = [right[0]]
    for k, ratio in enumerate(ratios):
        values.append(right[k + 1] - ratio * values[-1])
    solution = [values[-1] / pivots[-1]]
    for k in range(len(ratios) - 1, -1, -1):
        solution.insert(0, (values[k] - upper[k] * solution[0]) / pivots[k])
    return jnp.stack(solution)
