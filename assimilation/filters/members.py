"""Members that fail, and members that would leave the bounds of their variables."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from assimilation.control import bounds, moved
from assimilation.filters.analyses import Ensemble, Predicted
from assimilation.filters.inflation import spread
from hybrid_land.variables import FREEZING, SOIL_TEMPERATURE, SOIL_WATER, VARIABLES


def failed(ensemble: Ensemble, predicted: Predicted) -> Bool[Array, "member column"]:
    """Which members of which columns hold anything that is not finite."""
    sound = jnp.all(jnp.isfinite(ensemble), axis=1) & jnp.all(jnp.isfinite(predicted), axis=1)
    return ~sound


def replaced(
    key: Array,
    ensemble: Ensemble,
    predicted: Predicted,
    bad: Bool[Array, "member column"],
    *,
    noise: float | Array,
    noisy: int,
) -> tuple[Ensemble, Predicted]:
    """Failed members as copies of sound ones of their column, moved by a little noise.

    The first that failed has the state of the first that did not, and so on in turn. A column in
    which all failed stays as it is; the driver says so after the run.

    Args:
        key: of the noise.
        ensemble: all variables.
        predicted: what the members say of the observations; a copy says what its source says.
        bad: from `failed`.
        noise: deviation of what is added, as a part of the column's spread.
        noisy: variables that it is added to, so many from the first.
    """
    order = jnp.argsort(bad, axis=0, stable=True)  # sound ones first
    sound = jnp.maximum(jnp.sum(~bad, axis=0), 1)
    turn = jnp.maximum(jnp.cumsum(bad, axis=0) - 1, 0)
    source = jnp.take_along_axis(order, turn % sound[None], axis=0)
    source = jnp.where(bad, source, jnp.arange(bad.shape[0])[:, None])[:, None]
    copies = jnp.take_along_axis(ensemble, source, axis=0)
    seen = jnp.take_along_axis(predicted, source, axis=0)
    own = copies[:, :noisy]
    draw = jax.random.normal(key, own.shape, own.dtype)
    shift = jnp.asarray(noise, own.dtype) * spread(own)[None] * draw
    return copies.at[:, :noisy].set(jnp.where(bad[:, None], own + shift, own)), seen


def within(
    names: tuple[str, ...],
    before: Ensemble,
    after: Ensemble,
    parameters: Mapping[str, Array],
    temperatures: Mapping[str, Float[Array, "member column"]],
) -> Ensemble:
    """The analysis within the variables' bounds; an element that did not change is not touched.

    Soil water and field capacity go to their bounds smoothly, as in 4D-Var (`control.moved`);
    other variables of the land are held within what a sound file can hold. Soil water of a layer
    that is frozen in a member stays what it was in that member.

    Args:
        names: of the variables.
        before: the forecast, within bounds.
        after: the analysis.
        parameters: leaves `[column]`.
        temperatures: of the soil's layers, as forecast, those that are known.
    """
    if not any(name in VARIABLES for name in names):
        return after
    rows = []
    for k, name in enumerate(names):
        old, new = before[:, k], after[:, k]
        if bounds_of(name, parameters):
            move = partial(moved, name, parameters=dict(parameters))
            new = jnp.where(new == old, old, jax.vmap(move)(old, by=new - old))
        elif name in VARIABLES:
            row = VARIABLES[name]
            new = jnp.where(new == old, old, jnp.clip(new, row.lower, row.upper))
        layer = SOIL_TEMPERATURE[SOIL_WATER.index(name)] if name in SOIL_WATER else ""
        if layer in temperatures:
            new = jnp.where(temperatures[layer] < FREEZING, old, new)
        rows.append(new)
    return jnp.stack(rows, axis=1)


def bounds_of(name: str, parameters: Mapping[str, Array]) -> bool:
    """Whether 4D-Var bounds the variable."""
    needed = ("theta_max", "theta_pwp") if name == "theta_cap" else ("theta_max",)
    known = all(n in parameters for n in needed)
    return known and bounds(name, dict(parameters))[0] is not None
