"""The posterior of one or two parameters by running the model on a grid, without a chain."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from calibration.problem import Problem
from hybrid_land.errors import InputError

_POINTS = {1: 48, 2: 24}  # along each axis, by the number of parameters
_WIDEST = 3.5  # of the first grid, in standard deviations of the prior
_LEFT_OUT = 2e-4  # of the posterior, which the next grid need not reach
_RESOLVED = 5.0  # points that share the posterior along an axis, from which a grid resolves it


def grid(
    problem: Problem,
    *,
    key: Array,
    points: int | None = None,
    chains: int = 4,
    draws: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Draw from the posterior of one or two parameters by quadrature.

    A grid over the prior, then one along the principal axes of the posterior found, just wide
    enough for it, and for two parameters once more; between points the density is linear along
    each axis. It needs no gradient, and a likelihood that is rough or has many peaks does not stop
    it, if the last grid is finer than the peaks are wide.

    Args:
        problem: of all columns, with one or two parameters.
        key: for the draws.
        points: along each axis of each grid; by default 48 for one parameter, 2 x 48 runs a column,
            and 24 for two, 3 x 576.
        chains: into which the draws, which are independent, are divided.
        draws: of each chain.
        progress: called with grids done and in all.

    Returns:
        Draws of the standard normal parameters; by column `cells`, the number of points that share
        the posterior along an axis (one over the sum of squared weights, its root for two), and
        `converged`: these are at least 5, and some run was finite. Where none was the draws are
        the prior's.

    Raises:
        InputError: for more than two parameters, or fewer than 3 points.
    """
    found = grids(problem, points=points, progress=progress)[-1]
    size, count = len(problem.names), problem.count
    # One draw from each of as many equal shares, in random order.
    uniform, others, order = (
        np.asarray(jax.random.uniform(one, (chains * draws, count)), np.float64)
        for one in jax.random.split(key, 3)
    )
    shares = (np.arange(len(uniform))[:, None] + uniform) / len(uniform)
    drawn = np.stack([found.drawn(k, shares[:, k], others[:, k]) for k in range(count)], axis=-1)
    drawn = np.take_along_axis(drawn, order.argsort(axis=0)[:, None], axis=0)
    return (
        drawn.reshape(chains, draws, size, count).astype(np.float32),
        {"cells": found.cells, "converged": found.resolved},
    )


@dataclass(frozen=True)
class Grid:
    """Points of each column, and the posterior there.

    Attributes:
        along: places of the points on each axis.
        centre: of the axes.
        turn: directions of the axes.
        z: the points.
        misfit: minus the log-likelihood at each, up to a constant; infinite where a run failed.
        weight: share of the posterior at each.
        finite: columns in which some run was finite; in others the posterior is the prior.
    """

    along: Float[np.ndarray, "point axis column"]
    centre: Float[np.ndarray, "parameter column"]
    turn: Float[np.ndarray, "parameter axis column"]
    z: Float[np.ndarray, "node parameter column"]
    misfit: Float[np.ndarray, "node column"]
    weight: Float[np.ndarray, "node column"]
    finite: Bool[np.ndarray, " column"]

    @property
    def step(self) -> Float[np.ndarray, "axis column"]:
        """Between points, along each axis."""
        return self.along[1] - self.along[0]

    @property
    def cells(self) -> Float[np.ndarray, " column"]:
        """Points that share the posterior along an axis."""
        return np.sum(self.weight**2, axis=0) ** (-1.0 / self.z.shape[1])

    @property
    def resolved(self) -> Bool[np.ndarray, " column"]:
        """Where the posterior is not sharper than the grid."""
        return self.finite & (self.cells >= _RESOLVED)

    def drawn(
        self, column: int, share: Float[np.ndarray, " draw"], other: Float[np.ndarray, " draw"]
    ) -> Float[np.ndarray, "draw parameter"]:
        """Where the cumulative over one column's cells reaches each share.

        `other`, uniform too, gives the place along a second axis.
        """
        points, axes = self.along.shape[:2]
        places = drawn_places(self.weight[:, column].reshape((points,) * axes), share, other)
        away = self.along[0, :, column] + places * self.step[:, column]
        return self.centre[:, column] + away @ self.turn[..., column].T


def grids(
    problem: Problem,
    *,
    points: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Grid]:
    """Run the model on one grid after another; the last is where the posterior is.

    Args and errors as of `grid`.
    """
    size, count = len(problem.names), problem.count
    if size not in _POINTS:
        raise InputError(
            f"{size} parameters, expected one or two for method grid; take nuts or smc"
        )
    points = _POINTS[size] if points is None else points
    if points < 3:
        raise InputError(f"{points} points, expected at least 3; raise points")
    low, high = (np.full((size, count), bound) for bound in (-_WIDEST, _WIDEST))
    centre, turn = np.zeros((size, count)), np.repeat(np.eye(size)[:, :, None], count, axis=2)
    found = [_run(problem, points, centre, turn, low, high)]
    for number in range(1, 1 + size):
        if progress is not None:
            progress(number, 1 + size)
        found.append(_run(problem, points, *_around(found[-1])))
    if progress is not None:
        progress(1 + size, 1 + size)
    return found


