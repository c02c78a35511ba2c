"""Small files in the layouts of the providers, made for tests."""

from pathlib import Path

import numpy as np
import xarray as xr

LAT, LON, IDENTITY = [10.0, 10.3, -20.0], [20.0, 20.3, 179.9], [11, 12, 13]
EPOCH = "seconds since 2000-01-01 12:00:00"


def locations() -> dict:
    return {
        "lat": ("locations", np.array(LAT, np.float32)),
        "lon": ("locations", np.array(LON, np.float32)),
        "location_id": ("locations", np.array(IDENTITY)),
    }


def at(*days: float) -> np.ndarray:
    """Seconds of days in 2017 after SMAP's epoch."""
    start = np.datetime64("2017-01-01") - np.datetime64("2000-01-01T12:00")
    return start / np.timedelta64(1, "s") + 86400.0 * np.array(days)


def smap(path: Path, **changes) -> Path:
    """SMAP in indexed ragged form: eight records, only the first without any fault."""
    count = 8
    fields = {
        "soil_moisture": np.full(count, 0.2, np.float32),
        "soil_moisture_error": np.full(count, np.nan, np.float32),
        "retrieval_qual_flag": np.full(count, 8, np.uint16),
        "surface_flag": np.zeros(count, np.uint16),
        "Overpass": np.array([1, 1, 1, 1, 1, 1, 2, 1]),
    }
    fields["retrieval_qual_flag"][1] = 9  # not recommended
    fields["retrieval_qual_flag"][2] = 13  # and not successful
    fields["surface_flag"][3] = 1 << 5  # snow
    fields["surface_flag"][4] = 1 << 8  # frozen in the model
    fields["surface_flag"][5] = 1 << 7  # frozen for the radiometer
    fields["retrieval_qual_flag"][5] = 0  # whose retrieval succeeded
    fields["surface_flag"][7] = 1 << 7  # the same without: means nothing
    fields |= changes.pop("fields", {})
    ds = xr.Dataset(
        {name: ("time", values) for name, values in fields.items()} | locations(),
        coords={"time": ("time", at(*range(count)), {"units": EPOCH})},
    )
    index = changes.pop("index", np.array([0, 0, 1, 1, 1, 0, 0, 1]))
    ds["locationIndex"] = ("time", index, {"instance_dimension": "locations"})
    ds = ds.drop_vars(changes.pop("drop", []))
    assert not changes
    ds.to_netcdf(path, encoding={"soil_moisture_error": {"_FillValue": -9999.0}})
    return path


def ascat(path: Path, *, rows=(2, 0, 4), **fields) -> Path:
    """ASCAT in contiguous ragged form: six records, the first two without any fault."""
    values = {
        "sm": np.array([50, 40, 30, 20, 10, 100], np.int8),
        "sm_noise": np.array([4, 4, 4, 4, 4, 0], np.int8),
        "proc_flag": np.array([0, 0, 4, 0, 0, 0], np.int8),
        "conf_flag": np.array([0, 0, 0, 16, 0, 0], np.int8),
        "ssf": np.array([1, 0, 0, 0, 2, 0], np.int8),
        "dir": np.array([0, 1, 0, 0, 0, 0], np.int8),
    } | fields
    ds = xr.Dataset(
        {name: ("obs", np.asarray(field)) for name, field in values.items()} | locations(),
        coords={"time": ("obs", at(5, 4, 3, 2, 1, 0.5), {"units": EPOCH})},
    )
    ds["row_size"] = ("locations", np.array(rows), {"sample_dimension": "obs"})
    ds.to_netcdf(path)
    return path


def smos(path: Path) -> Path:
    """SMOS as an array of location and time: eight records in the first location."""
    flags = np.zeros(8)
    flags[1:6] = [1 << bit for bit in (8, 11, 3, 25, 10)]  # snow, frost, relief, rain, nominal
    rfi = np.array([0, 0, 0, 0, 0, 0, 0.3, 0.1])
    values = {
        "Soil_Moisture": np.full(8, 0.25),
        "Soil_Moisture_Dqx": np.array([0.05] * 7 + [np.nan]),
        "Science_Flags": flags,
        "Ratio_RFI": rfi,
        "Mean_Acq_Time_Days": np.floor(at(*range(8)) / 86400.0) + 1.0,
        "Mean_Acq_Time_Seconds": np.full(8, 5.0 * 3600.0),
    }
    wide = {
        name: np.stack([v, np.full(8, np.nan), np.full(8, np.nan)]) for name, v in values.items()
    }
    ds = xr.Dataset(
        {name: (("locations", "time"), array) for name, array in wide.items()} | locations(),
        coords={"time": ("time", at(*range(8)), {"units": EPOCH})},
    )
    ds.to_netcdf(path)
    return path


def cci(path: Path) -> Path:
    """ESA CCI as an array of time and location (turned): five days of the second location."""
    days = np.arange(5.0)
    one = {
        "sm": np.full(5, 0.3),
        "sm_uncertainty": np.full(5, 0.03),
        "flag": np.array([0, 1, 2, 64, 0], np.int16),
        "dnflag": np.array([2, 2, 2, 2, 1], np.int8),
        "t0": 17167.25 + days,  # days since 1970: 2017-01-01 06:00
    }
    wide = {
        name: np.stack([np.full(5, np.nan), v, np.full(5, np.nan)], 1) for name, v in one.items()
    }
    ds = xr.Dataset(
        {name: (("time", "locations"), array) for name, array in wide.items()} | locations(),
        coords={"time": ("time", at(*days), {"units": EPOCH})},
    )
    ds.to_netcdf(path)
    return path


def model(*, hours: int = 6, days: int = 8, **variables) -> xr.Dataset:
    """Three columns near the locations, records every `hours` from the start of 2017."""
    time = np.datetime64("2017-01-01", "ns") + np.arange(0, 24 * days, hours) * np.timedelta64(
        1, "h"
    )
    ds = xr.Dataset(
        {"lat": ("column", [10.02, 10.25, -20.05]), "lon": ("column", [20.01, 20.3, -180.02])},
        coords={"time": time},
    )
    return ds.assign(variables)
