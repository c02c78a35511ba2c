"""Noise of unit variance, correlated in time, that is the same in pieces as in one."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.signal import lfilter

NOISE = "noise_"


def noise_series(
    key: Array,
    names: Sequence[str],
    shape: tuple[int, ...],
    *,
    begin: int,
    steps: int,
    correlation: float = 0.0,
    last: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Noise of unit variance for some steps, one series for each element of `shape`.

        n(0) = z(0),   n(i) = c n(i - 1) + sqrt(1 - c^2) z(i),   z standard normal

    Each step's z comes from the key and the step's number alone, so that a long run in pieces
    has the same noise as in one.

    Args:
        key: of the random numbers.
        names: variables to perturb.
        shape: of one step's noise, such as `(member, column)`.
        begin: number of the first step.
        steps: how many.
        correlation: c, from one step to the next, from 0 to below 1.
        last: the noise of the step before `begin`, by the names of the result.

    Returns:
        `noise_<name>` to `[time, *shape]`, as a model's forcing.
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(begin, begin + steps))
    series = {}
    for i, name in enumerate(names):
        draw = jax.vmap(lambda k, i=i: jax.random.normal(jax.random.fold_in(k, i), shape))
        white = np.array(draw(keys), np.float64)
        driven = white * math.sqrt(1.0 - correlation**2)
        if begin == 0:
            driven[0] = white[0]
        before = np.zeros((1, *shape)) if last is None else last[NOISE + name][None]
        values, _ = lfilter([1.0], [1.0, -correlation], driven, axis=0, zi=correlation * before)
        series[NOISE + name] = values.astype(np.float32)
    return series
