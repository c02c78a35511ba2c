"""Locations of a product and columns of a model: the nearest, and the file of observations."""

import numpy as np
import xarray as xr

from assimilation.satellite.places import MAX_DISTANCE_KM, nearest, require_places
from assimilation.satellite.screening import record_of
from hybrid_land.errors import InputError

TIMES = ("observation", "data")
# Values of one variable that a table of times and columns may hold: 800 MB in float32.
_LARGEST = 200_000_000


def observe(
    product: xr.Dataset,
    data: xr.Dataset,
    *,
    name: str = "swvl1",
    times: str = "observation",
    max_distance_km: float = MAX_DISTANCE_KM,
    skip_missing: bool = False,
) -> xr.Dataset:
    """Give each column of a model the observations of the nearest location that has any.

    Args:
        product: from `read_satellite`.
        data: the model's, with `lat` and `lon` on `column`, and `time`.
        name: the observable that the soil moisture is taken for.
        times: `observation`: the union of the overpass times of all columns, to the second;
            `data`: the records of the data that hold an observation, several in one step and
            column averaged and the largest of their errors kept, as `read_observations` would.
            Observations outside the data's time are then left out.
        max_distance_km: from column to location, along the great circle.
        skip_missing: leave columns without a location empty instead of raising.

    Returns:
        The observations' form: dims `(time, column)`, `<name>` and `<name>_error` (NaN where
        nothing was observed), the data's column labels if it has any, coordinates `location_id`
        and `distance_km` on column, and the product's attributes. A time outside the data has
        still to be cut (`cut_to`) before `read_observations` takes it.

    Raises:
        InputError: naming the first column without a location, or if nothing is left.
    """
    if times not in TIMES:
        raise InputError(f"times {times!r} is not known, expected {' or '.join(TIMES)}; use one")
    require_places(data)
    if not product.sizes["observation"]:
        raise InputError(
            "no observation left after screening, expected at least one; look at the attributes "
            "screened_* of the product, or try quality retrieved (--quality)"
        )
    lat, lon = (data[n].to_numpy().astype(float) for n in ("lat", "lon"))
    seen = np.unique(product["location_index"].to_numpy())
    near_lat, near_lon = (product[n].to_numpy()[seen] for n in ("lat", "lon"))
    index, distance = nearest(lat, lon, near_lat, near_lon, max_distance_km=max_distance_km)
    alone = index < 0
    if alone.all() or (alone.any() and not skip_missing):
        column = int(np.argmax(alone))
        nearby = int(nearest(lat, lon, near_lat, near_lon, max_distance_km=np.inf)[0][column])
        raise InputError(
            f"column {column} at {lat[column]:.3f} N, {lon[column]:.3f} E: the nearest location "
            f"with observations, {near_lat[nearby]:.3f} N, {near_lon[nearby]:.3f} E, is "
            f"{distance[column]:.0f} km away, expected at most {max_distance_km:g}; allow more "
            "(--max-distance), or leave such columns empty (--skip-missing)"
        )
    location = np.where(alone, -1, seen[index])
    table = _table(product, location, data, name, times)
    if "column" in data.coords:
        table = table.assign_coords(column=data["column"])
    identity = product["location_id"].to_numpy()
    table = table.assign_coords(
        location_id=("column", np.where(alone, -1, identity[location])),
        distance_km=("column", np.where(alone, np.nan, distance), {"units": "km"}),
        lat=("column", lat, {"units": "degrees_north"}),
        lon=("column", lon, {"units": "degrees_east"}),
    )
    table.attrs = product.attrs | {
        "title": f"Observations of {name}",
        "columns_without_location": int(alone.sum()),
        "observations_collocated": int(np.isfinite(table[name].to_numpy()).sum()),
    }
    return table


def _table(
    product: xr.Dataset, location: np.ndarray, data: xr.Dataset, name: str, times: str
) -> xr.Dataset:
    """Values and errors on a common axis of time, `(time, column)`."""
    when = product["time"].to_numpy()
    if times == "data":
        record = record_of(when, data["time"].to_numpy())
        when = np.where(record >= 0, data["time"].to_numpy()[record], np.datetime64("NaT"))
    # Several columns may share a location: each location's entries go to all of its columns.
    place = product["location_index"].to_numpy()
    order = np.argsort(place, kind="stable")
    begin, end = (np.searchsorted(place[order], location, side=s) for s in ("left", "right"))
    entries = [order[b:e] for b, e in zip(begin, end, strict=True)]
    rows = np.concatenate(entries)
    column = np.repeat(np.arange(len(location)), [len(part) for part in entries])
    inside = ~np.isnat(when[rows])
    rows, column = rows[inside], column[inside]
    axis, at = np.unique(when[rows], return_inverse=True)
    shape = (len(axis), len(location))
    if not len(axis):
        _raise_outside(product["time"].to_numpy(), data)
    if shape[0] * shape[1] > _LARGEST:
        raise InputError(
            f"{shape[0]} times by {shape[1]} columns are too many to hold, expected at most "
            f"{_LARGEST:.0e} values; put them on the data's records (--times data)"
        )
    number, total = np.zeros(shape), np.zeros(shape)
    np.add.at(number, (at, column), 1.0)
    np.add.at(total, (at, column), product["soil_moisture"].to_numpy()[rows])
    largest = np.zeros(shape)
    np.maximum.at(largest, (at, column), product["soil_moisture_error"].to_numpy()[rows])
    there = number > 0
    mean = np.where(there, total / np.maximum(number, 1.0), np.nan)
    units = {"units": "m3 m-3"}
    dims = ("time", "column")
    return xr.Dataset(
        {
            name: (dims, mean.astype(np.float32), units),
            f"{name}_error": (dims, np.where(there, largest, np.nan).astype(np.float32), units),
        },
        coords={"time": axis},
    )


def cut_to(observed: xr.Dataset, data: xr.Dataset) -> xr.Dataset:
    """The observations within the data's time, from the first record to the last step's end.

    Returns:
        The same form; the attribute `times_cut` counts the times that went.

    Raises:
        InputError: if none is within.
    """
    inside = record_of(observed["time"].to_numpy(), data["time"].to_numpy()) >= 0
    if not inside.any():
        _raise_outside(observed["time"].to_numpy(), data)
    result = observed.isel(time=inside)
    result.attrs = observed.attrs | {"times_cut": int((~inside).sum())}
    return result


def _raise_outside(time: np.ndarray, data: xr.Dataset) -> None:
    days = [str(t.astype("datetime64[D]")) for t in (time.min(), time.max())]
    span = [str(data["time"].to_numpy()[i].astype("datetime64[D]")) for i in (0, -1)]
    raise InputError(
        f"no observation within the data's time, {span[0]} to {span[1]}: they are from {days[0]} "
        f"to {days[1]}; give data of that time"
    )
