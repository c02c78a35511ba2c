"""What the model's own error adds to the error of an analysis that does not correct it.

Strong 4D-Var takes the model as perfect, so that its inverse Hessian says too little. As in a
consider analysis (Bierman 1977, section VIII.2) the model's errors q are not estimated, but their
effect on the estimate is counted: with slopes of the observations J_v and J_q in whitened units,
A = (I + J_v^T J_v)^-1 and z = S_v v + S_q q whatever is asked for, the error of z is

    S_v A^1/2 e + (S_q - S_v A J_v^T J_q) q,   e and q standard normal.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.variational import Problem
from hybrid_land.variables import DAY

_PART_DAYS = 15.0  # an error of the model is constant for so long at most


def with_model_error(problem: Problem, growth: Mapping[str, float]) -> Problem:
    """The problem with the model's errors as further whitened variables, behind the others.

    They are a random walk: within a part of d days the model adds a constant error, whose sum
    has the standard deviation sqrt(d) times that of a day.

    Args:
        problem: without a model error in its control vector.
        growth: standard deviations by which prognostic variables are moved in a day.
    """
    records = next(iter(problem.forcing.values())).shape[0]
    days = records * problem.model.time_step / DAY
    parts = ceil(days / _PART_DAYS)
    names = tuple(growth)
    rates = jnp.asarray([growth[name] for name in names]) / jnp.sqrt(days / parts)
    begin = len(problem.control.start)
    size, errors = problem.root.shape[1], parts * len(names)
    root = problem.root
    wide = jnp.zeros((root.shape[0] + errors, size + errors, root.shape[2]), root.dtype)
    wide = wide.at[:begin, :size].set(root[:begin])
    wide = wide.at[begin : begin + errors, size:].set(jnp.diag(jnp.tile(rates, parts))[..., None])
    wide = wide.at[begin + errors :, :size].set(root[begin:])
    control = replace(problem.control, model_error=names, parts=parts)
    return replace(problem, root=wide, control=control)


def error_root(
    slope: Float[Array, "whitened value column"],
    half: Float[Array, "column estimated estimated"],
    jacobian: Float[Array, "whitened observation column"],
) -> Float[Array, "whitened value column"]:
    """Rows whose squares add up to the error variance of each value.

    Args:
        slope: S_v, then S_q, of the values.
        half: a square root of A, A = half half^T.
        jacobian: J_v, then J_q.
    """
    size = half.shape[-1]
    own = jnp.einsum("cij,ivc->jvc", half, slope[:size])
    seen = jnp.einsum("iyc,qyc->ciq", jacobian[:size], jacobian[size:])
    answer = jnp.einsum("cij,ckj,ckq->ciq", half, half, seen)
    return jnp.concatenate([own, slope[size:] - jnp.einsum("ivc,ciq->qvc", slope[:size], answer)])
