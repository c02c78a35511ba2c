"""Zarr stores (format 2 and 3) on disk: what is in them, opened lazily."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from hybrid_land.data.netcdf import Chunks
from hybrid_land.errors import InputError


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def open_group(path: Path) -> zarr.Group:
    """The store's group, to read.

    Raises:
        InputError: if it is damaged or a single array.
    """
    try:
        return zarr.open_group(path, mode="r", use_consolidated=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """The message for a store that cannot be read."""
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: not a whole Zarr store ({words}); copy or make it again")


def array_names(group: zarr.Group) -> set[str]:
    """Names of the arrays at the top of a store."""
    return {name for name, _ in group.arrays()}


def array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a store, not read."""
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise InputError(f"{group.store_path}: {name} is a group, expected an array")
    return found


def read(group: zarr.Group, name: str) -> np.ndarray:
    """A small array of a store, whole."""
    return np.asarray(array(group, name)[...])


def text(group: zarr.Group, name: str) -> list[str]:
    """Names kept as an array of strings, bytes or objects."""
    values = read(group, name).ravel()
    return [v.decode() if isinstance(v, bytes) else str(v).strip() for v in values.tolist()]


def times(group: zarr.Group, name: str, path: Path) -> np.ndarray:
    """A time axis, `[time]` datetime64[ns], kept as dates or as numbers with a CF unit.

    Raises:
        InputError: if it is neither.
    """
    values = read(group, name)
    if np.issubdtype(values.dtype, np.datetime64):
        return values.astype("datetime64[ns]")
    attributes = {k: v for k, v in dict(group[name].attrs).items() if k in ("units", "calendar")}
    if "units" not in attributes:
        raise InputError(
            f"{path}: {name} has no unit, expected a CF unit such as 'hours since 2010-01-01'; "
            "add the attribute"
        )
    coded = xr.Dataset(coords={"time": ("time", values, attributes)})
    return xr.decode_cf(coded)["time"].to_numpy().astype("datetime64[ns]")


def lazy(values: zarr.Array, dims: Sequence[str], chunks: Chunks) -> dask.array.Array:
    """A dask array on a Zarr array, in the store's chunks unless `chunks` names the dim."""
    wanted: list[Any] = [
        (chunks or {}).get(dim, size) for dim, size in zip(dims, values.chunks, strict=True)
    ]
    return dask.array.from_zarr(values, chunks=tuple(wanted))


def check_shape(
    values: zarr.Array, dims: Sequence[str], sizes: Mapping[str, int], path: Path, name: str
) -> None:
    """Raise `InputError` unless an array has the sizes of its dims."""
    expected = tuple(sizes[dim] for dim in dims)
    if values.shape != expected:
        raise InputError(
            f"{path}: {name} has shape {values.shape}, expected {expected} for dims "
            f"({', '.join(dims)}); the store is not whole: make it again"
        )


def largest_by_name(
    group: zarr.Group, name: str, names: Sequence[str], rename: Callable[[str], str | None]
) -> dict[str, float]:
    """Largest values of a store's variables by our names, from its statistics if it has them."""
    if name not in array_names(group) or array(group, name).shape != (len(names),):
        return {}
    largest = {rename(n): float(v) for n, v in zip(names, read(group, name), strict=True)}
    return {ours: value for ours, value in largest.items() if ours is not None}
