"""The water budget of a run of land columns: what came in, went out and is still there."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.columns import require, time_step_of
from hybrid_land.variables import LAYER_THICKNESS, SOIL_WATER, WATER_DENSITY

_SECONDS_A_YEAR = 365.25 * 86400.0
_FLUXES = ("met_rainf", "met_snowf", "e", "sro", "ssro")
NEEDED = (*SOIL_WATER, "sd", "src", *_FLUXES)


def _column(ds: xr.Dataset, name: str) -> Float[np.ndarray, "time column"]:
    return ds[name].transpose("time", "column").to_numpy().astype(np.float64)


def water_storage(ds: xr.Dataset) -> Float[np.ndarray, "time column"]:
    """Water in soil, snow and skin reservoir, kg m-2.

    S = sum over layers of 1000 kg m-3 * thickness * swvl + sd + src
    """
    soil = sum(
        WATER_DENSITY * depth * _column(ds, name)
        for name, depth in zip(SOIL_WATER, LAYER_THICKNESS, strict=True)
    )
    return soil + _column(ds, "sd") + _column(ds, "src")


def water_residual(ds: xr.Dataset) -> Float[np.ndarray, "step column"]:
    """What does not close in each step, kg m-2, in double precision.

    r(i) = (rain(i) + snow(i)) dt + e(i) - sro(i) - ssro(i) - (S(i + 1) - S(i))

    with ECLand's signs: `e` is positive downwards, so that evaporation is negative. The last
    record has no successor and no residual.

    Raises:
        InputError: if a reservoir or a flux is missing.
    """
    require(ds, NEEDED)
    rain, snow, e, sro, ssro = (_column(ds, name)[:-1] for name in _FLUXES)
    incoming = (rain + snow) * time_step_of(ds)
    return incoming + e - sro - ssro - np.diff(water_storage(ds), axis=0)


def water_budget(ds: xr.Dataset) -> dict[str, float]:
    """How well the water budget of a run closes.

    Returns:
        `max_abs_mm_per_step`: largest residual of a step of any column;
        `mean_mm_per_year`: residual summed over time, a year, mean over the columns;
        `max_abs_mm_per_year`: the same of the worst column.

    Raises:
        InputError: if a reservoir or a flux is missing.
    """
    residual = water_residual(ds)
    a_year = residual.mean(axis=0) * _SECONDS_A_YEAR / time_step_of(ds)
    return {
        "max_abs_mm_per_step": float(np.abs(residual).max()),
        "mean_mm_per_year": float(a_year.mean()),
        "max_abs_mm_per_year": float(np.abs(a_year).max()),
    }
