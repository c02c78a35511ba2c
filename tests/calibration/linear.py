"""Inverse problems that are linear in z, whose posterior is known exactly, and its sampler."""

import jax
import jax.numpy as jnp
import numpy as np

from calibration.problem import Problem


def linear_problem(matrix, *, columns=1, observed=None, present=None, names=None):
    """Whitened y = A z + e in every column; physical parameters are z.

    A is `[observation, parameter]`, or with a last axis for the column.
    """
    matrix = np.asarray(matrix, np.float32)
    if matrix.ndim == 2:
        matrix = np.repeat(matrix[:, :, None], columns, axis=2)
    size, parameters, columns = matrix.shape
    names = tuple(names or "abcdef"[:parameters])
    present = np.ones((size, columns), np.float32) if present is None else present
    observed = np.zeros((size, columns), np.float32) if observed is None else observed

    def expected(z, own):
        return jnp.einsum("opc,pc->oc", own, z)

    def physical(z, own):
        return {name: z[i] for i, name in enumerate(names)}

    return Problem(
        names=names,
        columns=jnp.asarray(matrix * present[:, None]),
        observed=jnp.asarray(observed * present, jnp.float32),
        present=jnp.asarray(present, jnp.float32),
        log_scale=jnp.asarray(-0.5 * np.log(2 * np.pi) * present.sum(axis=0), jnp.float32),
        expected=expected,
        physical=physical,
        records={"swvl1": np.arange(size)},
    )


def exact(problem, *, key, progress=None, draws=100, width=1.0, shift=0.0):
    """A method of calibration for `linear_problem`: independent draws, their spread times `width`.

    `shift` is in standard deviations of each parameter.
    """
    mean, covariance = moments(problem)
    root = np.linalg.cholesky(covariance)
    noise = np.asarray(jax.random.normal(key, (draws, *mean.shape)))
    moved = mean + shift * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    z = moved + width * np.einsum("cij,djc->dic", root, noise)
    return z[None], {}


def moments(problem):
    """Posterior mean `[parameter, column]` and covariance `[column, parameter, parameter]`."""
    matrix = np.asarray(problem.columns, np.float64)
    size = matrix.shape[1]
    precision = np.einsum("opc,oqc->cpq", matrix, matrix) + np.eye(size)
    covariance = np.linalg.inv(precision)
    pulled = np.einsum("opc,oc->cp", matrix, np.asarray(problem.observed))
    return np.einsum("cij,cj->ic", covariance, pulled), covariance
