"""Observations on a model's records: read from a file, checked, or made for a twin experiment."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from assimilation.operators import OBSERVABLES, OPERATORS, UNITS, Context
from hybrid_land.columns import parameters_from, time_step_of
from hybrid_land.data.netcdf import in_memory, open_netcdf
from hybrid_land.data.validate import hint
from hybrid_land.errors import InputError
from hybrid_land.variables import names

_ERROR = "_error"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observations:
    """Observations by observable, on the records of the data.

    Attributes:
        values: name to `[record, column]`; zero where nothing was observed.
        errors: standard deviations, same shape; one where nothing was observed.
        mask: one where observed, else zero, same shape.
    """

    # Annotated without a shape: JAX rebuilds the object with slices and tracers of any rank.
    values: dict[str, Array]
    errors: dict[str, Array]
    mask: dict[str, Array]

    @property
    def count(self) -> Float[Array, " column"]:
        """Observations in each column."""
        return jnp.asarray(sum(mask.sum(axis=0) for mask in self.mask.values()))

    def window(self, begin: int, end: int) -> "Observations":
        """The observations of records `begin` to `end`."""
        return jax.tree.map(lambda leaf: leaf[begin:end], self)


def read_observations(
    source: str | Path | xr.Dataset,
    data: xr.Dataset,
    *,
    name: str | None = None,
    allow_none: bool = False,
) -> Observations:
    """Read observations and put them on the records and columns of `data`.

    A time off the grid goes to the step that holds it; several in one step are averaged, and the
    largest of their errors is kept. Columns are matched by their labels where both have them,
    else by position.

    Args:
        source: a file or Dataset with dims `(time, column)`: each observable under its name and
            its standard deviation as `<name>_error` of the same or a smaller shape.
        data: the model's data, whose records are used.
        name: what to call the observations in a message.
        allow_none: whether all values may be missing, as in a period that screening left empty.

    Raises:
        InputError: for an unknown observable, no observation unless that is allowed, an error that
            is missing or not positive, another unit, a time outside the data or a column not in it.
    """
    label = name or (str(source) if not isinstance(source, xr.Dataset) else "the observations")
    observed = source if isinstance(source, xr.Dataset) else open_netcdf(source)
    observables = [
        str(key)
        for key in observed.data_vars
        if not str(key).endswith(_ERROR) and key not in names("coordinate")
    ]
    for key in observables:
        if key not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise InputError(
                f"{label}: unknown variable {key!r}, expected observables among {known}; rename or "
                "remove it"
            )
    if not observables:
        raise InputError(
            f"{label}: no observed variable found, expected at least one such as swvl1 with "
            "swvl1_error; add it"
        )
    records = _records(observed, data, label)
    columns = _columns(observed, data, label)
    shape = (data.sizes["time"], data.sizes["column"])
    values, errors, masks = {}, {}, {}
    for key in observables:
        _check_unit(observed[key], key, label)
        raw, spread = _pair(observed, key, label)
        _check_values(raw, key, label)
        seen = np.isfinite(raw)
        where = (
            np.broadcast_to(records[:, None], raw.shape)[seen],
            np.broadcast_to(columns[None, :], raw.shape)[seen],
        )
        number, total = np.zeros(shape), np.zeros(shape)
        np.add.at(number, where, 1.0)
        np.add.at(total, where, raw[seen])
        largest = np.zeros(shape)
        np.maximum.at(largest, where, spread[seen])
        mask = number > 0
        values[key] = jnp.asarray(np.where(mask, total / np.maximum(number, 1), 0.0), jnp.float32)
        errors[key] = jnp.asarray(np.where(mask, largest, 1.0), jnp.float32)
        masks[key] = jnp.asarray(mask, jnp.float32)
    if not allow_none and not any(bool(mask.any()) for mask in masks.values()):
        raise InputError(
            f"{label}: all observations are missing (NaN), expected at least one value; check the "
            "quality screening that made the file"
        )
    return Observations(values=values, errors=errors, mask=masks)


def _records(observed: xr.Dataset, data: xr.Dataset, label: str) -> np.ndarray:
    """Index of the record that holds each observation time, `[observation time]`."""
    for dim in ("time", "column"):
        if dim not in observed.dims:
            raise InputError(f"{label}: no dimension {dim!r}, expected dims (time, column); add it")
    start = data["time"].to_numpy()
    step = start[1] - start[0] if len(start) > 1 else np.timedelta64(6, "h")
    time = observed["time"].to_numpy()
    if not np.issubdtype(time.dtype, np.datetime64):
        raise InputError(f"{label}: time is {time.dtype}, expected dates; give time a CF unit")
    index = np.floor((time - start[0]) / step).astype(int)
    outside = (index < 0) | (index >= len(start))
    if outside.any():
        bad = str(time[np.argmax(outside)].astype("datetime64[m]"))
        first, last = (str(t.astype("datetime64[m]")) for t in (start[0], start[-1] + step))
        raise InputError(
            f"{label}: time {bad} is outside the data, expected {first} to {last}; cut the "
            "observations to that span"
        )
    return index


def _columns(observed: xr.Dataset, data: xr.Dataset, label: str) -> np.ndarray:
    """Index of the data's column for each column of the observations."""
    if "column" in observed.coords and "column" in data.coords:
        position = {value: i for i, value in enumerate(data["column"].to_numpy().tolist())}
        wanted = observed["column"].to_numpy().tolist()
        absent = [value for value in wanted if value not in position]
        if absent:
            raise InputError(
                f"{label}: column {absent[0]!r} is not in the data, expected labels such as "
                f"{next(iter(position))!r}; remove it or choose the data that hold it"
            )
        return np.array([position[value] for value in wanted])
    if observed.sizes["column"] != data.sizes["column"]:
        raise InputError(
            f"{label}: {observed.sizes['column']} columns without labels, expected "
            f"{data.sizes['column']} as in the data; add a coordinate column to both"
        )
    return np.arange(data.sizes["column"])


