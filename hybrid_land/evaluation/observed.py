"""A run beside what was observed at a site: does emulating cost anything against reality?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.errors import InputError
from hybrid_land.variables import LAYER_THICKNESS

# What an observed name begins with, the variable (with its layer where there are layers) and the
# factor that turns it to ECLand's sign: towers count fluxes positive upwards.
_QUANTITIES = {
    "SoilMoist": ("swvl", 1.0),
    "SoilTemp": ("stl", 1.0),
    "Qle": ("slhf", -1.0),
    "Qh": ("sshf", -1.0),
}
# Probes whose depth the source does not say, as (layer): the shallowest, and a "4th level".
_LAYER_WITHOUT_DEPTH = {"SoilMoist": 1, "SoilTemp": 2}
_FEWEST = 30  # observations for a score


def layer_of(depth: float) -> int:
    """The soil layer, 1 to 4, that holds a depth (m); the boundary belongs to the upper one.

    Raises:
        InputError: if it is above the ground or below the lowest layer.
    """
    bottoms = np.cumsum(LAYER_THICKNESS)
    if not 0.0 <= depth <= bottoms[-1]:
        raise InputError(
            f"a probe at {depth:g} m, expected 0 to {bottoms[-1]:g} m as ECLand's soil; leave it "
            "out or correct its depth"
        )
    return int(np.searchsorted(bottoms, depth - 1e-9)) + 1


def observed_series(observations: xr.Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Observed quantities that the model has, by their name in the file.

    Args:
        observations: dim `time`; soil moisture and temperature with attribute `depth_m`, latent
            and sensible heat upwards. Other variables are passed over.

    Returns:
        Name to (variable of the table, values `[time]` with ECLand's sign, NaN where missing).
    """
    found: dict[str, tuple[str, np.ndarray]] = {}
    for name in map(str, observations.data_vars):
        stem = name.split("_")[0]
        if stem not in _QUANTITIES or observations[name].dims != ("time",):
            continue
        variable, sign = _QUANTITIES[stem]
        if stem in _LAYER_WITHOUT_DEPTH:
            depth = observations[name].attrs.get("depth_m")
            layer = _LAYER_WITHOUT_DEPTH[stem] if depth is None else layer_of(float(depth))
            variable = f"{variable}{layer}"
        found[name] = (variable, sign * observations[name].to_numpy().astype(np.float64))
    return found


def scores_against(
    series: Float[np.ndarray, " time"], observed: Float[np.ndarray, " time"]
) -> dict[str, float]:
    """RMSE, bias, unbiased RMSE and correlation where observed.

        ubrmse^2 = rmse^2 - bias^2 (Entekhabi et al. 2010, eq. 2)

    The correlation is NaN where either does not vary.
    """
    where = np.isfinite(observed)
    x, y = series[where].astype(np.float64), observed[where]
    error = x - y
    rmse, bias = float(np.sqrt(np.mean(error**2))), float(error.mean())
    moving = x.std() > 0.0 and y.std() > 0.0
    return {
        "rmse": rmse,
        "bias": bias,
        "ubrmse": float(np.sqrt(max(rmse**2 - bias**2, 0.0))),
        "correlation": float(np.corrcoef(x, y)[0, 1]) if moving else float("nan"),
    }


def moving_anomaly(
    series: Float[np.ndarray, " time"], *, records: int, fewest: int = 20
) -> Float[np.ndarray, " time"]:
    """Departure of a series from its own centred moving mean, NaN where it is missing.

    For records too short for a climatology (Albergel et al. 2012, Remote Sens. Environ. 118, 215,
    take five weeks).

    Args:
        series: NaN where missing.
        records: in the mean; at an end, or around a gap, of those that there are.
        fewest: values that a mean must have; NaN where there are fewer.
    """
    seen = np.isfinite(series)
    window = np.ones(records + 1 - records % 2)
    half = len(window) // 2
    count = np.convolve(seen, window, "full")[half : half + len(series)]
    total = np.convolve(np.where(seen, series, 0.0), window, "full")[half : half + len(series)]
    mean = np.where(count >= fewest, total / np.maximum(count, 1.0), np.nan)
    return np.where(seen, series - mean, np.nan)


def against_observations(
    runs: Mapping[str, xr.Dataset], observations: xr.Dataset
) -> dict[str, dict[str, Any]]:
    """Scores of runs of one column against a site's observations, on the same times.

    The first record of a run is a given state and does not count.

    Args:
        runs: by name, such as `{"model": run, "ecland": truth}`, one column, same times.
        observations: see `observed_series`, on the runs' times.

    Returns:
        By name of the observed quantity: `variable`, `observations` (how many count) and for each
        run `rmse`, `bias`, `ubrmse`, `correlation`. Quantities with fewer than 30 observations
        are left out.

    Raises:
        InputError: if a run has several columns or times that are not those of the observations.
    """
    times = observations["time"].to_numpy()
    for name, run in runs.items():
        if run.sizes["column"] != 1:
            raise InputError(
                f"{name}: {run.sizes['column']} columns, expected the site's one; cut it to that"
            )
        if not np.array_equal(run["time"].to_numpy(), times):
            raise InputError(
                f"{name}: its {run.sizes['time']} times are not those of the observations "
                f"({len(times)}); cut both to the same times"
            )
    table: dict[str, dict[str, Any]] = {}
    for name, (variable, observed) in observed_series(observations).items():
        held = {run_name: run for run_name, run in runs.items() if variable in run}
        counts = observed.copy()
        counts[0] = np.nan
        number = int(np.isfinite(counts).sum())
        if number < _FEWEST or not held:
            continue
        table[name] = {"variable": variable, "observations": number} | {
            run_name: scores_against(run[variable].isel(column=0).to_numpy(), counts)
            for run_name, run in held.items()
        }
    return table