def _run(
    problem: Problem,
    points: int,
    centre: Float[np.ndarray, "parameter column"],
    turn: Float[np.ndarray, "parameter axis column"],
    low: Float[np.ndarray, "axis column"],
    high: Float[np.ndarray, "axis column"],
) -> Grid:
    """Run the model at the points of a grid."""
    along = np.linspace(low, high, points)
    at = np.indices((points,) * len(low)).reshape(len(low), -1)
    nodes = np.stack([along[at[axis], axis] for axis in range(len(low))], axis=1)
    z = centre + np.einsum("pac,nac->npc", turn, nodes)
    prior = 0.5 * np.sum(z**2, axis=1)
    misfit = problem.misfit(z)
    misfit = np.where(np.isfinite(misfit), misfit, np.inf)
    finite = np.asarray(np.isfinite(misfit).any(axis=0))
    energy = np.where(finite, misfit, 0.0) + prior
    density = np.exp(energy.min(axis=0) - energy)
    return Grid(along, centre, turn, z, misfit, density / density.sum(axis=0), finite)


def _around(before: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre, axes and ends of the next grid.

    Its axes are the principal ones of the posterior, and reach one cell of this grid beyond its
    densest points, which hold all but `_LEFT_OUT`.
    """
    weight = before.weight
    centre = np.einsum("nc,npc->pc", weight, before.z)
    away = before.z - centre
    covariance = np.einsum("nc,npc,nqc->cpq", weight, away, away)
    turn = np.moveaxis(np.linalg.eigh(covariance).eigenvectors, 0, -1)
    along = np.einsum("pac,npc->nac", turn, away)
    cell = np.abs(np.einsum("pac,pbc->abc", turn, before.turn * before.step)).sum(axis=1)
    order = weight.argsort(axis=0)
    kept = np.zeros(weight.shape, bool)
    held = np.take_along_axis(weight, order, axis=0).cumsum(axis=0) > _LEFT_OUT
    np.put_along_axis(kept, order, held, axis=0)
    low = np.where(kept[:, None], along, np.inf).min(axis=0) - cell
    high = np.where(kept[:, None], along, -np.inf).max(axis=0) + cell
    return centre, turn, low, high


def drawn_places(
    density: Float[np.ndarray, "..."],
    share: Float[np.ndarray, " draw"],
    other: Float[np.ndarray, " draw"],
) -> Float[np.ndarray, "draw axis"]:
    """Draws in cells from the first point, of a density that is linear along each axis between.

    `share` tells the cell and the place along the first axis, `other` that along a second.
    """
    if density.ndim == 1:
        cell, rest = _cell(density[1:] + density[:-1], share)
        return (cell + _linear(density[cell], density[cell + 1], rest))[:, None]
    side = density[:, 1:] + density[:, :-1]
    number, rest = _cell((side[1:] + side[:-1]).ravel(), share)
    i, j = np.divmod(number, density.shape[1] - 1)
    t = _linear(side[i, j], side[i + 1, j], rest)
    start, end = ((1.0 - t) * density[i, edge] + t * density[i + 1, edge] for edge in (j, j + 1))
    return np.stack([i + t, j + _linear(start, end, other)], axis=1)


def _cell(
    mass: Float[np.ndarray, " cell"], share: Float[np.ndarray, " draw"]
) -> tuple[np.ndarray, Float[np.ndarray, " draw"]]:
    """The cell in which the cumulative reaches each share, and how far through the cell."""
    whole = np.concatenate([[0.0], mass.cumsum()])
    whole /= whole[-1]
    cell = np.clip(np.searchsorted(whole, share, side="right") - 1, 0, len(mass) - 1)
    width = np.maximum(whole[cell + 1] - whole[cell], 1e-300)
    return cell, np.clip((share - whole[cell]) / width, 0.0, 1.0)


def _linear(
    start: Float[np.ndarray, " draw"],
    end: Float[np.ndarray, " draw"],
    share: Float[np.ndarray, " draw"],
) -> Float[np.ndarray, " draw"]:
    """Where the cumulative of a density that is linear from `start` to `end` reaches a share."""
    # start t + (end - start) t^2 / 2 = share of the area, solved without cancellation.
    area = share * 0.5 * (start + end)
    root = np.sqrt(np.maximum(start**2 + 2.0 * (end - start) * area, 1e-300))
    return np.clip(2.0 * area / (start + root), 0.0, 1.0)
