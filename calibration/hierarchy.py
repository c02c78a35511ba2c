"""Columns that learn from each other: one inverse problem of what they share, and of what not.

Each parameter's standard normal number in column c is

    z_c = a + x_c . b + t e_c,   a ~ N(0, 1),   b ~ N(0, 0.5^2),   log t ~ N(log 0.3, 0.7^2),

with covariates x (standardised), such as saturation for texture or a soil class, a + x . b the
transfer function that a place without observations would be given, and e_c ~ N(0, 1) the column's
own effect (non-centred: Betancourt and Girolami 2015, section 3). Pooled leaves the effects out.
Through the column's own prior z_c becomes the parameter, so that bounds hold here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.problem import Problem
from hybrid_land.columnwise import forward_slopes
from hybrid_land.errors import InputError

_SLOPE = 0.5  # prior standard deviation of a slope
_SPREAD, _LOG_SPREAD = 0.3, 0.7  # prior median of the effects' spread, and of its logarithm


@dataclass(frozen=True)
class Shared:
    """A problem of many columns as one of a single column.

    Attributes:
        problem: what the methods of calibration take; its z are, parameter after parameter, the
            intercept, the slopes, and, unless pooled, the logarithm of the effects' spread and the
            effects.
        columns: the problem it was made from.
        covariates: standardised.
        pooled: whether columns have no effects of their own.
    """

    problem: Problem
    columns: Problem
    covariates: Float[np.ndarray, "covariate column"]
    pooled: bool

    def by_column(
        self, z: Float[np.ndarray, "draw shared 1"]
    ) -> Float[np.ndarray, "draw parameter column"]:
        """Standard normal parameters of each column from those of the shared problem.

        Args:
            z: as a method draws them.
        """
        made = jax.vmap(lambda one: _columns_of(one, jnp.asarray(self.covariates), self._shape))
        return np.asarray(made(jnp.asarray(z)))[..., 0]

    def along_effects(
        self, common: Float[Array, " common"], effects: Float[Array, " lane"]
    ) -> Float[Array, "parameter column lane"]:
        """Standard normal parameters of every column, were its effects of all parameters e.

        Args:
            common: of one parameter, the first of the shared z up to its effects.
            effects: e; of no consequence if pooled.
        """
        lanes = jnp.repeat(common[:, None], effects.shape[0], axis=1)
        if not self.pooled:
            own = jnp.repeat(effects[None], self.columns.count, axis=0)
            lanes = jnp.concatenate([lanes, own])
        return _columns_of(lanes, jnp.asarray(self.covariates), self._shape)

    @property
    def _shape(self) -> tuple[int, bool]:
        return len(self.columns.names), self.pooled


def share(
    problem: Problem,
    covariates: Mapping[str, Float[np.ndarray, " column"]] | None = None,
    *,
    pooled: bool = False,
) -> Shared:
    """The problem of what columns share.

    Args:
        problem: of many columns, independent if it were not for this.
        covariates: of the transfer function by name; those that do not vary are left out.
        pooled: no effects of columns: the transfer function decides alone.

    Raises:
        InputError: for fewer than two columns, or a covariate that is not finite.
    """
    if problem.count < 2:
        raise InputError(
            f"{problem.count} column, expected at least two to share parameters; calibrate it alone"
        )
    names, rows = [], []
    for name, values in (covariates or {}).items():
        row = np.asarray(values, np.float64)
        if not np.isfinite(row).all():
            raise InputError(
                f"covariate {name} is missing in column {int(np.argmin(np.isfinite(row)))}, "
                "expected a number in all; leave it out"
            )
        if row.std() > 0.0:
            names.append(name)
            rows.append((row - row.mean()) / row.std())
    x = np.array(rows, np.float32).reshape(len(rows), problem.count)
    shape = (len(problem.names), pooled)
    order = _names(problem.names, names, problem.count, pooled=pooled)
    count, observations = problem.count, problem.observed.shape[0]

    def one(tree: Any) -> Any:
        """The columns' axis becomes an axis within the only column."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[..., None], tree)

    @jax.custom_jvp
    def of_columns(own: Array, flat: Any) -> Float[Array, "observation all_columns"]:
        return problem.expected(own, flat)

    @of_columns.defjvp
    def tangent(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        # A column hears of what all share through its own parameters alone: a sweep for each of
        # these serves any number of the others, forward or in reverse.
        value, slopes = forward_slopes(problem.expected, *primals)
        return value, jnp.einsum("poc,pc->oc", slopes, tangents[0])

    def expected(z: Array, columns: Any) -> Float[Array, "all_observations lane"]:
        inner, given = columns
        lanes = z.shape[1]
        own = _columns_of(z, given, shape).reshape(len(problem.names), count * lanes)
        flat = jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-2], count * lanes), inner)
        return of_columns(own, flat).reshape(observations * count, lanes)

    def physical(z: Array, columns: Any) -> dict[str, Array]:
        # Logarithms of spreads as spreads; all else as it is, in standard normal units.
        del columns
        values = dict(zip(order, z, strict=True))
        return {
            name: _SPREAD * jnp.exp(_LOG_SPREAD * value)
            if name.endswith("_spread")
            else _SLOPE * value
            if "_slope_" in name
            else value
            for name, value in values.items()
        }

    whole = Problem(
        names=order,
        columns=(one(problem.columns), jnp.asarray(x)[..., None]),
        observed=problem.observed.reshape(observations * count, 1),
        present=problem.present.reshape(observations * count, 1),
        log_scale=problem.log_scale.sum(keepdims=True),
        expected=expected,
        physical=physical,
    )
    return Shared(whole, problem, x, pooled)


def _names(
    parameters: Sequence[str], covariates: Sequence[str], count: int, *, pooled: bool
) -> tuple[str, ...]:
    names: list[str] = []
    for name in parameters:
        names += [f"{name}_intercept", *(f"{name}_slope_{x}" for x in covariates)]
        if not pooled:
            names += [f"{name}_spread", *(f"{name}_effect_{i}" for i in range(count))]
    return tuple(names)


def _columns_of(z: Array, covariates: Array, shape: tuple[int, bool]) -> Array:
    """Columns' `[parameter, column, lane]` from shared z `[shared, lane]` and covariates."""
    parameters, pooled = shape
    x = covariates if covariates.ndim == 3 else covariates[..., None]
    slopes = x.shape[0]
    blocks = z.reshape(parameters, z.shape[0] // parameters, z.shape[1])
    slope = blocks[:, 1 : 1 + slopes, None, :] * x[None]
    own = blocks[:, None, 0, :] + _SLOPE * slope.sum(axis=1)
    own = jnp.broadcast_to(own, (parameters, x.shape[1], z.shape[1]))
    if pooled:
        return own
    spread = _SPREAD * jnp.exp(_LOG_SPREAD * blocks[:, None, 1 + slopes, :])
    return own + spread * blocks[:, 2 + slopes :]
