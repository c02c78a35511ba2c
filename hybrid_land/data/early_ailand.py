"""The early aiLand form: a Zarr store with one array a variable `(time, x)`."""

from pathlib import Path

import numpy as np
import xarray as xr

from hybrid_land.data.accumulation import NEXT_DAY_WEIGHT, WINDOWS, amounts_from_window_means
from hybrid_land.data.forms import our_name, to_our_form
from hybrid_land.data.netcdf import Chunks
from hybrid_land.data.zarr_store import damaged
from hybrid_land.errors import InputError

ACCUMULATED = ("sro", "ssro", "aco2gpp")
_STEP = np.timedelta64(6, "h")


def open_early_ailand(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open an early aiLand store lazily as a Dataset with dims `(time, column)`.

    Each record is the mean over the six hours that start at its label, state variables included
    (elsewhere the state is instantaneous at the label; it cannot be had from the means). Snow
    cover comes from percent, snow and runoff from metres of water, and `sro`, `ssro`, `aco2gpp`
    from accumulations since 00 UTC (`hybrid_land.data.accumulation`); days that are not whole at
    either end are left out. Parameters that it lacks come from ECLand's tables by class.

    Args:
        path: the store.
        chunks: for dask, by our dims; the store's own by default.

    Raises:
        InputError: if the store is damaged or its time is not 6-hourly.
    """
    folder = Path(path)
    consolidated = (folder / ".zmetadata").is_file()
    try:
        raw = xr.open_zarr(folder, consolidated=consolidated, chunks={})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, error) from error
    places = [dim for dim in raw.dims if dim != "time"]
    if "time" not in raw.dims or len(places) != 1:
        raise InputError(
            f"{path}: dims {', '.join(map(str, raw.dims))}, expected time and one of points; "
            "stack the points into one dim"
        )
    raw = raw.rename({places[0]: "column"})
    if chunks:
        raw = raw.chunk({dim: size for dim, size in chunks.items() if dim in raw.dims})
    notes = ["records are means over the 6 hours that start at the label, the state's too"]
    accumulated = [
        name
        for name in map(str, raw.data_vars)
        if our_name(name) in ACCUMULATED and "time" in raw[name].dims
    ]
    if accumulated:
        raw = _whole_days(raw, str(path))
        raw = raw.assign({name: _amounts(raw[name]) for name in accumulated})
        notes.append(f"{', '.join(accumulated)} from accumulations since 00 UTC")
    return to_our_form(raw, form="early aiLand Zarr", source=str(path), notes=notes)


def _whole_days(raw: xr.Dataset, source: str) -> xr.Dataset:
    """From the first record at 00 UTC to the last at 18 UTC."""
    time = raw["time"].to_numpy()
    uneven = np.diff(time) != _STEP
    if uneven.any():
        i = int(np.argmax(uneven))
        raise InputError(
            f"{source}: time is not 6-hourly at record {i + 1} ({time[i + 1]}), expected steps of "
            "6 h to undo the accumulations since 00 UTC; fill the gap or cut the store there"
        )
    hours = (time - time.astype("datetime64[D]")) / np.timedelta64(1, "h")
    first = int(np.argmax(hours == 0.0))
    count = (len(time) - first) // WINDOWS * WINDOWS
    if count == 0 or hours[first] != 0.0:
        raise InputError(
            f"{source}: no whole day from 00 UTC, expected records at 00, 06, 12 and 18 UTC to "
            "undo the accumulations; give a longer store"
        )
    return raw.isel(time=slice(first, first + count))


def _amounts(values: xr.DataArray) -> xr.DataArray:
    """Amounts over each step, lazily; a block sees one day more on either side."""
    name = str(our_name(str(values.name)))
    ordered = values.transpose("time", "column")
    blocks = ordered.chunk({"time": _whole_day_chunks(ordered)}).data
    amounts = blocks.map_overlap(
        amounts_from_window_means,
        depth={0: WINDOWS, 1: 0},
        boundary="none",
        dtype=values.dtype,
        meta=np.empty((0, 0), values.dtype),
        next_day_weight=NEXT_DAY_WEIGHT.get(name, 0.0),
    )
    return ordered.copy(data=amounts)


def _whole_day_chunks(values: xr.DataArray) -> int:
    """A chunk length in time near the store's own that holds whole days."""
    own = values.chunksizes["time"][0] if values.chunksizes else values.sizes["time"]
    return max(WINDOWS, own // WINDOWS * WINDOWS)
