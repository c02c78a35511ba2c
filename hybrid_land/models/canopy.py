"""Plants and bare ground as ECLand's equations see them: roots, stress and conductance."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hybrid_land.interface import Forcing, Parameters
from hybrid_land.models.rows import total

Row = Float[Array, " column"]
Rows = Float[Array, "*kind column"]
Kinds = Float[Array, "2 column"]

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
_LIGHT = (0.81, 0.004, 0.05)  # a, b (m2 W-1) and c of the answer to light
_DRY_AIR = (-0.0003, 0.0)  # Pa-1, closing of high and low vegetation in dry air
_RESISTANCE = 100.0  # s m-1, in whose inverse conductances are given
_DRIEST = 0.001  # least available fraction: a little evaporates from the driest soil
_TRACE = 1e-6  # available fraction by which roots share what they take from wholly dry soil
_BARE_RESISTANCE = 50.0  # s m-1, of wet bare ground


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plants:
    """High and low vegetation of each column, in that order on the axis before the column.

    Attributes:
        fraction: of the ground that each covers.
        roots: share of roots in each layer.
        stress: F2 = 2 x - x^2 of the root-weighted available water x; 1 where nothing limits.
        uptake: share of each layer in what the roots take up.
        conductance: of the canopy, LAI F1 F2 F3 / rsmin, in units of 0.01 m s-1.
    """

    fraction: Kinds
    roots: Float[Array, "4 2 column"]
    stress: Kinds
    uptake: Float[Array, "4 2 column"]
    conductance: Kinds


def of_both(parameters: Parameters, name: str) -> Kinds:
    """A parameter of high and low vegetation, by its name without the final h or l."""
    return jnp.stack([parameters[f"{name}h"], parameters[f"{name}l"]])


def leaf_area(forcing: Forcing) -> Kinds:
    """Leaf area index of high and low vegetation."""
    return jnp.stack([forcing["lai_hv"], forcing["lai_lv"]])


def unstressed_share(water: Rows) -> Rows:
    """ECLand's F2 = 2 x - x^2 of the available fraction x."""
    return 2.0 * water - water * water


def grow(
    parameters: Parameters,
    available: Float[Array, "4 column"],
    forcing: Forcing,
    vapour_deficit: Row,
) -> Plants:
    """High and low vegetation with their conductance (IFS Part IV, 8.10 to 8.16).

    Args:
        parameters: of the columns.
        available: available fraction of the water of each layer.
        forcing: over the step.
        vapour_deficit: Pa.
    """
    a, b, c = _LIGHT
    sun = jnp.maximum(forcing["met_swdown"], 0.0)
    light = jnp.minimum(1.0, (b * sun + c) / (a * (b * sun + 1.0)))
    table = jnp.asarray(_ROOTS, available.dtype)
    kinds = jnp.clip(of_both(parameters, "tv").astype(int), 0, len(_ROOTS) - 1)
    roots = jnp.moveaxis(table[kinds], -1, 0)
    water = total(roots * available[:, None])
    drawn = roots * (available[:, None] + _TRACE)
    stress = unstressed_share(jnp.maximum(water, _DRIEST))
    closing = jnp.exp(jnp.asarray(_DRY_AIR, available.dtype)[:, None] * vapour_deficit[None])
    resistance = jnp.maximum(of_both(parameters, "veg_rsmin"), 1.0)
    return Plants(
        fraction=of_both(parameters, "cv") * of_both(parameters, "veg_cov"),
        roots=roots,
        stress=stress,
        uptake=drawn / total(drawn)[None],
        conductance=_RESISTANCE * leaf_area(forcing) * light[None] * stress * closing / resistance,
    )


def bare_stress(swvl: Row, liquid: Row, parameters: Parameters, plants: Row) -> Row:
    """F2 of bare ground, which dries layer 1 further than roots do (Albergel et al. 2012, eq. 4).

    Between field capacity and the mean of wilting point and residual water by the share `plants`
    of the ground that vegetation covers.
    """
    least = plants * parameters["theta_pwp"] + (1.0 - plants) * parameters["theta_res"]
    room = jnp.maximum(parameters["theta_cap"] - least, 1e-3)
    return unstressed_share(jnp.clip((swvl * liquid - least) / room, _DRIEST, 1.0))


def bare_conductance(stress: Row) -> Row:
    """Of bare ground by its stress, in units of 0.01 m s-1."""
    return _RESISTANCE / _BARE_RESISTANCE * stress
