"""Runs of the same columns with one parameter varied, as plain columns."""

import numpy as np
import xarray as xr

from hybrid_land.variables import PROGNOSTIC, VARIABLES


def flatten_members(data: xr.Dataset) -> xr.Dataset:
    """From dims `(time, member, column)` to `(time, column)`, members one after the other.

    The file of ECLand's answers to field capacity keeps soil water at all times and the rest of
    the state (`init_*`) at the first only; elsewhere the state is missing (NaN). `clim_theta_cap`
    becomes the member's value.

    Args:
        data: with the dim `member` beside `time` and `column`.

    Returns:
        The data's form; coordinates `member` and `base_column` on `column` say where each came
        from.
    """
    members, columns = data.sizes["member"], data.sizes["column"]
    index = np.tile(np.arange(columns), members)
    base = data.drop_dims("member").isel(column=index)
    labels = data["column"].to_numpy() if "column" in data.coords else np.arange(columns)
    result = base.drop_vars("column", errors="ignore")
    count = members * columns
    for name, variable in data.data_vars.items():
        if "member" not in variable.dims:
            continue
        lead = tuple(dim for dim in variable.dims if dim not in ("member", "column"))
        ordered = variable.transpose(*lead, "member", "column")
        shape = (*(data.sizes[dim] for dim in lead), count)
        flat = ordered.to_numpy().reshape(shape)
        target = "clim_theta_cap" if name == "theta_cap" else str(name)
        result[target] = ((*lead, "column"), flat, variable.attrs)
    for name in PROGNOSTIC:
        first = f"init_{name}"
        if first in result and name not in result:
            series = np.full((data.sizes["time"], count), np.nan, np.float32)
            series[0] = result[first].to_numpy()
            row = VARIABLES[name]
            attributes = {"units": row.units, "long_name": row.long_name}
            result[name] = (("time", "column"), series, attributes)
            result = result.drop_vars(first)
    return result.assign_coords(
        member=("column", np.repeat(np.arange(members), columns)),
        base_column=("column", np.tile(labels, members)),
    )
