"""Scores over the last year of a record whose other years a model was trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.columns import dataset_from
from hybrid_land.errors import InputError
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.evaluation.evaluate import scored_variables
from hybrid_land.evaluation.scores import (
    Pair,
    anomaly_correlation,
    column_errors,
    counted,
    errors,
    pair,
)
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import VARIABLES


def held_out_year_scores(model: Model, truth: xr.Dataset, *, steps: int = 1461) -> dict[str, Any]:
    """Scores over the last `steps` records, of runs from the first record and from their start.

    Runs: `model` is free over all of the record, from its first state; `from_start_of_year` is
    free over the scored records, from ECLand's state before them; `persistence` holds that state;
    `climatology` is that of the records before the scored ones. Anomalies, for the correlation,
    are from the truth's climatology over all of the record, so that those of another climatology
    mean nothing (`acc` of `climatology` is null).

    Args:
        model: trained without the scored records.
        truth: ECLand over all years.
        steps: records scored; the first of them, a given state, is not counted for any run.

    Returns:
        `columns`, `steps`, `model_steps` (how long the first run is) and `variables`: name to
        `units`, `rmse`, `bias`, `ubrmse`, `acc` of `model`, and those of the others under
        `baselines`, as in `scores.json`.

    Raises:
        InputError: if there are fewer than as many records before the scored ones.
    """
    records = truth.sizes["time"]
    if records < 2 * steps:
        raise InputError(
            f"{records} records, expected {2 * steps} at least to hold {steps} out; give a longer "
            "record"
        )
    late = slice(records - steps, None)
    year = truth.isel(time=late)
    whole = simulate(model, truth)
    variables = scored_variables(whole, truth)
    tails = {
        "model": whole.isel(time=late),
        "from_start_of_year": simulate(model, year),
        **_baselines(truth, records - steps, variables),
    }
    table: dict[str, Any] = {}
    for name in variables:
        scored = {run: _scores(tail, truth, name, steps - 1) for run, tail in tails.items()}
        scored["climatology"]["acc"] = None
        table[name] = {"units": VARIABLES[name].units, **scored.pop("model"), "baselines": scored}
    return {
        "columns": truth.sizes["column"],
        "steps": steps - 1,
        "model_steps": records - 1,
        "variables": table,
    }


def _scores(
    tail: xr.Dataset, truth: xr.Dataset, name: str, steps: int
) -> dict[str, float | int | None]:
    """Scores over the last records, with anomalies from the climatology of the whole record."""
    full = truth[[name, *(["sd"] if "sd" in truth else [])]].copy()
    values = np.array(full[name].transpose("time", "column"))
    values[-tail.sizes["time"] :] = tail[name].transpose("time", "column").to_numpy()
    run = full.assign({name: (("time", "column"), values)})
    both = pair(run, full, name)
    cut = {"time": slice(-steps, None)}
    last = Pair(
        prediction=both.prediction.isel(cut),
        truth=both.truth.isel(cut),
        climatology=both.climatology.isel(cut),
    )
    found = {**errors(last), **anomaly_correlation(column_errors(last))}
    return {key: x if np.isfinite(x) else None for key, x in found.items()}


def _baselines(truth: xr.Dataset, begin: int, variables: Sequence[str]) -> dict[str, xr.Dataset]:
    """Persistence of the record at `begin`, and the climatology of the records before it."""
    year = truth.isel(time=slice(begin, None))
    time = truth["time"].to_numpy()
    held, usual = {}, {}
    for name in variables:
        x = truth[name].transpose("time", "column").to_numpy().astype(np.float64)
        where = counted(truth, name).transpose("time", "column").to_numpy()[:begin]
        fitted = fit_climatology(x[:begin], time[:begin], where=where).at(time[begin:])
        usual[name] = np.where(np.isfinite(fitted), fitted, x[:begin].mean(axis=0))
        held[name] = np.repeat(x[begin][None, :], len(time) - begin, axis=0)
    return {"persistence": dataset_from(year, held), "climatology": dataset_from(year, usual)}
