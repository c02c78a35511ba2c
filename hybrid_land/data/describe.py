"""What is in a data set, in words and for a script."""

from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.columns import time_step_of
from hybrid_land.variables import VARIABLES, names


def describe(data: xr.Dataset) -> dict[str, Any]:
    """Sizes, span, step, variables by role and ranges of the columns' parameters.

    Args:
        data: with dims `(time, column)`.

    Returns:
        `columns`, `records`, `first`, `last`, `step_hours`, `variables` and `missing` by role,
        `parameters` as (least, largest), and `words`.
    """
    roles = ("prognostic", "diagnostic", "forcing", "parameter")
    present = {role: [n for n in names(role) if n in data] for role in roles}
    missing = {
        role: [n for n in names(role) if n not in data and not VARIABLES[n].optional]
        for role in roles
    }
    time = data["time"].to_numpy()
    first, last = (str(time[i].astype("datetime64[m]")) for i in (0, -1))
    ranges = {}
    for name in present["parameter"]:
        values = data[name].to_numpy()
        ranges[name] = (float(np.nanmin(values)), float(np.nanmax(values)))
    result: dict[str, Any] = {
        "columns": int(data.sizes["column"]),
        "records": int(data.sizes["time"]),
        "first": first,
        "last": last,
        "step_hours": time_step_of(data) / 3600.0,
        "variables": present,
        "missing": {role: absent for role, absent in missing.items() if absent},
        "parameters": ranges,
    }
    lines = [
        f"{result['columns']} columns, {result['records']} records of {result['step_hours']:g} h, "
        f"{first} to {last}",
        *(f"{role}: {' '.join(found) or 'none'}" for role, found in present.items()),
        *(f"missing {role}: {' '.join(absent)}" for role, absent in result["missing"].items()),
    ]
    if "clim_theta_cap" in ranges:
        low, high = ranges["clim_theta_cap"]
        lines.append(f"clim_theta_cap: {low:.3f} to {high:.3f} m3 m-3")
    return result | {"words": "\n".join(lines)}
