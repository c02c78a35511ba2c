"""The no-U-turn sampler on every column at once, by the exact gradient of the rollout."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float
from numpyro.handlers import seed
from numpyro.infer import NUTS
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from assimilation.operators import on_records
from calibration.likelihood import Evidence, log_likelihood
from calibration.priors import draw_parameters
from hybrid_land.columnwise import columnwise
from hybrid_land.devices import over_devices
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout

_PRIOR_DRAWS = 24  # of each column, from which chains start
_FORWARD = 3  # parameters up to which forward mode is cheaper than reverse
_AT_ONCE = 20  # transitions between reports of progress


def sample_columns(
    model: Model,
    parameters: Parameters,
    state: State,
    forcing: ForcingSeries,
    evidence: Evidence,
    *,
    names: Sequence[str],
    chains: int,
    warmup: int,
    draws: int,
    key: Array,
    max_tree_depth: int = 6,
    target_acceptance: float = 0.8,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draw from the posterior of each column's parameters by NUTS (Hoffman and Gelman 2014).

    Columns are independent and each has its own step size and mass matrix; all columns and chains
    move in lockstep as one batch. Chains start from draws of the prior, chosen in proportion to
    their likelihood, whose weighted spread is the first mass matrix. With few parameters the
    gradient is cheapest in forward mode, which also stores nothing along the rollout.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`; the named ones are what priors are made from.
        state: at the first record, leaves `[column]`; taken as known.
        forcing: leaves `[record, column]`.
        evidence: from `evidence_from`.
        names: parameters to estimate.
        chains: of each column.
        warmup: transitions in which step size and mass matrix are adapted.
        draws: kept of each chain.
        key: for the random numbers.
        max_tree_depth: of a trajectory, 2^depth - 1 steps at most.
        target_acceptance: of the step size's adaptation.
        progress: called with transitions done and in all.

    Returns:
        Draws by name `[chain, draw, column]`; statistics of the sampler, same shape; draws of the
        prior by name `[draw, column]`.
    """
    names = tuple(names)

    def fit(drawn: Parameters, column: Any) -> Float[Array, " column"]:
        given, first, weather, seen = column
        states, diagnostics = rollout(model, given | drawn, first, weather)
        return log_likelihood(on_records(first, states, diagnostics), seen)

    fit_one = columnwise(fit, mode="forward" if len(names) <= _FORWARD else "reverse")
    prior = partial(draw_parameters, names=names)

    def experiment(column: Any) -> None:
        numpyro.factor("observations", fit_one(prior(column[0]), column))

    columns = (parameters, state, forcing, evidence)
    count = jax.tree.leaves(state)[0].shape[0]
    start_key, choice_key, chain_key = jax.random.split(key, 3)

    @jax.jit
    def starts(columns: Any) -> tuple[Any, Array, Any]:
        """First points, `[lane]`, the mass matrix's inverse, and the draws they come from."""

        def draw(draw_key: Array, given: Any) -> tuple[Any, Any]:
            values = seed(prior, draw_key)(given)
            return values, unconstrain_fn(prior, (given,), {}, values)

        many = repeated(columns, _PRIOR_DRAWS)
        keys = jax.random.split(start_key, count * _PRIOR_DRAWS)
        values, free = jax.vmap(draw)(keys, many[0])
        weight = fit(values, many).reshape(count, _PRIOR_DRAWS)
        # A draw whose run is not finite is never chosen, unless all are.
        weight = jax.nn.softmax(jnp.where(jnp.isfinite(weight), weight, -1e30), axis=1)
        flat = jnp.stack([free[name] for name in sorted(names)], axis=-1)
        flat = flat.reshape(count, _PRIOR_DRAWS, len(names))
        mean = jnp.einsum("cdn,cd->cn", flat, weight)
        spread = jnp.einsum("cdn,cd->cn", (flat - mean[:, None, :]) ** 2, weight)
        floor = (jnp.std(flat, axis=1) / _PRIOR_DRAWS) ** 2
        chosen = jax.random.categorical(
            choice_key, jnp.log(weight + 1e-30)[:, None, :], shape=(count, chains)
        )
        first = jnp.take_along_axis(flat, chosen[:, :, None], axis=1).reshape(-1, len(names))
        return (
            {name: first[:, i] for i, name in enumerate(sorted(names))},
            jnp.repeat(jnp.maximum(spread, floor), chains, axis=0),
            jax.tree.map(lambda leaf: leaf.reshape(count, _PRIOR_DRAWS), values),
        )

    def kernel_for(column: Any, variance: Array) -> NUTS:
        return NUTS(
            potential_fn=lambda free: potential_energy(experiment, (column,), {}, free),
            inverse_mass_matrix=variance,
            max_tree_depth=max_tree_depth,
            target_accept_prob=target_acceptance,
        )

    def begin(column: Any, variance: Array, lane_key: Array, free: Any) -> Any:
        return kernel_for(column, variance).init(lane_key, warmup, free, (), {})

    def advance(column: Any, variance: Array, chain: Any) -> tuple[Any, Any]:
        kernel = kernel_for(column, variance)
        # Sets the kernel up; its result is not used and is compiled away.
        kernel.init(chain.rng_key, warmup, chain.z, (), {})

        def transition(before: Any, _: None) -> tuple[Any, Any]:
            after = kernel.sample(before, (), {})
            statistics = {
                "diverging": after.diverging,
                "n_steps": after.num_steps,
                "acceptance_rate": after.accept_prob,
                "lp": -after.potential_energy,
                "step_size": after.adapt_state.step_size,
            }
            return after, (constrain_fn(prior, (column[0],), {}, after.z), statistics)

        return jax.lax.scan(transition, chain, None, length=_AT_ONCE)

    lanes = repeated(columns, chains)
    free, variance, prior_draws = starts(columns)
    keys = jax.random.split(chain_key, count * chains)
    first = over_devices(jax.vmap(begin, in_axes=(-1, 0, 0, 0)), axes=(-1, 0, 0, 0))
    move = over_devices(jax.vmap(advance, in_axes=(-1, 0, 0)), axes=(-1, 0, 0))
    chain = first(lanes, variance, keys, free)
    pieces: list[Any] = []
    total = warmup + draws
    for done in range(0, total, _AT_ONCE):
        chain, piece = move(lanes, variance, chain)
        pieces.append(jax.device_get(piece))
        if progress is not None:
            progress(min(done + _AT_ONCE, total), total)

    def join(*leaves: np.ndarray) -> np.ndarray:
        whole = np.concatenate(leaves, axis=1)[:, warmup:total]
        return np.moveaxis(whole.reshape(count, chains, draws), 0, -1)

    sampled, statistics = jax.tree.map(join, *pieces)
    return sampled, statistics, {name: np.asarray(x).T for name, x in prior_draws.items()}


def repeated(columns: Any, times: int) -> Any:
    """Every column `times` times, one after the other, on the last axis of all leaves."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=-1), columns)
