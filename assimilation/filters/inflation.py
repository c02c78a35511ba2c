"""Inflation of an ensemble: what sampling and the model's errors take from its spread, given back.

Each function keeps the ensemble's mean, but for the draws of `additive`.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation.filters.analyses import Ensemble, Predicted, Seen, anomalies
from assimilation.propagation import symmetric_root

Number = float | Array | np.ndarray

_RANK = 1e-5  # of the largest eigenvalue, below which perturbations have no direction
_DEVIATION = 0.04  # of the adaptive inflation from cycle to cycle (Miyoshi 2011, section 3)


def spread(ensemble: Float[Array, " member *rest"]) -> Float[Array, " *rest"]:
    """Standard deviation over the members, with N - 1."""
    return jnp.sqrt(jnp.sum(anomalies(ensemble) ** 2, axis=0) / (ensemble.shape[0] - 1.0))


def multiplicative(ensemble: Ensemble, factor: Number) -> Ensemble:
    """Perturbations times a factor (Anderson and Anderson 1999).

    Args:
        ensemble: members.
        factor: a number, or one for each column.
    """
    wide = jnp.broadcast_to(jnp.asarray(factor, ensemble.dtype), ensemble.shape)
    return ensemble + (wide - 1.0) * anomalies(ensemble)


def rtps(before: Ensemble, after: Ensemble, part: Number) -> Ensemble:
    """Relaxation to prior spread (Whitaker and Hamill 2012, eq. 2).

    A_a (1 + a (s_b - s_a) / s_a), with s the spread of each element; an element whose analysed
    members are all the same stays as it is.

    Args:
        before: the forecast.
        after: the analysis.
        part: a, zero for the analysis itself, one for the forecast's spread.
    """
    prior, now = spread(before), spread(after)
    ratio = jnp.where(now > 0, (prior - now) / jnp.where(now > 0, now, 1.0), 0.0)
    factor = 1.0 + jnp.broadcast_to(jnp.asarray(part, after.dtype), ratio.shape) * ratio
    return after + (factor - 1.0)[None] * anomalies(after)


def rtpp(before: Ensemble, after: Ensemble, part: Number) -> Ensemble:
    """Relaxation to prior perturbations, (1 - a) A_a + a A_b (Zhang et al. 2004, eq. 5).

    Args:
        before: the forecast.
        after: the analysis.
        part: a, zero for the analysis itself, one for the forecast's perturbations.
    """
    wide = jnp.broadcast_to(jnp.asarray(part, after.dtype), after.shape)
    return after + wide * (anomalies(before) - anomalies(after))


def additive(key: Array, ensemble: Ensemble, deviation: Float[Array, " variable"]) -> Ensemble:
    """Model noise added to the members, its mean over them taken out (Mitchell, Houtekamer 2000).

    Args:
        key: of the draws.
        ensemble: members.
        deviation: of the noise of each variable, in its unit.
    """
    noise = anomalies(jax.random.normal(key, ensemble.shape, ensemble.dtype))
    return ensemble + noise * deviation[None, :, None]


def additive_root(ensemble: Ensemble, deviation: Float[Array, " variable"]) -> Ensemble:
    """Model noise without draws, SQRT-CORE (Raanes et al. 2015, section 3).

    The perturbations A become (I + (N - 1) (A^+)^T Q A^+)^1/2 A, which have the covariance of A
    plus the part of Q in the space of the members.

    Args:
        ensemble: members.
        deviation: of the noise of each variable, in its unit: the root of Q's diagonal.
    """
    A = anomalies(ensemble)
    values, vectors = jnp.linalg.eigh(jnp.einsum("mvc,nvc->cmn", A, A))
    kept = values > _RANK * values[:, -1:]
    inverse = jnp.where(kept, 1.0 / jnp.where(kept, values, 1.0), 0.0)
    back = jnp.einsum("cij,cj,ckj->cik", vectors, inverse, vectors)
    scaled = jnp.einsum("cij,jvc,v->civ", back, A, deviation)
    wide = (A.shape[0] - 1.0) * jnp.einsum("civ,cjv->cij", scaled, scaled)
    root = symmetric_root(jnp.eye(A.shape[0], dtype=A.dtype)[None] + wide)
    return ensemble + jnp.einsum("cmn,nvc->mvc", root, A) - A


def adapted(
    factor: Float[Array, " column"], S: Predicted, d: Seen, mask: Seen
) -> Float[Array, " column"]:
    """The variance inflation of the forecast that innovations ask for, smoothed in time.

        a_o = (d^T d - p) / tr(S S^T),   v_o = 2 / p ((a tr(S S^T) + p) / tr(S S^T))^2

    is the estimate of Desroziers' first statistic and its variance; the last factor a with
    variance 0.04^2 is the prior, and the two are combined as Gaussians (Miyoshi 2011, eqs. 12-16).

    Args:
        factor: a of the last cycle; multiplies variances.
        S: scaled perturbations, as from `analyses.scaled`, without inflation.
        d: scaled departures.
        mask: one where observed.
    """
    count = mask.sum(axis=0)
    power = jnp.sum(S**2, axis=(0, 1))
    known = (count > 0) & (power > 0)
    power, p = jnp.where(known, power, 1.0), jnp.where(known, count, 1.0)
    estimate = (jnp.sum(d**2, axis=0) - p) / power
    variance = 2.0 / p * ((factor * power + p) / power) ** 2
    prior = _DEVIATION**2
    found = (variance * factor + prior * estimate) / (variance + prior)
    return jnp.where(known, jnp.maximum(found, 1.0), factor)


def additive_of(
    deviations: Mapping[str, Number], variables: tuple[str, ...]
) -> Float[Array, " variable"]:
    """The deviations of `additive` in the order of the variables, zero for those not named."""
    return jnp.stack([jnp.asarray(deviations.get(name, 0.0), float) for name in variables])
