"""Train an amortised posterior on simulations of a problem, and draw from it: methods."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.amortised.networks import fit
from calibration.amortised.posterior import (
    AmortisedPosterior,
    Settings,
    load_amortised,
    make_network,
)
from calibration.amortised.simulations import Simulations, labelled, simulate
from calibration.problem import Problem

Progress = Callable[[int, int], None]
_VALIDATION = 0.05  # of the simulations
_UPDATES = 2500
_FAINT = 200.0  # logarithm below which a weight is as good as none
_DEFAULTS = {
    "flow": {"layers": 3, "width": 48, "knots": 6, "learning_rate": 3e-3},
    "dbuq": {"layers": 2, "width": 96, "knots": 0, "learning_rate": 3e-3},
}


def train(
    problem: Problem,
    *,
    key: Array,
    kind: Literal["flow", "dbuq"] = "flow",
    probes: int = 9,
    simulations: int = 128,
    **options: Any,
) -> AmortisedPosterior:
    """Learn the posterior of any column from simulations of some.

    Args:
        problem: whose columns, weather, errors and places of observation are learnt from; what
            was observed does not matter.
        key: for the random numbers.
        kind: a normalising flow, or DBUQ (see `calibration.amortised.diffusion`).
        probes: runs of a new column; with 0 the whitened observations are the features, for
            problems whose columns have all observations in common.
        simulations: of each column.
        options: of `train_on`.
    """
    of_runs, of_network = jax.random.split(key)
    made = simulate(problem, key=of_runs, count=simulations, probes=probes)
    return train_on(made, names=problem.names, key=of_network, kind=kind, probes=probes, **options)


def train_on(
    simulations: Simulations,
    *,
    names: tuple[str, ...],
    key: Array,
    kind: Literal["flow", "dbuq"],
    probes: int,
    updates: int = _UPDATES,
    batch: int = 256,
    neighbours: int = 256,
    smooth: bool = True,
    **network: Any,
) -> AmortisedPosterior:
    """The same from simulations made before.

    Args:
        simulations: parameters, observations and features.
        names: of the parameters.
        key: for the random numbers.
        kind: a normalising flow, or DBUQ.
        probes: that the features are of, 0 for none.
        updates: of the network.
        batch: simulations of an update.
        neighbours: of DBUQ, the most likely simulations that a label is made of.
        smooth: DBUQ's sample, see `calibration.amortised.diffusion`.
        network: layers, width, knots and learning rate, where not the default.
    """
    first, of_labels, of_fit = jax.random.split(key, 3)
    chosen = _DEFAULTS[kind] | network
    rate = chosen.pop("learning_rate")
    features = simulations.features
    settings = Settings(kind, names, features.shape[1], probes, **chosen)
    mean = features.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(features.T).reshape(mean.size, -1))
    # What hardly varies is not blown up.
    matrix = directions / np.sqrt(np.maximum(variances, 1e-6 * variances.max()))
    x_norm = np.asarray((features - mean) @ matrix, np.float32)
    data: tuple[Any, ...] = (simulations.z, x_norm)
    if kind == "dbuq":
        noise = np.asarray(jax.random.normal(of_labels, simulations.z.shape))
        data = (labelled(simulations, noise, neighbours=neighbours, smooth=smooth), x_norm, noise)
    trained, _ = fit(
        make_network(settings, first),
        data,
        key=of_fit,
        kind=kind,
        updates=updates,
        batch=batch,
        learning_rate=rate,
        validation_share=_VALIDATION,
    )
    return AmortisedPosterior(
        settings,
        trained,
        np.asarray(mean, np.float32),
        np.asarray(matrix, np.float32),
        float(np.abs(x_norm).max()),
    )


def flow(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 300,
    trained: AmortisedPosterior | str | Path = "",
    weigh: int = 0,
    probes: int = 9,
    simulations: int = 128,
    updates: int = _UPDATES,
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draws of each column's posterior from a conditional normalising flow.

    Neural posterior estimation (Papamakarios and Murray 2016; Greenberg et al. 2019). Without a
    trained one it is trained on simulations of the problem's own columns first.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: into which the draws are divided, all independent.
        draws: of each chain.
        trained: from `train`, or the folder that one was saved in; nothing trains one.
        weigh: draws of the flow, each run, that are weighed by the posterior over the flow's
            density, smoothed by Pareto's tail (Vehtari et al. 2024), of which the result is drawn
            again; 0 takes the flow at its word.
        probes: runs of each column that the flow is given; 0 for the observations themselves.
        simulations: of each column to train on.
        updates: of the network.
        progress: called with the work done and in all.

    Returns:
        Draws; statistics by column: `unlike_training`, the largest feature over the largest in
        training, and where draws were weighed `pareto_k` (good below 0.7) and `ess`.
    """
    options = {"probes": probes, "simulations": simulations, "updates": updates}
    learnt = _given_or_trained(problem, trained, "flow", key, options)
    features = learnt.features(problem)
    of_draws, of_choice = jax.random.split(jax.random.fold_in(key, 1))
    statistics = {"unlike_training": _unlike(learnt, features)}
    if weigh:
        z, density = learnt.sample_and_density(features, of_draws, draws=weigh)
        z, found = reweighed(problem, z, density, of_choice, draws=chains * draws)
        statistics |= found
    else:
        z = learnt.sample(features, of_draws, draws=chains * draws)
    if progress is not None:
        progress(1, 1)
    return z.reshape(chains, draws, *z.shape[1:]), statistics


