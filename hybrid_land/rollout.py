"""Rolling a model out in time: the only scan over a model's time steps in the project."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hybrid_land.compiled import is_pytree
from hybrid_land.interface import (
    Diagnostics,
    DiagnosticsSeries,
    ForcingSeries,
    Model,
    Parameters,
    State,
    StateSeries,
)


def rollout(
    model: Model,
    parameters: Parameters,
    state: State,
    forcing: ForcingSeries,
    *,
    checkpoint_segments: int | None = None,
    unroll: int = 1,
    keep_products: bool = True,
) -> tuple[StateSeries, DiagnosticsSeries]:
    """Apply `model.step` once for each record of the forcing.

        x(i + 1), d(i) = step(parameters, x(i), f(i)),   i = 0 .. n - 1

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        state: x(0), leaves `[column]`.
        forcing: leaves `[time, column]`; record i covers the step from x(i) to x(i + 1).
        checkpoint_segments: number of segments of time whose insides are computed again in the
            backward pass rather than kept. Reverse mode then holds the state at each segment's
            start and one segment's residuals: for n steps the memory falls from O(n) to
            O(segments + n / segments), least at the square root of n, for one more forward run
            (Griewank and Walther 2008, chapter 12). `None` keeps everything.
        unroll: steps in one iteration of the compiled loop.
        keep_products: whether reverse mode keeps the results of matrix products. A network whose
            products are much larger than its state is three times faster without.

    Returns:
        States x(1) .. x(n) and diagnostics d(0) .. d(n - 1), leaves `[time, column]`.

    Raises:
        ValueError: if `checkpoint_segments` is not between 1 and the number of steps.
    """
    # A model that is no pytree of arrays cannot be an argument, and is traced anew at each rollout.
    step = partial(_step, model) if is_pytree(model) else model.step

    # Reverse mode keeps the results of matrix products and computes what lies between them again:
    # on CPU the loop is bound by memory, and the sum of the two is about half of keeping it all.
    policies = jax.checkpoint_policies
    policy = policies.dots_saveable if keep_products else policies.nothing_saveable

    @partial(jax.checkpoint, policy=policy, prevent_cse=False)
    def advance(carry: list[Array], record: list[Array]) -> tuple[list[Array], Any]:
        new, diagnostics = step(parameters, states.apart(carry), records.apart(record))
        together = states.together(new)
        return together, (together, diagnostics)

    def scan(carry: list[Array], given: list[Array]) -> tuple[list[Array], Any]:
        return jax.lax.scan(advance, carry, given, unroll=unroll)

    # Rows go round the loop stacked: what slicing and writing costs is paid once, and no row is
    # computed once for the carry and once more for the result.
    states = _Stack(state)
    records = _Stack(jax.tree.map(lambda series: series[0], forcing))
    first, given = states.together(state), records.together(forcing, axis=1)
    if checkpoint_segments is None:
        out, diagnostics = scan(first, given)[1]
        return states.apart(out, axis=1), diagnostics

    steps = jax.tree.leaves(forcing)[0].shape[0]
    if not 1 <= checkpoint_segments <= steps:
        raise ValueError(
            f"checkpoint_segments is {checkpoint_segments}, expected 1 to the number of steps, "
            f"{steps}"
        )
    length = steps // checkpoint_segments
    body = length * checkpoint_segments
    segments = [x[:body].reshape((checkpoint_segments, length, *x.shape[1:])) for x in given]
    middle, out = jax.lax.scan(jax.checkpoint(scan), first, segments)
    out = jax.tree.map(lambda x: x.reshape((body, *x.shape[2:])), out)
    if body < steps:
        rest = jax.checkpoint(scan)(middle, [x[body:] for x in given])[1]
        out = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, rest)
    return states.apart(out[0], axis=1), out[1]


@jax.jit
def _step(model: Model, *given: Any) -> tuple[State, Diagnostics]:
    """`model.step`, traced once for each shape of its arguments however often it is rolled out."""
    return model.step(*given)


class _Stack:
    """The leaves of a pytree as few arrays: those of one shape and type are rows of one array."""

    def __init__(self, like: Any) -> None:
        leaves, self.structure = jax.tree.flatten(like)
        kinds = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
        self.groups = [
            [i for i, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)
        ]

    def together(self, tree: Any, *, axis: int = 0) -> list[Array]:
        """One array a group, its rows along `axis`."""
        leaves = jax.tree.leaves(tree)
        return [jnp.stack([leaves[i] for i in group], axis=axis) for group in self.groups]

    def apart(self, arrays: list[Array], *, axis: int = 0) -> Any:
        """The pytree again; by `split`, whose transpose is one concatenation."""
        leaves = {}
        for group, array in zip(self.groups, arrays, strict=True):
            rows = jax.lax.split(array, (1,) * len(group), axis=axis)
            leaves |= {i: jnp.squeeze(row, axis) for i, row in zip(group, rows, strict=True)}
        return jax.tree.unflatten(self.structure, [leaves[i] for i in sorted(leaves)])
