"""The analysis error's covariance as a square root, carried to where the next window begins."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout


def symmetric_root(
    matrix: Float[Array, "column part part"],
) -> Float[Array, "column part part"]:
    """The symmetric square root of each column's covariance."""
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.einsum("cij,cj,ckj->cik", vectors, jnp.sqrt(jnp.maximum(values, 0.0)), vectors)


def transform(
    hessian: Float[Array, "column whitened whitened"], *, members: int | None = None
) -> Float[Array, "column part part"]:
    """(I + J^T J)^-1/2, the symmetric root: what takes background perturbations to analysed ones.

    It leaves the mean of perturbations at zero (Hunt et al. 2007, eq. 24).

    Args:
        hessian: I + J^T J of each column.
        members: transform only the last so many whitened variables, by the part of J that is
            theirs: the ensemble of a hybrid, whose mean saw the static part as well.
    """
    part = hessian if members is None else hessian[:, -members:, -members:]
    return symmetric_root(jnp.linalg.inv(part))


def tangent_root(
    model: Model,
    names: tuple[str, ...],
    parameters: Parameters,
    state: State,
    root: Float[Array, "control whitened column"],
    forcing: ForcingSeries,
) -> Float[Array, "control whitened column"]:
    """M U: the columns of a square root taken to the end of a rollout by its tangent.

    With U the analysis error's it is the background error's of an extended Kalman filter without
    model error.

    Args:
        model: anything with the `step` interface.
        names: prognostic variables, one a row of U.
        parameters: leaves `[column]`.
        state: at the start, leaves `[column]`.
        root: U.
        forcing: leaves `[record, column]`.
    """

    def end(x: Float[Array, "control column"]) -> Float[Array, "control column"]:
        states, _ = rollout(model, parameters, state | dict(zip(names, x, strict=True)), forcing)
        return jnp.stack([states[name][-1] for name in names])

    x = jnp.stack([state[name] for name in names])
    return jax.vmap(lambda way: jax.jvp(end, (x,), (way,))[1], in_axes=1, out_axes=1)(root)
