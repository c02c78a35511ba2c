"""Between a Dataset and the dictionaries of arrays that models work on."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import xarray as xr

from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.variables import FORCING, PROGNOSTIC, VARIABLES, names

# Forcing that follows from time and place alone, see `solar_features`.
SOLAR = (
    "solar_time_sin",
    "solar_time_cos",
    "solar_zenith_end",
    "season",
    "season_slope",
    "day_of_year_sin",
    "day_of_year_cos",
)
ALBEDO = "albedo"
MISSING_ALBEDO = -1.0  # a flag, not a value: models treat a negative albedo as unknown
# By how much the weather of the records beside a step differs from the step's own, which decides
# what is seen at its end: name to a quantity and a number of records. Humidity as its logarithm.
# Beside these, 1 where there is such a record and 0 where not.
BESIDE = {
    "tair_before": ("tair", -1),
    "tair_after": ("tair", 1),
    "tair_later": ("tair", 2),
    "humidity_before": ("humidity", -1),
    "humidity_after": ("humidity", 1),
    "humidity_later": ("humidity", 2),
    "shortwave_after": ("shortwave", 1),
    "longwave_after": ("longwave", 1),
    "wind_after": ("wind", 1),
}
KNOWN = {"before_known": -1, "after_known": 1}
STEP_FORCING = (*FORCING, *SOLAR, ALBEDO, *BESIDE, *KNOWN)
_TROPICAL_YEAR = 365.2422  # d
_OBLIQUITY = np.deg2rad(23.44)
_DRIEST_AIR = 1e-6  # kg kg-1


def _series(ds: xr.Dataset, name: str) -> np.ndarray:
    return ds[name].transpose("time", "column").to_numpy()


def require(ds: xr.Dataset, wanted: tuple[str, ...], *, source: str = "the data") -> None:
    """Raise `InputError` naming every variable of `wanted` that `ds` lacks."""
    absent = [name for name in wanted if name not in ds]
    if absent:
        raise InputError(
            f"{source}: missing variable {', '.join(absent)}; expected all of the model's "
            f"variables; add them or use a model trained without them"
        )


def require_model_fits(model: Model, ds: xr.Dataset, *, source: str = "the data") -> None:
    """Raise `InputError` unless `ds` has the model's variables and time step.

    Args:
        model: the model to run.
        ds: data with dims `(time, column)`.
        source: what to call the data in the message.
    """
    needed = getattr(model, "required", (*model.prognostic, *FORCING))
    require(ds, tuple(needed), source=source)
    if ds.sizes["time"] > 1:
        found = float((ds.time[1] - ds.time[0]) / np.timedelta64(1, "s"))
        if found != model.time_step:
            raise InputError(
                f"{source}: time step is {found / 3600:g} h, expected the model's "
                f"{model.time_step / 3600:g} h; average or resample the data to that step"
            )


def parameters_from(ds: xr.Dataset) -> Parameters:
    """Parameters of each column, without their `clim_` prefix, as float32 `[column]`.

    `theta_max` is what a layer can hold; data that lack it fall back on `theta_sat`.
    Monthly fields are not parameters of a step and are left to `forcing_from`.
    """
    parameters = {
        name.removeprefix("clim_"): jnp.asarray(ds[name].to_numpy(), jnp.float32)
        for name in names("parameter")
        if name in ds and ds[name].dims == ("column",)
    }
    if "theta_max" not in parameters and "theta_sat" in parameters:
        parameters["theta_max"] = parameters["theta_sat"]
    return parameters


def state_from(ds: xr.Dataset, index: int = 0, *, variables: tuple[str, ...] = PROGNOSTIC) -> State:
    """State at one time, as float32 `[column]`. Rounding below zero (src) is set to zero."""
    state = {}
    for name in variables:
        values = ds[name]
        if "time" in values.dims:
            values = values.isel(time=index)
        lower = VARIABLES[name].lower if name in VARIABLES else -np.inf
        state[name] = jnp.asarray(np.maximum(values.to_numpy(), lower), jnp.float32)
    return state


def solar_features(time: np.ndarray, lat: np.ndarray, lon: np.ndarray, step: float) -> dict:
    """Functions of local solar time and season over each step.

    Local mean solar time is UTC + lon / 15 h; the declination is that of a circular orbit,
    sin(delta) = sin(23.44 deg) sin(2 pi (d - 80) / 365.2422) (Stull 1988, eq. 7.4.1 to second
    order). `season` = sin(lat) sin(delta), positive in local summer, `season_slope` its rate of
    change scaled to the same size. Nothing depends on UTC or on the hemisphere's calendar but
    the pair `day_of_year_*`.

    Args:
        time: `[time]` datetime64, start of each step.
        lat: `[column]`, degrees north.
        lon: `[column]`, degrees east.
        step: length of a step, s.

    Returns:
        Name to float32 `[time, column]`; names are `SOLAR`.
    """
    start = time.astype("datetime64[s]")
    day = (start - start.astype("datetime64[Y]")).astype("timedelta64[s]").astype(float) / 86400.0
    seconds = (start - start.astype("datetime64[D]")).astype("timedelta64[s]").astype(float)
    middle = 2 * np.pi * ((seconds + step / 2)[:, None] / 86400.0 + lon[None, :] / 360.0)
    end = 2 * np.pi * ((seconds + step)[:, None] / 86400.0 + lon[None, :] / 360.0)
    angle = 2 * np.pi * (day - 80.0) / _TROPICAL_YEAR
    sin_declination = np.sin(_OBLIQUITY) * np.sin(angle)[:, None]
    sin_lat, cos_lat = np.sin(np.deg2rad(lat))[None, :], np.cos(np.deg2rad(lat))[None, :]
    season = sin_lat * sin_declination
    values = {
        "solar_time_sin": np.sin(middle),
        "solar_time_cos": np.cos(middle),
        "solar_zenith_end": season - cos_lat * np.sqrt(1 - sin_declination**2) * np.cos(end),
        "season": season,
        "season_slope": sin_lat * np.sin(_OBLIQUITY) * np.cos(angle)[:, None],
        "day_of_year_sin": np.sin(angle)[:, None] + 0 * sin_lat,
        "day_of_year_cos": np.cos(angle)[:, None] + 0 * sin_lat,
    }
    return {name: values[name].astype(np.float32) for name in SOLAR}


def _albedo(ds: xr.Dataset) -> np.ndarray:
    """Background albedo, linear between mid-months, `[time, column]`; a flag where unknown."""
    shape = (ds.sizes["time"], ds.sizes["column"])
    if "clim_malbedo" not in ds:
        return np.full(shape, MISSING_ALBEDO, np.float32)
    monthly = ds["clim_malbedo"].transpose("month", "column").to_numpy()
    start = ds.time.to_numpy().astype("datetime64[s]")
    year = start.astype("datetime64[Y]")
    length = ((year + 1).astype("datetime64[s]") - year).astype(float)
    months = 12.0 * (start - year).astype(float) / length - 0.5
    lower = np.floor(months).astype(int)
    weight = (months - lower)[:, None]
    values = (1 - weight) * monthly[lower % 12] + weight * monthly[(lower + 1) % 12]
    return np.where(np.isfinite(values), values, MISSING_ALBEDO).astype(np.float32)


def time_step_of(ds: xr.Dataset) -> float:
    """Length of a step of the data, s; 6 hours for a single record."""
    if ds.sizes["time"] < 2:
        return 21600.0
    return float((ds.time[1] - ds.time[0]) / np.timedelta64(1, "s"))


def forcing_numpy(ds: xr.Dataset, *, steps: slice = slice(None)) -> dict[str, np.ndarray]:
    """`forcing_from` as NumPy arrays in host memory."""
    begin, end, _ = steps.indices(ds.sizes["time"])
    first, last = max(begin - 1, 0), min(end + 2, ds.sizes["time"])
    around, part = ds.isel(time=slice(first, last)), ds.isel(time=slice(begin, end))
    wide = {name: _series(around, name).astype(np.float32) for name in FORCING}
    own = np.arange(begin, end) - first
    forcing = {name: values[own] for name, values in wide.items()}
    forcing |= solar_features(
        part.time.to_numpy(), part.lat.to_numpy(), part.lon.to_numpy(), time_step_of(ds)
    )
    forcing[ALBEDO] = _albedo(part)
    weather = {
        "tair": wide["met_tair"],
        "humidity": np.log(np.maximum(wide["met_qair"], _DRIEST_AIR)),
        "shortwave": wide["met_swdown"],
        "longwave": wide["met_lwdown"],
        "wind": np.hypot(wide["met_wind_e"], wide["met_wind_n"]),
    }
    for name, (quantity, shift) in BESIDE.items():
        series = weather[quantity]
        forcing[name] = series[np.clip(own + shift, 0, last - first - 1)] - series[own]
    for name, shift in KNOWN.items():
        there = (own + shift >= 0) & (own + shift < last - first)
        forcing[name] = np.repeat(there.astype(np.float32)[:, None], part.sizes["column"], axis=1)
    return forcing


def forcing_from(ds: xr.Dataset, *, steps: slice = slice(None)) -> ForcingSeries:
    """Forcing of each step, as float32 `[time, column]`.

    Holds the meteorology and leaf area under their names, the functions of solar time and season
    of `solar_features`, `albedo` (negative where the data give none), and how the weather of the
    records beside each step differs from its own (`BESIDE`), 0 where there is none (`KNOWN`).

    Args:
        ds: data with dims `(time, column)`.
        steps: records wanted, all by default. A slice of the data would lack the records beside
            its ends.
    """
    return {name: jnp.asarray(values) for name, values in forcing_numpy(ds, steps=steps).items()}


def dataset_from(template: xr.Dataset, values: Mapping[str, np.ndarray]) -> xr.Dataset:
    """A Dataset with the times and columns of `template` from arrays `[time, column]`.

    Coordinates, columns' parameters and forcing of the template come along, so that the result
    has the data's own form. Values keep ECLand's names, units and long names.
    """
    keep = [name for name in template.data_vars if name not in names("prognostic")]
    keep = [name for name in keep if name not in names("diagnostic")]
    result = template[keep].copy()
    for name, array in values.items():
        row = VARIABLES.get(name)
        attributes = {"units": row.units, "long_name": row.long_name} if row else {}
        result[name] = (("time", "column"), np.asarray(array, np.float32), attributes)
    return result
