"""Random-walk Metropolis on every column at once: the baseline of the other samplers."""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import random_walk
from jaxtyping import Array, Float

from calibration.nuts import starts
from calibration.problem import Problem, chosen_columns, log_posterior
from hybrid_land.devices import over_devices

_PRIOR_DRAWS = 24  # of each column, from which chains start
_STEP = 2.38  # over the root of the number of parameters (Roberts et al. 1997)
_ACCEPTED_ONE, _ACCEPTED_MANY = 0.44, 0.3  # what is best for one parameter, and for several
_LEARNING = 0.6  # power of the transition by which corrections of the step shrink


def metropolis(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Random-walk Metropolis (Metropolis et al. 1953), blackjax's.

    Chains start from importance sampling as those of `nuts` do, and have their proposal's shape
    from it; its size moves during warm-up until 44% of the proposals are accepted (30% for several
    parameters; Andrieu and Thoms 2008, section 4.2).

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: of each column.
        warmup: transitions before those kept, in which the step size adapts.
        draws: kept of each chain.
        progress: called with transitions done and in all.

    Returns:
        Draws; statistics by chain, draw and column: `acceptance_rate`, `lp`, `step_size`.
    """
    density = log_posterior(problem)
    count, size = problem.count, len(problem.names)
    wanted = _ACCEPTED_ONE if size == 1 else _ACCEPTED_MANY

    def chain(lane: Any, spread: Array, own: Array, first: Array) -> Any:
        def transition(carry: Any, number: Array) -> tuple[Any, Any]:
            state, log_size = carry
            walk: Any = blackjax.additive_step_random_walk(
                lambda z: density(z, lane), random_walk.normal(jnp.exp(log_size) * spread)
            )
            state, info = walk.step(jax.random.fold_in(own, number), state)
            change = (info.acceptance_rate - wanted) / (1.0 + number) ** _LEARNING
            statistics = {
                "acceptance_rate": info.acceptance_rate,
                "lp": state.logdensity,
                "step_size": jnp.exp(log_size),
            }
            adapted = jnp.where(number < warmup, log_size + change, log_size)
            return (state, adapted), (state.position, statistics)

        state = random_walk.init(first, lambda z: density(z, lane))
        begin = state, jnp.log(jnp.asarray(_STEP / np.sqrt(size), jnp.float32))
        return jax.lax.scan(transition, begin, jnp.arange(warmup + draws))[1]

    of_prior, of_starts, of_chains = jax.random.split(key, 3)
    many = chosen_columns(problem, np.repeat(np.arange(count), _PRIOR_DRAWS)).lanes
    densities = over_devices(jax.vmap(density, in_axes=(0, -1)), axes=(0, -1))
    z = jax.random.normal(of_prior, (count * _PRIOR_DRAWS, size))
    first, variance = starts(
        lambda z: densities(z, many), z, columns=count, chains=chains, key=of_starts
    )
    lanes = chosen_columns(problem, np.repeat(np.arange(count), chains)).lanes
    keys = jax.random.split(of_chains, count * chains)
    run = over_devices(jax.vmap(chain, in_axes=(-1, 0, 0, 0)), axes=(-1, 0, 0, 0))
    found = jax.device_get(run(lanes, jnp.sqrt(variance), keys, first))
    if progress is not None:
        progress(warmup + draws, warmup + draws)

    def by_chain(leaf: np.ndarray) -> np.ndarray:
        """`[lane, draw, ...]` as `[chain, draw, ..., column]`."""
        kept = leaf[:, warmup:]
        return np.moveaxis(kept.reshape(count, chains, *kept.shape[1:]), 0, -1)

    return jax.tree.map(by_chain, found)
