"""Water moved between reservoirs so that none is lost and none goes below zero or above full.

The network proposes; this file disposes. Every amount that leaves one reservoir enters another or
is reported as a flux, so that for each step and column

    precipitation + e - sro - ssro = change of (soil water + snow + skin reservoir)

to rounding, whatever the network says. Units are kg m-2 over the step; `e` is positive downwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.compiled import apart

Row = Float[Array, " column"]
Layers = Float[Array, "4 column"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Proposal:
    """What the network proposes for one step; rows `[column]`.

    Attributes:
        interception: share of rain kept by leaves and ground, 0 to 1.
        skin_loss: share of the skin reservoir that evaporates, 0 to 1.
        dew: water condensing on the skin, >= 0, kg m-2.
        sublimation: change of snow mass by vapour, positive downwards, kg m-2.
        melt: water leaving the snow pack, >= 0, kg m-2.
        infiltration: shares of the rest that enter each layer; sum to 1.
        uptake: water taken by vapour from each layer, positive downwards, kg m-2.
    """

    interception: Row
    skin_loss: Row
    dew: Row
    sublimation: Row
    melt: Row
    infiltration: Layers
    uptake: Layers


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reservoirs:
    """Water held, kg m-2: four soil layers `[4, column]`, snow and skin `[column]`."""

    soil: Layers
    snow: Row
    skin: Row


@dataclass(frozen=True)
class Fluxes:
    """Water through the boundaries over the step, kg m-2, and the part of `e` that left snow."""

    e: Row
    sro: Row
    ssro: Row
    sublimation: Row


def balance(
    before: Reservoirs,
    proposal: Proposal,
    *,
    rain: Row,
    snowfall: Row,
    cover: Row,
    soil_capacity: Layers,
    skin_capacity: Row,
    runoff: Callable[[Row], Row],
    flow: Callable[[Layers], Layers],
) -> tuple[Reservoirs, Fluxes]:
    """Apply a proposal within what the reservoirs hold and can hold.

    Snow takes the snowfall and the rain on its covered part, then sublimates and melts at most
    what is there. Leaves intercept rain up to their capacity. What remains runs off or is shared
    between the layers, between which water then flows. A layer that would fall below zero takes
    what it lacks from the one below, as in ECLand, whose deserts dry to zero that way; the last
    gives less vapour. What one cannot hold runs off, from the top one as surface runoff and from
    the others as subsurface runoff, as ECLand's saturated layers on frozen ground do.

    Args:
        before: water at the start of the step.
        proposal: what the network proposes.
        rain: kg m-2.
        snowfall: kg m-2.
        cover: snow cover fraction at the start.
        soil_capacity: the most each layer can hold, kg m-2.
        skin_capacity: the most the skin can hold, kg m-2.
        runoff: from the water at the surface, kg m-2, to the share of it that runs off, 0 to 1.
        flow: from the water of the layers, kg m-2, to what leaves each layer downwards, kg m-2;
            the last leaves the column and is not negative.

    Returns:
        Water at the end and the fluxes.
    """
    snow, skin, surface, sublimation, skin_vapour = _above_ground(
        before, proposal, rain, snowfall, cover, skin_capacity
    )
    sro = runoff(surface) * surface
    soil, given_back = _entered(before, proposal, surface - sro)
    e = sublimation + skin_vapour + jnp.sum(proposal.uptake, axis=0) + given_back
    soil, spilt, drained, missing = _left(soil, flow(soil), soil_capacity)
    sro, ssro, e = sro + spilt, drained, e + missing
    after = Reservoirs(soil=soil, snow=snow, skin=skin)
    return after, Fluxes(e=e, sro=sro, ssro=ssro, sublimation=sublimation)


@apart
def _above_ground(
    before: Reservoirs,
    proposal: Proposal,
    rain: Row,
    snowfall: Row,
    cover: Row,
    skin_capacity: Row,
) -> tuple[Row, Row, Row, Row, Row]:
    """Snow and skin at the end, water at the surface, and vapour to the snow and to the skin."""
    relu = jax.nn.relu
    pack = before.snow + snowfall + cover * rain
    sublimation = jnp.maximum(proposal.sublimation, -pack)
    pack = pack + sublimation
    melt = jnp.minimum(proposal.melt, pack)

    rain_below = (1.0 - cover) * rain
    kept = jnp.minimum(proposal.interception * rain_below, relu(skin_capacity - before.skin))
    moist = before.skin + kept + proposal.dew
    skin_vapour = proposal.dew - moist * proposal.skin_loss
    skin = moist * (1.0 - proposal.skin_loss)
    drip = relu(skin - skin_capacity)
    return pack - melt, skin - drip, rain_below - kept + melt + drip, sublimation, skin_vapour


@apart
def _entered(before: Reservoirs, proposal: Proposal, entering: Row) -> tuple[Layers, Row]:
    """Soil water with what enters and what vapour takes, and by how much less vapour that is."""
    soil = list(before.soil + proposal.infiltration * entering[None] + proposal.uptake)
    for k in range(4):
        lacking = jax.nn.relu(-soil[k])
        soil[k] = soil[k] + lacking
        if k < 3:
            soil[k + 1] = soil[k + 1] - lacking
    return jnp.stack(soil), lacking


@apart
def _left(soil: Layers, down: Layers, capacity: Layers) -> tuple[Layers, Row, Row, Row]:
    """Soil water after the flow; runoff from the first layer and from below; vapour not given."""
    soil = soil - down + jnp.concatenate([jnp.zeros_like(down[:1]), down[:3]])
    lacking = jax.nn.relu(-soil)  # by rounding, or where a flow takes more than there is
    soil = soil + lacking
    excess = jax.nn.relu(soil - capacity)
    drained = down[3] + jnp.sum(excess[1:], axis=0)
    return soil - excess, excess[0], drained, jnp.sum(lacking, axis=0)
