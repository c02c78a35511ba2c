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
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy, unconstrain_fn

from assimilation.operators import Context, on_records
from calibration.likelihood import Evidence, log_likelihood
from calibration.priors import draw_parameters
from hybrid_land.columnwise import columnwise
from hybrid_land.devices import over_devices
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout

_PRIOR_DRAWS = 24  # of each column, from which chains start
_FORWARD = 3  # parameters up to which forward mode is cheaper than reverse
_WARMUP_TO_ADAPT = 150  # transitions: Stan's first and last window and two between, at the least
_STEP, _SHORT_STEP = 1.4, 0.4  # in standard deviations, where the step size is not adapted
_SHORT_SHARE = 0.2  # of transitions
_ROUNDS = 2  # of importance sampling after the prior
_WIDEN = 2.0  # of a round's draws beyond the weighted spread of those before
_GAPS = 10.0  # between the draws of the round before, the least spread of a round's draws
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
    move in lockstep as one batch. Chains start, and have their first mass matrix, from importance
    sampling (`starts`); for one parameter, a warm-up of fewer than 150 transitions keeps that,
    because it would adapt to noise, and mixes two step sizes. With few parameters the gradient is
    cheapest in forward mode, which also stores nothing along the rollout.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`; the named ones are what priors are made from.
        state: at the first record, leaves `[column]`; taken as known.
        forcing: leaves `[record, column]`.
        evidence: from `evidence_from`.
        names: parameters to estimate.
        chains: of each column.
        warmup: transitions before those kept, in which step size and mass matrix adapt.
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
        context = Context(model.time_step, given | drawn, weather)
        return log_likelihood(on_records(first, states, diagnostics), seen, context)

    fit_one = columnwise(fit, mode="forward" if len(names) <= _FORWARD else "reverse")
    prior = partial(draw_parameters, names=names)

    def experiment(column: Any) -> None:
        numpyro.factor("observations", fit_one(prior(column[0]), column))

    def potential(free: Any, column: Any) -> Any:
        return potential_energy(experiment, (column,), {}, free)

    def draw(lane_key: Array, column: Any) -> tuple[Any, Any]:
        values = seed(prior, lane_key)(column[0])
        return values, unconstrain_fn(prior, (column[0],), {}, values)

    def look(free: Any, column: Any) -> tuple[ParamInfo, Array]:
        """A place in the sampler's space with its energy, and the prior's energy there."""
        energy, slope = jax.value_and_grad(potential)(free, column)
        own = jnp.asarray(potential_energy(prior, (column[0],), {}, free))
        return ParamInfo(free, energy, slope), own

    adapting = warmup >= _WARMUP_TO_ADAPT or len(names) > 1

    def kernel_for(column: Any, variance: Array) -> NUTS:
        return NUTS(
            potential_fn=lambda free: potential(free, column),
            inverse_mass_matrix=variance,
            adapt_step_size=adapting,
            adapt_mass_matrix=adapting,
            max_tree_depth=max_tree_depth,
            target_accept_prob=target_acceptance,
        )

    def begin(column: Any, variance: Array, lane_key: Array, point: ParamInfo) -> Any:
        return kernel_for(column, variance).init(lane_key, warmup, point, (), {})

    def resized(chain: Any) -> Any:
        """Long steps and now and then a short one, which a tail too steep for the long lets go."""
        short = jax.random.bernoulli(jax.random.fold_in(chain.rng_key, 1), _SHORT_SHARE)
        size = jnp.where(short, _SHORT_STEP, _STEP)
        return chain._replace(adapt_state=chain.adapt_state._replace(step_size=size))

    def advance(column: Any, variance: Array, chain: Any) -> tuple[Any, Any]:
        kernel = kernel_for(column, variance)
        # Sets the kernel up; its result is not used and is compiled away.
        here = ParamInfo(chain.z, chain.potential_energy, chain.z_grad)
        kernel.init(chain.rng_key, warmup, here, (), {})

        def transition(before: Any, _: None) -> tuple[Any, Any]:
            after = kernel.sample(before if adapting else resized(before), (), {})
            statistics = {
                "diverging": after.diverging,
                "n_steps": after.num_steps,
                "acceptance_rate": after.accept_prob,
                "lp": -after.potential_energy,
                "step_size": after.adapt_state.step_size,
            }
            return after, (constrain_fn(prior, (column[0],), {}, after.z), statistics)

        return jax.lax.scan(transition, chain, None, length=_AT_ONCE)

    columns = (parameters, state, forcing, evidence)
    count = jax.tree.leaves(state)[0].shape[0]
    prior_key, start_key, chain_key = jax.random.split(key, 3)
    many = repeated(columns, _PRIOR_DRAWS)
    keys = jax.random.split(prior_key, count * _PRIOR_DRAWS)
    values, free = jax.jit(jax.vmap(draw, in_axes=(0, -1)))(keys, many)
    prior_draws = {name: np.asarray(x).reshape(count, -1).T for name, x in values.items()}
    seen = over_devices(jax.vmap(look, in_axes=(0, -1)), axes=(0, -1))
    first, variance = starts(
        lambda free: seen(free, many), free, columns=count, chains=chains, key=start_key
    )
    lanes = repeated(columns, chains)
    keys = jax.random.split(chain_key, count * chains)
    chain = jax.jit(jax.vmap(begin, in_axes=(-1, 0, 0, 0)))(lanes, variance, keys, first)
    move = over_devices(jax.vmap(advance, in_axes=(-1, 0, 0)), axes=(-1, 0, 0))
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
    return sampled, statistics, prior_draws


def starts(
    look: Callable[[Any], tuple[ParamInfo, Float[Array, " lane"]]],
    free: dict[str, Float[Array, " lane"]],
    *,
    columns: int,
    chains: int,
    key: Array,
) -> tuple[ParamInfo, Float[Array, "chain_lane parameter"]]:
    """Where chains start, and the inverse of their mass matrix, by importance sampling.

    Draws of the prior are weighted by likelihood; as many again are drawn from a normal
    distribution of their mean and twice their spread, and once more from what all say then
    (population Monte Carlo, Cappe et al. 2004). Weights are the posterior over the mixture that
    the draws come from (Owen and Zhou 2000); the chains' starts are drawn by weight.

    Args:
        look: gives energies at places in the sampler's space, and the prior's energy.
        free: draws of the prior, `[lane]`, a column's after one another.
        columns: number of columns.
        chains: of each column.
        key: for the random numbers.
    """
    names = sorted(free)
    keys = jax.random.split(key, _ROUNDS + 1)

    def by_column(*leaves: Array) -> Array:
        return jnp.concatenate([leaf.reshape(columns, -1) for leaf in leaves], axis=1)

    @jax.jit
    def learn(rounds: list[Any], normals: list[Any]) -> tuple[Any, ...]:
        """All points so far, `[column, draw]`, their log weights, and mean and spread."""
        points, own = jax.tree.map(by_column, *rounds)
        at = jnp.stack([points.z[name] for name in names], axis=-1)
        mixture = [-own] + [
            jax.scipy.stats.norm.logpdf(at, mean, spread).sum(axis=-1) for mean, spread in normals
        ]
        weight = -points.potential_energy - jax.nn.logsumexp(jnp.stack(mixture), axis=0)
        # What is not finite weighs nothing, unless all are.
        weight = jax.nn.log_softmax(jnp.where(jnp.isfinite(weight), weight, -1e30), axis=1)
        share = jnp.exp(weight)[:, :, None]
        mean = jnp.sum(share * at, axis=1, keepdims=True)
        variance = jnp.sum(share * (at - mean) ** 2, axis=1, keepdims=True)
        return points, weight, mean, jnp.sqrt(variance), jnp.std(at, axis=1, keepdims=True)

    rounds, normals = [look(free)], []
    draws = rounds[0][1].size // columns
    _, _, mean, spread, whole = learn(rounds, normals)
    gap = whole / draws
    for round_key in keys[1:]:
        spread = jnp.maximum(_WIDEN * spread, _GAPS * gap)
        gap = spread / draws
        normals.append((mean, spread))
        at = mean + spread * jax.random.normal(round_key, (columns, draws, len(names)))
        rounds.append(look({name: at[..., i].reshape(-1) for i, name in enumerate(names)}))
        points, weight, mean, spread, _ = learn(rounds, normals)
    chosen = jax.random.categorical(keys[0], weight[:, None, :], shape=(columns, chains))
    first = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, chosen, axis=1).reshape(-1), points)
    variance = jnp.maximum(spread, gap)[:, 0, :] ** 2
    return first, jnp.repeat(variance, chains, axis=0)


def repeated(columns: Any, times: int) -> Any:
    """Every column `times` times, one after the other, on the last axis of all leaves."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=-1), columns)
