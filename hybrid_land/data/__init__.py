"""Data in and out: every form that is read becomes one Dataset with dims `(time, column)`."""

from pathlib import Path

import xarray as xr

from hybrid_land.data.members import flatten_members
from hybrid_land.data.netcdf import Chunks, open_netcdf, save
from hybrid_land.data.validate import validate
from hybrid_land.errors import InputError

__all__ = ["flatten_members", "load", "save", "validate"]

FORMS = (
    "a NetCDF file, an aiLand or early aiLand Zarr, an anemoi-datasets Zarr, or a folder with "
    "ECLand's output (o_gg.nc and friends)"
)


def load(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open data of any form that is known, lazily, as a Dataset with dims `(time, column)`.

    Args:
        path: a NetCDF file of the data's form (a dim `member`, runs with a parameter varied,
            becomes columns); a Zarr store of aiLand (early or training database) or of
            anemoi-datasets; a folder with ECLand's own output.
        chunks: for dask, by dimension. Without them a NetCDF file is read where values are
            asked for, and the other forms come in the chunks they are stored in.

    Raises:
        InputError: if there is nothing at `path` or its form is not known.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path}: no such file or folder; give an existing one")
    if place.is_file():
        data = open_netcdf(place, chunks=chunks)
        return flatten_members(data) if "member" in data.dims else data
    return _open_folder(place, chunks)


def _open_folder(folder: Path, chunks: Chunks) -> xr.Dataset:
    # Zarr takes half a second to import, and most data are NetCDF.
    from hybrid_land.data import ailand, anemoi, early_ailand, ecland_output, forms, zarr_store

    if zarr_store.is_zarr(folder):
        group = zarr_store.open_group(folder)
        arrays = zarr_store.array_names(group)
        if ailand.is_ailand(arrays):
            return ailand.open_ailand(folder, chunks=chunks)
        if anemoi.is_anemoi(group, arrays):
            return anemoi.open_anemoi(folder, chunks=chunks)
        if any(forms.our_name(name) for name in arrays):
            return early_ailand.open_early_ailand(folder, chunks=chunks)
        found = f"a Zarr store with {_some(sorted(arrays))}"
    elif ecland_output.is_ecland_output(folder):
        return ecland_output.open_ecland_output(folder, chunks=chunks)
    else:
        found = f"a folder with {_some(sorted(p.name for p in folder.iterdir()))}"
    raise InputError(f"{folder}: {found}, expected {FORMS}; give one of these")


def _some(names: list[str]) -> str:
    if not names:
        return "nothing in it"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
