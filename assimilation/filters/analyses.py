"""Ensemble analyses without localisation, each as weights on the members.

With S = R^-1/2 Y / sqrt(N - 1) the scaled perturbations of the predicted observations, one row a
member, and d = R^-1/2 (y - mean of H x) the scaled departure, an analysis is

    E_a = E + D A,    A = E - mean of E,

with a matrix D of members by members that knows nothing of what is in the state. So the same D
takes along the members at an earlier time (`smoothers`) and parameters beside the state. Where
nothing was observed R^-1 is zero, so S, d and D are zero and the members stay as they are, to the
last bit.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Ensemble = Float[Array, "member variable column"]
Predicted = Float[Array, "member observation column"]
Seen = Float[Array, "observation column"]
Scaled = Float[Array, "member observation"]
Departure = Float[Array, " observation"]
Square = Float[Array, "member member"]
# (key, S, d) of one column to its D.
Weights = Callable[[Array, Scaled, Departure], Square]

_NONE = 1e-6  # an eigenvalue below this part of the largest is none, in single precision
_TINY = 1e-30  # less than any square that is not zero
_UNROLLED = 40  # members, up to which a loop over them is written out


def anomalies(ensemble: Float[Array, " member *rest"]) -> Float[Array, " member *rest"]:
    """A = E - mean. Members that are all the same have none, to the last bit."""
    apart = ensemble - ensemble[:1]
    return apart - apart.mean(axis=0, keepdims=True)


def scaled(predicted: Predicted, values: Seen, errors: Seen, mask: Seen) -> tuple[Predicted, Seen]:
    """S and d, zero where nothing was observed.

    Args:
        predicted: H x of each member.
        values: y.
        errors: standard deviations of y.
        mask: one where observed, else zero; between the two it lessens the precision 1/R, which
            is how localisation tapers.
    """
    seen = mask > 0
    weight = jnp.sqrt(mask) / jnp.where(seen, errors, 1.0)
    apart = jnp.where(seen[None], anomalies(predicted), 0.0)
    departure = jnp.where(seen, values - predicted.mean(axis=0), 0.0)
    return apart * weight[None] / jnp.sqrt(predicted.shape[0] - 1.0), departure * weight


def decomposed(
    S: Scaled,
) -> tuple[Float[Array, " rank"], Float[Array, "member rank"]]:
    """Eigenvalues and eigenvectors of S S^T, from the smaller of S S^T and S^T S.

    Vectors of an eigenvalue that is none are zero if the smaller one is S^T S: the functions
    below do nothing along them.
    """
    if S.shape[0] <= S.shape[1]:
        values, vectors = jnp.linalg.eigh(S @ S.T)
        return jnp.maximum(values, 0.0), vectors
    values, vectors = jnp.linalg.eigh(S.T @ S)
    sound = values > _NONE * values[-1]
    values = jnp.where(sound, values, 1.0)
    left = jnp.where(sound[None], (S @ vectors) / jnp.sqrt(values)[None], 0.0)
    return jnp.where(sound, values, 0.0), left


def etkf(key: Array, S: Scaled, d: Departure) -> Square:
    """The ensemble transform Kalman filter with the symmetric root (Hunt et al. 2007, section 2.3).

    D = 1 w^T + T - I,   T = (I + S S^T)^-1/2,   w = (I + S S^T)^-1 S d / sqrt(N - 1)
    """
    del key
    values, vectors = decomposed(S)
    return _transformed(values, vectors, vectors.T @ (S @ d))


def _transformed(
    values: Float[Array, " rank"],
    vectors: Float[Array, "member rank"],
    projected: Float[Array, " rank"],
) -> Square:
    """D of the ETKF from the spectrum of S S^T and the projection of S d on it."""
    root = jnp.sqrt(1.0 + values)
    less = -values / (root * (1.0 + root))  # (1 + x)^-1/2 - 1
    shrunk = (vectors * less[None]) @ vectors.T
    w = vectors @ (projected / (1.0 + values)) / jnp.sqrt(vectors.shape[0] - 1.0)
    return shrunk + jnp.broadcast_to(w[None], shrunk.shape)


def etkf_to_turn(key: Array, S: Scaled, d: Departure) -> Square:
    """The ETKF's D where a `rotation` follows, by a Cholesky factor in place of eigenvectors.

    Roots T of T^T T = (I + S S^T)^-1 that keep the mean differ by a rotation that keeps it, and a
    rotation uniform on these is uniform after any other: turned members have the same
    distribution whichever root they came from. With fewer observations than members it is `etkf`,
    whose eigenvectors are then the cheaper way.
    """
    if S.shape[0] > S.shape[1]:
        return etkf(key, S, d)
    return _to_turn(without_sum(S), d)


def without_sum(S: Scaled) -> Float[Array, "less observation"]:
    """S in the space of the vectors of zero sum, where its columns lie."""
    across = _across(S.shape[0], S.dtype)
    return (S - jnp.outer(across, across @ S))[1:]


def with_sum(root: Float[Array, "less less"], w: Float[Array, " less"]) -> Square:
    """T - I + 1 w^T of T and w in the space of the vectors of zero sum."""
    less = _mirrored(jnp.pad(root - jnp.eye(root.shape[0], dtype=root.dtype), ((1, 0), (1, 0))))
    w = jnp.pad(w, (1, 0))
    across = _across(w.shape[0], w.dtype)
    return less + jnp.broadcast_to((w - across * (across @ w))[None], less.shape)


def _to_turn(inner: Float[Array, "less observation"], d: Departure) -> Square:
    """`etkf_to_turn` from `without_sum(S)`."""
    one = jnp.eye(inner.shape[0], dtype=inner.dtype)
    factor = jnp.linalg.cholesky(one + inner @ inner.T)
    root = jax.scipy.linalg.solve_triangular(factor, one, lower=True)
    w = root.T @ (root @ (inner @ d))
    return with_sum(root, w / inner.shape[0] ** 0.5)


def gain(S: Scaled, departures: Float[Array, "row observation"]) -> Float[Array, "row member"]:
    """Scaled departures, one a row, times (I + S^T S)^-1 S^T / sqrt(N - 1).

    The Kalman gain in the space of the members, by a Cholesky factor of the smaller of I + S^T S
    and I + S S^T.
    """
    small = S.shape[0] <= S.shape[1]
    inner = S @ S.T if small else S.T @ S
    factor = jax.scipy.linalg.cho_factor(inner + jnp.eye(inner.shape[0], dtype=S.dtype))
    if small:
        found = jax.scipy.linalg.cho_solve(factor, S @ departures.T).T
    else:
        found = jax.scipy.linalg.cho_solve(factor, departures.T).T @ S.T
    return found / jnp.sqrt(S.shape[0] - 1.0)


def enkf(key: Array, S: Scaled, d: Departure) -> Square:
    """The stochastic filter: each member sees observations of its own (Burgers et al. 1998).

    Row m of D is the gain times d + e_m - (H x_m - mean) R^-1/2, with e_m standard normal and
    their mean over the members taken out.
    """
    noise = jax.random.normal(key, S.shape, S.dtype)
    # What is not observed is not perturbed: its column of S is zero, and so is its gain.
    noise = noise - noise.mean(axis=0, keepdims=True)
    return gain(S, d[None] + noise - S * jnp.sqrt(S.shape[0] - 1.0))


def denkf(key: Array, S: Scaled, d: Departure) -> Square:
    """The deterministic filter of Sakov and Oke (2008): half the gain for the perturbations.

    A_a = A - K H A / 2. Its covariance is right to first order in K H and larger than the exact
    one by K H P H^T K^T / 4.
    """
    del key
    return gain(S, d[None] - 0.5 * S * jnp.sqrt(S.shape[0] - 1.0))


def enkf_n(key: Array, S: Scaled, d: Departure, *, certainty: float | Array = 1.0) -> Square:
    """The finite-size filter in its dual form (Bocquet 2011; Bocquet et al. 2015, section 5).

    An ETKF whose prior perturbations are first multiplied by the l > 0 that minimises

        J(l) = sum_i b_i^2 / (1 + l^2 s_i^2) / (N - 1) + e / l^2 + c log l^2,

    with s_i the singular values of S and b_i the departure along them; e = (N + 1) / N and
    c = N / (N - 1), corrected so that the mode of l is one where observations say nothing
    (Bocquet et al. 2015, eq. 36, as in DAPPER).

    Args:
        key: not used.
        S: scaled perturbations.
        d: scaled departure.
        certainty: of the hyperprior, times that of N members: 1 for an ensemble as uncertain as
            its size says, 2 for weakly nonlinear models (Raanes et al. 2019).
    """
    del key
    members = S.shape[0]
    values, vectors = decomposed(S)
    projected = vectors.T @ (S @ d)

    def explained(scale: Array) -> Array:
        return (projected**2 / (1.0 + scale * values)).sum()

    unseen = jnp.sum(1.0 / (1.0 + values)) + members - values.shape[0]
    factor = _hyperinflation(explained, unseen, members, certainty)
    D = _transformed(factor**2 * values, vectors, factor * projected)
    return factor * D + (factor - 1.0) * jnp.eye(members, dtype=S.dtype)


def enkf_n_to_turn(
    key: Array, S: Scaled, d: Departure, *, certainty: float | Array = 1.0
) -> Square:
    """The EnKF-N's D where a `rotation` follows, without eigenvectors, as `etkf_to_turn`.

    Along an orthonormal basis that begins with S d, Householder's reflections make S S^T
    tridiagonal, T. They leave S d where it is, so that what `enkf_n` minimises is a continued
    fraction of T's entries, for all l at once.
    """
    members = S.shape[0]
    if members > min(S.shape[1], _UNROLLED):
        return enkf_n(key, S, d, certainty=certainty)
    inner = without_sum(S)
    ahead = inner @ d
    squared = ahead @ ahead
    # The reflection that takes S d to the first axis.
    normal = ahead.at[0].add(jnp.where(ahead[0] < 0, -1.0, 1.0) * jnp.sqrt(squared))
    normal = normal * jnp.sqrt(2.0 / jnp.maximum(normal @ normal, _TINY))
    first = inner - jnp.outer(normal, normal @ inner)
    _, along, beside, _ = jax.lax.linalg.tridiagonal(first @ first.T, lower=True)

    def pivots(scale: Array, shift: Array) -> list[Array]:
        """Of shift I + scale T, from the last row on."""
        found = [shift + scale * along[-1]]
        for i in reversed(range(members - 2)):
            found.append(shift + scale * along[i] - (scale * beside[i]) ** 2 / found[-1])
        return found

    def explained(scale: Array) -> Array:
        return squared / pivots(scale, one)[-1]

    one = jnp.ones((), S.dtype)
    _, trace = jax.jvp(lambda shift: sum(map(jnp.log, pivots(one, shift))), (one,), (one,))
    factor = _hyperinflation(explained, 1.0 + trace, members, certainty)
    return factor * _to_turn(factor * inner, d) + (factor - 1.0) * jnp.eye(members, dtype=S.dtype)


def _hyperinflation(
    explained: Callable[[Array], Array],
    unseen: Float[Array, ""],
    members: int,
    certainty: float | Array,
) -> Float[Array, ""]:
    """The l of `enkf_n`: the best on a grid of log l^2, then Newton's method.

    Args:
        explained: (S d)^T (I + l^2 S S^T)^-1 S d of l^2, of which l^2 times is all of J's sum that
            l changes.
        unseen: trace of (I + S S^T)^-1.
        members: N.
        certainty: see `enkf_n`.
    """
    e, c = (members + 1.0) / members, members / (members - 1.0)
    correction = jnp.sqrt((e / c) ** (unseen / members))
    e, c = certainty * e / correction, certainty * c * correction

    def cost(log: Array) -> Array:
        scale = jnp.exp(log)
        return c * log + e / scale - scale * explained(scale) / (members - 1.0)

    grid = jnp.linspace(-2.0, 6.0, 81, dtype=unseen.dtype)
    best = grid[jnp.argmin(jax.vmap(cost)(grid))]
    one = jnp.ones_like(best)

    def slope_of(log: Array) -> Array:
        return jax.jvp(cost, (log,), (one,))[1]

    for _ in range(2):
        slope, curve = jax.jvp(slope_of, (best,), (one,))
        best = best - jnp.clip(slope / jnp.where(curve > 0, curve, jnp.inf), -0.1, 0.1)
    # Nothing observed: no inflation, to the last bit.
    return jnp.where(members - unseen > _NONE, jnp.exp(0.5 * best), 1.0)


def transformed(ensemble: Ensemble, D: Float[Array, "column member member"]) -> Ensemble:
    """E + D A, each column with its own D."""
    return ensemble + jnp.einsum("cmn,nvc->mvc", D, anomalies(ensemble))


def analyse(
    key: Array,
    ensemble: Ensemble,
    predicted: Predicted,
    values: Seen,
    errors: Seen,
    mask: Seen,
    *,
    weights: Weights = etkf,
) -> Ensemble:
    """The analysis of each column on its own.

    Args:
        key: for methods that draw.
        ensemble: the forecast.
        predicted: what each member says of the observations, at their own times.
        values: y.
        errors: standard deviations of y; observation errors are not correlated.
        mask: one where observed, else zero.
        weights: `etkf`, `enkf`, `enkf_n`, `denkf`.
    """
    return transformed(ensemble, weights_of(key, predicted, values, errors, mask, weights=weights))


def weights_of(
    key: Array,
    predicted: Predicted,
    values: Seen,
    errors: Seen,
    mask: Seen,
    *,
    weights: Weights,
) -> Float[Array, "column member member"]:
    """D of each column. See `analyse`."""
    S, d = scaled(predicted, values, errors, mask)
    keys = jax.random.split(key, d.shape[-1])
    return jax.vmap(weights, in_axes=(0, -1, -1))(keys, S, d)


def rotation(key: Array, members: int) -> Square:
    """A random orthogonal matrix that keeps the mean of what it turns (Sakov and Oke 2008b).

    Uniform on the rotations and reflections of the space of vectors with zero sum: Q of a normal
    matrix with the signs of R's diagonal, between two reflections that take 1 to the first axis.

    Args:
        key: of the draw.
        members: N.
    """
    Q, R = jnp.linalg.qr(jax.random.normal(key, (members - 1, members - 1)))
    inner = jnp.pad(Q * jnp.sign(jnp.diagonal(R))[None], ((1, 0), (1, 0)))
    return _mirrored(inner.at[0, 0].set(1.0))


def _across(members: int, dtype: Any) -> Float[Array, " member"]:
    """The vector a whose reflection I - a a^T takes 1 to the first axis."""
    apart = jnp.zeros(members, dtype).at[0].set(1.0) - 1.0 / jnp.sqrt(float(members))
    return apart * jnp.sqrt(2.0 / jnp.sum(apart**2)).astype(dtype)


def _mirrored(inner: Square) -> Square:
    """A matrix between two reflections that take 1 to the first axis."""
    across = _across(inner.shape[0], inner.dtype)
    left = inner - jnp.outer(across, across @ inner)
    return left - jnp.outer(left @ across, across)
