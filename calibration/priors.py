"""What is held possible of a column's parameters before any observation is used.

A prior is a function of a standard normal number, so that its bounds hold by construction.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from hybrid_land.errors import InputError

Values = Mapping[str, Float[Array, " column"]]

# (theta_cap - theta_pwp) / (theta_max - theta_pwp) of the training columns begins at 0.15.
LEAST_CAP_FRACTION = 0.15
MOST_CAP_SHARE = 0.99  # of theta_sat, the most that the training columns have
_LEAST_ROOM = 0.02  # m3 m-3 between wilting point and field capacity
_WILTING_FACTOR = (0.5, 1.5)  # of the given wilting point
_LOG_SPREAD = 0.5  # of parameters known to a factor


def uniform(z: Array, low: Array, high: Array) -> Array:
    """A uniform number between two bounds, from a standard normal one."""
    return low + (high - low) * norm.cdf(z)


def field_capacity_range(
    parameters: Mapping[str, Float[Array, "*shape"]],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Least and largest theta_cap of a column that its wilting point and saturation allow.

    From theta_pwp + 0.15 (theta_max - theta_pwp), and never closer than 0.02 m3 m-3 to the
    wilting point, to 0.99 theta_sat: the range of the training columns.
    """
    wilting, room = parameters["theta_pwp"], parameters["theta_max"] - parameters["theta_pwp"]
    low = wilting + jnp.maximum(LEAST_CAP_FRACTION * room, _LEAST_ROOM)
    full = parameters.get("theta_sat", parameters["theta_max"])
    return low, jnp.maximum(MOST_CAP_SHARE * full, low + 1e-3)


def _field_capacity(z: Array, given: Values, drawn: Values) -> Array:
    return uniform(z, *field_capacity_range({**given, **drawn}))


def _wilting_point(z: Array, given: Values, drawn: Values) -> Array:
    low, high = (factor * given["theta_pwp"] for factor in _WILTING_FACTOR)
    full = given.get("theta_sat", given["theta_max"])
    # Room for a field capacity above it, whether that is drawn next or given.
    high = jnp.minimum(high, MOST_CAP_SHARE * full - 2 * _LEAST_ROOM)
    return uniform(z, low, jnp.maximum(high, low + 1e-3))


def _wilting_point_below_cap(z: Array, given: Values, drawn: Values) -> Array:
    low, high = (factor * given["theta_pwp"] for factor in _WILTING_FACTOR)
    high = jnp.minimum(high, given["theta_cap"] - _LEAST_ROOM)
    return uniform(z, low, jnp.maximum(high, low + 1e-3))


def _to_a_factor(name: str) -> Callable[[Array, Values, Values], Array]:
    def prior(z: Array, given: Values, drawn: Values) -> Array:
        return given[name] * jnp.exp(_LOG_SPREAD * z)

    return prior


# In the order of drawing: field capacity's range needs the wilting point.
PRIORS: dict[str, Callable[[Array, Values, Values], Array]] = {
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


def parameters_of(
    z: Float[Array, "parameter column"], given: Values, *, names: Sequence[str]
) -> dict[str, Float[Array, " column"]]:
    """Parameters of all columns from standard normal ones.

    Field capacity is uniform over `field_capacity_range`; the wilting point uniform over 0.5 to
    1.5 of the given one, below field capacity; the rest lognormal about the given value with a
    spread of 0.5 (a factor of 1.65).

    Args:
        z: in the order of `names`.
        given: the columns' parameters.
        names: what to draw.
    """
    drawn: dict[str, Array] = {}
    for name, prior in PRIORS.items():
        if name in names:
            if name == "theta_pwp" and "theta_cap" not in names:
                prior = _wilting_point_below_cap
            drawn[name] = prior(z[list(names).index(name)], given, drawn)
    return drawn
