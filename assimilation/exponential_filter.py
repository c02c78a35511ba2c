"""The exponential filter: what a signal from the surface says of the layers below."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def exponential_filter(
    values: Float[Array, "record column"],
    *,
    time_step: float,
    days: float,
    mask: Float[Array, "record column"] | None = None,
) -> Float[Array, "record column"]:
    """Weighted mean of what was seen up to each record, older values weighing less.

        SWI_n = sum_i w_i m_i exp(-(t_n - t_i) / T) / sum_i w_i exp(-(t_n - t_i) / T),  i <= n

    (Wagner et al. 1999). It is the recursion of Albergel et al. (2008),
    SWI_n = SWI_(n-1) + K_n (m_n - SWI_(n-1)) with K_n = K_(n-1) / (K_(n-1) + exp(-dt / T)) and
    K_0 = 1, whose gain is one over the sum of the weights. Both sums are linear recurrences and
    are computed by an associative scan. The memory begins at the first record: a value there, and
    for about T after it, holds less than a product does that was filtered for years.

    Args:
        values: m, soil moisture near the surface.
        time_step: between records, s.
        days: characteristic time T; 20 for the top metre (Wagner et al. 1999).
        mask: w, one where the value was seen, else zero; all were if not given.

    Returns:
        SWI in the unit of the values; zero before the first value that was seen.
    """
    seen = jnp.ones_like(values) if mask is None else mask
    keep = jnp.full_like(values, math.exp(-time_step / (86400.0 * days)))

    def after(first: tuple[Array, ...], second: tuple[Array, ...]) -> tuple[Array, ...]:
        decay, total, weight = second
        return decay * first[0], decay * first[1] + total, decay * first[2] + weight

    _, total, weight = jax.lax.associative_scan(after, (keep, seen * values, seen))
    some = weight > 0.0
    return jnp.where(some, total / jnp.where(some, weight, 1.0), 0.0)
