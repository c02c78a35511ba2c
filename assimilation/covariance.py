"""The background error covariance B of a column's control variables, as a square root."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.variables import LAYER_THICKNESS, VARIABLES

# Defaults: a first guess as wrong as a soil map; field capacity's spread within a soil class.
DEVIATION = {"swvl": 0.06, "stl": 3.0, "theta_cap": 0.05}
CORRELATION_LENGTH = 0.5  # m, of the vertical correlation between soil layers


def _depth(name: str) -> float | None:
    """Depth of a soil layer's middle, m; nothing for what is not a soil layer."""
    row = VARIABLES.get(name)
    if row is None or row.layer is None:
        return None
    return sum(LAYER_THICKNESS[: row.layer - 1]) + 0.5 * LAYER_THICKNESS[row.layer - 1]


def background_root(
    names: Sequence[str],
    *,
    deviation: Mapping[str, float] | None = None,
    length: float = CORRELATION_LENGTH,
) -> Float[Array, "control control"]:
    """Lower triangular U with B = U U^T.

    B_ij = s_i s_j exp(-|z_i - z_j| / length) between soil layers of one quantity (a first-order
    autoregressive correlation in depth), zero between quantities.

    Args:
        names: control variables, prognostic names or parameters.
        deviation: standard deviations by name, in the variable's unit, in place of `DEVIATION`.
        length: correlation length, m.

    Raises:
        InputError: if a standard deviation is not known or not positive.
    """
    given = dict(deviation or {})
    spread = []
    for name in names:
        default = next((s for stem, s in DEVIATION.items() if name.startswith(stem)), None)
        value = given.get(name, default)
        if value is None:
            raise InputError(
                f"background error: no standard deviation for {name}, expected one; give it"
            )
        if not value > 0:
            raise InputError(
                f"background error: standard deviation of {name} is {value:g}, expected a "
                "positive number; correct it"
            )
        spread.append(float(value))
    correlation = np.eye(len(names))
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            a, b = _depth(one), _depth(other)
            if a is not None and b is not None and one.rstrip("1234") == other.rstrip("1234"):
                correlation[i, j] = np.exp(-abs(a - b) / length)
    root = np.diag(spread) @ np.linalg.cholesky(correlation)
    return jnp.asarray(root)


def climatological_root(
    names: Sequence[str], data: xr.Dataset, *, scale: float = 1.0
) -> Float[Array, "control control"]:
    """U from the data's own variability about each column's mean, pooled over columns.

    Args:
        names: prognostic variables in `data`.
        data: with dims `(time, column)`.
        scale: of the standard deviations.

    Raises:
        InputError: if the covariance is not positive definite (a constant series).
    """
    anomalies = np.stack(
        [
            (data[n] - data[n].mean("time")).transpose("time", "column").to_numpy().ravel()
            for n in names
        ]
    )
    covariance = scale**2 * np.cov(anomalies.astype(np.float64))
    try:
        return jnp.asarray(np.linalg.cholesky(np.atleast_2d(covariance)))
    except np.linalg.LinAlgError as error:
        raise InputError(
            f"background error: the covariance of {', '.join(names)} is not positive definite; "
            "use longer data or give standard deviations"
        ) from error
