"""Scores on data whose records are means over the step: ECMWF's early aiLand archive.

There the state, too, is a mean over [t, t + dt], and part of it is not stored. A run needs a first
state at an instant: what is stored is taken from the means around it, what is not from a guess
that a spin-up over the years before has worn off.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.columns import dataset_from, parameters_from
from hybrid_land.errors import InputError
from hybrid_land.evaluation.baselines import persistence
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.evaluation.evaluate import score_datasets, scored_variables
from hybrid_land.evaluation.scores import counted
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import DIAGNOSTIC, FREEZING, PROGNOSTIC, SOIL_WATER, VARIABLES

FRESH_SNOW_ALBEDO = 0.85  # ECLand's for new snow
_GUESSED = ("swvl4", "stl4", "tsn", "asn", "src", "rsn")


def first_state(data: xr.Dataset, index: int) -> xr.Dataset:
    """State at the start of a record from the means before and after it, dim `column`.

    What the data lack is guessed: `swvl4` as `swvl3`; `stl4` as the mean of `stl3` over the data
    up to the record after it, at least a year where there is one; `tsn` as `stl1`, at most
    freezing; `asn` of fresh snow; an empty skin reservoir; `rsn` 100 kg m-3.

    Raises:
        InputError: if a variable that cannot be guessed is missing.
    """
    needed = [name for name in PROGNOSTIC if name not in _GUESSED]
    absent = [name for name in needed if name not in data]
    if absent:
        raise InputError(
            f"missing variable {', '.join(absent)}; expected {', '.join(needed)} at least; a first "
            "state cannot be guessed without them"
        )
    around = slice(max(index - 1, 0), index + 1)
    state = xr.Dataset(
        {
            name: ("column", _values(data, name)[around].mean(axis=0))
            for name in PROGNOSTIC
            if name in data
        }
    )
    a_year = max(index + 1, 1461)
    guesses = {
        "swvl4": state["swvl3"].to_numpy(),
        "stl4": _values(data, "stl3")[:a_year].mean(axis=0),
        "tsn": np.minimum(state["stl1"].to_numpy(), FREEZING),
        "asn": np.full(data.sizes["column"], FRESH_SNOW_ALBEDO),
        "src": np.zeros(data.sizes["column"]),
        "rsn": np.full(data.sizes["column"], 100.0),
    }
    for name in _GUESSED:
        if name not in state:
            state[name] = ("column", guesses[name])
    return state


def as_window_means(run: xr.Dataset) -> xr.Dataset:
    """Instantaneous values as means over each step, by the trapezoid; the last record goes.

    (x(t) + x(t + dt)) / 2 for what `variables` calls instantaneous; fluxes are means already.
    """
    values = {}
    for name in (*PROGNOSTIC, *DIAGNOSTIC):
        if name in run:
            x = _values(run, name)
            instant = VARIABLES[name].kind == "instantaneous"
            values[name] = 0.5 * (x[:-1] + x[1:]) if instant else x[:-1]
    return dataset_from(run.isel(time=slice(0, -1)), values)


def run_after_spin_up(model: Model, data: xr.Dataset, start: int) -> xr.Dataset:
    """A free run from record `start`, its unknown state from a run over the records before it.

    Returns:
        Window means over the data's records from `start` but the last.
    """
    begin = first_state(data, start)
    if start > 0:
        before = _simulate_from(
            model, data.isel(time=slice(0, start + 1)), first_state(data, 0)
        ).isel(time=-1)
        for name in _GUESSED:
            if name not in data:
                begin[name] = ("column", before[name].to_numpy())
    return as_window_means(_simulate_from(model, data.isel(time=slice(start, None)), begin))


def as_instants(model: Model, data: xr.Dataset) -> xr.Dataset:
    """Window means as data that a model can be trained on: instants, with all of the state.

    A free run over the data, moved by what its own window means lack to the data's: at each
    instant by the mean of the windows before and after it. What the data do not have is the
    run's, so that training on it asks the model to stay as it is there.

    Args:
        model: that runs, from the guessed state of `first_state`.
        data: window means, dims `(time, column)`.

    Returns:
        A Dataset in the project's form over the records of `data`.

    Raises:
        InputError: if a variable is missing that cannot be guessed.
    """
    run = _simulate_from(model, data, first_state(data, 0))
    means = as_window_means(run)
    capacity = parameters_from(data)["theta_max"]
    values = {}
    for name in (*PROGNOSTIC, *DIAGNOSTIC):
        if name not in data or VARIABLES[name].kind != "instantaneous":
            values[name] = _values(data if name in data else run, name)
            if name in DIAGNOSTIC and VARIABLES[name].kind == "instantaneous":
                values[name][0] = values[name][1]  # no step has made the first one yet
            continue
        lacking = _values(data, name)[:-1] - _values(means, name)
        around = np.concatenate([lacking[:1], 0.5 * (lacking[:-1] + lacking[1:]), lacking[-1:]])
        upper = capacity if name in SOIL_WATER else VARIABLES[name].upper
        values[name] = np.clip(_values(run, name) + around, VARIABLES[name].lower, upper)
    return dataset_from(data, values)


def _simulate_from(model: Model, data: xr.Dataset, initial: xr.Dataset) -> xr.Dataset:
    """A free run from a state, over data that need not have all of the state."""
    shape = (data.sizes["time"], data.sizes["column"])
    lacking = {
        name: (("time", "column"), np.broadcast_to(initial[name].to_numpy(), shape))
        for name in model.prognostic
        if name not in data
    }
    return simulate(model, data.assign(lacking), initial=initial)


def zero_shot_scores(models: Mapping[str, Model], data: xr.Dataset, *, start: Any) -> dict:
    """Scores of models that never saw these data, from `start` to the end.

    Beside them stand persistence of the first record and the climatology of the records before
    `start`, which a forecast may know.

    Args:
        models: by name, the first leads the table.
        data: window means, dims `(time, column)`.
        start: time of the first scored record, with at least a year before it.

    Returns:
        `variables` by name: `rmse`, `bias`, `ubrmse`, `acc` and `baselines` as in `scores.json`.

    Raises:
        InputError: if there is less than a year before the start, or a variable is missing.
    """
    time = data["time"].to_numpy()
    index = int(np.searchsorted(time, np.datetime64(start)))
    if index < 1461 or index >= len(time) - 1:
        raise InputError(
            f"{index} records before {start} of {len(time)}, expected a year (1461) at least for "
            "the spin-up and some after it; choose another start"
        )
    truth = data.isel(time=slice(index, -1))
    runs = {name: run_after_spin_up(model, data, index) for name, model in models.items()}
    variables = scored_variables(next(iter(runs.values())), truth)
    runs["persistence"] = persistence(truth, variables)
    runs["climatology"] = _earlier_climatology(data, index, variables)
    result = score_datasets(truth, runs, name=next(iter(models)))
    return {key: result[key] for key in ("model", "columns", "steps", "variables")}


def _earlier_climatology(data: xr.Dataset, index: int, variables: tuple[str, ...]) -> xr.Dataset:
    time = data["time"].to_numpy()
    later = data.isel(time=slice(index, -1))
    values = {}
    for name in variables:
        x = _values(data, name)[:index]
        where = counted(data, name).transpose("time", "column").to_numpy()[:index]
        fitted = fit_climatology(x, time[:index], where=where).at(later["time"].to_numpy())
        values[name] = np.where(np.isfinite(fitted), fitted, x.mean(axis=0))
    return dataset_from(later, values)


def _values(data: xr.Dataset, name: str) -> np.ndarray:
    return data[name].transpose("time", "column").to_numpy().astype(np.float64)
