"""Is a data set what it should be? One error that names the first thing that is not."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from hybrid_land.data.netcdf import in_memory
from hybrid_land.errors import InputError
from hybrid_land.variables import (
    FORCING,
    PROGNOSTIC,
    SNOW_INNER,
    SOIL_WATER,
    VARIABLES,
    Variable,
    names,
)

_ROUNDING = 1e-4  # of a variable's bounds: files are rounded to a few digits
_RECORDS_AT_ONCE = 4000
# Spellings of a unit that mean the same.
_SAME = {
    "K": {"k", "kelvin"},
    "1": {"1", "-", "", "fraction", "dimensionless", "(0 - 1)", "0-1", "m2 m-2"},
    "m3 m-3": {"m3 m-3", "m**3 m**-3", "m3/m3", "m^3 m^-3", "1"},
    "kg m-2": {"kg m-2", "kg m**-2", "kg/m2", "kg/m^2", "mm"},
    "kg m-2 s-1": {"kg m-2 s-1", "kg m**-2 s**-1", "kg/m2s", "kg/m2/s", "kg/m^2/s", "mm s-1"},
    "W m-2": {"w m-2", "w m**-2", "w/m2", "w/m^2"},
    "m s-1": {"m s-1", "m s**-1", "m/s", "u m/s"},
    "kg kg-1": {"kg kg-1", "kg kg**-1", "kg/kg", "1"},
    "Pa": {"pa"},
    "kg m-3": {"kg m-3", "kg m**-3", "kg/m3"},
}


def validate(
    data: xr.Dataset,
    *,
    source: str = "the data",
    required: tuple[str, ...] | None = None,
) -> None:
    """Raise unless the data are sound: present, in the right units, finite, within bounds.

    The state is checked at each time and may be missing (NaN) after the first record; forcing
    and parameters may not. Large data are read in pieces of time.

    Args:
        data: with dims `(time, column)`.
        source: what to call the data in the message.
        required: variables that must be there; all prognostic ones, the forcing, the parameters
            that are not optional, and the place by default.

    Raises:
        InputError: naming the source, the variable, the first bad place, what was expected and
            what to do.
    """
    if required is None:
        parameters = tuple(n for n in names("parameter") if not VARIABLES[n].optional)
        required = (*PROGNOSTIC, *FORCING, *parameters, "lat", "lon")
    _check_axes(data, source)
    absent = [name for name in required if name not in data]
    if absent:
        raise InputError(
            f"{source}: missing variable {', '.join(absent)}; expected all of ECLand's state, "
            "forcing and parameters; add them to the file"
        )
    present = [row for row in VARIABLES.values() if row.name in data]
    for row in present:
        _check_units(data[row.name], row, source)
    for row in present:
        for part, offset in _pieces(data[row.name], source):
            _check_values(part, row, source, data, offset, required=row.name in required)
    _check_together(data, source)


def _pieces(values: xr.DataArray, source: str) -> Iterator[tuple[xr.DataArray, int]]:
    """The values in pieces of time, each with its first record."""
    if "time" not in values.dims:
        yield in_memory(values, source=source), 0
        return
    for begin in range(0, values.sizes["time"], _RECORDS_AT_ONCE):
        piece = values.isel(time=slice(begin, begin + _RECORDS_AT_ONCE))
        yield in_memory(piece, source=source), begin


def _check_axes(data: xr.Dataset, source: str) -> None:
    for dim in ("time", "column"):
        if dim not in data.dims:
            raise InputError(
                f"{source}: no dimension {dim!r}, expected dims (time, column); convert the file "
                "with hybrid-land convert"
            )
        if data.sizes[dim] == 0:
            raise InputError(
                f"{source}: zero {dim}s, expected at least one; choose a file with data in it"
            )
    if "time" not in data.coords:
        raise InputError(f"{source}: no coordinate time; expected one with a CF unit; add it")
    time = data["time"].to_numpy()
    if not np.issubdtype(time.dtype, np.datetime64):
        raise InputError(
            f"{source}: time is {time.dtype}, expected dates on the standard calendar; give time a "
            "CF unit such as 'seconds since 1970-01-01'"
        )
    if len(time) < 2:
        return
    steps = np.diff(time).astype("timedelta64[s]").astype(np.int64)
    if (steps <= 0).any():
        i = int(np.argmax(steps <= 0))
        fault = "duplicate times" if steps[i] == 0 else "time goes backwards"
        raise InputError(
            f"{source}: {fault} at record {i + 1} ({_when(time[i + 1])} after {_when(time[i])}); "
            "expected increasing times; sort the records and drop repeated ones"
        )
    usual = int(np.median(steps))
    if (steps != usual).any():
        i = int(np.argmax(steps != usual))
        raise InputError(
            f"{source}: uneven time at record {i + 1}: {steps[i] / 3600:g} h after "
            f"{_when(time[i])}, expected {usual / 3600:g} h; fill the gap or cut the file there"
        )


def _check_units(values: xr.DataArray, row: Variable, source: str) -> None:
    units = values.attrs.get("units")
    if units is None:
        return
    spelled = str(units).strip().strip('"').lower()
    if spelled == row.units.lower() or spelled in _SAME.get(row.units, set()):
        return
    raise InputError(
        f"{source}: {row.name} has units {units!r}, expected {row.units!r}; convert the values and "
        "set the attribute"
    )


def _check_values(
    part: xr.DataArray,
    row: Variable,
    source: str,
    data: xr.Dataset,
    offset: int,
    *,
    required: bool,
) -> None:
    values = part.to_numpy()
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(f"{source}: {row.name} is {values.dtype}, expected numbers; convert it")
    missing = ~np.isfinite(values)
    strict = row.role in ("forcing", "parameter", "coordinate") and not row.optional
    first_state = row.role == "prognostic" and offset == 0 and required
    if strict and missing.any():
        _raise(
            part,
            missing,
            row,
            source,
            data,
            offset,
            "is missing (NaN or infinite)",
            "a value",
            "fill the gap or leave the columns out",
        )
    if first_state and "time" in part.dims and missing[0].any():
        where = np.zeros_like(missing)
        where[0] = missing[0]
        _raise(
            part,
            where,
            row,
            source,
            data,
            offset,
            "is missing in the first state",
            "a value",
            "start at a time with a whole state",
        )
    slack = _ROUNDING * max(abs(row.lower), abs(row.upper), 1.0)
    if not np.isfinite(slack):
        slack = _ROUNDING
    with np.errstate(invalid="ignore"):
        bad = (values < row.lower - slack) | (values > row.upper + slack)
    if bad.any():
        finite = values[np.isfinite(values)]
        found = f"is {values[bad][0]:g}"
        advice = hint(row, finite)
        _raise(
            part,
            bad,
            row,
            source,
            data,
            offset,
            found,
            f"{row.lower:g} to {row.upper:g} {row.units}",
            advice,
        )


def hint(row: Variable, finite: np.ndarray) -> str:
    """What the numbers look like when they are not what they should be."""
    middle = float(np.median(finite))
    if row.units == "K" and -90.0 < middle < 70.0:
        return "these look like degrees Celsius: add 273.15"
    if row.name in SOIL_WATER and float(finite.max()) > 1.5:
        return (
            "these look like mm of water (kg m-2): divide by 1000 and by the layer's thickness of "
            f"{row.thickness:g} m"
        )
    if row.units == "1" and 1.0 < float(finite.max()) <= 100.0001:
        return "these look like percent: divide by 100"
    if row.name in ("met_rainf", "met_snowf"):
        return "these look like amounts over the step: divide by its length in seconds"
    if row.name == "met_psurf" and middle < 2000.0:
        return "these look like hPa: multiply by 100"
    return "check the unit and mask bad values"


def _check_together(data: xr.Dataset, source: str) -> None:
    limit = "clim_theta_max" if "clim_theta_max" in data else "clim_theta_sat"
    if limit in data:
        full = data[limit].load()
        for name in SOIL_WATER:
            if name not in data:
                continue
            for part, offset in _pieces(data[name], source):
                ordered = part.transpose(..., "column")
                bad = ordered.to_numpy() > full.to_numpy() + _ROUNDING
                if bad.any():
                    found = f"is {ordered.to_numpy()[bad][0]:g}"
                    _raise(
                        ordered,
                        bad,
                        VARIABLES[name],
                        source,
                        data,
                        offset,
                        found,
                        f"at most what the layer can hold ({limit})",
                        "lower it or correct the soil's parameters",
                    )
    if "clim_theta_cap" in data and "clim_theta_pwp" in data:
        bad = data.clim_theta_cap.to_numpy() <= data.clim_theta_pwp.to_numpy()
        if bad.any():
            column = int(np.argmax(bad))
            raise InputError(
                f"{source}: clim_theta_cap is {float(data.clim_theta_cap[column]):g} at column "
                f"{column}, not above clim_theta_pwp {float(data.clim_theta_pwp[column]):g}; field "
                "capacity must lie above the wilting point; correct one of them"
            )
    for name in SNOW_INNER:
        if name in data and "sd" in data and "time" in data[name].dims:
            first = data[name].isel(time=0).to_numpy()
            if not np.isfinite(first[data.sd.isel(time=0).to_numpy() > 0]).all():
                raise InputError(
                    f"{source}: {name} is missing where the first state has snow; give its value"
                )


def _raise(
    part: xr.DataArray,
    bad: np.ndarray,
    row: Variable,
    source: str,
    data: xr.Dataset,
    offset: int,
    found: str,
    expected: str,
    action: str,
) -> None:
    index = dict(zip(part.dims, np.argwhere(bad)[0], strict=True))
    place = []
    if "time" in index:
        record = int(index["time"]) + offset
        place.append(f"record {record} ({_when(data.time.to_numpy()[record])})")
    if "column" in index:
        place.append(f"column {int(index['column'])}")
    raise InputError(
        f"{source}: {row.name} {found} at {', '.join(place) or 'its only value'}; expected "
        f"{expected}; {action}"
    )


def _when(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]"))
