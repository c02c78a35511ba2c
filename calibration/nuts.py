"""The no-U-turn sampler on every column at once, by the exact gradient of the rollout."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro.infer import NUTS
from numpyro.infer.util import ParamInfo

from calibration.checkpoint import as_tree, load_chains, mark_of, save_chains
from calibration.problem import Problem, chosen_columns, log_posterior
from hybrid_land.devices import over_devices
from hybrid_land.errors import InputError

_PRIOR_DRAWS = 24  # of each column, from which chains start
_STEP, _SHORT_STEP = 1.4, 0.4  # in standard deviations, of one parameter
_SHORT_EVERY = 5  # transitions
_DEPTH = 6  # of the trees of several parameters
_STEEP = 6.0  # deviations out at which a normal density's slope is halved
_ROUNDS = 2  # of importance sampling after the prior
_WIDEN = 2.0  # of a round's draws beyond the weighted spread of those before
_GAPS = 10.0  # between the draws of the round before, the least spread of a round's draws
_AT_ONCE = 20  # transitions at most between reports of progress
AGREED = 1.01  # R-hat below which chains count as agreeing (Vehtari et al. 2021)


def nuts(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 300,
    max_tree_depth: int | None = None,
    target_acceptance: float = 0.8,
    longer: int = 0,
    restart: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draw from the posterior of each column's parameters by NUTS (Hoffman and Gelman 2014).

    Columns are independent and each has its own step size and mass matrix; all columns and chains
    move in lockstep as one batch. Chains start, and have their first mass matrix, from importance
    sampling (`starts`). A slope that is steeper than a normal density's six standard deviations
    out fades to none: a year's rollout through floods and thaws has places where the tangent is
    orders of magnitude steeper than the likelihood over any distance that matters. Draws stay
    exact, since a leapfrog step keeps volume and can be reversed whatever slope drives it, and
    energies are not changed. For one parameter steps keep their size, two in turn, and trees have
    one step: a batch waits for its longest tree, and one long step already crosses the posterior.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: of each column.
        warmup: transitions before those kept, in which step size and mass matrix adapt if there
            is more than one parameter.
        draws: kept of each chain.
        max_tree_depth: of a trajectory, 2^depth - 1 steps at most; by default 6, and 1 for one
            parameter.
        target_acceptance: of the step size's adaptation.
        longer: how often at most the chains of the columns in which they do not agree (R-hat of
            1.01 or more) are made twice as long; of every two, four, ... draws the last is kept,
            so that all columns have as many.
        restart: folder in which the chains are kept every 20 transitions or fewer; a run that
            finds there what one with the same data, key and options left goes on from it, to
            the same result, or to more draws.
        progress: called with transitions done and in all.

    Raises:
        InputError: if `restart` holds another run's chains or cannot be written, or a single
            chain is to be made longer until it agrees.

    Returns:
        Draws of the standard normal parameters; statistics of the sampler by name
        `[chain, draw, column]`.
    """
    if longer < 0 or (longer and chains < 2):
        raise InputError(
            f"longer={longer} with {chains} chains, expected 0 or more, and two or more chains "
            "that could agree; correct them"
        )
    density = log_posterior(problem)

    def potential(z: Array, lane: Any) -> Array:
        return -density(z, lane)

    def look(z: Array, lane: Any) -> ParamInfo:
        energy, slope = jax.value_and_grad(potential)(z, lane)
        return ParamInfo(z, energy, slope)

    def held(slope: Array, variance: Array) -> Array:
        steepness = jnp.sqrt(jnp.mean(slope**2 * variance))
        shorter = slope / (1.0 + (steepness / _STEEP) ** 4)
        return jnp.where(jnp.isfinite(shorter), shorter, 0.0)

    def driven(z: Array, lane: Any, variance: Array) -> Array:
        """The potential, with slopes that are held."""
        here = look(jax.lax.stop_gradient(z), lane)
        return here.potential_energy + jnp.sum(held(here.z_grad, variance) * (z - here.z))

    adapting = len(problem.names) > 1
    depth = max_tree_depth or (_DEPTH if adapting else 1)

    def kernel_for(lane: Any, variance: Array) -> NUTS:
        return NUTS(
            potential_fn=lambda z: driven(z, lane, variance),
            inverse_mass_matrix=variance,
            adapt_step_size=adapting,
            adapt_mass_matrix=adapting,
            max_tree_depth=depth,
            target_accept_prob=target_acceptance,
        )

    def begin(lane: Any, variance: Array, lane_key: Array, point: ParamInfo) -> Any:
        first = point._replace(z_grad=held(point.z_grad, variance))
        return kernel_for(lane, variance).init(lane_key, warmup, first, (), {})

    def resized(chain: Any) -> Any:
        """Long steps and now and then a short one, which a tail too steep for the long lets go.

        Short in all lanes at once: where trees are deep, a short step makes a long one, which the
        batch waits for.
        """
        size = jnp.where(chain.i % _SHORT_EVERY == 0, _SHORT_STEP, _STEP)
        return chain._replace(adapt_state=chain.adapt_state._replace(step_size=size))

    def advance(lane: Any, variance: Array, chain: Any) -> tuple[Any, Any]:
        kernel = kernel_for(lane, variance)
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
            return after, (after.z, statistics)

        return jax.lax.scan(transition, chain, None, length=at_once)

    total = warmup + draws
    at_once = math.ceil(total / math.ceil(total / _AT_ONCE))
    count, size = problem.count, len(problem.names)
    prior_key, start_key, chain_key = jax.random.split(key, 3)
    lanes = chosen_columns(problem, np.repeat(np.arange(count), chains)).lanes
    keys = jax.random.split(chain_key, count * chains)
    begun = jax.jit(jax.vmap(begin, in_axes=(-1, 0, 0, 0)))

    def at_first() -> tuple[Any, Array]:
        many = chosen_columns(problem, np.repeat(np.arange(count), _PRIOR_DRAWS)).lanes
        z = jax.random.normal(prior_key, (count * _PRIOR_DRAWS, size))
        densities = over_devices(jax.vmap(density, in_axes=(0, -1)), axes=(0, -1))
        first, variance = starts(
            lambda z: densities(z, many), z, columns=count, chains=chains, key=start_key
        )
        seen = over_devices(jax.vmap(look, in_axes=(0, -1)), axes=(0, -1))
        return begun(lanes, variance, keys, seen(first, lanes)), variance

    move = over_devices(jax.vmap(advance, in_axes=(-1, 0, 0)), axes=(-1, 0, 0))
    decides = {"chains": chains, "warmup": warmup, "depth": depth, "accept": target_acceptance}
    mark = "" if restart is None else mark_of(problem, key, decides)

    def kept(lanes: Any, begin: Callable[[], Any], folder: Path | None, mark: str) -> Any:
        """Chains and their mass matrices as kept, with the draws made, or at their beginning."""
        found = None if folder is None else load_chains(folder, mark)
        if found is None:
            return begin(), []
        like = jax.eval_shape(begin)
        made = jax.eval_shape(jax.vmap(advance, in_axes=(-1, 0, 0)), lanes, like[1], like[0])[1]
        ours = len(jax.tree.leaves(like))
        piece = jax.tree.unflatten(jax.tree.structure(made), found[ours:])
        return as_tree(like, found[:ours]), [piece]

    def moved(
        lanes: Any, state: Any, pieces: list[Any], end: int, folder: Path | None, mark: str
    ) -> tuple[Any, list[Any]]:
        """The same after as many transitions."""
        chain, variance = state
        done = sum(piece[0].shape[1] for piece in pieces)
        while done < end:
            chain, piece = move(lanes, variance, chain)
            pieces = [*pieces, jax.device_get(piece)]
            done += at_once
            if folder is not None:
                save_chains(folder, mark, ((chain, variance), _joined(pieces)))
            if progress is not None:
                progress(min(done, end), end)
        return (chain, variance), pieces

    folder = None if restart is None else Path(restart)
    state, pieces = kept(lanes, at_first, folder, mark)
    state, pieces = moved(lanes, state, pieces, total, folder, mark)
    whole = jax.tree.map(lambda x: x[:, warmup:], _joined(pieces))
    result = _by_chain(whole, chains=chains, draws=draws, every=1)
    apart = _disagreeing(result[0]) if longer > 0 else np.arange(0)
    if not apart.size:
        return result
    own = (apart[:, None] * chains + np.arange(chains)).ravel()
    begun_at, whole = jax.tree.map(lambda x: x[own], (state, whole))
    lanes = chosen_columns(problem, np.repeat(apart, chains)).lanes
    folder = None if folder is None else folder / f"longer_{draws}"
    mark = f"{mark} {draws} {apart.tolist()}"
    state, pieces = kept(lanes, lambda: begun_at, folder, mark)
    for doubling in range(1, longer + 1):
        end = draws * 2**doubling - whole[0].shape[1]
        state, pieces = moved(lanes, state, pieces, end, folder, mark)
        more = _by_chain(_joined([whole, *pieces]), chains=chains, draws=draws, every=2**doubling)
        if not _disagreeing(more[0]).size:
            break
    return jax.tree.map(lambda x, y: _replaced(x, apart, y), result, more)


