"""The data's own form: one NetCDF file with dims `(time, column)`."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.data.files import atomic_path
from hybrid_land.errors import InputError

Chunks = dict[str, int] | None


def open_netcdf(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open a NetCDF file lazily.

    Args:
        path: the file.
        chunks: for dask, by dimension; `None` reads what is asked for when it is asked for.

    Raises:
        InputError: if the file is missing, truncated or not NetCDF.
    """
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{path}: is a folder, expected a NetCDF file; give the file in it")
    if not file.is_file():
        raise InputError(f"{path}: no such file; give an existing NetCDF file")
    try:
        return xr.open_dataset(file, engine="netcdf4", chunks=chunks)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: not a whole NetCDF file ({_first_line(error)}); it may be truncated: copy or "
            "make it again"
        ) from error


def in_memory(values: xr.DataArray, *, source: str) -> xr.DataArray:
    """The values, read now.

    Raises:
        InputError: if the file that holds them is damaged.
    """
    try:
        return values.load()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{source}: {values.name} cannot be read ({_first_line(error)}); the file is damaged: "
            "copy or make it again"
        ) from error


def save(data: xr.Dataset, path: str | Path) -> None:
    """Write a Dataset as compressed NetCDF, whole or not at all.

    Raises:
        InputError: if the path cannot be written.
    """
    encoding: dict[str, dict[str, Any]] = {
        str(name): {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in data.variables.items()
        if variable.ndim > 0 and np.issubdtype(variable.dtype, np.number)
    }
    plain = data.copy(deep=False)
    for variable in plain.variables.values():
        variable.encoding = {}
    if "time" in plain.variables and np.issubdtype(plain["time"].dtype, np.datetime64):
        encoding["time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    with atomic_path(path) as partial:
        plain.to_netcdf(partial, engine="netcdf4", encoding=encoding)


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
