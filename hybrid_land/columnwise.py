"""Functions of one column whose batch is one call on all columns.

A minimiser or sampler is written for one problem and mapped over many by `vmap`. Mapping a rollout
that way puts the columns' axis where a step has none and costs twice the time; the rollout
already takes many columns. What `columnwise` makes is mapped by handing all columns to it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from hybrid_land.chunks import in_chunks

_AT_ONCE = 128  # columns of a sweep, of which more cost more each


def columnwise(
    function: Callable[[Any, Any], Float[Array, " column"]],
    *,
    mode: Literal["forward", "reverse"],
) -> Callable[[Any, Any], Float[Array, ""]]:
    """A scalar function of one column, differentiable in its first argument.

    Args:
        function: of `x` and `data`, pytrees whose leaves have the column as their last axis;
            gives one number a column, which depends on that column alone.
        mode: how to differentiate: one forward sweep for each leaf of `x`, whose leaves then
            have no other axis than the column, or one reverse sweep.

    Returns:
        `one(x, data)` with leaves that lack the column axis. Under `vmap` over all leaves of both
        it is one call of `function`; value and gradient are one sweep.
    """

    def slopes(x: Any, data: Any) -> tuple[Array, Any]:
        if mode == "reverse":
            value, pull = jax.vjp(lambda at: function(at, data), x)
            return value, pull(jnp.ones_like(value))[0]
        leaves, tree = jax.tree.flatten(x)
        found = []
        for i in range(len(leaves)):
            tangents = [jnp.full_like(leaf, float(i == k)) for k, leaf in enumerate(leaves)]
            way = jax.tree.unflatten(tree, tangents)
            found.append(jax.jvp(lambda at: function(at, data), (x,), (way,)))
        return found[0][0], jax.tree.unflatten(tree, [slope for _, slope in found])

    value_of = _mapped(function)
    slopes_of = _mapped(_in_pieces(slopes))

    @jax.custom_jvp
    def scalar(x: Any, data: Any) -> Float[Array, ""]:
        return value_of(x, data)

    @scalar.defjvp
    def scalar_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        value, slope = slopes_of(*primals)
        change = jax.tree.map(lambda s, t: jnp.sum(s * t), slope, tangents[0])
        return value, sum(jax.tree.leaves(change), start=jnp.zeros_like(value))

    return scalar


def columnwise_residuals(
    function: Callable[[Float[Array, "control column"], Any], Float[Array, "residual column"]],
) -> Callable[[Float[Array, " control"], Any], Float[Array, " residual"]]:
    """A vector function of one column, differentiable in its first argument by forward mode.

    Args:
        function: of `x` `[control, column]` and `data`, a pytree whose leaves have the column as
            their last axis; a column's residuals depend on that column alone.

    Returns:
        `one(x, data)` with leaves that lack the column axis. Under `vmap` over all leaves of both
        it is one call of `function`, and its whole Jacobian one more with a tangent a control.
    """
    value_of = _mapped(function)
    slopes_of = _mapped(partial(forward_slopes, function))

    @jax.custom_jvp
    def vector(x: Any, data: Any) -> Float[Array, " residual"]:
        return value_of(x, data)

    @vector.defjvp
    def vector_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        value, jacobian = slopes_of(*primals)
        return value, jnp.einsum("ir,i->r", jacobian, tangents[0])

    return vector


def forward_slopes(
    function: Callable[[Float[Array, "control column"], Any], Any],
    x: Float[Array, "control column"],
    data: Any,
    *,
    has_aux: bool = False,
) -> Any:
    """A function's value and its slopes along each control, in one sweep for all columns.

    Args:
        function: of `x` and `data`; a column's results depend on that column alone.
        x: where.
        data: pytree whose leaves have the column as their last axis.
        has_aux: whether the function gives a second result, whose slopes are not wanted.

    Returns:
        The value, its slopes with a first axis of controls, and that second result; the column
        is the last axis of all.
    """

    def sweep(x: Array, data: Any) -> Any:
        def along(direction: Float[Array, " control"]) -> tuple[Any, ...]:
            way = jnp.broadcast_to(direction[:, None], x.shape)
            return jax.jvp(lambda at: function(at, data), (x,), (way,), has_aux=has_aux)

        # Mapped over tangents alone: the values they share are computed once.
        every = jax.vmap(along, out_axes=(None, 0, None) if has_aux else (None, 0))
        return every(jnp.eye(x.shape[0], dtype=x.dtype))

    return _in_pieces(sweep)(x, data)


def _in_pieces(sweep: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return in_chunks(sweep, axes=(-1, -1), chunk=_AT_ONCE)


def _mapped(native: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A function of one column from one of all: `vmap` hands all columns over at once."""

    def call(x: Any, data: Any) -> Any:
        # By leaves: JAX would rebuild the pytrees with flags in the place of arrays.
        leaves, tree = jax.tree.flatten((x, data))

        @custom_vmap
        def many(*leaves: Array) -> Any:
            return native(*jax.tree.unflatten(tree, leaves))

        @many.def_vmap
        def rule(axis_size: int, in_batched: Any, *leaves: Array) -> tuple[Any, Any]:
            def joined(leaf: Array, batched: bool) -> Array:
                if not batched:
                    leaf = jnp.broadcast_to(leaf[None], (axis_size, *leaf.shape))
                leaf = jnp.moveaxis(leaf, 0, -2)
                return leaf.reshape(*leaf.shape[:-2], -1)

            def apart(leaf: Array) -> Array:
                return jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], axis_size, -1), -2, 0)

            # Itself again: what is mapped twice is one call on all columns too.
            result = jax.tree.map(apart, many(*map(joined, leaves, in_batched)))
            return result, jax.tree.map(lambda _: True, result)

        return jax.tree.map(lambda leaf: leaf[..., 0], many(*[leaf[..., None] for leaf in leaves]))

    return call
