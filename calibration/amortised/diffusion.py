"""DBUQ: draws of a posterior by a diffusion whose score needs no training.

Lu et al. (2024, A diffusion-based uncertainty quantification method to advance E3SM land model
calibration, doi:10.1029/2024JH000234) turn noise xi into a draw x of p(x | y) by the reverse-time
ordinary differential equation of a diffusion with

    alpha(t) = 1 - t,   beta(t)^2 = t,   dx/dt = (x - (1 + t) m(x, t)) / (2 t),   x(1) = xi,

where m, the mean of x(0) given x(t) and y, is a mean over a sample x_j of the prior,

    m = sum_j w_j x_j,   w_j ~ exp(-|x - alpha x_j|^2 / (2 beta^2)) K(y, y_j).

A network is then trained on pairs ((y, xi), x). Two things are mended here.

The published kernel K is a normal density whose variance is one in normalised observations,
whatever their error. It should be the likelihood of y given the model's output y_j, which
`log_weights` are: then the draws are those of the posterior as the sample grows.

The published draws are points of the sample. Which one xi ends in changes from one observation to
the next, so that a network learns the mean of many, and its posterior is too narrow. Here the
sample is smoothed (Liu and West 2001, section 10.3): in coordinates in which its weighted mean and
covariance are 0 and 1, x_j becomes a normal of mean sqrt(1 - h^2) x_j and covariance h^2, which
leaves those as they are; h is Silverman's for the weights' effective number, so it goes to zero.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LAST = 1e-4  # time at which x(t) is taken for x(0)
_LEAST = 1e-6  # variance of the sample in any direction


@partial(jax.jit, static_argnames=("steps", "smooth"))
def draws_by_diffusion(
    noise: Float[Array, "case parameter"],
    sample: Float[Array, "case particle parameter"],
    log_weights: Float[Array, "case particle"],
    *,
    steps: int = 30,
    smooth: bool = True,
) -> Float[Array, "case parameter"]:
    """One draw of each case's posterior for each noise.

    x(t) - alpha m grows as sqrt(t) where m does not change, so that a step is exact but for that
    (DDIM, Song et al. 2021); m is the mean of both ends of the step, as in Heun's method.

    Args:
        noise: standard normal.
        sample: of the prior, which each case may choose from.
        log_weights: logarithms of the likelihood of the case's observations, up to a constant.
        steps: of the integration, shorter towards both ends.
        smooth: the sample, as above; else as published.
    """
    cases, _, size = sample.shape
    centre, root, width = jnp.zeros((cases, size)), jnp.eye(size)[None], jnp.zeros(cases)
    if smooth:
        centre, root, width, sample = _standardised(sample, log_weights)

    def mean(x: Array, time: Array) -> Array:
        kept = (1.0 - time) * width**2
        spread = time + (1.0 - time) * kept
        distance = jnp.sum((x[:, None, :] - (1.0 - time) * sample) ** 2, axis=2)
        share = jax.nn.softmax(log_weights - 0.5 * distance / spread[:, None], axis=1)
        nearest = jnp.einsum("cj,cjp->cp", share, sample)
        return nearest + (kept / spread)[:, None] * (x - (1.0 - time) * nearest)

    def step(x: Array, now_then: Array) -> tuple[Array, None]:
        now, then = now_then

        def moved(to: Array) -> Array:
            return (1.0 - then) * to + jnp.sqrt(then / now) * (x - (1.0 - now) * to)

        here = mean(x, now)
        return moved(0.5 * (here + mean(moved(here), then))), None

    times = jnp.cos(jnp.linspace(0.0, jnp.arccos(_LAST**0.5), steps + 1)) ** 2
    x, _ = jax.lax.scan(step, noise, jnp.stack([times[:-1], times[1:]], axis=1))
    roots = jnp.broadcast_to(root, (cases, size, size))
    return centre + jnp.einsum("cpq,cq->cp", roots, mean(x, times[-1]))


def _standardised(sample: Array, log_weights: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, symmetric root of the covariance, width h, and the sample in those coordinates."""
    size = sample.shape[2]
    share = jax.nn.softmax(log_weights, axis=1)
    centre = jnp.einsum("cj,cjp->cp", share, sample)
    apart = sample - centre[:, None]
    covariance = jnp.einsum("cj,cjp,cjq->cpq", share, apart, apart)
    values, vectors = jnp.linalg.eigh(covariance)
    spread = jnp.sqrt(jnp.maximum(values, _LEAST))
    root = jnp.einsum("cpk,ck,cqk->cpq", vectors, spread, vectors)
    inverse = jnp.einsum("cpk,ck,cqk->cpq", vectors, 1.0 / spread, vectors)
    number = 1.0 / jnp.sum(share**2, axis=1)
    # Never all of the spread, where a case has next to nothing in the sample.
    width = jnp.minimum((4.0 / ((size + 2.0) * number)) ** (1.0 / (size + 4.0)), 0.95)
    inward = jnp.sqrt(1.0 - width**2)[:, None, None]
    return centre, root, width, inward * jnp.einsum("cpq,cjq->cjp", inverse, apart)
