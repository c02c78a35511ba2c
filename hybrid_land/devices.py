"""Columns over devices: independent work on each core, or on each accelerator."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
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


def over_devices(function: Callable[..., Any], *, axes: Sequence[int]) -> Callable[..., Any]:
    """`function`, compiled, with its columns spread over all devices.

    Args:
        function: of pytrees of arrays, independent between columns; the column is the first axis
            of all leaves of its result.
        axes: for each argument, which axis of its leaves is the column: 0 or -1.

    Returns:
        A function of the same arguments. It uses the most devices that divide the number of
        columns, so a prime number of columns stays on one.
    """

    def spec(leaf: Any, axis: int) -> PartitionSpec:
        return PartitionSpec(*([None] * (leaf.ndim - 1 if axis else 0)), _AXIS)

    def specs(arguments: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(arguments, axes, strict=True)
        return tuple(jax.tree.map(lambda x, a=axis: spec(x, a), tree) for tree, axis in pairs)

    def mesh(arguments: Sequence[Any]) -> Mesh:
        devices = jax.devices()
        columns = jax.tree.leaves(arguments[0])[0].shape[axes[0]]
        return Mesh(np.array(devices[: math.gcd(len(devices), columns)]), (_AXIS,))

    @jax.jit
    def spread(*arguments: Any) -> Any:
        return jax.shard_map(
            function,
            mesh=mesh(arguments),
            in_specs=specs(arguments),
            out_specs=PartitionSpec(_AXIS),
            check_vma=False,
        )(*arguments)

    def placed(*arguments: Any) -> Any:
        # Wherever the arguments come from: another layout would be compiled for again.
        layout = jax.tree.map(lambda s: NamedSharding(mesh(arguments), s), specs(arguments))
        return spread(*jax.device_put(arguments, layout))

    return placed
