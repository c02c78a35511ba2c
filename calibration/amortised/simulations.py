"""Simulations that amortised posteriors learn from, and DBUQ's labels of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import KDTree

from calibration.amortised.diffusion import draws_by_diffusion
from calibration.amortised.features import fit_of_probes, make_probes, probed
from calibration.amortised.posterior import interpolation
from calibration.problem import Problem

_WHOLE = 0.5  # of simulations keep all observations, the others a part of them
_CASES = 500  # labelled at once
_LEFT_OUT = 0.1  # of the weight of those kept, the most that the others may have


@dataclass(frozen=True)
class Simulations:
    """Parameters from the prior, with what would be observed were they true.

    Attributes:
        z: standard normal parameters.
        features: of the observations.
        observed: whitened, with errors, zero where left out.
        expected: whitened, without errors and with nothing left out.
        kept: one for what is observed, else zero.
        column: that each case is of; its likelihood is taken of cases of the same one.
    """

    z: Float[np.ndarray, "case parameter"]
    features: Float[np.ndarray, "case feature"]
    observed: Float[np.ndarray, "case observation"]
    expected: Float[np.ndarray, "case observation"]
    kept: Float[np.ndarray, "case observation"]
    column: Int[np.ndarray, " case"]


def simulate(problem: Problem, *, key: Array, count: int, probes: int) -> Simulations:
    """Simulations of every column; with probes, of fewer observations too.

    Args:
        problem: whose columns, errors and mask are used.
        key: for the random numbers.
        count: of each column.
        probes: of each column, 0 for the observations as features, which all columns share.
    """
    of_z, of_errors, of_part, of_mask = jax.random.split(key, 4)
    columns, size = problem.count, len(problem.names)
    z = np.asarray(jax.random.normal(of_z, (count, size, columns)))
    expected = problem.evaluate(z)
    errors = np.asarray(jax.random.normal(of_errors, expected.shape))
    kept = np.broadcast_to(np.asarray(problem.present), expected.shape)
    observed = expected + errors
    if probes:
        part = jax.random.uniform(of_part, (count, 1, columns), maxval=1.0 / _WHOLE)
        kept = kept * np.asarray(jax.random.uniform(of_mask, expected.shape) < part)
        design = make_probes(size, probes)
        seen, between = jnp.asarray(probed(problem, design)), interpolation(design)
        # Whitened errors are independent: leaving some out is a smaller set of observations.
        features = np.stack(
            [
                np.asarray(fit_of_probes(jnp.asarray(y * k), seen * k[None], *between))
                for y, k in zip(observed, kept, strict=True)
            ]
        ).reshape(count * columns, -1)
        column = np.tile(np.arange(columns), count)
    else:
        features, column = _by_case(observed * kept), np.zeros(count * columns, int)
    return Simulations(
        z=_by_case(z),
        features=features,
        observed=_by_case(observed * kept),
        expected=_by_case(expected),
        kept=_by_case(kept),
        column=column,
    )


def joined(parts: Sequence[Simulations]) -> Simulations:
    """Simulations of several problems in the same parameters, whose columns stay apart.

    What one observed more often than another counts as left out of the other.

    Args:
        parts: with the same features.
    """
    most = max(part.observed.shape[1] for part in parts)
    columns = np.cumsum([0, *[part.column.max() + 1 for part in parts]])

    def together(name: str, *, padded: bool = True) -> np.ndarray:
        leaves = [getattr(part, name) for part in parts]
        if padded:
            leaves = [np.pad(leaf, ((0, 0), (0, most - leaf.shape[1]))) for leaf in leaves]
        return np.concatenate(leaves)

    pairs = zip(parts, columns[:-1], strict=True)
    return Simulations(
        z=together("z", padded=False),
        features=together("features", padded=False),
        observed=together("observed"),
        expected=together("expected"),
        kept=together("kept"),
        column=np.concatenate([part.column + first for part, first in pairs]),
    )


def _by_case(values: np.ndarray) -> Float[np.ndarray, "case number"]:
    """`[draw, number, column]` with draws and columns as one axis."""
    return np.moveaxis(values, 1, 2).reshape(-1, values.shape[1])


def labelled(
    simulations: Simulations,
    noise: Float[np.ndarray, "case parameter"],
    *,
    neighbours: int,
    smooth: bool = True,
) -> Float[np.ndarray, "case parameter"]:
    """A draw of the posterior of every case, by DBUQ's diffusion.

    The likelihood of a case is taken at the other cases of its column. Where all is observed the
    most likely, which are the nearest in whitened observations, are enough.

    Args:
        simulations: of any number of columns.
        noise: that each draw is made of.
        neighbours: kept at the least; twice as many until the others hardly matter.
        smooth: the sample, see `calibration.amortised.diffusion`.
    """
    labels = np.empty(noise.shape, np.float32)
    for column in np.unique(simulations.column):
        own = np.flatnonzero(simulations.column == column)
        for begin in range(0, own.size, _CASES):
            cases = own[begin : begin + _CASES]
            near, weights = _most_likely(simulations, cases, own, neighbours)
            labels[cases] = draws_by_diffusion(
                jnp.asarray(noise[cases]),
                jnp.asarray(simulations.z[near]),
                jnp.asarray(weights),
                smooth=smooth,
            )
    return labels


def _most_likely(
    simulations: Simulations, cases: np.ndarray, among: np.ndarray, neighbours: int
) -> tuple[Int[np.ndarray, "case near"], Float[np.ndarray, "case near"]]:
    """Cases of the largest likelihood, and its logarithm; minus infinity for the case itself."""
    observed, expected = simulations.observed[cases], simulations.expected[among]
    kept = simulations.kept[cases]
    number = min(neighbours + 1, among.size)
    if kept.all():
        tree = KDTree(expected)
        distance, index = tree.query(observed, k=number, workers=-1)
        while number < among.size and _cut(distance, among.size):
            number = min(2 * number, among.size)
            distance, index = tree.query(observed, k=number, workers=-1)
        near, squares = among[index], distance**2
    else:
        near = np.broadcast_to(among, (cases.size, among.size))
        squares = kept @ (expected**2).T - 2.0 * observed @ expected.T
    weights = np.where(near == cases[:, None], -np.inf, -0.5 * squares)
    return near, np.asarray(weights, np.float32)


def _cut(distance: Float[np.ndarray, "case near"], among: int) -> bool:
    """Whether those left out could matter to one case in twenty, by the weight of the last kept."""
    weight = np.exp(0.5 * (distance[:, :1] ** 2 - distance**2))
    most = (among - weight.shape[1]) * weight[:, -1] / weight.sum(axis=1)
    return bool(np.quantile(most, 0.95) > _LEFT_OUT)