def _joined(pieces: list[Any]) -> Any:
    """Draws `[lane, draw, ...]` of the pieces after one another."""
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *pieces)


def _by_chain(whole: Any, *, chains: int, draws: int, every: int) -> Any:
    """`[lane, draw, ...]` as `[chain, draw, ..., column]`, the last of each so many draws.

    A transition diverged if any of those that it stands for did.
    """

    def thinned(x: np.ndarray) -> np.ndarray:
        groups = x[:, : draws * every].reshape(-1, chains, draws, every, *x.shape[2:])
        chosen = groups.max(axis=3) if x.dtype == bool else groups[:, :, :, -1]
        return np.moveaxis(chosen, 0, -1)

    return jax.tree.map(thinned, whole)


def _disagreeing(
    z: Float[np.ndarray, "chain draw parameter column"],
) -> Int[np.ndarray, " apart"]:
    """Columns of which a parameter's chains do not agree."""
    columns = np.moveaxis(z, (3, 2), (0, 1))
    rhat = np.array([[az.rhat(parameter) for parameter in column] for column in columns])
    return np.flatnonzero(~(rhat < AGREED).all(axis=1))


def _replaced(x: np.ndarray, columns: Int[np.ndarray, " apart"], by: np.ndarray) -> np.ndarray:
    """The array with other values in some columns."""
    x = x.copy()
    x[..., columns] = by
    return x


