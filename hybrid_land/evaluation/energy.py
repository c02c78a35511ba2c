"""The surface energy budget of a run of land columns, as far as what is stored can close it."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from hybrid_land.columns import forcing_numpy, require, time_step_of
from hybrid_land.variables import (
    FORCING,
    FREEZING,
    LATENT_HEAT_SUBLIMATION,
    LATENT_HEAT_VAPORISATION,
    LAYER_THICKNESS,
    SNOW_PRESENT,
    SOIL_TEMPERATURE,
)

STEFAN_BOLTZMANN = 5.670374419e-8  # W m-2 K-4, CODATA 2018
_FUSION = LATENT_HEAT_SUBLIMATION - LATENT_HEAT_VAPORISATION  # J kg-1
_ICE_HEAT = 2.05e6 / 920.0  # J kg-1 K-1, ECLand: volumetric capacity over density of ice
# Broadband long-wave emissivity: 0.7173 of the spectrum at 0.99, 0.2827 (the window) at 0.96
# over moist land, 0.93 over desert, 0.98 over snow (ECLand, susrad_mod, first scheme).
_WINDOW = 0.2827
_EMISSIVITY = {
    kind: (1.0 - _WINDOW) * 0.99 + _WINDOW * window
    for kind, window in (("land", 0.96), ("desert", 0.93), ("snow", 0.98))
}
# Albedo of snow under high vegetation, by its type (Moody et al. 2007, as in ECLand).
_SHADED_SNOW = {3: 0.27, 4: 0.33, 5: 0.31, 6: 0.38, 18: 0.29, 19: 0.29}
_OTHER_SHADED_SNOW = 0.30
# Between these, in K from freezing, ECLand freezes or thaws soil water.
_FREEZING_RANGE = (-3.0, 1.0)

_STATE = (*SOIL_TEMPERATURE, "swvl1", "sd", "tsn", "asn", "snowc", "skt")
_FLUXES = ("sshf", "slhf", "e")
_COVER = ("clim_cvh", "clim_veg_covh", "clim_tvh")
_SOIL = ("clim_theta_cap", "clim_theta_pwp", "clim_theta_sat")
NEEDED = (*_STATE, *_FLUXES, *FORCING, "lat", "lon", "clim_malbedo", *_COVER, *_SOIL)

Days = Float[np.ndarray, "day column"]


def energy_terms(ds: xr.Dataset) -> dict[str, Days]:
    """Terms of the surface energy balance as means over each day, W m-2, positive downwards.

    `short_wave`: (1 - albedo) SW, the albedo from the background, the snow's own on open ground
    and a value by type under high vegetation. `long_wave`: eps (LW - sigma skt^4), eps by the
    wetness of layer 1 and by snow cover (ECLand, surfrad_ctl_mod). `sensible`, `latent`: `sshf`,
    `slhf`. `soil`: heat gained by the four layers, thickness C dT with
    C = (1 - theta_sat) 1.6e6 + theta_cap 4.18e6 J m-3 K-1 and no flux below. `snow`: heat gained
    by the pack, whose energy relative to water at freezing is sd (c_ice (tsn - T0) - L_f), less
    what snowfall brings, plus the heat of fusion in what sublimates, slhf - L_v e.

    A day, not a step: `skt` is known at the steps' ends only, and four equally spaced samples
    give a day's mean where two do not give six hours'.

    Raises:
        InputError: if a variable is missing.
    """
    require(ds, NEEDED)
    at = {name: _series(ds, name) for name in _STATE}
    over = {name: _series(ds, name)[:-1] for name in _FLUXES}
    forcing = {name: x[:-1].astype(np.float64) for name, x in forcing_numpy(ds).items()}
    clim = {
        name.removeprefix("clim_"): ds[name].to_numpy().astype(np.float64)
        for name in (*_COVER, *_SOIL)
    }
    step = time_step_of(ds)

    high = clim["cvh"] * clim["veg_covh"]
    shaded = np.array([_SHADED_SNOW.get(int(kind), _OTHER_SHADED_SNOW) for kind in clim["tvh"]])
    cover = _middle(at["snowc"])
    snow_albedo = (1.0 - high) * _middle(at["asn"]) + high * shaded
    background = np.where(forcing["albedo"] < 0.0, np.nan, forcing["albedo"])
    albedo = (1.0 - cover) * background + cover * snow_albedo

    room = np.maximum(clim["theta_cap"] - clim["theta_pwp"], 1e-3)
    wet = np.clip((at["swvl1"][:-1] - clim["theta_pwp"]) / room, 0.0, 1.0)
    ground = _EMISSIVITY["desert"] + wet * (_EMISSIVITY["land"] - _EMISSIVITY["desert"])
    bright = cover * (1.0 - high)
    emissivity = (1.0 - bright) * ground + bright * _EMISSIVITY["snow"]
    emitted = STEFAN_BOLTZMANN * _middle(at["skt"] ** 4)

    capacity = (1.0 - clim["theta_sat"]) * 1.6e6 + clim["theta_cap"] * 4.18e6
    soil = sum(
        depth * capacity * np.diff(at[name], axis=0)
        for name, depth in zip(SOIL_TEMPERATURE, LAYER_THICKNESS, strict=True)
    )
    cold = np.where(at["sd"] > 0.0, np.minimum(at["tsn"], FREEZING) - FREEZING, 0.0)
    pack = np.diff(at["sd"] * (_ICE_HEAT * cold - _FUSION), axis=0) / step
    sublimated = over["slhf"] - LATENT_HEAT_VAPORISATION * over["e"] / step
    terms = {
        "short_wave": (1.0 - albedo) * forcing["met_swdown"],
        "long_wave": emissivity * (forcing["met_lwdown"] - emitted),
        "sensible": over["sshf"],
        "latent": over["slhf"],
        "soil": soil / step,
        "snow": pack + _FUSION * forcing["met_snowf"] + sublimated,
    }
    a_day = _steps_a_day(step)
    return {name: _daily(values, a_day) for name, values in terms.items()}


def energy_residual(ds: xr.Dataset) -> Days:
    """What does not close in each day, W m-2: what comes in less what soil and snow gain.

    r = short_wave + long_wave + sensible + latent - soil - snow        (see `energy_terms`)

    Raises:
        InputError: if a variable is missing.
    """
    terms = energy_terms(ds)
    incoming = terms["short_wave"] + terms["long_wave"] + terms["sensible"] + terms["latent"]
    return incoming - terms["soil"] - terms["snow"]


def thawed_ground(ds: xr.Dataset) -> Bool[np.ndarray, "day column"]:
    """Days without snow on which no soil layer is where its water freezes or thaws."""
    low, high = _FREEZING_RANGE
    quiet = np.ones((ds.sizes["time"], ds.sizes["column"]), bool)
    for name in SOIL_TEMPERATURE:
        celsius = _series(ds, name) - FREEZING
        quiet &= (celsius < low) | (celsius > high)
    quiet &= _series(ds, "sd") < SNOW_PRESENT
    both = (quiet[:-1] & quiet[1:]).astype(np.float64)
    return _daily(both, _steps_a_day(time_step_of(ds))) == 1.0


def energy_budget(ds: xr.Dataset) -> dict[str, float] | None:
    """How well the surface energy budget of a run closes, as far as stored values can tell.

    What 6-hourly records cannot close, for ECLand itself: skin temperature between the records
    and over the tiles (its fourth power is not that of the mean); how much soil water is frozen
    (left out: what ECLand's runs show of it differs between columns); liquid water in snow.
    The first makes a few W m-2 in a day, the others some 10 while soil and snow freeze or thaw.
    ECLand's own 60 columns and five years of `ecland_test.nc` give -1.4 in the mean and 6.9 as rms
    of a day, 3.7 on thawed days; dry, hot columns close worst, at -3 to -7 in the mean.

    Returns:
        `mean_w_m2` over days and columns, `rms_w_m2` of a day, `rms_column_w_m2` of a column's
        mean, `mean_thawed_w_m2` and `rms_thawed_w_m2` over the days of `thawed_ground`,
        `thawed_share` of days, `latent_rms_w_m2`: root mean square of slhf - L_v e in steps
        without snow, which is zero if both tell of the same water. None where the record is
        shorter than a day or lacks a variable.
    """
    step = time_step_of(ds)
    if any(name not in ds for name in NEEDED) or ds.sizes["time"] <= _steps_a_day(step):
        return None
    residual = energy_residual(ds)
    thawed = thawed_ground(ds)
    sd = _series(ds, "sd")
    bare = (sd[:-1] == 0.0) & (sd[1:] == 0.0) & (_series(ds, "met_snowf")[:-1] == 0.0)
    mismatch = (_series(ds, "slhf") - LATENT_HEAT_VAPORISATION * _series(ds, "e") / step)[:-1]
    return {
        "mean_w_m2": float(residual.mean()),
        "rms_w_m2": _rms(residual),
        "rms_column_w_m2": _rms(residual.mean(axis=0)),
        "mean_thawed_w_m2": float(residual[thawed].mean()) if thawed.any() else float("nan"),
        "rms_thawed_w_m2": _rms(residual[thawed]),
        "thawed_share": float(thawed.mean()),
        "latent_rms_w_m2": _rms(mismatch[bare]),
    }


def _series(ds: xr.Dataset, name: str) -> Float[np.ndarray, "time column"]:
    return ds[name].transpose("time", "column").to_numpy().astype(np.float64)


def _middle(x: np.ndarray) -> np.ndarray:
    return 0.5 * (x[:-1] + x[1:])


def _steps_a_day(step: float) -> int:
    """Steps that make a day; one where they do not fit in."""
    return round(86400.0 / step) if 86400.0 % step == 0.0 else 1


def _daily(x: np.ndarray, a_day: int) -> np.ndarray:
    """Means over whole days from the first record, `[day, column]`."""
    days = len(x) // a_day
    return x[: days * a_day].reshape(days, a_day, -1).mean(axis=1)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else float("nan")
