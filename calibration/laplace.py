"""The maximum of each column's posterior, and a normal distribution about it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optimistix
from jaxtyping import Array, Float

from calibration.problem import Problem, chosen_columns, residuals

_FLAT = 0.05  # length of the Newton step, in posterior standard deviations, at a maximum


def laplace(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 300,
    starts: int = 4,
    max_iterations: int = 40,
    tolerance: float = 1e-4,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Laplace's approximation about the maximum of the posterior (MacKay 2003, chapter 27).

        z ~ N(m, H^-1),   m = argmin |r(z)|^2 / 2,   H = J^T J,   r(z) = (W y - W G(z), z)

    The maximum is by Levenberg's and Marquardt's method from the prior's median and from draws of
    the prior, of which the best is kept. H is Gauss and Newton's Hessian, I + G'^T W^T W G', which
    is positive definite, exact for linear G, and leaves out the curvature of G (Nocedal and
    Wright 2006, section 10.3). The approximation is made in the standard normal parameters, so
    that its draws are within the bounds of the physical ones.

    A column whose maximum was not found is marked by `converged`; where no start gave a finite
    cost its draws are the prior's.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: into which the draws are divided, all independent.
        draws: of each chain.
        starts: of each column's minimisation.
        max_iterations: of Levenberg's and Marquardt's method.
        tolerance: its relative and absolute tolerance.
        progress: called with the work done and in all.

    Returns:
        Draws; statistics by column: `converged`, `map_cost` (minus the log posterior at the
        maximum, up to a constant), and the Hessian's eigenvalues in descending order,
        `hessian_eigenvalue_1` and so on: 1 where the data say nothing.
    """
    size, count = len(problem.names), problem.count
    of_starts, of_draws = jax.random.split(key)
    first = jax.random.normal(of_starts, (starts, count, size)).at[0].set(0.0)
    lanes = chosen_columns(problem, np.tile(np.arange(count), starts)).lanes
    vector = residuals(problem)
    solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)

    def descend(begin: Array, lane: Any) -> tuple[Array, Array, Array]:
        found = optimistix.least_squares(
            vector, solver, begin, lane, max_steps=max_iterations, throw=False
        ).value
        jacobian = jax.jacfwd(vector)(found, lane)
        return found, vector(found, lane), jacobian

    # Not over devices: lineax takes arrays of a device's share for those of another structure.
    run = jax.jit(jax.vmap(descend, in_axes=(0, -1)))
    z, departures, jacobian = (
        np.asarray(x, np.float64).reshape(starts, count, *x.shape[1:])
        for x in run(first.reshape(-1, size), lanes)
    )
    if progress is not None:
        progress(1, 1)
    cost = 0.5 * np.sum(departures**2, axis=-1)
    sound = np.isfinite(cost) & np.isfinite(jacobian).all(axis=(-2, -1))
    best = np.argmin(np.where(sound, cost, np.inf), axis=0), np.arange(count)
    usable = sound[best]
    peak = np.where(usable[:, None], z[best], 0.0)
    slope = np.where(usable[:, None, None], jacobian[best], 0.0)
    hessian = np.einsum("kri,krj->kij", slope, slope)
    hessian[~usable] = np.eye(size)
    gradient = np.einsum("kri,kr->ki", slope, np.where(usable[:, None], departures[best], 0.0))
    newton = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    converged = usable & (np.einsum("ki,ki->k", newton, gradient) < _FLAT**2)
    eigenvalues = np.linalg.eigvalsh(hessian)[:, ::-1]

    normal = np.asarray(jax.random.normal(of_draws, (chains * draws, count, size)))
    root = np.linalg.cholesky(np.linalg.inv(hessian))
    drawn = peak + np.einsum("kij,nkj->nki", root, normal)
    statistics = {"converged": converged, "map_cost": cost[best]} | {
        f"hessian_eigenvalue_{i + 1}": eigenvalues[:, i] for i in range(size)
    }
    return drawn.reshape(chains, draws, count, size).swapaxes(-1, -2), statistics
