"""Water moved between reservoirs so that none is lost and none goes below zero or above full.

The network proposes; this file disposes. Every amount that leaves one reservoir enters another or
is reported as a flux, so that for each step and column

    precipitation + e - sro - ssro = change of (soil water + snow + skin reservoir)

to rounding, whatever the network says. Units are kg m-2 over the step; `e` is positive downwards.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Row = Float[Array, " column"]


@dataclass(frozen=True)
class Proposal:
    """What the network proposes for one step; rows `[column]`.

    Attributes:
        interception: share of rain kept by leaves and ground, 0 to 1.
        skin_loss: share of the skin reservoir that evaporates, 0 to 1.
        dew: water condensing on the skin, >= 0, kg m-2.
        sublimation: change of snow mass by vapour, positive downwards, kg m-2.
        melt: water leaving the snow pack, >= 0, kg m-2.
        runoff: share of the water at the surface that runs off, 0 to 1.
        infiltration: shares of the rest that enter layers 1 to 4 and leave below; sum to 1.
        uptake: water taken by vapour from each layer, positive downwards, kg m-2.
        exchange: water moved from layer k to k + 1, kg m-2.
        drainage: water leaving layer 4 below, >= 0, kg m-2.
    """

    interception: Row
    skin_loss: Row
    dew: Row
    sublimation: Row
    melt: Row
    runoff: Row
    infiltration: tuple[Row, ...]
    uptake: tuple[Row, ...]
    exchange: tuple[Row, ...]
    drainage: Row


@dataclass(frozen=True)
class Reservoirs:
    """Water held, kg m-2: four soil layers, snow and skin; rows `[column]`."""

    soil: tuple[Row, ...]
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
    soil_capacity: tuple[Row, ...],
    skin_capacity: Row,
) -> tuple[Reservoirs, Fluxes]:
    """Apply a proposal within what the reservoirs hold and can hold.

    Snow takes the snowfall and the rain on its covered part, then sublimates and melts at most
    what is there. Leaves intercept rain up to their capacity. What remains runs off or is shared
    between the layers. A layer that would fall below zero gives less vapour; one that would
    overflow passes the excess upwards, from the top one to surface runoff.

    Args:
        before: water at the start of the step.
        proposal: what the network proposes.
        rain: kg m-2.
        snowfall: kg m-2.
        cover: snow cover fraction at the start.
        soil_capacity: the most each layer can hold, kg m-2.
        skin_capacity: the most the skin can hold, kg m-2.

    Returns:
        Water at the end and the fluxes.
    """
    relu = jax.nn.relu
    pack = before.snow + snowfall + cover * rain
    sublimation = jnp.maximum(proposal.sublimation, -pack)
    pack = pack + sublimation
    melt = jnp.minimum(proposal.melt, pack)
    snow = pack - melt

    rain_below = (1.0 - cover) * rain
    kept = jnp.minimum(proposal.interception * rain_below, relu(skin_capacity - before.skin))
    wet = before.skin + kept + proposal.dew
    skin_vapour = proposal.dew - wet * proposal.skin_loss
    skin = wet * (1.0 - proposal.skin_loss)
    drip = relu(skin - skin_capacity)
    skin = skin - drip

    surface = rain_below - kept + melt + drip
    sro = proposal.runoff * surface
    entering = surface - sro
    share = proposal.infiltration
    flow = (0.0, *proposal.exchange, proposal.drainage)
    e = sublimation + skin_vapour
    soil = []
    for k in range(4):
        water = before.soil[k] + share[k] * entering + proposal.uptake[k] + flow[k] - flow[k + 1]
        lacking = relu(-water)
        soil.append(water + lacking)
        e = e + proposal.uptake[k] + lacking
    ssro = share[4] * entering + proposal.drainage

    for k in (3, 2, 1):
        excess = relu(soil[k] - soil_capacity[k])
        soil[k] = soil[k] - excess
        soil[k - 1] = soil[k - 1] + excess
    excess = relu(soil[0] - soil_capacity[0])
    soil[0] = soil[0] - excess
    sro = sro + excess
    after = Reservoirs(soil=(soil[0], soil[1], soil[2], soil[3]), snow=snow, skin=skin)
    return after, Fluxes(e=e, sro=sro, ssro=ssro, sublimation=sublimation)
