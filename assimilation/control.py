"""The control vector: what of a window is corrected, and where each part of it must lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.interface import Parameters
from hybrid_land.variables import SOIL_WATER

CONTROL = SOIL_WATER  # what is corrected unless told otherwise
_BEND = 0.004  # width of the bend near a bound, in units of the variable (m3 m-3)
_NEAREST = 1e-5  # how near to a bound a background may lie


def to_bounded(free: Array, lower: Array, upper: Array) -> Array:
    """A smooth, increasing map of the line onto (lower, upper), the identity but near its ends.

    upper - s log(1 + exp((upper - u) / s)) with u = lower + s log(1 + exp((y - lower) / s)).
    """
    above = lower + _BEND * jax.nn.softplus((free - lower) / _BEND)
    return upper - _BEND * jax.nn.softplus((upper - above) / _BEND)


def to_free(bounded: Array, lower: Array, upper: Array) -> Array:
    """The inverse of `to_bounded`, after moving values on a bound inside it."""

    def inverse_softplus(x: Array) -> Array:
        return x + jnp.log(-jnp.expm1(-x))

    x = jnp.clip(bounded, lower + _NEAREST, upper - _NEAREST)
    above = upper - _BEND * inverse_softplus((upper - x) / _BEND)
    above = jnp.maximum(above, lower + 0.5 * _NEAREST)
    return lower + _BEND * inverse_softplus((above - lower) / _BEND)


def bounds(name: str, parameters: Parameters) -> tuple[Any, Any]:
    """Where a control variable must lie, or nothing for one without bounds.

    Soil water lies within the layer, field capacity between the wilting point and what a layer
    can hold.
    """
    if name in SOIL_WATER:
        return jnp.zeros_like(parameters["theta_max"]), parameters["theta_max"]
    if name == "theta_cap":
        return parameters["theta_pwp"] + 0.02, parameters["theta_max"]
    return None, None


def moved(name: str, value: Array, by: Array, parameters: Parameters) -> Array:
    """A control variable moved by so much, within its bounds; by nothing, it is itself.

    Args:
        name: of the variable.
        value: `[column]`.
        by: in the variable's unit, `[column]`; what the move is far from the bounds.
        parameters: of the columns.
    """
    lower, upper = bounds(name, parameters)
    if lower is None:
        return value + by
    free = to_free(value, lower, upper)
    change = to_bounded(free + by, lower, upper) - to_bounded(free, lower, upper)
    return jnp.clip(value + change, lower, upper)


@dataclass(frozen=True)
class ControlVector:
    """What a window's control vector holds, in this order, for each column.

    Attributes:
        start: prognostic variables at the window's start, and parameters.
        model_error: prognostic variables to which the model adds an error a day, constant over a
            sub-window (Tremolet 2006, model error forcing).
        parts: sub-windows, each with a model error of its own.
        bias: observables whose bias over the window is estimated (Dee 2005; y = H(x) + b).
    """

    start: tuple[str, ...]
    model_error: tuple[str, ...] = ()
    parts: int = 1
    bias: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Elements of each term of the cost's background part."""
        return {
            "background": len(self.start),
            "model_error": self.parts * len(self.model_error),
            "bias": len(self.bias),
        }

    @property
    def size(self) -> int:
        """Elements in all."""
        return sum(self.sizes.values())

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each element."""
        return (
            *self.start,
            *(f"{n}_error_{k + 1}" for k in range(self.parts) for n in self.model_error),
            *(f"{name}_bias" for name in self.bias),
        )

    def apart(
        self, rows: Float[Array, "control column"]
    ) -> dict[str, Float[Array, "*part element column"]]:
        """The elements by term; those of the model error `[part, variable, column]`."""
        ends, pieces = 0, {}
        for name, size in self.sizes.items():
            pieces[name] = rows[ends : ends + size]
            ends += size
        errors = pieces["model_error"]
        pieces["model_error"] = errors.reshape(
            (self.parts, len(self.model_error), errors.shape[-1])
        )
        return pieces


def block_root(blocks: Sequence[Float[Array, "_ _"]]) -> Float[Array, "control control"]:
    """The square root of a covariance whose terms do not know of each other."""
    return jax.scipy.linalg.block_diag(*[block for block in blocks if block.size])


def repeated_over(
    parts: Float[Array, "part variable column"], steps: int, names: Sequence[str]
) -> Mapping[str, Float[Array, "record column"]]:
    """Each sub-window's rows on its steps: `[record, column]` by name."""
    index = (jnp.arange(steps) * parts.shape[0]) // steps
    return {name: parts[index, i] for i, name in enumerate(names)}
