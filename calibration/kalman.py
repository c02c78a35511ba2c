"""Ensemble Kalman methods: posteriors without a gradient, from runs of the model alone."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from calibration.problem import Problem, chosen_columns

Draws = Float[np.ndarray, "chain draw parameter column"]
Ensemble = Float[np.ndarray, "member parameter lane"]

_MOST_STEPS = 50  # of the inversion, far more than a sound problem takes
_LEAST_MISFIT = 1e-9  # and variance of it, where nothing was observed
_FAR = 2.0  # times its size at the posterior, the drift beyond which steps are shorter


def eki(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Draws, dict[str, np.ndarray]]:
    """Ensemble transform Kalman inversion from the prior to the posterior.

    With anomalies Z of the parameters and Y of the whitened expected observations, departures d
    and J members, a step h of the likelihood p(y | z)^h is (Huang et al. 2022, section 4)

        S = h Y Y^T / J,   mean += Z^T (I + S)^-1 h Y d / J,   Z <- (I + S)^-1/2 Z

    without perturbed observations. The steps add up to one and are those of the data misfit
    controller (Iglesias and Yang 2021): max(M / (2 mean F), sqrt(M / (2 var F))) with M
    observations and the members' misfits F, at most what is left. Mean and covariance are exact
    where the model is linear; where it is not, the method is an approximation that does not
    become exact with more members.

    Args:
        problem: of all columns.
        key: for the first ensembles, which have the prior's mean and covariance exactly.
        chains: ensembles of each column, independent of each other.
        draws: members of each.
        progress: called with the share of the likelihood used by the slowest column, in percent.

    Returns:
        The ensembles; statistics by column: `steps` of the slowest ensemble, `failed` runs (not
        finite; they do not move their ensemble), `converged` (the whole likelihood was used).
    """
    lanes = _repeated(problem, chains)
    z = _first_members(key, draws, lanes)
    z, statistics = _invert(lanes, z, progress)
    done, steps, failed = (statistics[name].reshape(chains, -1) for name in statistics)
    return _by_chain(z, chains), {
        "converged": done.min(axis=0) >= 1.0,
        "steps": steps.max(axis=0),
        "failed": failed.sum(axis=0),
    }


def eks(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 300,
    members: int = 20,
    warmup: int = 20,
    step_size: float = 0.1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Draws, dict[str, np.ndarray]]:
    """Ensemble Kalman sampler: interacting Langevin dynamics without gradients.

    Affine invariant interacting Langevin dynamics with its gradient-free drift and its correction
    for the number of members (Garbuno-Inigo et al. 2020, equation 4.8), for parameters whose
    prior is standard normal:

        dz_j = -(1/J) sum_k <g_k - mean g, g_j - y> (z_k - mean z) dt - C z_j dt
               + (p + 1)/J (z_j - mean z) dt + sqrt(2 dt) (1/sqrt J) sum_k (z_k - mean z) xi_jk

    The correction keeps the posterior of a linear model whatever J is, but for the length of a
    step, which widens the variance by half of it. Ensembles begin where `eki` ends. A step is
    shorter where the drift is large (Kovachki and Stuart 2019). As with `eki`, a posterior that
    is not normal is met in approximation only.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: ensembles of each column, independent of each other.
        draws: of each chain: the members of the last steps.
        members: of each ensemble; more than parameters plus one.
        warmup: steps before those whose members are kept.
        step_size: in e-folding times of the dynamics.
        progress: called with the steps done and in all.

    Returns:
        Draws, the members of one step after those of the step before; statistics by column:
        `failed` runs, which stay where they are.

    Raises:
        ValueError: if there are too few members.
    """
    size = len(problem.names)
    if members <= size + 1:
        raise ValueError(f"{members} members, expected more than {size + 1}; give more --members")
    lanes = _repeated(problem, chains)
    generator, first = _generator(key), _first_members(key, members, lanes)
    z, statistics = _invert(lanes, first, None)
    failed, observed = statistics["failed"], np.asarray(lanes.observed, np.float64)
    kept = -(-draws // members)
    taken = []
    for step in range(warmup + kept):
        g, bad = _run(lanes, z, np.ones(lanes.count, bool))
        failed = failed + bad.sum(axis=0)
        here, anomalies, spread, residual = (
            np.moveaxis(x, -1, 0) for x in (z, z - z.mean(axis=0), g - g.mean(axis=0), g - observed)
        )
        drift = residual @ spread.swapaxes(1, 2) / members
        length = np.linalg.norm(drift, axis=(1, 2))
        dt = (step_size / np.maximum(1.0, length / (_FAR * np.sqrt(size))))[:, None, None]
        covariance = anomalies.swapaxes(1, 2) @ anomalies / members
        noise = generator.standard_normal((lanes.count, members, members))
        change = (
            -dt * drift @ anomalies
            - dt * here @ covariance
            + dt * (size + 1) / members * anomalies
            + np.sqrt(2 * dt / members) * noise @ anomalies
        )
        z = z + np.where(bad[:, None], 0.0, np.moveaxis(change, 0, -1))
        if step >= warmup:
            taken.append(z)
        if progress is not None:
            progress(step + 1, warmup + kept)
    drawn = np.concatenate(taken)[-draws:]
    return _by_chain(drawn, chains), {"failed": failed.reshape(chains, -1).sum(axis=0)}


def _invert(
    lanes: Problem, z: Ensemble, progress: Callable[[int, int], None] | None
) -> tuple[Ensemble, dict[str, np.ndarray]]:
    """Move ensembles from the prior to the posterior; statistics `[lane]`."""
    members, observed = len(z), np.asarray(lanes.observed, np.float64)
    seen = np.maximum(np.asarray(lanes.present, np.float64).sum(axis=0), 1.0)
    done, steps, failed = (np.zeros(lanes.count) for _ in range(3))
    for _ in range(_MOST_STEPS):
        moving = done < 1.0
        if not moving.any():
            break
        g, bad = _run(lanes, z, moving)
        misfit = 0.5 * np.sum((g - observed) ** 2, axis=1)
        wanted = np.maximum(
            seen / (2.0 * np.maximum(misfit.mean(axis=0), _LEAST_MISFIT)),
            np.sqrt(seen / (2.0 * np.maximum(misfit.var(axis=0), _LEAST_MISFIT))),
        )
        step = np.where(moving, np.minimum(wanted, 1.0 - done), 0.0)
        anomalies, spread = (np.moveaxis(x - x.mean(axis=0), -1, 0) for x in (z, g))
        inner = step[:, None, None] * spread @ spread.swapaxes(1, 2) / members
        values, vectors = np.linalg.eigh(inner)
        values = 1.0 + np.maximum(values, 0.0)[:, None]
        departures = spread @ (observed - g.mean(axis=0)).T[:, :, None]
        weights = vectors / values @ (vectors.swapaxes(1, 2) @ departures)
        shift = anomalies.swapaxes(1, 2) @ weights * step[:, None, None] / members
        root = vectors / np.sqrt(values) @ vectors.swapaxes(1, 2)
        z = z.mean(axis=0) + np.moveaxis(shift.swapaxes(1, 2) + root @ anomalies, 0, -1)
        done = np.where(moving & (step >= 1.0 - done), 1.0, done + step)
        steps, failed = steps + moving, failed + bad.sum(axis=0)
        if progress is not None:
            progress(int(100 * done.min()), 100)
    return z, {"done": done, "steps": steps.astype(int), "failed": failed.astype(int)}


def _run(
    lanes: Problem, z: Ensemble, moving: Bool[np.ndarray, " lane"]
) -> tuple[np.ndarray, np.ndarray]:
    """Expected observations, those of failed members the mean of the others'; which failed."""
    g = lanes.evaluate(z, wanted=moving).astype(np.float64)
    bad = np.asarray(~np.isfinite(g).all(axis=1))
    sound = np.maximum((~bad).sum(axis=0), 1)
    mean = np.sum(np.where(bad[:, None], 0.0, g), axis=0) / sound
    return np.where(bad[:, None], mean, g), bad


def _first_members(key: Array, members: int, lanes: Problem) -> Ensemble:
    """Draws of the prior, shifted and turned to have its mean and covariance exactly."""
    z = _generator(jax.random.fold_in(key, 1)).standard_normal(
        (members, len(lanes.names), lanes.count)
    )
    z = z - z.mean(axis=0)
    covariance = np.einsum("jpl,jql->lpq", z, z) / members
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    return np.einsum("lpq,jql->jpl", whiten, z)


def _repeated(problem: Problem, chains: int) -> Problem:
    """Lanes: all columns of the first chain, then of the second."""
    return chosen_columns(problem, np.tile(np.arange(problem.count), chains))


def _by_chain(z: np.ndarray, chains: int) -> Draws:
    draws, size, lanes = z.shape
    return np.moveaxis(z.reshape(draws, size, chains, lanes // chains), 2, 0)


def _generator(key: Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
