"""aiLand's training database: a Zarr store with `data[time, x, variable]`."""

from collections.abc import Iterable
from pathlib import Path

import dask.array
import xarray as xr
import zarr

from hybrid_land.data.forms import our_name, to_our_form
from hybrid_land.data.netcdf import Chunks
from hybrid_land.data.zarr_store import (
    array,
    array_names,
    check_shape,
    largest_by_name,
    lazy,
    open_group,
    read,
    text,
    times,
)
from hybrid_land.errors import InputError

_NEEDED = ("data", "variable", "time", "lat", "lon")


def is_ailand(arrays: Iterable[str]) -> bool:
    """Whether a store's arrays are those of the training database."""
    return {"data", "variable"} <= set(arrays)


def open_ailand(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open aiLand's training database lazily as a Dataset with dims `(time, column)`.

    `data[time, x, variable]` and `clim_data[x, clim_variable]` are taken apart by the names in
    `variable` and `clim_variable`; the place comes from `lat`, `lon`, labels from `x`. Statistics
    (`data_means`, `data_maxs`, ...) stay behind, but the largest values help to tell units where
    neither a list `variable_units` (an array, or an attribute of `variable`) gives them.

    Args:
        path: the store.
        chunks: for dask, by our dims; the store's own by default.

    Raises:
        InputError: if the store is damaged, lacks an array, or shapes and names do not agree.
    """
    folder = Path(path)
    group = open_group(folder)
    arrays = array_names(group)
    absent = [name for name in _NEEDED if name not in arrays]
    if absent:
        raise InputError(
            f"{path}: aiLand database without {', '.join(absent)}, expected "
            f"{', '.join(_NEEDED)} and clim_data, clim_variable; add them to the store"
        )
    time = times(group, "time", folder)
    names = text(group, "variable")
    columns = array(group, "lat").shape[0]
    sizes = {"time": len(time), "column": columns, "variable": len(names)}
    dims = ("time", "column", "variable")
    check_shape(array(group, "data"), dims, sizes, folder, "data")
    values = lazy(array(group, "data"), dims, chunks)
    raw = xr.Dataset(coords={"time": time})
    raw = _take_apart(raw, values, names, ("time", "column"), _units(group, "variable"))
    if "clim_data" in arrays and "clim_variable" in arrays:
        clim_names = text(group, "clim_variable")
        sizes["clim_variable"] = len(clim_names)
        check_shape(
            array(group, "clim_data"), ("column", "clim_variable"), sizes, folder, "clim_data"
        )
        fixed = lazy(array(group, "clim_data"), ("column", "clim_variable"), chunks)
        raw = _take_apart(raw, fixed, clim_names, ("column",), _units(group, "clim_variable"))
    for name in ("lat", "lon"):
        check_shape(array(group, name), ("column",), sizes, folder, name)
        raw[name] = ("column", read(group, name))
    if "x" in arrays and array(group, "x").shape == (columns,):
        raw = raw.assign_coords(column=read(group, "x"))
    return to_our_form(
        raw,
        form="aiLand Zarr",
        source=str(path),
        maxima=largest_by_name(group, "data_maxs", names, our_name),
    )


def _take_apart(
    raw: xr.Dataset,
    values: dask.array.Array,
    names: list[str],
    dims: tuple[str, ...],
    units: dict[str, str],
) -> xr.Dataset:
    for i, name in enumerate(names):
        attributes = {"units": units[name]} if name in units else {}
        raw[name] = (dims, values[..., i], attributes)
    return raw


def _units(group: zarr.Group, axis: str) -> dict[str, str]:
    """Units by name, from an array `<axis>_units` or the axis's attribute, if there are any."""
    names = text(group, axis)
    if f"{axis}_units" in array_names(group):
        units = text(group, f"{axis}_units")
    else:
        stored = group[axis].attrs.get("variable_units", [])
        units = [str(unit) for unit in stored] if isinstance(stored, list) else []
    return dict(zip(names, units, strict=True)) if len(units) == len(names) else {}
