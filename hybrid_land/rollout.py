"""Rolling a model out in time: the only scan over a model's time steps in the project."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from hybrid_land.interface import (
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

    Returns:
        States x(1) .. x(n) and diagnostics d(0) .. d(n - 1), leaves `[time, column]`.

    Raises:
        ValueError: if `checkpoint_segments` is not between 1 and the number of steps.
    """

    # Reverse mode keeps the results of matrix products and computes what lies between them again:
    # on CPU the loop is bound by memory, and the sum of the two is about half of keeping it all.
    @partial(
        jax.checkpoint,
        policy=jax.checkpoint_policies.dots_saveable,
        prevent_cse=False,
    )
    def advance(carry: State, record: Any) -> tuple[State, Any]:
        new, diagnostics = model.step(parameters, carry, record)
        return new, (new, diagnostics)

    def scan(carry: State, records: Any) -> tuple[State, Any]:
        return jax.lax.scan(advance, carry, records, unroll=unroll)

    if checkpoint_segments is None:
        return scan(state, forcing)[1]

    steps = jax.tree.leaves(forcing)[0].shape[0]
    if not 1 <= checkpoint_segments <= steps:
        raise ValueError(
            f"checkpoint_segments is {checkpoint_segments}, expected 1 to the number of steps, "
            f"{steps}"
        )
    length = steps // checkpoint_segments
    body = length * checkpoint_segments
    segments = jax.tree.map(
        lambda x: x[:body].reshape((checkpoint_segments, length, *x.shape[1:])), forcing
    )
    middle, out = jax.lax.scan(jax.checkpoint(scan), state, segments)
    out = jax.tree.map(lambda x: x.reshape((body, *x.shape[2:])), out)
    if body == steps:
        return out
    rest = jax.checkpoint(scan)(middle, jax.tree.map(lambda x: x[body:], forcing))[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, rest)
