"""History matching in waves: which parameters are not ruled out by the observations."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import scipy.stats
from jaxtyping import Array, Float
from scipy.stats import qmc

from calibration.problem import Problem

_NEAREST = 0.05  # share of the points that the next wave surrounds where none is plausible


def history(
    problem: Problem,
    *,
    key: Array,
    members: Sequence[Problem] = (),
    waves: int = 3,
    points: int = 256,
    draws: int = 300,
    cut: float = 3.0,
    largest: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draw from the prior where no observation rules it out (Vernon et al. 2010).

    A wave evaluates a Latin hypercube in the smallest box, in u = Phi(z), that holds the points
    not ruled out so far, and a margin; `implausibility` below `cut` keeps a point. What is kept
    is no posterior: values are possible or not, none is likelier than by the prior. Columns are
    independent, each with its own box; none being plausible says that the model is wrong by more
    than its errors say.

    Args:
        problem: with the observations.
        key: for the points.
        members: the same problem by each emulator of an ensemble, whose spread is the emulator's
            variance; the problem alone, without that variance, if not given.
        waves: number of waves.
        points: of each wave and column.
        draws: to give back, from the points that the last wave kept.
        cut: of the implausibility; 3 keeps 95% of any unimodal distribution (Pukelsheim 1994).
        largest: which of a point's implausibilities counts, see `implausibility`.
        progress: called with waves done and in all.

    Returns:
        Draws, in one chain; statistics by column: `plausible`, whether any point was kept;
        `least_implausibility`; and `share_wave_1` and so on, the share of the prior that is not
        ruled out after each wave.
    """
    size, count = len(problem.names), problem.count
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    low, high = np.zeros((size, count)), np.ones((size, count))
    lattice = qmc.LatinHypercube(size, rng=generator)
    statistics: dict[str, np.ndarray] = {}
    least = np.full(count, np.inf)
    u, value = np.empty((points, size, count)), np.empty((points, count))
    for wave in range(waves):
        unit = np.stack([lattice.random(points) for _ in range(count)], axis=-1)
        u = low + (high - low) * unit
        value = implausibility((members or (problem,)), _normal(u), largest=largest)
        kept = value < cut
        statistics[f"share_wave_{wave + 1}"] = np.prod(high - low, axis=0) * kept.mean(axis=0)
        least = np.minimum(least, value.min(axis=0))
        nearest = value <= np.quantile(value, _NEAREST, axis=0)
        around = np.where(kept.any(axis=0), kept, nearest)[:, None]
        margin = (high - low) / points ** (1.0 / size)
        # No wider than before: what lies outside was ruled out.
        low, high = (
            np.maximum(low, np.where(around, u, np.inf).min(axis=0) - margin),
            np.minimum(high, np.where(around, u, -np.inf).max(axis=0) + margin),
        )
        if progress is not None:
            progress(wave + 1, waves)
    kept = value < cut
    plausible = kept.any(axis=0)
    weight = np.where(plausible, kept, value == value.min(axis=0)).astype(float)
    z = np.empty((1, draws, size, count))
    for column in range(count):
        share = weight[:, column] / weight[:, column].sum()
        chosen = generator.choice(points, draws, p=share)
        z[0, :, :, column] = _normal(u[chosen, :, column])
    return z, statistics | {"plausible": plausible, "least_implausibility": least}


def implausibility(
    members: Sequence[Problem],
    z: Float[np.ndarray, "draw parameter column"],
    *,
    largest: int = 3,
) -> Float[np.ndarray, "draw column"]:
    """How far off the observations are, in standard deviations of all that may explain it.

        I_i = |y_i - m_i| / sqrt(C_ii + v_i (1 + 1 / M))

    with m and v the mean and variance of the expected observations over M emulators, and C the
    covariance of the observations' errors and of the model's discrepancy.

    Args:
        members: the same problem by each emulator.
        z: standard normal parameters.
        largest: which I_i counts: 1 the largest, 3 the third largest, so that two observations
            that fit nothing do not rule out everything (Vernon et al. 2010, section 3.5); with
            fewer observations the least of them.
    """
    first = members[0]
    root = np.linalg.inv(np.moveaxis(first.whitening_matrix(), -1, 0))
    variance = np.einsum("cij,cij->ic", root, root)
    observed = first.in_units(np.asarray(first.observed)[None])[0]
    expected = np.stack([member.in_units(member.evaluate(z)) for member in members])
    if len(members) > 1:
        variance = variance + expected.var(axis=0, ddof=1) * (1.0 + 1.0 / len(members))
    apart = np.abs(observed - expected.mean(axis=0)) / np.sqrt(variance)
    # What was not observed rules nothing out.
    ordered = -np.sort(-np.where(np.isfinite(observed), apart, 0.0), axis=1)
    seen = np.isfinite(observed).sum(axis=0)
    which = np.clip(np.minimum(largest, seen) - 1, 0, None)
    return np.take_along_axis(ordered, which[None, None], axis=1)[:, 0]


def _normal(u: np.ndarray) -> np.ndarray:
    """Standard normal numbers of cumulative probability u, finite at 0 and 1."""
    return scipy.stats.norm.ppf(np.clip(u, 1e-6, 1.0 - 1e-6))
