"""What is held possible of a column's parameters before any observation is used."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from hybrid_land.errors import InputError

Scalars = dict[str, Float[Array, ""]]  # the parameters of one column

# (theta_cap - theta_pwp) / (theta_max - theta_pwp) of the training columns; beyond it no model
# trained on them has seen anything.
CAP_FRACTION = (0.15, 1.1)
_LEAST_ROOM = 0.02  # m3 m-3 between wilting point and field capacity
_WILTING_FACTOR = (0.5, 1.5)  # of the given wilting point
_LOG_SPREAD = 0.5  # of parameters known to a factor


def field_capacity_range(
    parameters: Mapping[str, Float[Array, "*shape"]],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Least and largest theta_cap of a column that its wilting point and saturation allow.

    theta_pwp + f (theta_max - theta_pwp) with f the range of the training columns, and never
    closer than 0.02 m3 m-3 to the wilting point.
    """
    wilting, room = parameters["theta_pwp"], parameters["theta_max"] - parameters["theta_pwp"]
    low = wilting + jnp.maximum(CAP_FRACTION[0] * room, _LEAST_ROOM)
    return low, jnp.maximum(wilting + CAP_FRACTION[1] * room, low + _LEAST_ROOM)


def _field_capacity(given: Scalars, drawn: Scalars, sampled: Sequence[str]) -> dist.Distribution:
    return dist.Uniform(*field_capacity_range(given | drawn))


def _wilting_point(given: Scalars, drawn: Scalars, sampled: Sequence[str]) -> dist.Distribution:
    low, high = (factor * given["theta_pwp"] for factor in _WILTING_FACTOR)
    if "theta_cap" not in sampled:
        high = jnp.minimum(high, given["theta_cap"] - _LEAST_ROOM)
    return dist.Uniform(low, jnp.maximum(high, low + 1e-3))


def _to_a_factor(name: str) -> Callable[..., dist.Distribution]:
    def prior(given: Scalars, drawn: Scalars, sampled: Sequence[str]) -> dist.Distribution:
        return dist.LogNormal(jnp.log(given[name]), _LOG_SPREAD)

    return prior


# In the order of drawing: field capacity's range needs the wilting point.
PRIORS: dict[str, Callable[..., dist.Distribution]] = {
    "theta_pwp": _wilting_point,
    "theta_cap": _field_capacity,
    "veg_rsminh": _to_a_factor("veg_rsminh"),
    "veg_rsminl": _to_a_factor("veg_rsminl"),
    "ksat": _to_a_factor("ksat"),
}


def require_prior(names: Sequence[str], available: Sequence[str]) -> None:
    """Check that each parameter can be estimated.

    Raises:
        InputError: for a parameter without a prior, not in the data, or named twice, or for none.
    """
    if not names:
        raise InputError(
            f"no parameter to estimate, expected at least one of {', '.join(PRIORS)}; name one"
        )
    for name in names:
        if name not in PRIORS:
            raise InputError(
                f"parameter {name!r} cannot be estimated, expected one of {', '.join(PRIORS)}; "
                "correct --parameters"
            )
        if name not in available:
            raise InputError(f"parameter {name} is not in the data, expected clim_{name}; add it")
    if len(set(names)) < len(names):
        raise InputError(f"parameters {', '.join(names)}: one is named twice; name each once")


def draw_parameters(given: Scalars, *, names: Sequence[str]) -> Scalars:
    """The prior as a NumPyro model: draw each named parameter of one column.

    Field capacity is uniform over `field_capacity_range`; the wilting point uniform over 0.5 to
    1.5 of the given one, below field capacity; the rest lognormal about the given value with a
    spread of 0.5 (a factor of 1.65).

    Args:
        given: the column's parameters, scalars.
        names: what to draw.
    """
    drawn: dict[str, Array] = {}
    for name in PRIORS:
        if name in names:
            drawn[name] = jnp.asarray(numpyro.sample(name, PRIORS[name](given, drawn, names)))
    return drawn
