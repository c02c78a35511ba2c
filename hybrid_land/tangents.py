"""A model whose tangents, where several are asked for, are taken one after another each step."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from hybrid_land.compiled import is_pytree, without_borders
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model"],
    meta_fields=["time_step", "prognostic", "diagnostic"],
)
@dataclass
class InTurn:
    """The same model for forward mode alone. See `in_turn`.

    Attributes:
        model: anything with the `step` interface.
        time_step: of the model, s.
        prognostic: of the model.
        diagnostic: of the model.
    """

    model: Model
    time_step: float
    prognostic: tuple[str, ...]
    diagnostic: tuple[str, ...]

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """The model's step. See `hybrid_land.interface.Model`."""
        given = (parameters, state, forcing)
        if is_pytree(self.model):  # else what its step is made of is no argument
            return _with_tangents_in_turn(_step)((self.model, *given))
        return _with_tangents_in_turn(self.model.step)(given)


def in_turn(model: Model) -> InTurn:
    """The same model, faster where `vmap` asks for many tangents of one rollout.

    Mapped tangents of a step are one array for all, several times what a value's are: the more
    columns, the more each costs. Here a step is linearised once, and each tangent goes through
    what that left behind. Values and tangents are the model's to rounding. There is no reverse
    mode: JAX raises NotImplementedError.
    """
    return InTurn(model, model.time_step, tuple(model.prognostic), tuple(model.diagnostic))


def _step(model: Model, *given: Any) -> tuple[State, Diagnostics]:
    return model.step(*given)


def _with_tangents_in_turn(function: Any) -> Any:
    """`function(*given)` of the pytree `given`."""

    @jax.custom_jvp
    def value(given: Any) -> Any:
        return function(*given)

    @partial(value.defjvp, symbolic_zeros=True)
    def value_and_tangent(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(primals[0])
        ways = tree.flatten_up_to(tangents[0])
        moving = [i for i, way in enumerate(ways) if not isinstance(way, SymbolicZero)]

        def of_moving(*changed: Array) -> Any:
            every = list(leaves)
            for i, leaf in zip(moving, changed, strict=True):
                every[i] = leaf
            return function(*jax.tree.unflatten(tree, every))

        with without_borders():
            out, push = jax.linearize(of_moving, *[leaves[i] for i in moving])
        return out, _in_turn(push, [ways[i] for i in moving])

    return value


def _in_turn(push: Any, ways: list[Array]) -> Any:
    """`push(*ways)`; mapped over `ways` alone, one after another."""

    @custom_vmap
    def pushed(push: Any, ways: list[Array]) -> Any:
        return push(*ways)

    @pushed.def_vmap
    def rule(size: int, batched: Any, push: Any, ways: list[Array]) -> tuple[Any, Any]:
        of_push, of_ways = batched
        if any(jax.tree.leaves(of_push)):
            axes = jax.tree.map(lambda each: 0 if each else None, batched)
            out = jax.vmap(lambda push, ways: push(*ways), in_axes=axes, axis_size=size)(push, ways)
        else:
            every = [
                way if each else jnp.broadcast_to(way[None], (size, *way.shape))
                for way, each in zip(ways, of_ways, strict=True)
            ]
            out = jax.lax.map(lambda ways: push(*ways), every)
        return out, jax.tree.map(lambda _: True, out)

    return pushed(push, ways)
