"""An anemoi-datasets Zarr: `data[dates, variable, ensemble, cell]`."""

from collections.abc import Iterable
from pathlib import Path

import dask.array
import numpy as np
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
    times,
)
from hybrid_land.errors import InputError

_NEEDED = ("data", "dates", "latitudes", "longitudes")


def is_anemoi(group: zarr.Group, arrays: Iterable[str]) -> bool:
    """Whether a store is one of anemoi-datasets."""
    return "data" in arrays and ("dates" in arrays or "variables" in group.attrs)


def open_anemoi(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open an anemoi-datasets store lazily as a Dataset with dims `(time, column)`.

    Variables are named by the attribute `variables`, their units come from
    `variables_metadata` where it gives them. Ensemble members become columns, one after the
    other. Parameters repeated in time are kept once; records of `missing_dates` become NaN, so
    that `validate` names the first of them. Statistics stay behind, but `maximum` helps to tell
    units.

    Args:
        path: the store.
        chunks: for dask, by our dims; the store's own by default.

    Raises:
        InputError: if the store is damaged, lacks an array, or shapes and names do not agree.
    """
    folder = Path(path)
    group = open_group(folder)
    arrays = array_names(group)
    stored = group.attrs.get("variables", [])
    names = [str(name) for name in stored] if isinstance(stored, list) else []
    absent = [name for name in _NEEDED if name not in arrays]
    if absent or not names:
        lack = [*absent, *([] if names else ["attribute variables"])]
        raise InputError(
            f"{path}: anemoi dataset without {', '.join(lack)}, expected {', '.join(_NEEDED)} "
            "and the attribute variables; make it again with anemoi-datasets create"
        )
    time = times(group, "dates", folder)
    packed = array(group, "data")
    cells = array(group, "latitudes").shape[0]
    members = packed.shape[2] if packed.ndim == 4 else 1
    dims = ("time", "variable", "ensemble", "column")
    sizes = {"time": len(time), "variable": len(names), "ensemble": members, "column": cells}
    check_shape(packed, dims, sizes, folder, "data")
    values = lazy(packed, dims, chunks)
    units = _units(group)
    raw = xr.Dataset(coords={"time": time})
    missing = _missing(group, time)
    for i, name in enumerate(names):
        series = dask.array.reshape(values[:, i], (len(time), members * cells))
        attributes = {"units": units[name]} if name in units else {}
        variable = xr.DataArray(series, dims=("time", "column"), attrs=attributes)
        if missing.any() and not (our_name(name) or "").startswith("clim_"):
            variable = variable.where(xr.DataArray(~missing, dims="time"))
        raw[name] = variable.assign_attrs(attributes)
    for name, kept in (("lat", "latitudes"), ("lon", "longitudes")):
        check_shape(array(group, kept), ("column",), sizes, folder, kept)
        raw[name] = ("column", np.tile(read(group, kept), members))
    notes = []
    if members > 1:
        notes.append(f"{members} ensemble members as columns, one after the other")
    if missing.any():
        notes.append(f"{int(missing.sum())} missing dates as NaN")
    return to_our_form(
        raw,
        form="anemoi-datasets Zarr",
        source=str(path),
        maxima=largest_by_name(group, "maximum", names, our_name),
        notes=notes,
    )


def _missing(group: zarr.Group, time: np.ndarray) -> np.ndarray:
    stored = group.attrs.get("missing_dates", [])
    dates = [str(date).replace("Z", "") for date in stored] if isinstance(stored, list) else []
    return np.isin(time, np.array(dates, "datetime64[ns]"))


def _units(group: zarr.Group) -> dict[str, str]:
    metadata = group.attrs.get("variables_metadata", {})
    if not isinstance(metadata, dict):
        return {}
    return {
        name: str(entry["units"])
        for name, entry in metadata.items()
        if isinstance(entry, dict) and entry.get("units")
    }
