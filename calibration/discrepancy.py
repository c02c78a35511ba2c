"""How far a model with the right parameters is from the truth: its error by lead and lag.

The table is the one that a model's validation leaves (`errors.nc`): variances of its free forecasts
by lead and correlations of their errors by lag, over columns it was not trained on.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.errors import InputError
from hybrid_land.variables import DAY

_NEEDED = {"variance": ("lead", "name"), "autocorrelation": ("lag", "name")}


def require_table(table: xr.Dataset) -> None:
    """Check that a Dataset is a model's error statistics.

    Raises:
        InputError: if it lacks a variable, a dimension or its time step.
    """
    for name, dims in _NEEDED.items():
        if name not in table or table[name].dims != dims:
            raise InputError(
                f"the model's errors lack {name} with dims {', '.join(dims)}, expected the "
                "statistics of benchmarks/error_covariance.py; make them again"
            )
    if "time_step" not in table.attrs:
        raise InputError(
            "the model's errors lack the attribute time_step, expected seconds; make them again"
        )


def known(table: xr.Dataset, name: str) -> bool:
    """Whether the table has the variance of a variable."""
    return name in table["name"].to_numpy() and bool(
        np.isfinite(table["variance"].sel(name=name)).any()
    )


def error_covariance(
    table: xr.Dataset, name: str, days: Float[np.ndarray, " record"]
) -> Float[np.ndarray, "record record"]:
    """Covariance in time of the error of one variable in a run that starts from the right state.

        C_ij = s(t_i) s(t_j) r(|t_i - t_j|)

    s is linear in the logarithm of the lead between the leads of the table and constant beyond
    them. r is linear in the lag, 1 at lag 0; beyond the longest lag of the table it goes on falling
    by the same power of its value there. The correlations of records are made positive
    semi-definite by clipping eigenvalues at zero, and scaled back to s on the diagonal.

    Args:
        table: `variance (lead, name)`, `autocorrelation (lag, name)`, leads and lags in steps of
            the attribute `time_step`, s.
        name: of a variable that is `known`.
        days: of the records since the start.

    Returns:
        In the square of the variable's unit.
    """
    steps = np.asarray(days, np.float64) * (DAY / float(table.attrs["time_step"]))
    deviation = np.sqrt(table["variance"].sel(name=name).to_numpy().astype(np.float64))
    sound = np.isfinite(deviation)
    leads = table["lead"].to_numpy().astype(np.float64)[sound]
    at_lead = np.interp(np.log(np.maximum(steps, leads[0])), np.log(leads), deviation[sound])
    lags = np.concatenate([[0.0], table["lag"].to_numpy()])
    memory = np.concatenate([[1.0], table["autocorrelation"].sel(name=name).to_numpy()])
    memory = np.clip(np.nan_to_num(memory), 0.0, 1.0)
    apart = np.abs(steps[:, None] - steps[None, :])
    correlation = np.interp(apart, lags, memory)
    far = apart > lags[-1]
    correlation[far] = memory[-1] ** (apart[far] / lags[-1])
    values, vectors = np.linalg.eigh(correlation)
    correlation = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = at_lead / np.sqrt(np.diag(correlation))
    return correlation * np.outer(scale, scale)
