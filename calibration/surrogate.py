"""Bayesian optimisation, and a posterior from a Gaussian process in the model's place.

For a model that is slow and has no gradient: some tens of runs a column.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np
import scipy.stats
from bayes_opt import BayesianOptimization
from bayes_opt.acquisition import ExpectedImprovement
from jaxtyping import Array, Float
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from calibration.problem import Problem

_REACH = 3.0  # of the search, in standard deviations of the prior
_EXPLAINED = 0.9999  # of the outputs' variance by their patterns
_MOST_PATTERNS = 6
_WALKERS = 128
_PRIOR_DRAWS = 4096  # by whose weights walkers start
_BURN, _BETWEEN = 100, 10  # steps of the walkers before and between those kept
_ADAPT = 20  # steps after which the walkers' spread is measured anew
_LEAST_STEP = 0.01  # of the prior's standard deviation


def bayesopt(
    problem: Problem,
    *,
    key: Array,
    initial: int = 10,
    evaluations: int = 15,
    refinements: int = 15,
    chains: int = 4,
    draws: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Find the most probable parameters by few runs of the model, and a posterior about them.

    Bayesian optimisation (the library bayesian-optimization, expected improvement) takes the
    logarithm of minus the log posterior to its minimum, from a Latin hypercube of the prior.
    Then Gaussian processes stand in for the model: of the principal components of its whitened
    output (Higdon et al. 2008) rather than of the misfit, which is far from smooth. With a_k the
    observations' component k, and g_k and v_k the process' mean and variance,

        log p(z | y) = -sum_k [(a_k - g_k(z))^2 / (1 + v_k(z)) + log(1 + v_k(z))] / 2 - |z|^2 / 2,

    so that where the surrogate is not sure the posterior is wide. More runs are made at draws of
    it, and it is made again. All columns take the same number of runs, each run of all columns
    in one call.

    Args:
        problem: with the observations.
        key: for the random numbers.
        initial: runs of the hypercube.
        evaluations: runs of the optimisation.
        refinements: runs at draws of the first surrogate's posterior.
        chains: into which the draws are divided.
        draws: of each chain, by random walks on the surrogate.
        progress: called with runs done and in all.

    Returns:
        Draws; statistics by column: `runs`; `map_cost`, the least of minus the log posterior that
        any run had, up to a constant; `map_z_1` and so on, where; `surrogate_error`, the root
        mean square difference of log likelihoods between model and surrogate at the refinements,
        before these are used: above 1 the posterior is not to be trusted.
    """
    seeds = [int(seed) for seed in jax.random.bits(key, (problem.count + 1,))]
    size, total = len(problem.names), initial + evaluations + refinements
    lattice = qmc.LatinHypercube(size, rng=seeds[-1]).random(initial)
    start = np.clip(scipy.stats.norm.ppf(lattice), -_REACH, _REACH)
    points = np.repeat(start[:, :, None], problem.count, axis=2)
    outputs = problem.evaluate(points)
    observed = np.asarray(problem.observed, np.float64)

    def costs(z: np.ndarray, g: np.ndarray) -> Float[np.ndarray, "run column"]:
        return 0.5 * ((observed - g) ** 2).sum(axis=1) + 0.5 * (z**2).sum(axis=1)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total)

    tell(initial)
    searches = [_Search(size, seed) for seed in seeds[:-1]]
    for column, search in enumerate(searches):
        for z, cost in zip(points[..., column], costs(points, outputs)[:, column], strict=True):
            search.register(z, cost)
    for done in range(evaluations):
        z = np.stack([search.suggest() for search in searches], axis=-1)[None]
        g = problem.evaluate(z)
        for column, search in enumerate(searches):
            search.register(z[0, :, column], costs(z, g)[0, column])
        points, outputs = np.concatenate([points, z]), np.concatenate([outputs, g])
        tell(initial + done + 1)
    error = np.zeros(problem.count)
    if refinements:
        surrogates = _surrogates(points, outputs, observed, seeds)
        where = [
            surrogate.sample(refinements, points[..., k], seed=seeds[k])
            for k, surrogate in enumerate(surrogates)
        ]
        z = np.stack(where, axis=-1)
        g = problem.evaluate(z)
        fits = -0.5 * ((observed - g) ** 2).sum(axis=1)
        error = np.asarray([one.error(z[..., k], fits[:, k]) for k, one in enumerate(surrogates)])
        points, outputs = np.concatenate([points, z]), np.concatenate([outputs, g])
        tell(total)
    cost = costs(points, outputs)
    best = cost.argmin(axis=0)
    result = np.stack(
        [
            surrogate.sample(chains * draws, points[..., k], seed=seeds[k] + 1)
            for k, surrogate in enumerate(_surrogates(points, outputs, observed, seeds))
        ],
        axis=-1,
    )
    statistics = {
        "runs": np.full(problem.count, total),
        "map_cost": cost.min(axis=0),
        "surrogate_error": error,
    }
    for i in range(size):
        statistics[f"map_z_{i + 1}"] = points[best, i, np.arange(problem.count)]
    # Walkers lie side by side: each chain gets its own.
    shape = (draws, chains, size, problem.count)
    return np.swapaxes(result.reshape(shape), 0, 1), statistics


