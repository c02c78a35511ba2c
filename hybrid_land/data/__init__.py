"""Data in and out: every form that is read becomes one Dataset with dims `(time, column)`."""

from pathlib import Path

import xarray as xr

from hybrid_land.data.members import flatten_members
from hybrid_land.data.netcdf import Chunks, open_netcdf, save
from hybrid_land.data.validate import validate

__all__ = ["flatten_members", "load", "save", "validate"]


def load(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open data of any form that is known, lazily, as a Dataset with dims `(time, column)`.

    Args:
        path: a NetCDF file of the data's form; a dim `member` (runs with a parameter varied)
            becomes columns.
        chunks: for dask, by dimension.

    Raises:
        InputError: if there is nothing at `path` or its form is not known.
    """
    data = open_netcdf(path, chunks=chunks)
    return flatten_members(data) if "member" in data.dims else data
