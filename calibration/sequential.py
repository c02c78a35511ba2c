"""Sequential Monte Carlo: particles from the prior to the posterior by tempering."""

from collections.abc import Callable

import blackjax.smc.ess
import blackjax.smc.resampling
import blackjax.smc.solver
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.problem import Problem, chosen_columns

_MOST_STAGES = 100  # far more than a sound problem takes
_STEP = 2.38  # over the root of the number of parameters: of a random walk (Roberts et al. 1997)
_ACCEPTED = 0.35  # share towards which the random walk's length is moved
_LEAST_SPREAD = 1e-4  # of the particles, in standard deviations of the prior


def smc(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 100,
    moves: int = 4,
    effective_share: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Adaptive tempered sequential Monte Carlo (Del Moral et al. 2006; Chopin 2002).

    Particles go through p(z) p(y | z)^t from t = 0 to 1. Each stage takes the t at which the
    weights leave an effective share of them (Jasra et al. 2011), resamples (systematic), and moves
    each particle by random-walk Metropolis with the particles' own covariance. Tempering and
    resampling are blackjax's. It needs no gradient, and is exact with many particles.

    All columns and populations are lanes of the same runs of the model; a lane that has arrived
    runs no more.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: populations of each column, independent of each other.
        draws: particles of each.
        moves: of each particle in a stage.
        effective_share: of the particles that a stage's weights leave.
        progress: called with the share of the likelihood used by the slowest column, in percent.

    Returns:
        The particles; statistics by column: `stages` of the slowest population, `acceptance_rate`
        of its last stage, `log_evidence` (of the observations, whitened, up to `log_scale`; mean
        over populations), `converged` (all of the likelihood was used).
    """
    size, count = len(problem.names), problem.count
    lanes = chosen_columns(problem, np.tile(np.arange(count), chains))
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    z = generator.standard_normal((draws, size, lanes.count))
    misfit = _finite(lanes.misfit(z))
    done, evidence, stages = (np.zeros(lanes.count) for _ in range(3))
    accepted, scale = np.full(lanes.count, np.nan), np.full(lanes.count, _STEP / np.sqrt(size))
    for stage in range(_MOST_STAGES):
        moving = done < 1.0
        if not moving.any():
            break
        step, weight, parent = _stage(
            jnp.asarray(misfit, jnp.float32),
            jnp.asarray(1.0 - done, jnp.float32),
            jax.random.split(jax.random.fold_in(key, stage), lanes.count),
            effective_share,
        )
        step = np.where(moving, np.minimum(np.asarray(step, float), 1.0 - done), 0.0)
        evidence += np.where(moving, np.asarray(weight, float), 0.0)
        done = np.where(moving & (step >= 1.0 - done - 1e-6), 1.0, done + step)
        kept = np.where(moving, np.asarray(parent), np.arange(draws)[:, None])
        z = np.take_along_axis(z, kept[:, None], axis=0)
        misfit = np.take_along_axis(misfit, kept, axis=0)
        root = _root(z)
        for _ in range(moves):
            noise = generator.standard_normal(z.shape)
            trial = z + scale * np.einsum("lpq,nql->npl", root, noise)
            found = np.where(moving, _finite(lanes.misfit(trial, wanted=moving)), np.inf)
            gain = done * (misfit - found) + 0.5 * np.sum(z**2 - trial**2, axis=1)
            chance = np.exp(np.minimum(gain, 0.0))
            taken = generator.random(chance.shape) < chance
            z = np.where(taken[:, None], trial, z)
            misfit = np.where(taken, found, misfit)
            accepted = np.where(moving, chance.mean(axis=0), accepted)
            scale = np.where(moving, scale * np.exp(accepted - _ACCEPTED), scale)
        stages += moving
        if progress is not None:
            progress(int(100 * done.min()), 100)
    shape = (chains, count)
    statistics = {
        "converged": (done >= 1.0).reshape(shape).all(axis=0),
        "stages": stages.reshape(shape).max(axis=0).astype(int),
        "acceptance_rate": accepted.reshape(shape).min(axis=0),
        "log_evidence": evidence.reshape(shape).mean(axis=0) + np.asarray(problem.log_scale),
    }
    return np.moveaxis(z.reshape(draws, size, *shape), 2, 0), statistics


@jax.jit
def _stage(
    misfit: Float[Array, "draw lane"],
    left: Float[Array, " lane"],
    keys: Array,
    effective_share: Float[Array, ""] | float,
) -> tuple[Array, Array, Array]:
    """By lane: the step of t, the logarithm of the mean weight, and each particle's parent."""

    def one(misfit: Array, left: Array, key: Array) -> tuple[Array, Array, Array]:
        step = blackjax.smc.ess.ess_solver(
            lambda fit: -fit, misfit, effective_share, left, blackjax.smc.solver.dichotomy
        )
        weights = -step * misfit
        share = jax.nn.softmax(weights)
        parent = blackjax.smc.resampling.systematic(key, share, misfit.shape[0])
        return jnp.asarray(step), jax.nn.logsumexp(weights) - jnp.log(misfit.shape[0]), parent

    return jax.vmap(one, in_axes=(-1, 0, 0), out_axes=(0, 0, -1))(misfit, left, keys)


def _root(z: np.ndarray) -> np.ndarray:
    """Cholesky factor of the particles' covariance, `[lane, parameter, parameter]`."""
    anomalies = np.moveaxis(z - z.mean(axis=0), -1, 0)
    covariance = anomalies.swapaxes(1, 2) @ anomalies / len(z)
    return np.linalg.cholesky(covariance + _LEAST_SPREAD**2 * np.eye(z.shape[1]))


def _finite(misfit: np.ndarray) -> np.ndarray:
    """A run that failed as one that is very far from the observations."""
    return np.where(np.isfinite(misfit), misfit, 1e30)
