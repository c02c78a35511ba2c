"""Simulated experiments of a method: is the truth one more draw from each posterior?

Parameters are drawn from the prior, observations from them, and the method draws from the
posterior of each column. If the method is right, the truth's rank among the draws is uniform, in
all experiments taken together (Cook et al. 2006, Talts et al. 2018). Each column of a problem is
one experiment, so that one call of the method makes them all; the library simuk, which fits one
experiment at a time, is not used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import scipy.stats
from arviz.stats.ecdf_utils import ecdf_confidence_band
from jaxtyping import Array, Float

from calibration.problem import Problem, chosen_columns, simulated

LIKELIHOOD = "log_likelihood"
BAND = 0.95  # probability that uniform ranks stay within the band everywhere
_POINTS = 50  # at which a band is made


@dataclass(frozen=True)
class Trials:
    """Truth and posterior of many simulated experiments.

    Attributes:
        names: of the quantities: the parameters z, then perhaps `log_likelihood`.
        parameters: how many of the names are parameters.
        truth: what the observations were made from.
        draws: from each experiment's posterior.
    """

    names: tuple[str, ...]
    parameters: int
    truth: Float[np.ndarray, "quantity trial"]
    draws: Float[np.ndarray, "draw quantity trial"]

    def positions(self, *, seed: int = 0) -> Float[np.ndarray, "quantity trial"]:
        """Ranks of the truth among the draws, (rank + u) / (draws + 1) with u uniform.

        Uniform on [0, 1] if the method is right. Ties are broken at random.

        Args:
            seed: of u and of ties.
        """
        return positions(self.truth, self.draws, seed=seed)


def positions(
    truth: Float[np.ndarray, "*axes trial"],
    draws: Float[np.ndarray, "draw *axes trial"],
    *,
    seed: int,
) -> Float[np.ndarray, "*axes trial"]:
    """Where the truth stands among draws, on [0, 1]; see `Trials.positions`."""
    generator = np.random.default_rng(seed)
    below = (draws < truth).sum(axis=0)
    ties = (draws == truth).sum(axis=0)
    rank = below + generator.integers(0, ties + 1)
    return (rank + generator.random(truth.shape)) / (draws.shape[0] + 1)


def run_trials(
    problem: Problem,
    method: Callable[..., Any],
    *,
    key: Array,
    trials: int | None = None,
    kept: int = 63,
    likelihood: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Trials:
    """Simulate an experiment in each column, and draw from all their posteriors in one call.

    Draws that follow each other are alike, so only some are kept, evenly spaced over all chains;
    ranks among draws that are still alike are piled up at both ends.

    The likelihood of the truth has a rank as well, which shows a posterior that is not narrower
    than the prior though it should be (Modrak et al. 2023).

    Args:
        problem: whose observations are replaced.
        method: `(problem, *, key, progress)` to draws and statistics, see `calibration.methods`.
        key: for the random numbers.
        trials: number of experiments, columns being used again in turn; one a column if not given.
        kept: draws of each posterior.
        likelihood: whether to rank the log-likelihood too; costs a run for each draw kept.
        progress: handed to the method.
    """
    of_truth, of_method = jax.random.split(key)
    if trials is not None:
        problem = chosen_columns(problem, np.arange(trials) % problem.count)
    truth, problem = simulated(problem, of_truth)
    z = np.asarray(method(problem, key=of_method, progress=progress)[0])
    draws = thinned(z, kept)
    names = problem.names
    if likelihood:
        fit = -problem.misfit(np.concatenate([truth[None], draws]))[:, None]
        truth = np.concatenate([truth, fit[0]])
        draws = np.concatenate([draws, fit[1:]], axis=1)
        names = (*names, LIKELIHOOD)
    return Trials(names, len(problem.names), truth, draws)


def thinned(
    z: Float[np.ndarray, "chain draw parameter column"], kept: int
) -> Float[np.ndarray, "kept parameter column"]:
    """Draws evenly spaced over all chains.

    Args:
        z: draws of a method.
        kept: how many, at most.
    """
    flat = z.reshape(-1, *z.shape[2:])
    step = np.linspace(0, len(flat) - 1, min(kept, len(flat))).round().astype(int)
    return flat[step]


@dataclass(frozen=True)
class Uniformity:
    """Whether numbers are uniform on [0, 1].

    Attributes:
        at: where the cumulative distribution is compared.
        found: share of the numbers up to there.
        low: of the simultaneous band (Sailynoja et al. 2022).
        high: of the same.
        chi_squared: p-value over bins of equal width.
        kolmogorov: p-value of Kolmogorov and Smirnov.
        words: what the numbers' shape says of the posteriors that they are positions in.
    """

    at: Float[np.ndarray, " point"]
    found: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]
    chi_squared: float
    kolmogorov: float
    words: str

    @property
    def inside(self) -> bool:
        """Whether the cumulative distribution stays within the band."""
        return bool(np.all((self.low <= self.found) & (self.found <= self.high)))


def uniformity(
    values: Float[np.ndarray, " trial"], *, bins: int = 16, probability: float = BAND
) -> Uniformity:
    """Test numbers on [0, 1] for being uniform.

    Args:
        values: from independent experiments.
        bins: of the chi-squared test.
        probability: that all of the band holds.
    """
    at = np.arange(1, _POINTS) / _POINTS
    low, high = ecdf_confidence_band(len(values), at, at, prob=probability, method="optimized")
    found = np.searchsorted(np.sort(values), at, side="right") / len(values)
    counts = np.histogram(values, bins=bins, range=(0.0, 1.0))[0]
    inside = np.all((low <= found) & (found <= high))
    return Uniformity(
        at=at,
        found=found,
        low=np.asarray(low),
        high=np.asarray(high),
        chi_squared=float(scipy.stats.chisquare(counts).pvalue),
        kolmogorov=float(scipy.stats.kstest(values, "uniform").pvalue),
        words="uniform" if inside else _shape(values),
    )


def _shape(values: np.ndarray) -> str:
    """What is wrong, judged by mean and spread of the positions in their standard errors."""
    count = len(values)
    shift = (values.mean() - 0.5) * np.sqrt(12.0 * count)
    spread = (np.mean((values - 0.5) ** 2) - 1.0 / 12.0) * np.sqrt(180.0 * count)
    if abs(shift) > abs(spread):
        return f"not uniform: the posteriors lie too {'low' if shift > 0 else 'high'}"
    return f"not uniform: the posteriors are too {'narrow' if spread > 0 else 'wide'}"
