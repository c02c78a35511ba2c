"""How a run's error grows with lead time, from many starts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.columns import time_step_of
from hybrid_land.evaluation.scores import counted
from hybrid_land.forecasts import from_starts
from hybrid_land.interface import Model
from hybrid_land.variables import VARIABLES

LEAD_DAYS = (0.25, 1.0, 10.0, 30.0, 90.0, 365.0)
MOST_ROWS = 1000  # starts times columns that are rolled out side by side


def leads_of(truth: xr.Dataset, *, days: Sequence[float] = LEAD_DAYS) -> np.ndarray:
    """Leads in steps that the record is long enough for, `[lead]`; the first is one step."""
    a_day = 86400.0 / time_step_of(truth)
    steps = np.unique([max(1, round(day * a_day)) for day in days])
    return steps[steps <= truth.sizes["time"] - 1]


def starts_of(truth: xr.Dataset, longest: int, *, most: int) -> np.ndarray:
    """Records to start from, spread evenly over those that leave room for the longest lead.

    The first record is left out where others will do: before it there is no flux to persist.
    """
    room = truth.sizes["time"] - 1 - longest
    if most == 1 or room < 1:
        return np.array([0])
    return np.unique(np.linspace(1, room, most).astype(int))


def error_growth(
    truth: xr.Dataset,
    runs: Mapping[str, Model | xr.Dataset],
    variables: Sequence[str],
    *,
    most_starts: int = 12,
) -> dict[str, Any]:
    """RMSE at leads of one step, 1, 10, 30, 90 days and a year, over starts and columns.

    Models are started anew from the truth at records spread evenly over the file. A run that is
    given as a Dataset has one start, the file's first record, and then so has every other; the
    baselines persistence and climatology are Datasets that know every start.

    Args:
        truth: ECLand.
        runs: by name, models or runs over the truth's times. `persistence` is made here whatever
            is given under that name, `climatology` is read at the valid time.
        variables: names to score.
        most_starts: fewer where the file is short or has many columns.

    Returns:
        `lead_days` `[lead]`, `starts`, and `rmse`: variable to run to `[lead]`, null where the
        variable does not count at that lead.
    """
    leads = leads_of(truth)
    if len(leads) == 0:
        return {"lead_days": [], "starts": 0, "rmse": {}}
    free = {name: run for name, run in runs.items() if name not in ("persistence", "climatology")}
    fixed = any(isinstance(run, xr.Dataset) for run in free.values())
    most = max(1, min(most_starts, MOST_ROWS // truth.sizes["column"]))
    starts = starts_of(truth, int(leads[-1]), most=1 if fixed else most)
    series = {name: truth[name].transpose("time", "column").to_numpy() for name in variables}
    where = {
        name: counted(truth, name).transpose("time", "column").to_numpy() for name in variables
    }
    # Fluxes belong to the step that ends at the lead, instantaneous values to its end.
    late = {name: int(VARIABLES[name].kind == "instantaneous") for name in variables}
    valid = {
        name: starts[None, :] + leads[:, None] - 1 + late[name] for name in variables
    }  # [lead, start]
    rmse: dict[str, dict[str, list[float | None]]] = {name: {} for name in variables}
    for run_name, run in runs.items():
        values = None
        if run_name not in ("persistence", "climatology") and not isinstance(run, xr.Dataset):
            values = from_starts(run, truth, starts, leads)
        for name in variables:
            if values is not None:
                predicted = values[name]
            elif run_name == "persistence":
                # The flux that is known at the start is that of the step before it.
                last = np.maximum(starts - 1 + late[name], 0)
                predicted = np.repeat(series[name][last][None], len(leads), axis=0)
            else:
                given = runs[run_name]
                assert isinstance(given, xr.Dataset)
                predicted = given[name].transpose("time", "column").to_numpy()[valid[name]]
            error = predicted.astype(np.float64) - series[name][valid[name]]
            rmse[name][run_name] = _root_mean_square(error, where[name][valid[name]])
    step = time_step_of(truth)
    return {
        "lead_days": [float(lead) * step / 86400.0 for lead in leads],
        "starts": len(starts),
        "rmse": rmse,
    }


def _root_mean_square(error: np.ndarray, where: np.ndarray) -> list[float | None]:
    """Over starts and columns, `[lead]`; null where nothing counts or something is not finite."""
    out: list[float | None] = []
    for values, counts in zip(error, where, strict=True):
        if not counts.any():
            out.append(None)
            continue
        value = float(np.sqrt(np.mean(np.square(values[counts]))))
        out.append(value if np.isfinite(value) else None)
    return out