def dbuq(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 300,
    trained: AmortisedPosterior | str | Path = "",
    probes: int = 9,
    simulations: int = 128,
    updates: int = _UPDATES,
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draws of each column's posterior by DBUQ, with the likelihood for a kernel.

    Lu et al. (2024), see `calibration.amortised.diffusion`. Without a trained one it is trained
    on simulations of the problem's own columns first.

    Args and result as of `flow`, whose weights need a density that this has not.
    """
    options = {"probes": probes, "simulations": simulations, "updates": updates}
    learnt = _given_or_trained(problem, trained, "dbuq", key, options)
    features = learnt.features(problem)
    z = learnt.sample(features, jax.random.fold_in(key, 1), draws=chains * draws)
    if progress is not None:
        progress(1, 1)
    statistics = {"unlike_training": _unlike(learnt, features)}
    return z.reshape(chains, draws, *z.shape[1:]), statistics


def reweighed(
    problem: Problem,
    z: Float[np.ndarray, "draw parameter column"],
    density: Float[np.ndarray, "draw column"],
    key: Array,
    *,
    draws: int,
) -> tuple[Float[np.ndarray, "kept parameter column"], dict[str, np.ndarray]]:
    """Draws of the posterior from those of something near it, by importance.

    Args:
        problem: of all columns; each draw is run.
        z: draws.
        density: logarithm of the density they were drawn from.
        key: of the choice.
        draws: to choose, with replacement.

    Returns:
        Draws; `pareto_k` and `ess` of each column.
    """
    exact = -problem.misfit(z) - 0.5 * np.sum(z.astype(np.float64) ** 2, axis=1)
    sound = np.isfinite(exact) & np.isfinite(density)
    ratio = np.where(sound, exact - np.where(sound, density, 0.0), -np.inf).T
    weights, shape = az.psislw(np.maximum(ratio, ratio.max(axis=1, keepdims=True) - _FAINT))
    share = np.exp(np.asarray(weights))
    share /= share.sum(axis=1, keepdims=True)
    starts = np.asarray(jax.random.uniform(key, (problem.count,)))
    at = (np.arange(draws) + starts[:, None]) / draws
    total = np.cumsum(share, axis=1)
    picked = [np.searchsorted(row / row[-1], here) for row, here in zip(total, at, strict=True)]
    order = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(draws)
    chosen = np.minimum(np.stack(picked, axis=1), len(z) - 1)[order]
    kept = np.take_along_axis(z, chosen[:, None, :], axis=0)
    return kept, {"pareto_k": np.asarray(shape), "ess": 1.0 / np.sum(share**2, axis=1)}


def _given_or_trained(
    problem: Problem, trained: Any, kind: Any, key: Array, options: dict[str, int]
) -> AmortisedPosterior:
    if trained == "":
        return train(problem, key=key, kind=kind, **options)
    return trained if isinstance(trained, AmortisedPosterior) else load_amortised(trained)


def _unlike(learnt: AmortisedPosterior, features: np.ndarray) -> Float[np.ndarray, " column"]:
    return np.asarray(jnp.abs(learnt.normalised(features)).max(axis=1)) / learnt.largest
