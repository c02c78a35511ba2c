"""The background error covariance B of a column's control variables, as a square root."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from hybrid_land.errors import InputError
from hybrid_land.forecasts import from_starts
from hybrid_land.interface import Model
from hybrid_land.variables import DAY, LAYER_THICKNESS, VARIABLES

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


def covariance_root(
    names: Sequence[str], covariance: np.ndarray, *, source: str = "the background error covariance"
) -> Float[Array, "control control"]:
    """Lower triangular U of a covariance that is given.

    Args:
        names: control variables, one a row.
        covariance: `[control, control]`, in the product of the variables' units.
        source: what to call it in a message.

    Raises:
        InputError: if it is not of that shape, symmetric and positive definite.
    """
    matrix = np.atleast_2d(np.asarray(covariance, np.float64))
    if matrix.shape != (len(names), len(names)):
        raise InputError(
            f"{source} has shape {matrix.shape}, expected a row and a column for each of "
            f"{', '.join(names)}; give those"
        )
    scale = np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-300))
    scaled = matrix / scale[:, None] / scale[None, :]
    if not np.allclose(scaled, scaled.T, atol=1e-6):
        i, j = np.argwhere(~np.isclose(scaled, scaled.T, atol=1e-6))[0]
        raise InputError(
            f"{source} is {matrix[i, j]:g} for {names[i]} with {names[j]} and {matrix[j, i]:g} the "
            "other way round, expected a symmetric matrix; correct it"
        )
    try:
        return jnp.asarray(scale[:, None] * np.linalg.cholesky(scaled))
    except np.linalg.LinAlgError as error:
        least = float(np.linalg.eigvalsh(scaled)[0])
        raise InputError(
            f"{source} of {', '.join(names)} is not positive definite (least eigenvalue of the "
            f"correlation {least:.2g}), expected one that is; use more or longer data, or add to "
            "its diagonal"
        ) from error


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
    covariance = np.atleast_2d(scale**2 * np.cov(anomalies.astype(np.float64)))
    return covariance_root(names, covariance, source="the climatological covariance")


def nmc_root(
    names: Sequence[str],
    model: Model,
    analyses: xr.Dataset,
    *,
    lead_days: tuple[float, float] = (1.0, 2.0),
    most_starts: int = 40,
    scale: float = 1.0,
) -> Float[Array, "control control"]:
    """U from differences of forecasts of two lengths for one time (Parrish and Derber 1992).

    Args:
        names: prognostic variables.
        model: that forecasts.
        analyses: states to start from and the forcing, dims `(time, column)`.
        lead_days: lengths of the two forecasts.
        most_starts: pairs of forecasts of each column, spread over the data.
        scale: of the standard deviations.

    Raises:
        InputError: if the data are shorter than the longer forecast, or the covariance is not
            positive definite.
    """
    short, long = (max(1, round(days * DAY / model.time_step)) for days in sorted(lead_days))
    if short == long:
        raise InputError(
            f"forecasts of {short} and {long} steps, expected two lengths; give others"
        )
    starts = _starts(analyses, long, most_starts)
    older = from_starts(model, analyses, starts, np.array([long]))
    newer = from_starts(model, analyses, starts + long - short, np.array([short]))
    differences = np.stack([(older[name] - newer[name]).ravel() for name in names])
    covariance = np.atleast_2d(scale**2 * np.cov(differences.astype(np.float64)))
    return covariance_root(names, covariance, source="the covariance by the NMC method")


def spread_root(
    names: Sequence[str],
    members: Sequence[Model],
    analyses: xr.Dataset,
    *,
    lead_days: float = 10.0,
    most_starts: int = 40,
    scale: float = 1.0,
) -> Float[Array, "control control"]:
    """U from the spread of an ensemble of models about its mean (Fisher 2003, ensemble method).

    Args:
        names: prognostic variables.
        members: the models, two or more; of an `Ensemble`, `ensemble.member(i)` each.
        analyses: states to start from and the forcing, dims `(time, column)`.
        lead_days: length of the forecasts.
        most_starts: forecasts of each column, spread over the data.
        scale: of the standard deviations.

    Raises:
        InputError: if there are fewer than two members, the data are shorter than the forecasts,
            or the covariance is not positive definite.
    """
    if len(members) < 2:
        raise InputError(f"an ensemble of {len(members)} models, expected two at least; add some")
    steps = max(1, round(lead_days * DAY / members[0].time_step))
    starts = _starts(analyses, steps, most_starts)
    runs = [from_starts(member, analyses, starts, np.array([steps])) for member in members]
    values = np.stack([[run[name].ravel() for name in names] for run in runs])
    perturbations = (values - values.mean(axis=0)).transpose(1, 0, 2).reshape(len(names), -1)
    count = perturbations.shape[1] * (len(members) - 1) / len(members)
    covariance = scale**2 * perturbations @ perturbations.T / count
    return covariance_root(names, covariance, source="the covariance of the ensemble")


def _starts(analyses: xr.Dataset, steps: int, most: int) -> np.ndarray:
    """Records to start forecasts of so many steps from, spread over the data."""
    last = analyses.sizes["time"] - 1 - steps
    if last < 0:
        raise InputError(
            f"forecasts of {steps} steps from data of {analyses.sizes['time']} records, expected "
            f"{steps + 1} at least; give longer data or shorter forecasts"
        )
    return np.unique(np.linspace(0, last, min(most, last + 1)).astype(int))


def joined_root(
    names: Sequence[str], parts: Mapping[tuple[str, ...], Float[Array, "part part"]]
) -> Float[Array, "control control"]:
    """U of control variables in order, from the U of groups that do not know of each other.

    Args:
        names: control variables.
        parts: U by the names of each group; together they are `names`.
    """
    root = np.zeros((len(names), len(names)))
    for group, part in parts.items():
        at = [names.index(name) for name in group]
        root[np.ix_(at, at)] = np.asarray(part)
    return jnp.asarray(root)


def carried_root(
    analysed: Float[Array, "start part column"],
    *,
    sound: Bool[Array, " column"],
    otherwise: Float[Array, "start start"],
) -> Float[Array, "start start column"]:
    """U of the next window's background: the analysis error carried there.

    B = M A M^T + Q, as in the extended Kalman filter (Jazwinski 1970, chapter 8), with M the
    tangent of the analysed trajectory and Q what the model's own error has grown to.

    Args:
        analysed: a root of B with any number of columns, `Analysis.next_root`.
        sound: columns whose analysis was kept.
        otherwise: U for the other columns.
    """
    carried = jnp.einsum("ipc,jpc->cij", analysed, analysed)
    least = 1e-6 * jnp.diagonal(otherwise @ otherwise.T)  # of each variance, for the factors' sake
    found = jnp.linalg.cholesky(carried + jnp.diag(least)[None])
    usable = sound & jnp.all(jnp.isfinite(found), axis=(1, 2))
    return jnp.moveaxis(jnp.where(usable[:, None, None], found, otherwise[None]), 0, -1)
