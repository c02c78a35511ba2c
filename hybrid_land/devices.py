"""Columns over devices: independent work on each core, or on each accelerator."""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = "column"
_MOST = 8


def use_cores(*, share: int = 1) -> None:
    """Let JAX see the processor's cores as devices, for work that is split by `over_devices`.

    A step of few columns is a chain of small matrix products, which one core does as fast as
    two; two cores do twice the columns. For a program's start: once JAX has run something, and
    on accelerators, this changes nothing.

    Args:
        share: among how many processes the cores are divided.
    """
    try:
        jax.config.update("jax_num_cpu_devices", min(max((os.cpu_count() or 1) // share, 1), _MOST))
    except RuntimeError:
        return


def over_devices(
    function: Callable[..., Any], *, axes: Sequence[int], result_axis: int = 0
) -> Callable[..., Any]:
    """`function`, compiled, with its columns spread over all devices.

    Args:
        function: of pytrees of arrays, independent between columns.
        axes: for each argument, which axis of its leaves is the column: 0 or -1.
        result_axis: the same for the leaves of the result.

    Returns:
        A function of the same arguments, compiled once for each `function`, whoever asks for it.
        It uses the most devices that divide the number of columns, so a prime number of columns
        stays on one.
    """

    def placed(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        # With the type said, a result that comes back as an argument is not compiled for again.
        leaves = [jnp.asarray(leaf, leaf.dtype) for leaf in leaves]
        pairs = zip(arguments, axes, strict=True)
        where = [axis for argument, axis in pairs for _ in jax.tree.leaves(argument)]
        devices = jax.devices()
        used = math.gcd(len(devices), leaves[0].shape[where[0]])
        mesh = Mesh(np.array(devices[:used]), (_AXIS,))
        over = tuple(
            NamedSharding(mesh, _spec(leaf, axis)) for leaf, axis in zip(leaves, where, strict=True)
        )
        # Wherever the arguments come from: another layout would be compiled for again.
        return _spread(function, result_axis, tree, over, *jax.device_put(leaves, list(over)))

    return placed


def _spec(leaf: Any, axis: int) -> PartitionSpec:
    return PartitionSpec(*([None] * (leaf.ndim - 1 if axis else 0)), _AXIS)


# By leaves: JAX would rebuild the pytrees with partitions in the place of arrays.
@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _spread(
    function: Callable[..., Any],
    result_axis: int,
    tree: Any,
    over: tuple[NamedSharding, ...],
    *leaves: Any,
) -> Any:
    def by_leaves(*leaves: Any) -> Any:
        return function(*jax.tree.unflatten(tree, leaves))

    results: Any = PartitionSpec(_AXIS)
    if result_axis:
        shapes = jax.eval_shape(by_leaves, *leaves)
        results = jax.tree.map(lambda leaf: _spec(leaf, result_axis), shapes)
    return jax.shard_map(
        by_leaves,
        mesh=over[0].mesh,
        in_specs=tuple(sharding.spec for sharding in over),
        out_specs=results,
        check_vma=False,
    )(*leaves)
