"""A free run of a model over a Dataset: from its first state, with its forcing, to its form."""

from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from hybrid_land.chunks import in_chunks
from hybrid_land.columns import (
    dataset_from,
    forcing_from,
    parameters_from,
    require,
    require_model_fits,
    state_from,
)
from hybrid_land.errors import InputError
from hybrid_land.interface import Model, Parameters
from hybrid_land.rollout import rollout
from hybrid_land.variables import VARIABLES


@jax.jit
def _rollout(model: Model, *columns: Any) -> tuple[Any, Any]:
    return in_chunks(partial(rollout, model), axes=(0, 0, 1))(*columns)


def simulate(
    model: Model,
    data: xr.Dataset,
    *,
    initial: xr.Dataset | None = None,
    parameters: Parameters | None = None,
    steps_at_once: int = 2920,
) -> xr.Dataset:
    """Roll `model` out freely over the times of `data`.

    Instantaneous values at record 0 are the first state (diagnostics: what `data` has there, else
    NaN) and at record i the result of step i - 1; fluxes at record i belong to step i.

    Args:
        model: anything with the `step` interface.
        data: forcing and parameters with dims `(time, column)`, and the first state.
        initial: another first state, with dim `column`.
        parameters: replaces the parameters of `data` by name, leaves `[column]`.
        steps_at_once: records whose forcing is held in memory together.

    Returns:
        A Dataset in the form of `data`, with all of the model's variables.

    Raises:
        InputError: if the data or the first state lack a variable of the model, the data have
            another time step or the first state other columns.
    """
    require_model_fits(model, data)
    fixed = parameters_from(data) | (parameters or {})
    start = data if initial is None else initial
    require(start, tuple(model.prognostic), source="the first state")
    if start.sizes.get("column") != data.sizes["column"]:
        raise InputError(
            f"the first state has {start.sizes.get('column')} columns, expected "
            f"{data.sizes['column']} as in the data; cut it to the same columns"
        )
    state = state_from(start, variables=model.prognostic)
    first = {name: np.asarray(value) for name, value in state.items()}
    pieces: list[dict[str, np.ndarray]] = []
    records = data.sizes["time"]
    for begin in range(0, records, steps_at_once):
        forcing = forcing_from(data, steps=slice(begin, begin + steps_at_once))
        states, diagnostics = _rollout(model, fixed, state, forcing)
        state = {name: series[-1] for name, series in states.items()}
        pieces.append({name: np.asarray(x) for name, x in (states | diagnostics).items()})
    values = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    for name, series in values.items():
        if VARIABLES[name].kind == "instantaneous":
            series[1:] = series[:-1].copy()
            series[0] = first[name] if name in first else _first_record(data, name)
    return dataset_from(data, values)


def _first_record(data: xr.Dataset, name: str) -> np.ndarray:
    if name in data:
        return data[name].isel(time=0).to_numpy()
    return np.full(data.sizes["column"], np.nan, np.float32)
