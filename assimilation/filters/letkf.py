"""The local ensemble transform Kalman filter (Hunt, Kostelich and Szunyogh 2007)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.filters.analyses import Ensemble, Predicted, Seen, anomalies, etkf, scaled
from assimilation.filters.localisation import Localisation
from hybrid_land.chunks import in_chunks

_AT_ONCE = 512  # columns whose neighbours' observations are gathered at a time


def local_weights(
    predicted: Predicted,
    values: Seen,
    errors: Seen,
    mask: Seen,
    *,
    localisation: Localisation,
    every: int = 1,
) -> Float[Array, "member other group column"]:
    """D of `analyses` for each group of variables of each column.

    An ETKF with the precision of each observation times its taper (section 3, R localisation).

    Args:
        predicted: what each member says of the observations.
        values: y.
        errors: standard deviations of y.
        mask: one where observed, else zero.
        localisation: tapers; its observables are those of the observations, in their order.
        every: records of each observable in a cycle.
    """
    S, d = scaled(predicted, values, errors, mask)
    within = jnp.sqrt(jnp.repeat(localisation.within, every, axis=1)).astype(S.dtype)
    key = jax.random.key(0)  # the ETKF draws nothing

    def groups(S: Float[Array, "member observation"], d: Float[Array, " observation"]) -> Array:
        def one(taper: Float[Array, " observation"]) -> Array:
            return etkf(key, S * taper[None], d * taper)

        return jax.vmap(one, out_axes=-1)(within)

    def local(S: Array, d: Array) -> Array:
        return jax.vmap(groups, in_axes=-1, out_axes=-1)(S, d)

    if localisation.neighbours is None or localisation.taper is None:
        return in_chunks(local, axes=(2, 1), chunk=_AT_ONCE)(S, d)
    within_all = within

    def around(near: Array, taper: Array) -> Array:
        """The same with the neighbours' observations, `[column, near]`."""
        root = jnp.sqrt(taper).astype(S.dtype)
        wide = S[:, :, near] * root[None, None]
        far = d[:, near] * root[None]

        def column(S: Array, d: Array) -> Array:
            def one(row: Float[Array, " observation"]) -> Array:
                own = jnp.repeat(row, near.shape[1])
                flat = S.reshape((S.shape[0], -1)) * own[None]
                return etkf(key, flat, d.reshape(-1) * own)

            return jax.vmap(one, out_axes=-1)(within_all)

        return jax.vmap(column, in_axes=(2, 1), out_axes=-1)(wide, far)

    rows = (localisation.neighbours, localisation.taper)
    return in_chunks(around, axes=(0, 0), chunk=_AT_ONCE)(*rows)


def locally_transformed(
    ensemble: Ensemble,
    *,
    D: Float[Array, "member other group column"],
    localisation: Localisation,
    other: bool = False,
) -> Ensemble:
    """E + D A, each variable with the D of its group.

    Args:
        ensemble: the variables analysed, or other quantities of the columns.
        D: from `local_weights`.
        localisation: tapers.
        other: whether they are other quantities, which go with the first variable's group.
    """
    count = ensemble.shape[1]
    group = jnp.broadcast_to(localisation.group[:1], (count,)) if other else localisation.group
    own = D[:, :, group]
    return ensemble + jnp.einsum("mnvc,nvc->mvc", own, anomalies(ensemble))