def starts(
    density: Callable[[Float[Array, "lane parameter"]], Float[Array, " lane"]],
    z: Float[Array, "lane parameter"],
    *,
    columns: int,
    chains: int,
    key: Array,
) -> tuple[Float[Array, "chain_lane parameter"], Float[Array, "chain_lane parameter"]]:
    """Where chains start, and the inverse of their mass matrix, by importance sampling.

    Draws of the prior are weighted by likelihood; as many again are drawn from a normal
    distribution of their mean and twice their spread, and once more from what all say then
    (population Monte Carlo, Cappe et al. 2004). Weights are the posterior over the mixture that
    the draws come from (Owen and Zhou 2000); the chains' starts are drawn by weight.

    Args:
        density: logarithm of the posterior's, up to a constant.
        z: draws of the prior, a column's after one another.
        columns: number of columns.
        chains: of each column.
        key: for the random numbers.
    """
    keys = jax.random.split(key, _ROUNDS + 1)
    size = z.shape[1]

    def by_column(*leaves: Array) -> Array:
        """`[column, draw, ...]` of all rounds."""
        return jnp.concatenate([x.reshape(columns, -1, *x.shape[1:]) for x in leaves], axis=1)

    @jax.jit
    def learn(rounds: list[Any], normals: list[Any]) -> tuple[Any, ...]:
        """All points so far, their log weights, and mean and spread."""
        points, height = jax.tree.map(by_column, *rounds)
        mixture = [
            jax.scipy.stats.norm.logpdf(points, mean, spread).sum(axis=-1)
            for mean, spread in normals
        ]
        weight = height - jax.nn.logsumexp(jnp.stack(mixture), axis=0)
        # What is not finite weighs nothing, unless all are.
        weight = jax.nn.log_softmax(jnp.where(jnp.isfinite(weight), weight, -1e30), axis=1)
        share = jnp.exp(weight)[:, :, None]
        mean = jnp.sum(share * points, axis=1, keepdims=True)
        variance = jnp.sum(share * (points - mean) ** 2, axis=1, keepdims=True)
        return points, weight, mean, jnp.sqrt(variance)

    standard = (jnp.zeros((columns, 1, size)), jnp.ones((columns, 1, size)))
    rounds, normals = [(z, density(z))], [standard]
    draws = z.shape[0] // columns
    points, weight, mean, spread = learn(rounds, normals)
    gap = jnp.full_like(spread, 1.0 / draws)
    for round_key in keys[1:]:
        spread = jnp.maximum(_WIDEN * spread, _GAPS * gap)
        gap = spread / draws
        normals.append((mean, spread))
        at = mean + spread * jax.random.normal(round_key, (columns, draws, size))
        z = at.reshape(-1, size)
        rounds.append((z, density(z)))
        points, weight, mean, spread = learn(rounds, normals)
    chosen = jax.random.categorical(keys[0], weight[:, None, :], shape=(columns, chains))
    first = jnp.take_along_axis(points, chosen[..., None], axis=1).reshape(-1, size)
    variance = jnp.maximum(spread, gap)[:, 0, :] ** 2
    return first, jnp.repeat(variance, chains, axis=0)
