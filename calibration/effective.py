"""The value with which a model does best is not the true one: effective parameters.

A model that is not exact answers as the truth does at another, effective, value of a parameter: an
emulator whose soil drains too fast looks like ECLand with a lower field capacity. Observations tell
of the effective value; the true one lies about it. In the parameter's prior probability u, uniform
between 0 and 1, the two differ by an error with Laplace's density,

    u' ~ exp(-sqrt(2) |u' - u| / s),   reflected at 0 and 1.

The density is symmetric, so that both have the same prior, and a draw of the effective value,
however it was found, becomes one of the true value by adding such an error. (Kennedy and O'Hagan
2001, section 4, have an error of what is observed; this one is of what is sought, and no error of
what is observed stands for it, since it lasts as long as the parameter acts.)

Of columns that share a transfer function only method `grid` lets it be of the true values; with the
other methods it is of the effective ones.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtr, ndtri

from calibration.priors import Prior, Values, parameters_of

_QUANTILES = (np.arange(64) + 0.5) / 64
_END = 1e-6  # of prior probability, beyond which a value is not told from its bound


def spreads(
    shares: Mapping[str, float],
    given: Values,
    *,
    names: Sequence[str],
    priors: Mapping[str, Prior] | None = None,
) -> Float[np.ndarray, "parameter column"]:
    """Standard deviation s of the difference, in prior probability, by parameter and column.

    Args:
        shares: by parameter, of the range that it has without a prior of its own
            (`calibration.priors.parameters_of`); none for what is not named.
        given: the columns' parameters.
        names: of the parameters in the order of the result.
        priors: those in use: where one is narrower than the default the same difference is more of
            it, in the ratio of their standard deviations.
    """
    columns = next(iter(given.values())).shape[0]
    found = np.zeros((len(names), columns))
    known = [name for name in names if name in shares]
    for name in known:
        at = [names.index(name)]
        z = np.zeros((len(_QUANTILES), len(names), columns), np.float32)
        z[:, at] = ndtri(_QUANTILES)[:, None, None]
        width = [
            np.std(_along(z, given, names, given_priors)[name], axis=0)
            for given_priors in (
                {key: one for key, one in (priors or {}).items() if key != name},
                priors,
            )
        ]
        found[at] = shares[name] * width[0] / np.maximum(width[1], 1e-12)
    return found


def _along(
    z: np.ndarray, given: Values, names: Sequence[str], priors: Mapping[str, Prior] | None
) -> dict[str, Array]:
    return jax.vmap(lambda one: parameters_of(one, given, names=names, priors=priors))(
        jnp.asarray(z)
    )


def true_values(
    z: Float[np.ndarray, "*draw parameter column"],
    spread: Float[np.ndarray, "parameter column"],
    *,
    key: Array,
) -> Float[np.ndarray, "*draw parameter column"]:
    """Draws of the true values from draws of the effective ones, both standard normal.

    Args:
        z: effective.
        spread: s, in prior probability; where it is zero the two are the same.
        key: for the errors.
    """
    error = np.asarray(jax.random.laplace(key, z.shape), np.float64) * (spread / np.sqrt(2.0))
    u = np.mod(ndtr(z.astype(np.float64)) + error, 2.0)
    drawn = ndtri(np.clip(np.minimum(u, 2.0 - u), _END, 1.0 - _END))
    return np.where(spread > 0.0, drawn, z).astype(z.dtype)


def density(
    u: Float[Array | np.ndarray, "*#shape"],
    other: Float[Array | np.ndarray, "*#shape"],
    spread: Float[Array | np.ndarray, "*#shape"],
) -> Float[Array, "*shape"]:
    """Density of one value given the other, in prior probability, up to a factor; symmetric.

    Args:
        u: one value.
        other: the other.
        spread: s, positive.
    """
    scale = spread / np.sqrt(2.0)
    apart, together = jnp.abs(u - other), u + other
    # All images of a reflection at two ends, summed (a geometric series, whose factor is left out).
    nearest = jnp.exp(-apart / scale) + jnp.exp(-together / scale)
    return nearest + jnp.exp((apart - 2.0) / scale) + jnp.exp((together - 2.0) / scale)
