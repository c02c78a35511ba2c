"""The inverse problem that every method of calibration solves: many columns, each on its own.

    y = G(theta) + e,   e ~ N(0, C),   theta = T(z),   z ~ N(0, I)

The parameters are written as functions of standard normal ones, z, so that bounds hold by
construction and all methods work in the same space. Observations are whitened, W y with
W^T W = C^-1, so that their errors are standard normal too. A posterior is then

    -log p(z | y) = |W y - W G(T(z))|^2 / 2 + |z|^2 / 2 + constant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Bool, Float

from hybrid_land.columnwise import columnwise, columnwise_residuals
from hybrid_land.devices import over_devices

_FORWARD = 3  # parameters up to which forward mode is cheaper than reverse
_LANES = 512  # columns of a call on each device, which fit its cache
_HELD = 2**16  # columns whose departures are held at a time


@dataclass(frozen=True)
class Problem:
    """Independent inverse problems, one a column.

    Attributes:
        names: parameters, in the order of z.
        columns: what `expected` and `physical` need of each column, a pytree of arrays whose last
            axis is the column.
        observed: whitened observations, zero where nothing was observed.
        present: one where something was observed, else zero.
        log_scale: logarithm of the density of observations that are met exactly.
        expected: `(z [parameter, column], columns)` to the whitened expected observations
            `[observation, column]`, zero where nothing was observed.
        physical: `(z [parameter, column], columns)` to parameters by name, `[column]`.
        whitening: `columns` to W `[observation, observation, column]`, lower triangular, rows and
            columns of what was not observed zero; without it the observations as they are given
            have errors of one.
        records: by observable, the records of its observations, in the order of `observed`.
        spread: of the effective values, which z are, about the true ones
            (`calibration.effective`); without it they are the same.
    """

    names: tuple[str, ...]
    columns: Any
    observed: Float[Array, "observation column"]
    present: Float[Array, "observation column"]
    log_scale: Float[Array, " column"]
    expected: Callable[[Array, Any], Array]
    physical: Callable[[Array, Any], dict[str, Array]]
    whitening: Callable[[Any], Array] | None = None
    records: Mapping[str, np.ndarray] | None = None
    spread: Float[np.ndarray, "parameter column"] | None = None

    @property
    def count(self) -> int:
        """Number of columns."""
        return self.observed.shape[1]

    @property
    def lanes(self) -> Any:
        """What the functions of one column take: a pytree whose last axis is the column."""
        return self.columns, self.observed, self.log_scale

    def evaluate(
        self,
        z: Float[np.ndarray | Array, "draw parameter column"],
        *,
        wanted: Bool[np.ndarray, " column"] | None = None,
    ) -> Float[np.ndarray, "draw observation column"]:
        """Whitened expected observations for many values of each column's parameters.

        On all devices, a few hundred columns at a time; not for use inside a compiled function.

        Args:
            z: standard normal parameters.
            wanted: the columns to run, by default all; the others' result is zero.
        """
        chosen = np.ones(self.count, bool) if wanted is None else wanted
        return self._by_lanes(self.expected, np.asarray(z), chosen)

    def parameters(
        self, z: Float[np.ndarray | Array, "draw parameter column"]
    ) -> dict[str, Float[np.ndarray, "draw column"]]:
        """Physical parameters by name.

        Args:
            z: standard normal parameters.
        """
        along = jax.jit(jax.vmap(self.physical, in_axes=(0, None)))(jnp.asarray(z), self.columns)
        return {name: np.asarray(values) for name, values in along.items()}

    def misfit(
        self,
        z: Float[np.ndarray | Array, "draw parameter column"],
        *,
        wanted: Bool[np.ndarray, " column"] | None = None,
    ) -> Float[np.ndarray, "draw column"]:
        """Half the sum of squares of the whitened departures: minus the log-likelihood, shifted.

        Args as of `evaluate`.
        """
        observed = np.asarray(self.observed)
        found = []
        for piece in np.array_split(np.asarray(z), min(-(-len(z) * self.count // _HELD), len(z))):
            departures = observed - self.evaluate(piece, wanted=wanted)
            found.append(0.5 * np.sum(departures.astype(np.float64) ** 2, axis=1))
        return np.concatenate(found)

    def whitening_matrix(self) -> Float[np.ndarray, "observation observation column"]:
        """W of every column, one on the diagonal of what was not observed, so that it inverts."""
        missing = 1.0 - np.asarray(self.present, np.float64)
        if self.whitening is None:
            return np.repeat(np.eye(missing.shape[0])[:, :, None], self.count, axis=2)
        matrix = np.array(self.whitening(self.columns), np.float64)
        at = np.arange(missing.shape[0])
        matrix[at, at] += missing
        return matrix

    def in_units(
        self, whitened: Float[np.ndarray, "draw observation column"]
    ) -> Float[np.ndarray, "draw observation column"]:
        """Whitened observations in their units, W^-1 w; NaN where nothing was observed.

        Args:
            whitened: such as `evaluate` gives, with or without errors added.
        """
        matrix = self.whitening_matrix()
        result = np.empty(whitened.shape)
        for column in range(self.count):
            values = whitened[:, :, column].T.astype(np.float64)
            result[:, :, column] = scipy.linalg.solve_triangular(
                matrix[:, :, column], values, lower=True
            ).T
        return np.where(np.asarray(self.present) > 0, result, np.nan)

    def _by_lanes(
        self, function: Callable[[Array, Any], Array], z: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray:
        draws, _, count = z.shape
        flat = np.moveaxis(z, 1, 0).reshape(z.shape[1], draws * count)
        size = min(_LANES * len(jax.devices()), draws * count)
        lanes = np.flatnonzero(np.tile(wanted, draws))
        # Pieces are of one shape, which is compiled once: what lacks to a whole one is repeated.
        rounded = np.resize(lanes, -(-lanes.size // size) * size)
        run = over_devices(function, axes=(-1, -1), result_axis=-1)
        pieces = []
        for chosen in rounded.reshape(-1, size):
            columns = jax.tree.map(lambda leaf, at=chosen % count: leaf[..., at], self.columns)
            pieces.append(np.asarray(run(jnp.asarray(flat[:, chosen]), columns)))
        whole = np.zeros((self.observed.shape[0], draws * count), np.float32)
        if pieces:
            whole[:, lanes] = np.concatenate(pieces, axis=1)[:, : lanes.size]
        return np.moveaxis(whole.reshape(-1, draws, count), 0, 1)


def chosen_columns(problem: Problem, columns: np.ndarray) -> Problem:
    """The problem of some columns only, in the order given; one may come more than once.

    Args:
        problem: of all columns.
        columns: their indices.
    """

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[..., columns], tree)

    return replace(
        problem,
        columns=take(problem.columns),
        observed=take(problem.observed),
        present=take(problem.present),
        log_scale=take(problem.log_scale),
        spread=take(problem.spread),
    )


def with_observations(
    problem: Problem, observed: Float[np.ndarray | Array, "observation column"]
) -> Problem:
    """The same problem with other (whitened) observations at the same places.

    Args:
        problem: whose columns, errors and mask are kept.
        observed: whitened; what is not observed in `problem` is left out.
    """
    return replace(problem, observed=jnp.asarray(observed, jnp.float32) * problem.present)


def simulated(
    problem: Problem, key: Array
) -> tuple[Float[np.ndarray, "parameter column"], Problem]:
    """Parameters from the prior, and the problem as it would be were they true.

    Args:
        problem: whose columns, errors and mask are kept.
        key: for parameters and observation errors.
    """
    of_parameters, of_errors = jax.random.split(key)
    z = np.asarray(jax.random.normal(of_parameters, (len(problem.names), problem.count)))
    errors = np.asarray(jax.random.normal(of_errors, problem.observed.shape))
    return z, with_observations(problem, problem.evaluate(z[None])[0] + errors)


def log_posterior(problem: Problem) -> Callable[[Float[Array, " parameter"], Any], Array]:
    """Logarithm of the posterior density of one column, up to a constant, differentiable.

    Args:
        problem: whose functions are used; the column's data are an argument.

    Returns:
        `one(z, lane)`, to be mapped by `vmap(one, in_axes=(0, -1))` over z `[column, parameter]`
        and `problem.lanes`: one call on all columns.
    """
    fit = log_likelihood(problem)

    def one(z: Array, lane: Any) -> Array:
        return fit(z, lane) - 0.5 * jnp.sum(z**2)

    return one


def log_likelihood(problem: Problem) -> Callable[[Float[Array, " parameter"], Any], Array]:
    """Logarithm of the probability density of one column's observations, differentiable.

    Args and result as of `log_posterior`. The gradient is by forward mode for three parameters or
    fewer, which stores nothing along the rollout, else by reverse mode.
    """

    def fit(by_name: dict[str, Array], lane: Any) -> Float[Array, " column"]:
        columns, observed, log_scale = lane
        z = jnp.stack([by_name[name] for name in problem.names])
        return log_scale - 0.5 * jnp.sum((observed - problem.expected(z, columns)) ** 2, axis=0)

    mode = "forward" if len(problem.names) <= _FORWARD else "reverse"
    mapped = columnwise(fit, mode=mode)

    def one(z: Array, lane: Any) -> Array:
        return mapped({name: z[i] for i, name in enumerate(problem.names)}, lane)

    return one


def residuals(problem: Problem) -> Callable[[Float[Array, " parameter"], Any], Array]:
    """Residuals of one column, whose half sum of squares is minus the log posterior.

    Args:
        problem: whose functions are used.

    Returns:
        `one(z, lane)` giving `[observation + parameter]`: whitened departures, then z; to be
        mapped as `log_posterior`, its Jacobian by forward mode.
    """

    def both(z: Array, lane: Any) -> Float[Array, "residual column"]:
        columns, observed, _ = lane
        return jnp.concatenate([observed - problem.expected(z, columns), z])

    return columnwise_residuals(both)
