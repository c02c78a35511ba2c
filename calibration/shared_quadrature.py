"""What columns share, by quadrature of each column: its likelihood is tabulated once.

Columns of one parameter hear of each other only through what they share (`calibration.hierarchy`),
a few numbers h:

    p(h | y) ~ p(h) prod_c integral L_c(z_c(h, e)) N(e; 0, 1) de,

so that one table of each column's likelihood L_c serves any h, and no chain runs the model. NUTS
draws h; given h each column's effect e is drawn by itself. The model's runs are those of the
columns one by one. L_c is of the true value: where the model's effective one lies about that
(`calibration.effective`), the likelihood of the latter is averaged over the difference, and given
the true value the effective one is drawn.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float
from numpyro.infer import MCMC, NUTS

from calibration.effective import density
from calibration.hierarchy import Shared
from calibration.quadrature import grids
from hybrid_land.errors import InputError

_WARMUP = 400
_EFFECTS = np.linspace(-4.5, 4.5, 181, dtype=np.float32)  # in standard deviations
_TABLE = np.linspace(-4.0, 4.0, 1601)  # z of the likelihood's table; beyond, as at its end
_WORST = -1e4  # log-likelihood beside its largest, where it is lower or a run failed
_SHARES = (np.arange(512, dtype=np.float32) + 0.5) / 512  # of the prior, where effective values lie
_LEAST_SPREAD = 1e-3  # of effective values, below which they are the true ones


def shared_grid(
    shared: Shared,
    *,
    key: Array,
    points: int | None = None,
    chains: int = 4,
    draws: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw shared 1"], dict[str, np.ndarray]]:
    """Draw what columns share, and their effects, from tables of their likelihoods.

    Args:
        shared: of columns with one parameter.
        key: for the random numbers.
        points: of the two grids of each column, see `calibration.quadrature.grid`.
        chains: of NUTS, each of which makes 400 transitions before its draws.
        draws: of each chain.
        progress: called with grids done and in all.

    Returns:
        Draws of the standard normal numbers of `shared.problem`; `diverging`, by chain and draw,
        `converged`: the grid resolves the posterior that every column has alone; and `effective`,
        the columns' effective values `[chain, draw, 1, column]`, standard normal.

    Raises:
        InputError: for columns of more than one parameter, or fewer than 3 points.
    """
    if len(shared.columns.names) != 1:
        raise InputError(
            f"columns that share {len(shared.columns.names)} parameters, expected one for method "
            "grid; take laplace or nuts"
        )
    found = grids(shared.columns, points=points, progress=progress)
    nodes = np.concatenate([one.z[:, 0] for one in found])
    misfit = np.concatenate([one.misfit for one in found])
    of_effective = jnp.asarray(_table(nodes, misfit), jnp.float32)
    spread = shared.columns.spread
    table = of_effective if spread is None else _of_true(of_effective, spread[0])
    common = len(shared.problem.names) - (0 if shared.pooled else shared.columns.count)
    of_start, of_chains, of_effects, of_errors = jax.random.split(key, 4)
    sampler = MCMC(
        NUTS(potential_fn=lambda h: -_log_density(h, shared, table)),
        num_warmup=_WARMUP,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    first = 0.1 * jax.random.normal(of_start, (chains, common))
    sampler.run(of_chains, init_params=first if chains > 1 else first[0])
    h = sampler.get_samples(group_by_chain=True)
    z = np.asarray(h)
    if not shared.pooled:
        uniform = jax.random.uniform(of_effects, (chains, draws, shared.columns.count))
        drawn = jax.jit(partial(_drawn_effects, shared=shared, table=table))
        effects = [
            np.asarray(drawn(h[chain, draw], uniform[chain, draw]))
            for chain, draw in np.ndindex(chains, draws)
        ]
        z = np.concatenate([z, np.reshape(effects, uniform.shape)], axis=2)
    diverging = np.asarray(sampler.get_extra_fields(group_by_chain=True)["diverging"])
    resolved = np.array([found[-1].resolved.all()])
    true = shared.by_column(z.reshape(-1, z.shape[2], 1))
    effective = true
    if spread is not None and (spread > 0.0).any():
        uniform = np.asarray(jax.random.uniform(of_errors, (len(true), 1, true.shape[2])))
        drawn = jax.jit(partial(_drawn_effective, of_effective=of_effective, spread=spread[0]))
        effective = np.stack([drawn(*one) for one in zip(true[:, 0], uniform[:, 0], strict=True)])
        effective = effective[:, None]
    return z[..., None], {
        "diverging": diverging[..., None],
        "converged": resolved,
        "effective": effective.reshape(chains, draws, 1, -1),
    }


def _table(
    z: Float[np.ndarray, "node column"], misfit: Float[np.ndarray, "node column"]
) -> Float[np.ndarray, "column place"]:
    """Log-likelihood on `_TABLE`, linear between the points of all grids, zero at its largest."""
    order = z.argsort(axis=0)
    z, value = (np.take_along_axis(x, order, axis=0) for x in (z, -misfit))
    best = value.max(axis=0)
    value = np.maximum(value - np.where(np.isfinite(best), best, 0.0), _WORST)
    return np.stack([np.interp(_TABLE, *column) for column in zip(z.T, value.T, strict=True)])


def _of_true(
    table: Float[Array, "column place"], spread: Float[np.ndarray, " column"]
) -> Float[Array, "column place"]:
    """The table of the true value's likelihood from that of the effective one's."""

    def one(values: Float[Array, " place"], spread: Float[Array, ""]) -> Float[Array, " place"]:
        weight = density(_SHARES[:, None], _SHARES[None], spread)
        likelihood = jnp.exp(jnp.interp(ndtri(_SHARES), _TABLE, values))
        found = jnp.log(jnp.maximum(weight @ likelihood, 1e-37))
        return jnp.interp(ndtr(_TABLE), _SHARES, found)

    wide = jnp.asarray(spread, jnp.float32)
    averaged = jax.lax.map(lambda row: one(*row), (table, jnp.maximum(wide, _LEAST_SPREAD)))
    return jnp.where(wide[:, None] < _LEAST_SPREAD, table, averaged)


def _drawn_effective(
    true: Float[Array, " column"],
    uniform: Float[Array, " column"],
    *,
    of_effective: Float[Array, "column place"],
    spread: Float[np.ndarray, " column"],
) -> Float[Array, " column"]:
    """A draw of each column's effective value given the true one, of `_SHARES` and about them."""
    rows = jnp.repeat(ndtri(_SHARES)[None], true.shape[0], axis=0)
    likelihood = jnp.exp(_looked_up(of_effective, rows))
    wide = jnp.asarray(spread, jnp.float32)[:, None]
    weight = density(ndtr(true)[:, None], _SHARES[None], jnp.maximum(wide, _LEAST_SPREAD))
    whole = jnp.cumsum(likelihood * weight, axis=1)
    share = uniform[:, None] * whole[:, -1:]
    cell = jnp.sum(whole < share, axis=1)
    begin = jnp.where(cell > 0, whole[jnp.arange(cell.size), cell - 1], 0.0)
    size = whole[jnp.arange(cell.size), cell] - begin
    within = (share[:, 0] - begin) / jnp.maximum(size, 1e-37)
    drawn = ndtri((cell + within) / _SHARES.size)
    return jnp.where(wide[:, 0] < _LEAST_SPREAD, true, drawn)


