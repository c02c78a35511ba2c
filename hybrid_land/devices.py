"""Columns over devices: independent work on each core, or on each accelerator."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

_AXIS = "column"
_MOST = 8


def use_cores() -> None:
    """Let JAX see the processor's cores as devices, for work that is split by `over_devices`.

    A step of few columns is a chain of small matrix products, which one core does as fast as
    two; two cores do twice the columns. For a program's start: once JAX has run something, and
    on accelerators, this changes nothing.
    """
    try:
        jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, _MOST))
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

    def spread(*arguments: Any) -> Any:
        leaf = jax.tree.leaves(arguments[0])[0]
        devices = jax.devices()
        number = math.gcd(len(devices), leaf.shape[axes[0]])
        if number == 1:
            return function(*arguments)
        pairs = zip(arguments, axes, strict=True)
        inputs = tuple(jax.tree.map(lambda x, a=axis: spec(x, a), tree) for tree, axis in pairs)
        return jax.shard_map(
            function,
            mesh=Mesh(np.array(devices[:number]), (_AXIS,)),
            in_specs=inputs,
            out_specs=PartitionSpec(_AXIS),
            check_vma=False,
        )(*arguments)

    return jax.jit(spread)