class _Search:
    """The library's optimiser on z, which is told costs and takes minus their logarithm."""

    def __init__(self, size: int, seed: int) -> None:
        self.names = [f"z{i}" for i in range(size)]
        self.optimiser = BayesianOptimization(
            f=None,
            pbounds=dict.fromkeys(self.names, (-_REACH, _REACH)),
            acquisition_function=ExpectedImprovement(xi=0.0),
            random_state=seed % 2**31,
            verbose=0,
            allow_duplicate_points=True,
        )

    def register(self, z: np.ndarray, cost: float) -> None:
        """What a run gave."""
        params = dict(zip(self.names, map(float, z), strict=True))
        self.optimiser.register(params=params, target=-float(np.log(cost + 1e-6)))

    def suggest(self) -> Float[np.ndarray, " parameter"]:
        """Where to run next."""
        with warnings.catch_warnings():
            # Of length scales at their bounds: a parameter that nothing is seen of.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = self.optimiser.suggest()
        return np.asarray([found[name] for name in self.names], float)


@dataclass(frozen=True)
class _Surrogate:
    """Gaussian processes of the components of one column's whitened output."""

    processes: list[GaussianProcessRegressor]
    observed: Float[np.ndarray, " component"]
    rest: float  # half the squares of what no component explains

    def components(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance `[component, point]`."""
        found: list[Any] = [process.predict(z, return_std=True) for process in self.processes]
        mean, spread = (np.stack(part) for part in zip(*found, strict=True))
        return mean, spread**2

    def log_likelihood(self, z: Float[np.ndarray, "point parameter"]) -> np.ndarray:
        """Of each point, up to a constant that the problem's has not."""
        mean, variance = self.components(z)
        apart = (self.observed[:, None] - mean) ** 2
        return -0.5 * (apart / (1.0 + variance) + np.log1p(variance)).sum(axis=0) - self.rest

    def error(self, z: np.ndarray, fits: np.ndarray) -> float:
        """Root mean square difference from the model's own log likelihoods."""
        return float(np.sqrt(np.mean((self.log_likelihood(z) - fits) ** 2)))

    def sample(
        self, count: int, known: Float[np.ndarray, "point parameter"], *, seed: int
    ) -> Float[np.ndarray, "draw parameter"]:
        """Random walks of many walkers at once, whose steps are as wide as the walkers lie."""
        generator = np.random.default_rng(seed)
        size = known.shape[1]
        z = np.concatenate([known, generator.standard_normal((_PRIOR_DRAWS, size))])

        def density(at: np.ndarray) -> np.ndarray:
            return self.log_likelihood(at) - 0.5 * (at**2).sum(axis=1)

        # Draws of the prior by their likelihood; runs that were made compete with them.
        weight = self.log_likelihood(z)
        weight = np.exp(weight - weight.max())
        z = z[generator.choice(len(z), _WALKERS, p=weight / weight.sum())]
        here, kept = density(z), []
        root = np.eye(size)
        for step in range(_BURN + _BETWEEN * -(-count // _WALKERS)):
            if step < _BURN and step % _ADAPT == 0:
                spread = np.atleast_2d(np.cov(z.T)) + _LEAST_STEP**2 * np.eye(size)
                root = 2.38 / np.sqrt(size) * np.linalg.cholesky(spread)
            trial = z + generator.standard_normal(z.shape) @ root.T
            there = density(trial)
            taken = np.log(generator.random(_WALKERS)) < there - here
            z, here = np.where(taken[:, None], trial, z), np.where(taken, there, here)
            if step >= _BURN and (step - _BURN) % _BETWEEN == _BETWEEN - 1:
                kept.append(z)
        return np.concatenate(kept)[:count]


def _surrogates(
    points: np.ndarray, outputs: np.ndarray, observed: np.ndarray, seeds: list[int]
) -> list[_Surrogate]:
    return [
        _surrogate(points[..., k], outputs[..., k].astype(np.float64), observed[:, k], seeds[k])
        for k in range(points.shape[2])
    ]


def _surrogate(
    z: Float[np.ndarray, "run parameter"],
    outputs: Float[np.ndarray, "run observation"],
    observed: Float[np.ndarray, " observation"],
    seed: int,
) -> _Surrogate:
    """Processes of the fewest patterns that explain nearly all variance of the output."""
    middle = outputs.mean(axis=0)
    left, size, pattern = np.linalg.svd(outputs - middle, full_matrices=False)
    explained = np.cumsum(size**2) / max(float((size**2).sum()), 1e-30)
    count = min(int(np.searchsorted(explained, _EXPLAINED)) + 1, _MOST_PATTERNS)
    processes, lengths = [], np.ones(z.shape[1])  # one a parameter
    for k in range(count):
        smooth = RBF(cast(Any, lengths), (0.05, 50.0))
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * smooth + WhiteKernel(1e-4, (1e-8, 1e-1))
        process = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=1, random_state=seed % 2**31
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            processes.append(process.fit(z, left[:, k] * size[k]))
    away = observed - middle
    seen = pattern[:count] @ away
    return _Surrogate(processes, seen, 0.5 * float(away @ away - seen @ seen))
