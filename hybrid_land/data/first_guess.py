"""A first guess: the state that a run or an assimilation starts from in place of the data's own."""

from pathlib import Path

import xarray as xr

from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.data.validate import validate
from hybrid_land.errors import InputError
from hybrid_land.variables import PROGNOSTIC


def read_first_guess(
    path: str | Path, data: xr.Dataset, *, variables: tuple[str, ...] = PROGNOSTIC
) -> xr.Dataset:
    """Read a first guess and check it as the data's own first state is checked.

    Args:
        path: NetCDF with the variables on dim `column`; of a file with times the first is taken.
        data: whose columns it is for; what their layers can hold is the limit.
        variables: names that it must have.

    Returns:
        The variables, dim `column`.

    Raises:
        InputError: if a variable is missing or not sound, or the columns are not the data's.
    """
    found = open_netcdf(path)
    if "time" in found.dims:
        found = found.isel(time=0, drop=True)
    absent = [name for name in variables if name not in found]
    if absent:
        raise InputError(
            f"{path}: missing variable {', '.join(absent)}; expected all prognostic variables; add "
            "them to the first guess"
        )
    columns, expected = found.sizes.get("column", 0), data.sizes["column"]
    if columns != expected:
        raise InputError(
            f"{path}: {columns} columns, expected {expected} as in the data; cut it to the same "
            "columns"
        )
    state = found[list(variables)].drop_vars("time", errors="ignore")
    start = state.expand_dims(time=data["time"].to_numpy()[:1])
    limits = [name for name in ("clim_theta_max", "clim_theta_sat") if name in data]
    for name in limits:
        start[name] = ("column", data[name].to_numpy())
    validate(start, source=str(path), required=variables)
    return state
