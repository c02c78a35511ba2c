"""What all readers share: names and units of others, and the way to the data's own form."""

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from hybrid_land.columns import time_step_of
from hybrid_land.data.class_tables import fill_from_classes
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER, VARIABLES, WATER_DENSITY, Variable

GRAVITY = 9.80665  # m s-2, IFS RG
_SAMPLES = 64  # records looked at where units must be told from the values

# Names in lower case that are not ours (ecCodes short names and older spellings).
_ALIASES = {
    "2t": "t2m",
    "2d": "d2m",
    "asnow": "asn",
    "snow_cover": "snowc",
    "gpp": "aco2gpp",
    "slt": "clim_sotype",
    "z": "clim_geopot",
    "lsm": "clim_landsea",
    "cl": "clim_clake",
    "clim_cl": "clim_clake",
    "latitude": "lat",
    "longitude": "lon",
    "latitudes": "lat",
    "longitudes": "lon",
    "tp_convective_fraction": "met_ctpf",
    **{name: f"clim_{name}" for name in ("cvh", "cvl", "tvh", "tvl", "sdor", "sdfor", "cu")},
}

# To the table's units: found spelling (see `_spelled`) -> factor, offset, power of the step (s).
_CONVERSIONS: dict[str, dict[str, tuple[float, float, int]]] = {
    "1": {"%": (0.01, 0.0, 0), "percent": (0.01, 0.0, 0)},
    "K": dict.fromkeys(("c", "degc", "celsius", "degrees_celsius"), (1.0, 273.15, 0)),
    "Pa": {"hpa": (100.0, 0.0, 0), "mbar": (100.0, 0.0, 0), "kpa": (1000.0, 0.0, 0)},
    "kg m-2": {
        "m": (WATER_DENSITY, 0.0, 0),
        "m of water equivalent": (WATER_DENSITY, 0.0, 0),
        "kg m-2 s-1": (1.0, 0.0, 1),
        "mm s-1": (1.0, 0.0, 1),
        "m s-1": (WATER_DENSITY, 0.0, 1),
    },
    "kg m-2 s-1": {
        "kg m-2": (1.0, 0.0, -1),
        "mm": (1.0, 0.0, -1),
        "m": (WATER_DENSITY, 0.0, -1),
        "m s-1": (WATER_DENSITY, 0.0, 0),
        "mm h-1": (1.0 / 3600.0, 0.0, 0),
    },
    "W m-2": {"j m-2": (1.0, 0.0, -1)},
    "kg kg-1": {"g kg-1": (1e-3, 0.0, 0)},
    "m2 s-2": {"m": (GRAVITY, 0.0, 0)},
    "m s-1": {"mm s-1": (1e-3, 0.0, 0)},
}


def our_name(name: str) -> str | None:
    """ECLand's name in our spelling, or None for what we have no place for."""
    lower = name.strip().lower()
    lower = _ALIASES.get(lower, lower)
    return lower if lower in VARIABLES else None


def _spelled(units: object) -> str:
    """One spelling of a unit: lower case, `m-2` for `m**-2`, `/m2` and `^-2`."""
    text = str(units).strip().strip('"').lower().replace("**", "").replace("^", "")
    text = re.sub(r"/(m2|m3)s$", r"/\1/s", text)
    text = re.sub(r"/([a-z]+)(\d?)", lambda m: f" {m[1]}-{m[2] or 1}", text)
    return re.sub(r"\s+", " ", text).strip()


def conversion(row: Variable, units: object) -> tuple[float, float, int] | None:
    """Factor, offset and power of the step that take `units` to the table's, None if the same."""
    spelled = _spelled(units)
    if spelled in ("kg m-2", "mm") and row.name in SOIL_WATER:
        return 1.0 / (WATER_DENSITY * row.thickness), 0.0, 0
    return _CONVERSIONS.get(row.units, {}).get(spelled)


