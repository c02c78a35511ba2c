"""Free runs of an ensemble over a Dataset: each member apart, by one map over the members."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
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
from hybrid_land.models.ensemble import MEMBER, Ensemble
from hybrid_land.models.perturbation import WATER_ADDED, Perturbation, Perturbed
from hybrid_land.noise import noise_series
from hybrid_land.rollout import rollout
from hybrid_land.variables import VARIABLES


def rollout_members(
    ensemble: Ensemble,
    parameters: Any,
    state: Any,
    forcing: Any,
    *,
    spread: Any = None,
    noise: Any = None,
) -> tuple[Any, Any]:
    """`rollout` of every member from its own state.

    Args:
        ensemble: K members.
        parameters: leaves `[column]`, shared.
        state: leaves `[member, column]`.
        forcing: leaves `[time, column]`, shared.
        spread: of perturbations, name to `[member]`; see `Perturbation.spreads`.
        noise: of perturbations, leaves `[member, time, column]`; see `noise_series`.

    Returns:
        States and diagnostics, leaves `[member, time, column]`.
    """

    def one(member: Any, spread: Any, state: Any, noise: Any) -> Any:
        model: Any = Perturbed(member, spread) if spread else member
        return in_chunks(partial(rollout, model), axes=(0, 0, 1))(
            parameters, state, forcing | noise
        )

    return jax.vmap(one)(ensemble.members, spread or {}, state, noise or {})


_rollout_members = jax.jit(rollout_members)


def member_states(state: Any, size: int) -> Any:
    """The same state for each member: leaves `[column]` to `[member, column]`."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *x.shape)), state)


def simulate_ensemble(
    ensemble: Ensemble,
    data: xr.Dataset,
    *,
    initial: xr.Dataset | None = None,
    perturbation: Perturbation | None = None,
    key: jax.Array | None = None,
    steps_at_once: int = 2920,
) -> xr.Dataset:
    """Roll every member out freely over the times of `data`.

    Records mean what they mean in `simulate`. The result takes 4 K bytes a value: 23 variables
    of 60 columns, 5 years and 8 members are 0.3 GB.

    Args:
        ensemble: K members.
        data: forcing and parameters with dims `(time, column)`, and the first state.
        initial: another first state, with dim `column` or `(member, column)`.
        perturbation: of the state at each step; none by default.
        key: of the perturbation's random numbers.
        steps_at_once: records whose forcing is held in memory together.

    Returns:
        A Dataset with the model's variables on `(member, time, column)`, forcing and parameters
        as in `data`; with a perturbation also `water_added`.

    Raises:
        InputError: if the data or the first state do not fit, or the perturbation is not sound.
        ValueError: if there is a perturbation and no key.
    """
    require_model_fits(ensemble.member(0), data)
    spread = {} if perturbation is None else perturbation.spreads(ensemble.size)
    correlation = 0.0 if perturbation is None else perturbation.correlation(ensemble.time_step)
    if spread and key is None:
        raise ValueError("a perturbation needs random numbers; give a key")
    state = _first_states(ensemble, data if initial is None else initial, data)
    first = {name: np.asarray(value) for name, value in state.items()}
    parameters = parameters_from(data)
    shape = (ensemble.size, data.sizes["column"])
    noise: dict[str, np.ndarray] = {}
    pieces: list[dict[str, np.ndarray]] = []
    for begin in range(0, data.sizes["time"], steps_at_once):
        part = data.isel(time=slice(begin, begin + steps_at_once))
        if spread and key is not None:
            noise = noise_series(
                key,
                tuple(spread),
                shape,
                begin=begin,
                steps=part.sizes["time"],
                correlation=correlation,
                last={name: series[-1] for name, series in noise.items()} or None,
            )
        states, diagnostics = _rollout_members(
            ensemble,
            parameters,
            state,
            forcing_from(data, steps=slice(begin, begin + steps_at_once)),
            spread=spread,
            noise={name: jnp.asarray(series.swapaxes(0, 1)) for name, series in noise.items()},
        )
        state = {name: series[:, -1] for name, series in states.items()}
        pieces.append({name: np.asarray(x) for name, x in (states | diagnostics).items()})
    values = {name: np.concatenate([p[name] for p in pieces], axis=1) for name in pieces[0]}
    for name, series in values.items():
        if name in VARIABLES and VARIABLES[name].kind == "instantaneous":
            series[:, 1:] = series[:, :-1].copy()
            series[:, 0] = first[name] if name in first else _first_record(data, name)
    return _as_dataset(data, values)


def _first_states(ensemble: Ensemble, start: xr.Dataset, data: xr.Dataset) -> Any:
    """Leaves `[member, column]`."""
    require(start, tuple(ensemble.prognostic), source="the first state")
    if start.sizes.get("column") != data.sizes["column"]:
        raise InputError(
            f"the first state has {start.sizes.get('column')} columns, expected "
            f"{data.sizes['column']} as in the data; cut it to the same columns"
        )
    if MEMBER not in start.sizes:
        return member_states(state_from(start, variables=ensemble.prognostic), ensemble.size)
    if start.sizes[MEMBER] != ensemble.size:
        raise InputError(
            f"the first state has {start.sizes[MEMBER]} members, expected {ensemble.size} as in "
            "the ensemble, or none; cut it to as many"
        )
    apart = [
        state_from(start.isel(member=i), variables=ensemble.prognostic)
        for i in range(ensemble.size)
    ]
    return {name: jnp.stack([one[name] for one in apart]) for name in ensemble.prognostic}


def _first_record(data: xr.Dataset, name: str) -> np.ndarray:
    if name in data:
        return data[name].isel(time=0).to_numpy()
    return np.full(data.sizes["column"], np.nan, np.float32)


def _as_dataset(data: xr.Dataset, values: dict[str, np.ndarray]) -> xr.Dataset:
    result = dataset_from(data, {})
    for name, array in values.items():
        if name == WATER_ADDED:
            about = {"units": "kg m-2", "long_name": "water added by perturbations over the step"}
        else:
            about = {"units": VARIABLES[name].units, "long_name": VARIABLES[name].long_name}
        result[name] = ((MEMBER, "time", "column"), array, about)
    return result.assign_coords({MEMBER: np.arange(len(next(iter(values.values()))))})


def fold_columns(data: xr.Dataset, size: int) -> xr.Dataset:
    """Data on which `Ensemble.step` runs: every column K times side by side, with its `member`.

    Args:
        data: dims `(time, column)`.
        size: K.
    """
    columns = data.sizes["column"]
    folded = data.isel(column=np.repeat(np.arange(columns), size))
    return folded.assign_coords({MEMBER: ("column", np.tile(np.arange(size), columns))})