def _looked_up(
    table: Float[Array, "column place"], z: Float[Array, "column lane"]
) -> Float[Array, "column lane"]:
    """The table between its places, linear."""
    places = (z - _TABLE[0]) / (_TABLE[1] - _TABLE[0])
    places = jnp.clip(places, 0.0, len(_TABLE) - 1.0)
    below = jnp.clip(places.astype(int), 0, len(_TABLE) - 2)
    low, high = (jnp.take_along_axis(table, at, axis=1) for at in (below, below + 1))
    return low + (places - below) * (high - low)


def _log_density(
    h: Float[Array, " common"], shared: Shared, table: Float[Array, "column place"]
) -> Float[Array, ""]:
    """Of what is shared, up to a constant; the effects are integrated over."""
    prior = -0.5 * jnp.sum(h**2)
    if shared.pooled:
        return prior + jnp.sum(_looked_up(table, shared.along_effects(h, jnp.zeros(1))[0]))
    joint = _joint(h, shared, table)
    return prior + jnp.sum(jax.scipy.special.logsumexp(joint, axis=1))


def _joint(
    h: Float[Array, " common"], shared: Shared, table: Float[Array, "column place"]
) -> Float[Array, "column effect"]:
    """Logarithm of likelihood times prior of each column's effect."""
    effects = jnp.asarray(_EFFECTS)
    return _looked_up(table, shared.along_effects(h, effects)[0]) - 0.5 * effects[None] ** 2


def _drawn_effects(
    h: Float[Array, " common"],
    uniform: Float[Array, " column"],
    *,
    shared: Shared,
    table: Float[Array, "column place"],
) -> Float[Array, " column"]:
    """A draw of each column's effect, of a density that is constant around each of `_EFFECTS`."""
    joint = _joint(h, shared, table)
    whole = jnp.cumsum(jnp.exp(joint - joint.max(axis=1, keepdims=True)), axis=1)
    share = uniform[:, None] * whole[:, -1:]
    cell = jnp.sum(whole < share, axis=1, keepdims=True)
    end = jnp.take_along_axis(whole, cell, axis=1)
    begin = jnp.where(cell > 0, jnp.take_along_axis(whole, jnp.maximum(cell - 1, 0), axis=1), 0.0)
    within = (share - begin) / jnp.maximum(end - begin, 1e-30) - 0.5
    step = float(_EFFECTS[1] - _EFFECTS[0])
    return (_EFFECTS[0] + step * (cell + within))[:, 0]
