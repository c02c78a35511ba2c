"""A particle filter: members drawn anew by what they say of the observations."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation.filters.analyses import Ensemble, Predicted, Seen, anomalies
from assimilation.filters.inflation import Number
from assimilation.propagation import symmetric_root


def likelihood(
    predicted: Predicted, values: Seen, errors: Seen, mask: Seen
) -> Float[Array, "member column"]:
    """The members' weights, with sum one: p(y | x) for independent Gaussian errors."""
    apart = (values[None] - predicted) / jnp.where(mask > 0, errors, 1.0)[None]
    log = -0.5 * jnp.sum(jnp.where((mask > 0)[None], apart**2, 0.0), axis=1)
    return jax.nn.softmax(log, axis=0)


def effective(weights: Float[Array, "member column"]) -> Float[Array, " column"]:
    """Effective number of members, 1 / sum of squared weights (Kong et al. 1994)."""
    return 1.0 / jnp.sum(weights**2, axis=0)


def resampled(
    key: Array, predicted: Predicted, values: Seen, errors: Seen, mask: Seen
) -> Int[Array, "member column"]:
    """Which member each one becomes: systematic resampling (Kitagawa 1996), one draw a column.

    A member of weight w is drawn N w times, rounded up or down; without observations each becomes
    itself.
    """
    weights = likelihood(predicted, values, errors, mask)
    size, columns = weights.shape
    start = jax.random.uniform(key, (columns,), weights.dtype)
    places = (jnp.arange(size)[:, None] + start[None]) / size
    edges = jnp.cumsum(weights, axis=0) / jnp.sum(weights, axis=0, keepdims=True)
    find = jax.vmap(jnp.searchsorted, in_axes=(-1, -1), out_axes=-1)
    source = jnp.minimum(find(edges, places), size - 1)
    itself = jnp.broadcast_to(jnp.arange(size)[:, None], source.shape)
    return jnp.where(jnp.any(mask > 0, axis=0)[None], source, itself)


def chosen(ensemble: Ensemble, *, source: Int[Array, "member column"]) -> Ensemble:
    """The members that were drawn, whole."""
    return jnp.take_along_axis(ensemble, source[:, None], axis=0)


def regularised(key: Array, after: Ensemble, factor: Number, mask: Seen) -> Ensemble:
    """Drawn members told apart by noise with their own covariance, which stays as it is.

    Gaussian kernels of the width h = N^(-1 / (n + 4)) that is best for n Gaussian variables
    (Musso et al. 2001), times a factor, about members drawn to their mean by sqrt(1 - h^2) (Liu
    and West 2001, section 10.3): without that the variance would grow by h^2 at each analysis.

    Args:
        key: of the noise.
        after: members that were drawn.
        factor: zero for none.
        mask: of the observations; a column without any is left alone.
    """
    size, variables, _ = after.shape
    apart = anomalies(after)
    covariance = jnp.einsum("mic,mjc->cij", apart, apart) / (size - 1.0)
    draw = jax.random.normal(key, after.shape, after.dtype)
    noise = jnp.einsum("cij,mjc->mic", symmetric_root(covariance), draw)
    width = jnp.asarray(factor, after.dtype) * float(size) ** (-1.0 / (variables + 4.0))
    width = jnp.minimum(width, 1.0)
    nearer = after + (jnp.sqrt(1.0 - width**2) - 1.0) * apart
    return jnp.where(jnp.any(mask > 0, axis=0)[None, None], nearer + width * noise, after)
