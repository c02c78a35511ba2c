"""ERA5-Land soil water and temperature as time series of grid points, 0.1 degrees.

Muñoz-Sabater et al. 2021, Earth Syst. Sci. Data 13, 4349. A model's values: a reference for
rescaling, a third party in triple collocation, a guide to frozen ground; no satellite.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from assimilation.satellite.layouts import Records
from assimilation.satellite.screening import UNKNOWN, Reading
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.errors import InputError
from hybrid_land.variables import FREEZING
from hybrid_land.variables import VARIABLES as TABLE

VALUE = "swvl1"
VARIABLES = ("stl1",)
OPTIONAL = ()
PASSES = ()


def understand(records: Records, *, quality: str) -> Reading:
    """Values of ERA5-Land's records; those of frozen ground are left out, quality means nothing."""
    values = records.values
    value = values[VALUE]
    unknown = np.full(value.shape, UNKNOWN, np.int8)
    return Reading(
        soil_moisture=value,
        error=None,
        ascending=unknown,
        night=unknown,
        reasons={
            "out_of_range": (value < 0.0) | (value > 1.0),
            "frozen": values["stl1"] < FREEZING,
        },
        time=records.time,
    )


def read_era5_land(path: str | Path) -> xr.Dataset:
    """ERA5-Land's own times and points as dims `(time, column)`: to rescale to, or to screen by.

    Args:
        path: a file with dims `(locations, time)`.

    Returns:
        `swvl1` (m3 m-3), `stl1` (K) and `lat`, `lon` on `column`; the coordinate `location_id`.

    Raises:
        InputError: if the file is not such a file.
    """
    stored = open_netcdf(path)
    for name in ("lat", "lon", "location_id", "time", VALUE):
        if name not in stored.variables or (name == VALUE and "time" not in stored[name].dims):
            raise InputError(
                f"{path}: missing variable {name}, expected ERA5-Land's time series of grid "
                "points; get the whole file"
            )
    turned = stored.rename({str(stored["lat"].dims[0]): "column"}).transpose("time", "column", ...)
    result = xr.Dataset(coords={"time": turned["time"]})
    for name in (VALUE, "stl1"):
        if name in turned:
            result[name] = (
                ("time", "column"),
                turned[name].to_numpy().astype(np.float32),
                {"units": TABLE[name].units, "long_name": TABLE[name].long_name},
            )
    for name in ("lat", "lon"):
        result[name] = ("column", turned[name].to_numpy(), {"units": TABLE[name].units})
    return result.assign_coords(location_id=("column", turned["location_id"].to_numpy()))