def to_our_form(
    raw: xr.Dataset,
    *,
    form: str,
    source: str,
    maxima: Mapping[str, float] | None = None,
    notes: list[str] | None = None,
    fill: bool = True,
) -> xr.Dataset:
    """The data's own form from variables with dims among `(time, column)`, lazily.

    Names and units become ours; where a variable has no unit, percent and metres of water are
    told from its values. Parameters repeated in time are kept once, those that are missing come
    from ECLand's tables by class. Nothing but parameters and a few records is read.

    Args:
        raw: variables under their old names, with dims `time`, `column` (and `month`).
        form: what it was, for the attribute `form`.
        source: what to call the data in a message.
        maxima: largest values by our names where the store keeps them.
        notes: sentences for the attribute `derived`.
        fill: whether parameters may come from the tables.

    Raises:
        InputError: if it has no dates, nothing in it is known, a name comes twice, or a parameter
            changes in time.
    """
    if "time" not in raw.coords or not np.issubdtype(raw["time"].dtype, np.datetime64):
        found = raw["time"].dtype if "time" in raw.coords else "missing"
        raise InputError(
            f"{source}: time is {found}, expected dates on the standard calendar; give time a CF "
            "unit such as 'seconds since 1970-01-01'"
        )
    notes = list(notes or [])
    variables: dict[str, xr.DataArray] = {}
    left_out = []
    for found, values in raw.reset_coords().data_vars.items():
        name = our_name(str(found))
        if name is None:
            left_out.append(str(found))
            continue
        if name in variables:
            raise InputError(f"{source}: {name} comes twice, once as {found}; keep one of them")
        variables[name] = _fixed(values, name, source) if _is_fixed(name) else values
    if not variables:
        raise InputError(
            f"{source}: none of the variables is ECLand's, found {', '.join(left_out[:8])}; "
            "expected names such as swvl1, stl1, met_tair, clim_cvh"
        )
    step = time_step_of(raw)
    axes = [name for name in ("time", "column") if name in raw.coords]
    result = xr.Dataset(coords={name: raw[name].variable for name in axes})
    guessed = _guess_units(variables, step, maxima or {})
    for name, values in variables.items():
        row = VARIABLES[name]
        units = values.attrs.get("units") or guessed.get(name)
        converted = values.astype(np.float32)
        if converted.dtype.byteorder != "=":
            # Zarr says "<f4", which netCDF4 warns of when it writes.
            converted = converted.copy(data=converted.data.view(np.float32))
        change = conversion(row, units) if units else None
        if change is not None:
            factor, offset, power = change
            scale = np.float32(factor * step**power)
            converted = converted * scale + np.float32(offset) if offset else converted * scale
            why = " (told from the values)" if name in guessed else ""
            notes.append(f"{name} from {units}{why}")
        dims = [d for d in ("time", "month", "column") if d in converted.dims]
        converted = converted.transpose(*dims)
        converted.attrs = {"units": row.units, "long_name": row.long_name}
        converted.encoding = {}
        result[name] = converted.drop_vars(set(converted.coords) - set(result.coords))
    if fill:
        result, more = fill_from_classes(result)
        notes += more
        for name in result.data_vars:
            row = VARIABLES[str(name)]
            result[name].attrs = {"units": row.units, "long_name": row.long_name}
    result.attrs = {"form": form, "derived": "; ".join(notes) or "nothing"}
    if left_out:
        result.attrs["left_out"] = ", ".join(sorted(left_out))
    return result[[name for name in VARIABLES if name in result]]


def _is_fixed(name: str) -> bool:
    return VARIABLES[name].kind == "fixed"


def _fixed(values: xr.DataArray, name: str, source: str) -> xr.DataArray:
    """A parameter once a column, in memory."""
    if "time" not in values.dims:
        return values.load()
    last = values.sizes["time"] - 1
    first, middle, end = (values.isel(time=i, drop=True).load() for i in (0, last // 2, last))
    for other in (middle, end):
        if not np.array_equal(first.to_numpy(), other.to_numpy(), equal_nan=True):
            raise InputError(
                f"{source}: {name} changes in time, expected a parameter that stays fixed; cut the "
                "data where it is constant"
            )
    return first


def _sample(values: xr.DataArray) -> np.ndarray:
    count = values.sizes.get("time", 1)
    if "time" not in values.dims or count <= _SAMPLES:
        return values.to_numpy()
    picks = np.unique(np.linspace(0, count - 1, _SAMPLES).astype(int))
    return values.isel(time=picks).to_numpy()


def _guess_units(
    variables: Mapping[str, xr.DataArray], step: float, maxima: Mapping[str, float]
) -> dict[str, str]:
    """Units of variables without one, where the values tell: percent and metres of water.

    Cover and fraction above 1 are percent. Snow is in metres where fully covered ground holds
    less than 1 in the median (1 kg m-2 would be 1 cm of fresh snow); evaporation and runoff
    where all evaporation is less than a hundredth of precipitation.
    """
    guessed: dict[str, str] = {}
    bare = {name for name, values in variables.items() if not values.attrs.get("units")}

    def largest(name: str) -> float:
        return maxima[name] if name in maxima else float(np.nanmax(_sample(variables[name])))

    for name in ("snowc", "met_ctpf", "clim_cvh", "clim_cvl"):
        if name in bare and largest(name) > 1.5:
            guessed[name] = "%"
    if "sd" in bare and "snowc" in variables:
        cover = _sample(variables["snowc"])
        full = 50.0 if guessed.get("snowc") or largest("snowc") > 1.5 else 0.5
        snow = _sample(variables["sd"])[cover > full]
        if snow.size and np.median(snow) < 1.0:
            guessed["sd"] = "m of water equivalent"
    if "e" in bare and "met_rainf" in variables and not variables["met_rainf"].attrs.get("units"):
        water = _sample(variables["met_rainf"]).mean() * step
        lost = abs(_sample(variables["e"]).mean())
        if 0.0 < lost < 0.01 * water:
            guessed |= {name: "m" for name in ("e", "sro", "ssro") if name in bare}
    return guessed
