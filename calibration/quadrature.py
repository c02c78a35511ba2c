"""The posterior of one parameter by running the model on a grid: no chain that might not mix."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

from calibration.problem import Problem
from hybrid_land.errors import InputError

_WIDEST = 3.5  # of the first grid, in standard deviations of the prior
_LEFT_OUT = 1e-4  # of the posterior on each side, which the second grid need not reach


def grid(
    problem: Problem,
    *,
    key: Array,
    points: int = 48,
    chains: int = 4,
    draws: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draw from the posterior of one parameter by quadrature.

    A grid over the prior, then one over what holds all but 2e-4 of the posterior; between points
    the density is linear. It needs no gradient, and a likelihood that is rough or has many peaks
    does not stop it, if the second grid is finer than the peaks are wide.

    Args:
        problem: of all columns, with one parameter.
        key: for the draws.
        points: of each of the two grids.
        chains: into which the draws, which are independent, are divided.
        draws: of each chain.
        progress: called with grids done and in all.

    Returns:
        Draws of the standard normal parameter; `cells`, the number of points that share the
        posterior (one over the sum of squared weights), `[column]`: below about 5 it is sharper
        than the grid.

    Raises:
        InputError: for more than one parameter, or fewer than 3 points.
    """
    if len(problem.names) != 1:
        raise InputError(
            f"{len(problem.names)} parameters, expected one for method grid; take nuts or smc"
        )
    if points < 3:
        raise InputError(f"{points} points, expected at least 3; raise points")
    low, high = (np.full(problem.count, bound) for bound in (-_WIDEST, _WIDEST))
    for number in (1, 2):
        z = np.linspace(low, high, points)
        energy = problem.misfit(z[:, None]) + 0.5 * z**2
        energy = np.where(np.isfinite(energy), energy, np.inf)
        density = np.exp(energy.min(axis=0) - energy)
        whole = _cumulative(density)
        if number == 1:
            first = (whole > _LEFT_OUT).argmax(axis=0)
            last = (whole >= 1.0 - _LEFT_OUT).argmax(axis=0)
            low = np.take_along_axis(z, np.maximum(first - 1, 0)[None], axis=0)[0]
            high = np.take_along_axis(z, np.minimum(last + 1, points - 1)[None], axis=0)[0]
        if progress is not None:
            progress(number, 2)
    # One draw from each of as many equal shares, in random order.
    shares, order = (
        np.asarray(jax.random.uniform(one, (chains * draws, problem.count)), np.float64)
        for one in jax.random.split(key)
    )
    shares = (np.arange(len(shares))[:, None] + shares) / len(shares)
    drawn = np.stack(
        [_quantile(z[:, k], density[:, k], shares[:, k]) for k in range(problem.count)], axis=1
    )
    drawn = np.take_along_axis(drawn, order.argsort(axis=0), axis=0)
    weight = density / density.sum(axis=0)
    return (
        drawn.reshape(chains, draws, 1, problem.count).astype(np.float32),
        {"cells": 1.0 / np.sum(weight**2, axis=0)},
    )


def _cumulative(density: Float[np.ndarray, "point ..."]) -> Float[np.ndarray, "point ..."]:
    """Share of the probability up to each point of an even grid, by the trapezoidal rule."""
    cells = np.cumsum(0.5 * (density[1:] + density[:-1]), axis=0)
    whole = np.concatenate([np.zeros_like(density[:1]), cells])
    return whole / whole[-1]


def _quantile(
    z: Float[np.ndarray, " point"],
    density: Float[np.ndarray, " point"],
    share: Float[np.ndarray, " draw"],
) -> Float[np.ndarray, " draw"]:
    """Where the cumulative of a density that is linear between points reaches each share."""
    whole = _cumulative(density)
    cell = np.clip(np.searchsorted(whole, share, side="right") - 1, 0, len(z) - 2)
    start, slope = density[cell], density[cell + 1] - density[cell]
    # Area from the cell's start, in cells: start t + slope t^2 / 2, solved without cancellation.
    area = (share - whole[cell]) * 0.5 * (density[1:] + density[:-1]).sum()
    t = 2.0 * area / (start + np.sqrt(np.maximum(start**2 + 2.0 * slope * area, 1e-300)))
    return z[cell] + np.clip(t, 0.0, 1.0) * (z[1] - z[0])
