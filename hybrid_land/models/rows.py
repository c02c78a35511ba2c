"""Arrays of a few rows, one for each layer or kind of plants; columns are the last axis."""

from functools import reduce
from operator import add

import jax
from jaxtyping import Array, Float


def rows_of(x: Float[Array, "row column"]) -> list[Float[Array, " column"]]:
    """The rows of an array; by `split`, whose transpose is one concatenation."""
    return [row[0] for row in jax.lax.split(x, (1,) * x.shape[0], axis=0)]


def total(x: Float[Array, "row *kind column"]) -> Float[Array, "*kind column"]:
    """Sum over the leading axis, one row after the other.

    XLA hands a sum over an axis to a library for large arrays on CPU, which takes many times as
    long for four rows.
    """
    parts = jax.lax.split(x, (1,) * x.shape[0], axis=0)
    return reduce(add, [part[0] for part in parts])
