"""The layouts in which providers store time series of grid points, made one: a list of records.

Climate and Forecast conventions, version 1.8, section 9.3: orthogonal (an array of location and
time), contiguous ragged (`row_size` with `sample_dimension`), indexed ragged (an index with
`instance_dimension`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hybrid_land.data.netcdf import in_memory
from hybrid_land.errors import InputError


@dataclass(frozen=True)
class Records:
    """What was stored with a value, one entry each.

    Attributes:
        place: index of the location, `[record]`.
        time: `datetime64[ns]`, `[record]`.
        values: name to float64 `[record]`, NaN where missing.
        lat: degrees north, `[location]`.
        lon: degrees east, -180 to 180, `[location]`.
        identity: the provider's number of the location, `[location]`.
    """

    place: np.ndarray
    time: np.ndarray
    values: dict[str, np.ndarray]
    lat: np.ndarray
    lon: np.ndarray
    identity: np.ndarray

    def local_hour(self) -> np.ndarray:
        """Local mean solar time of each record, hours, `[record]`."""
        seconds = (self.time - self.time.astype("datetime64[D]")) / np.timedelta64(1, "s")
        return (seconds / 3600.0 + self.lon[self.place] / 15.0) % 24.0

    def bits(self, name: str, *which: int) -> np.ndarray:
        """Whether any of the bits is set in a flag, `[record]`; a missing flag has none set."""
        flags = np.nan_to_num(self.values[name]).astype(np.int64)
        return (flags & sum(1 << bit for bit in which)) != 0


def read_records(stored: xr.Dataset, names: Iterable[str], *, value: str, source: str) -> Records:
    """Read the entries of a file in any of the three layouts that have a value.

    Args:
        stored: the opened file, a dimension of it the locations.
        names: variables to read beside `value`.
        value: the variable that must not be missing.
        source: what to call the file in a message.

    Raises:
        InputError: for a missing variable or coordinate, a layout that is none of the three, an
            index or row size that does not fit, or a damaged file.
    """
    wanted = (value, *names)
    for name in ("lat", "lon", "location_id", "time", *wanted):
        if name not in stored.variables:
            raise InputError(
                f"{source}: missing variable {name}, expected a provider's time series with "
                f"{', '.join(('lat', 'lon', 'location_id', 'time', *wanted))}; get the whole file"
            )
    if not np.issubdtype(stored["time"].dtype, np.datetime64):
        raise InputError(
            f"{source}: time is {stored['time'].dtype}, expected dates; give time a CF unit"
        )
    dims = stored["lat"].dims
    if len(dims) != 1:
        raise InputError(
            f"{source}: lat has dims {dims}, expected one, the locations; this is no time series "
            "of grid points: convert the images to time series first"
        )
    place, axis = _place(stored, str(dims[0]), stored[value].dims, source)
    raw = _numbers(stored[value], source)
    seen = np.isfinite(raw)
    if axis is None:
        seen &= (place >= 0) & (place < stored.sizes[dims[0]])
        time = in_memory(stored["time"], source=source).to_numpy()
        where, when = place[seen], time[seen]
    else:
        turned = raw.T if axis == 1 else raw
        seen = np.isfinite(turned)
        where = np.nonzero(seen)[0]
        when = in_memory(stored["time"], source=source).to_numpy()[np.nonzero(seen)[1]]
    values = {}
    for name in wanted:
        array = raw if name == value else _numbers(stored[name], source)
        if array.shape != raw.shape:
            raise InputError(
                f"{source}: {name} has dims {stored[name].dims}, expected those of {value}, "
                f"{stored[value].dims}; get the whole file"
            )
        values[name] = (array.T if axis == 1 else array)[seen]
    lon = _numbers(stored["lon"], source)
    return Records(
        place=where.astype(np.int64),
        time=when.astype("datetime64[ns]"),
        values=values,
        lat=_numbers(stored["lat"], source),
        lon=(lon + 180.0) % 360.0 - 180.0,
        identity=in_memory(stored["location_id"], source=source).to_numpy(),
    )


def _place(
    stored: xr.Dataset, locations: str, dims: tuple, source: str
) -> tuple[np.ndarray, int | None]:
    """Location of each record of a ragged array; or which axis the locations are."""
    if locations in dims:
        if len(dims) != 2 or "time" not in dims:
            raise InputError(
                f"{source}: values have dims {dims}, expected ({locations}, time); select one of "
                "the others"
            )
        return np.zeros(0, np.int64), dims.index(locations)
    for name, variable in stored.variables.items():
        if "sample_dimension" in variable.attrs and variable.dims == (locations,):
            rows = variable.to_numpy().astype(np.int64)
            length = stored.sizes[dims[0]]
            if (rows < 0).any() or rows.sum() != length:
                raise InputError(
                    f"{source}: {name} adds up to {rows.sum()}, expected {length}, the number of "
                    "records; the file is damaged: get it again"
                )
            return np.repeat(np.arange(len(rows)), rows), None
        if "instance_dimension" in variable.attrs and variable.dims == dims:
            index = variable.to_numpy().astype(np.int64)
            outside = (index < 0) | (index >= stored.sizes[locations])
            if outside.any():
                raise InputError(
                    f"{source}: {name} is {index[outside][0]} at record {np.argmax(outside)}, "
                    f"expected 0 to {stored.sizes[locations] - 1}; the file is damaged: get it "
                    "again"
                )
            return index, None
    raise InputError(
        f"{source}: no way from records to locations, expected an array of location and time, a "
        "row size with sample_dimension or an index with instance_dimension; convert the file"
    )


def _numbers(values: xr.DataArray, source: str) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(
            f"{source}: {values.name} is {values.dtype}, expected numbers; get the whole file"
        )
    return in_memory(values, source=source).to_numpy().astype(np.float64)