def _check_unit(values: xr.DataArray, key: str, label: str) -> None:
    units = values.attrs.get("units")
    if units is not None and str(units) != UNITS[key]:
        raise InputError(
            f"{label}: {key} has units {units!r}, expected {UNITS[key]!r}; convert the values and "
            "set the attribute"
        )


def _check_values(raw: np.ndarray, key: str, label: str) -> None:
    """Refuse what no instrument's noise explains: half the range beyond the variable's bounds."""
    row = OBSERVABLES[key]
    slack = 0.5 * (row.upper - row.lower)
    with np.errstate(invalid="ignore"):
        bad = (raw < row.lower - slack) | (raw > row.upper + slack)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        advice = hint(row, raw[np.isfinite(raw)])
        if row.units == "m3 m-3":
            advice = (
                "percent is to be divided by 100, percent of saturation multiplied by porosity too"
            )
        raise InputError(
            f"{label}: {key} is {raw[i, j]:g} at record {i}, column {j}; expected {row.lower:g} to "
            f"{row.upper:g} {row.units}; {advice}"
        )


def _numbers(values: xr.DataArray, label: str) -> xr.DataArray:
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(
            f"{label}: {values.name} is {values.dtype}, expected numbers; convert the values"
        )
    return in_memory(values, source=label)


def _pair(observed: xr.Dataset, key: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard deviations `[time, column]` in float64."""
    if f"{key}{_ERROR}" not in observed:
        raise InputError(
            f"{label}: missing variable {key}{_ERROR}, expected the standard deviation of {key}; "
            "add it"
        )
    template = _numbers(observed[key], label)
    if set(template.dims) != {"time", "column"}:
        raise InputError(
            f"{label}: {key} has dims {template.dims}, expected (time, column); select or average "
            "the others"
        )
    spread = _numbers(observed[f"{key}{_ERROR}"], label)
    if not set(spread.dims) <= {"time", "column"}:
        raise InputError(
            f"{label}: {key}{_ERROR} has dims {spread.dims}, expected those of {key} or fewer; "
            "select or average the others"
        )
    raw = template.transpose("time", "column").to_numpy().astype(np.float64)
    spread = spread.broadcast_like(template).transpose("time", "column")
    errors = spread.to_numpy().astype(np.float64)
    bad = np.isfinite(raw) & ~(np.isfinite(errors) & (errors > 0))
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise InputError(
            f"{label}: {key}{_ERROR} is {errors[i, j]:g} at record {i}, column {j}, expected a "
            "positive standard deviation; give one or mask the observation"
        )
    return raw, errors


def make_observations(
    truth: xr.Dataset,
    *,
    errors: dict[str, float],
    every: int,
    seed: int,
    first: int = 0,
) -> xr.Dataset:
    """Noisy, sparse observations of a known truth, in the observations' file form.

    Args:
        truth: with dims `(time, column)`.
        errors: standard deviation of the noise by observable, in its unit; the file says the same.
        every: records between observations.
        seed: of the noise.
        first: record of the first observation.
    """
    generator = np.random.default_rng(seed)
    chosen = np.arange(first, truth.sizes["time"], every)
    result = xr.Dataset(coords={"time": truth["time"][chosen]})
    if "column" in truth.coords:
        result = result.assign_coords(column=truth["column"])
    series = {
        str(k): jnp.asarray(truth[k].transpose("time", "column").to_numpy())
        for k in truth.data_vars
        if set(truth[k].dims) == {"time", "column"}
    }
    context = Context(time_step_of(truth), parameters_from(truth), series)
    for key, error in errors.items():
        exact = np.asarray(OPERATORS[key](series, context))[chosen]
        noisy = exact + error * generator.standard_normal(exact.shape)
        result[key] = (("time", "column"), noisy, {"units": UNITS[key]})
        result[f"{key}{_ERROR}"] = ((), float(error), {"units": UNITS[key]})
    return result
