"""The iterative ensemble Kalman smoother: a variational analysis in the space of the members."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.filters import analyses
from assimilation.filters.analyses import Ensemble, Predicted
from assimilation.filters.cycle import (
    Observed,
    Setting,
    departures,
    of_forecast,
    statistics,
)
from assimilation.filters.members import failed


def iterative_cycle(
    setting: Setting, key: Array, carry: Any, number: Array, observed: Observed
) -> tuple[Any, dict[str, Array]]:
    """The IEnKS over a window of `lag` cycles that moves on by one (Bocquet and Sakov 2014).

    Members at the window's start, mean x and perturbations A, are moved to the minimum of

        J(u) = u . u / 2 + |R^-1/2 (y - H M(x + A u / sqrt(N - 1)))|^2 / 2

    for the observations of the window's last cycle, those before having been used already
    (section 2, single data assimilation with S = 1). Each Gauss-Newton step takes the slopes from
    the members themselves, drawn together by the last estimate of the posterior's root T ("the
    transform", Sakov et al. 2012, algorithm 1): the symmetric one, or where members are turned in
    the end a Cholesky factor, which is cheaper. Then the members run once more from the analysed
    start: after one cycle they are the next window's start, after all of them the filter's
    analysis. Before the window has its length, records before the first stand still.

    Args:
        setting: of the run.
        key: of this cycle.
        carry: members at the window's start, the factor of an inflation that this method lacks,
            and the last window's members at the end of each of its cycles, with the quantities
            looked at.
        number: of the cycle that ends the window.
        observed: its observations.
    """
    scheme, size = setting.scheme, setting.size
    before, factor, past = carry
    _, _, for_rotation, for_failed = jax.random.split(key, 4)
    first = number + 1 - scheme.lag

    def run(start: Ensemble) -> tuple[list[Ensemble], Predicted]:
        """Members at the end of each of the window's cycles, and what they say of the last."""
        return setting.forecast(start, first * scheme.every, window=scheme.lag)

    # The last window's members have come as far as this one's last cycle already.
    (ahead,), said = setting.forecast(past[-1, :, : len(setting.names)], number * scheme.every)
    bad = failed(ahead, said)
    start, _ = setting.mended(for_failed, before, said, bad)
    ahead, said = setting.mended(for_failed, ahead, said, bad)
    predicted, others = setting.apart(said)
    found = of_forecast(ahead, predicted, others, observed, bad)
    prior = start[:, :size]

    members, columns = before.shape[0], before.shape[-1]
    take, width = (_step_to_turn, members - 1) if scheme.any_root else (_step, members)
    u = jnp.zeros((columns, width), before.dtype)
    back = jnp.broadcast_to(jnp.eye(width, dtype=before.dtype)[None], (columns, width, width))
    moved = start
    for step in range(scheme.iterations):
        if step:
            predicted, _ = setting.apart(run(moved)[1])
        S, d = analyses.scaled(predicted, *observed)
        D, u, back = jax.vmap(take, in_axes=(-1, -1, 0, 0))(S, d, u, back)
        inside = setting.bounded(start, analyses.transformed(prior, D))
        moved = jnp.concatenate([inside, start[:, size:]], axis=1)
    after = setting.relaxed(prior, moved[:, :size], observed[2])
    turn = setting.turning(for_rotation, before, observed[2])
    if turn is not None:
        after = analyses.transformed(after, turn)
    after = setting.bounded(start, after)
    smoothed = jnp.concatenate([after, start[:, size:]], axis=1)
    stages, said = run(smoothed)
    ended = stages[-1]
    predicted, others = setting.apart(said)
    found |= statistics("analysis", ended) | statistics("shown_analysis", setting.ends(others))
    found |= {"factor": factor, "residual": departures(predicted, observed)}
    looked = setting.look(smoothed, first * scheme.every, setting.ends(others))
    found |= statistics("smoother", jnp.concatenate([after, looked], axis=1))
    if scheme.keep_members:
        found["members"] = ended
    kept = [
        jnp.concatenate([E, setting.look(E, at, setting.ends(others))], axis=1)
        for E, at in zip(stages, (first + 1 + jnp.arange(scheme.lag)) * scheme.every, strict=True)
    ]
    return (stages[0], factor, jnp.stack(kept)), found


def _step(
    S: Float[Array, "member observation"],
    d: Float[Array, " observation"],
    u: Float[Array, " member"],
    back: Float[Array, "member member"],
) -> tuple[Array, Array, Array]:
    """A Gauss-Newton step: D of the members about it, the new u, and T^-1.

    Args:
        S: scaled perturbations of the observations predicted by members that T drew together.
        d: scaled departure of their mean.
        u: where it was.
        back: T^-1 there.
    """
    own = back @ S
    values, vectors = jnp.linalg.eigh(own @ own.T)
    values = jnp.maximum(values, 0.0)
    gradient = own @ d - u
    u = u + vectors @ ((vectors.T @ gradient) / (1.0 + values))
    root = jnp.sqrt(1.0 + values)
    less = (vectors * (-values / (root * (1.0 + root)))[None]) @ vectors.T
    D = less + jnp.broadcast_to(u[None] / jnp.sqrt(S.shape[0] - 1.0), less.shape)
    return D, u, (vectors * root[None]) @ vectors.T


def _step_to_turn(
    S: Float[Array, "member observation"],
    d: Float[Array, " observation"],
    u: Float[Array, " less"],
    back: Float[Array, "less less"],
) -> tuple[Array, Array, Array]:
    """`_step` with u and T in the space of the vectors of zero sum, and T a Cholesky factor."""
    own = back @ analyses.without_sum(S)
    one = jnp.eye(own.shape[0], dtype=S.dtype)
    factor = jnp.linalg.cholesky(one + own @ own.T)
    root = jax.scipy.linalg.solve_triangular(factor, one, lower=True)
    u = u + root.T @ (root @ (own @ d - u))
    return analyses.with_sum(root, u / own.shape[0] ** 0.5), u, factor
