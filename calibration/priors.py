"""What is held possible of a column's parameters before any observation is used.

A prior is a function of a standard normal number, so that its bounds hold by construction:
theta_res <= theta_pwp < theta_cap < theta_sat, covers that add up to one at most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.variables import VARIABLES

Values = Mapping[str, Float[Array, " column"]]

# (theta_cap - theta_pwp) / (theta_max - theta_pwp) of the training columns begins at 0.15.
LEAST_CAP_FRACTION = 0.15
MOST_CAP_SHARE = 0.99  # of theta_sat, the most that the training columns have
KINDS = {
    "uniform": "low and high",
    "loguniform": "low and high",
    "normal": "mean and standard deviation",
    "lognormal": "median and spread of the logarithm",
}
_LEAST_ROOM = 0.02  # m3 m-3 between wilting point and field capacity
_LEAST_WIDTH = 1e-3  # of a range that bounds leave no room
_FACTOR = (0.5, 1.5)  # of the given wilting point or cover
_LOG_SPREAD = 0.5  # of parameters known to a factor
_TAIL = 1e-6  # probability beyond which a normal number is not told from its bound


@partial(jax.tree_util.register_dataclass, data_fields=["first", "second"], meta_fields=["kind"])
@dataclass(frozen=True)
class Prior:
    """A distribution of one parameter, cut at what the column allows.

    Attributes:
        kind: of `KINDS`, which says what the numbers are.
        first: number or `[column]`.
        second: the same.
    """

    # Annotated without a shape: JAX rebuilds the object with tracers.
    kind: str
    first: Any
    second: Any

    def drawn(self, z: Array, low: Array, high: Array) -> Array:
        """The parameter from a standard normal number, between two bounds."""
        if self.kind in ("loguniform", "lognormal"):
            first = jnp.log(jnp.asarray(self.first))
            second = jnp.log(self.second) if self.kind == "loguniform" else self.second
            straight = Prior("uniform" if self.kind == "loguniform" else "normal", first, second)
            return jnp.exp(straight.drawn(z, jnp.log(jnp.maximum(low, 1e-30)), jnp.log(high)))
        if self.kind == "uniform":
            return uniform(z, jnp.clip(self.first, low, high), jnp.clip(self.second, low, high))
        below, above = (ndtr((end - self.first) / self.second) for end in (low, high))
        share = jnp.clip(below + (above - below) * norm.cdf(z), _TAIL, 1.0 - _TAIL)
        return jnp.clip(self.first + self.second * ndtri(share), low, high)

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Where nearly all of it lies: its ends, or two standard deviations either way."""
        first, second = np.asarray(self.first, float), np.asarray(self.second, float)
        ends = first, second
        if self.kind == "normal":
            ends = first - 2.0 * second, first + 2.0 * second
        if self.kind == "lognormal":
            ends = first * np.exp(-2.0 * second), first * np.exp(2.0 * second)
        return np.asarray(ends[0]), np.asarray(ends[1])


def require_sound(name: str, prior: Prior) -> None:
    """Check the numbers of a prior that somebody gave.

    Raises:
        InputError: for an unknown kind, ends that are not in order, or a spread, median or
            logarithm of what is not positive.
    """
    if prior.kind not in KINDS:
        raise InputError(
            f"prior of {name}: {prior.kind!r} is not known, expected {', '.join(KINDS)}; use one"
        )
    first, second = float(prior.first), float(prior.second)
    between = prior.kind in ("uniform", "loguniform")
    sound = first < second if between else second > 0.0
    if prior.kind.startswith("log"):
        sound &= first > 0.0
    if not (sound and np.isfinite([first, second]).all()):
        raise InputError(
            f"prior of {name}: {prior.kind} of {first:g} and {second:g}, expected "
            f"{KINDS[prior.kind]}{', the lower first' if between else ', the latter positive'}"
            "; correct it"
        )


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
    return low, jnp.maximum(MOST_CAP_SHARE * _full(parameters), low + _LEAST_WIDTH)


def _full(values: Mapping[str, Array]) -> Array:
    return values.get("theta_sat", values["theta_max"])


def bounds_of(
    name: str, given: Values, drawn: Values, *, names: Sequence[str]
) -> tuple[Array, Array]:
    """Between what a parameter may lie, beside those that are given or were drawn before it.

    Args:
        name: of the parameter.
        given: all parameters of the columns.
        drawn: those drawn so far.
        names: those that are drawn at all; one that comes later does not bound this one.
    """
    if name == "theta_pwp":
        low = given.get("theta_res", jnp.zeros_like(given["theta_pwp"])) + _LEAST_WIDTH
        # Room for a field capacity above it, whether that is drawn next or given.
        high = MOST_CAP_SHARE * _full(given) - 2 * _LEAST_ROOM
        if "theta_cap" not in names:
            high = jnp.minimum(high, given["theta_cap"] - _LEAST_ROOM)
    elif name == "theta_cap":
        low = {**given, **drawn}["theta_pwp"] + _LEAST_ROOM
        high = MOST_CAP_SHARE * _full(given)
    else:
        row = VARIABLES[f"clim_{name}"]
        low = jnp.full_like(given[name], max(row.lower, 0.0))
        high = jnp.full_like(low, row.upper if np.isfinite(row.upper) else 1e30)
        if name == "cvh" and "cvl" not in names:
            high = 1.0 - given.get("cvl", jnp.zeros_like(high))
        if name == "cvl":
            high = 1.0 - {**given, **drawn}.get("cvh", jnp.zeros_like(high))
    return low, jnp.maximum(high, low + (_LEAST_WIDTH if name.startswith("theta") else 0.0))


def _by_default(name: str, given: Values, drawn: Values) -> Prior:
    if name == "theta_cap":
        return Prior("uniform", *field_capacity_range({**given, **drawn}))
    if name in ("theta_pwp", "cvh", "cvl"):
        return Prior("uniform", *(factor * given[name] for factor in _FACTOR))
    return Prior("lognormal", given[name], _LOG_SPREAD)


# In the order of drawing: field capacity's bounds need the wilting point, low cover's the high.
PRIORS: dict[str, Callable[[Values, Values], Prior]] = {
    name: partial(_by_default, name)
    for name in ("theta_pwp", "theta_cap", "veg_rsminh", "veg_rsminl", "ksat", "cvh", "cvl")
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
    z: Float[Array, "parameter column"],
    given: Values,
    *,
    names: Sequence[str],
    priors: Mapping[str, Prior] | None = None,
) -> dict[str, Float[Array, " column"]]:
    """Parameters of all columns from standard normal ones.

    Without a prior of its own, field capacity is uniform over `field_capacity_range`; wilting point
    and covers uniform over 0.5 to 1.5 of the given ones; the rest lognormal about the given value
    with a spread of 0.5 (a factor of 1.65). All are cut at `bounds_of`.

    Args:
        z: in the order of `names`.
        given: the columns' parameters.
        names: what to draw.
        priors: by name, with numbers or `[column]`.
    """
    drawn: dict[str, Array] = {}
    for name, default in PRIORS.items():
        if name in names:
            prior = (priors or {}).get(name) or default(given, drawn)
            bounds = bounds_of(name, given, drawn, names=names)
            drawn[name] = prior.drawn(z[list(names).index(name)], *bounds)
    return drawn
