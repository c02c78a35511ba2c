"""Evaluation of an ensemble: is its spread the size of its error, and where does the truth fall."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.evaluation.ensemble_forecasts import LEAD_DAYS, Cases, Forecasts, forecasts
from hybrid_land.evaluation.ensemble_plots import save_ensemble_figures
from hybrid_land.evaluation.ensemble_scores import (
    coverage,
    crps,
    flatness,
    open_cases,
    ranks,
    spread_and_skill,
)
from hybrid_land.evaluation.ensemble_table import ensemble_table
from hybrid_land.evaluation.inflation import Calibration, Inflation
from hybrid_land.evaluation.scores import finite_or_none
from hybrid_land.models.ensemble import Ensemble
from hybrid_land.models.perturbation import Perturbation
from hybrid_land.variables import PROGNOSTIC, VARIABLES

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SOUND_RATIO = (0.8, 1.25)  # spread over skill that counts as reliable


def evaluate_ensemble(
    ensemble: Ensemble,
    truth: xr.Dataset,
    *,
    calibration: Calibration | None = None,
    out: str | Path | None = None,
    name: str = "ensemble",
    lead_days: Sequence[float] = LEAD_DAYS,
    most_starts: int = 12,
    perturbation: Perturbation | None = None,
    key: jax.Array | None = None,
    figures: bool = True,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Forecast from many starts and score the ensemble as it is and, where given, calibrated.

    Args:
        ensemble: K members.
        truth: ECLand on columns that no member was trained on.
        calibration: of other columns than these, see `inflation`.
        out: where to write `ensemble.json`, `ensemble.md` and the figures; nothing without it.
        name: what to call the ensemble.
        lead_days: see `forecasts`.
        most_starts: see `forecasts`.
        perturbation: see `forecasts`.
        key: see `forecasts`.
        figures: draw them.
        report: called with a sentence before each part of the work.

    Returns:
        The content of `ensemble.json`.

    Raises:
        InputError: if the record is too short, or `out` cannot be written.
    """
    say = report or (lambda sentence: None)
    place = None if out is None else make_folder(out)
    say(f"forecasts of {ensemble.size} members")
    made = forecasts(
        ensemble,
        truth,
        lead_days=lead_days,
        most_starts=most_starts,
        perturbation=perturbation,
        key=key,
    )
    say("scoring the ensemble")
    result = score_forecasts(made, calibration=calibration, name=name)
    if place is not None:
        with atomic_path(place / "ensemble.json") as path:
            path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
        with atomic_path(place / "ensemble.md") as path:
            path.write_text(ensemble_table(result), encoding="utf-8")
        if figures:
            save_ensemble_figures(place, result)
    return result


def score_forecasts(
    made: Forecasts, *, calibration: Calibration | None = None, name: str = "ensemble"
) -> dict[str, Any]:
    """Scores of forecasts by variable and lead.

    Cases that are settled (all members and the truth the same number, as where there is no snow)
    count in errors and spread but not in ranks and coverage, where they say nothing.

    Returns:
        `variables`: name to `units` and `leads`, a list of `lead_days`, `cases`, `settled`,
        `crps_climatology`, and `raw` and `calibrated`: `rmse`, `spread`, `spread_over_skill`,
        `crps`, `crps_fair`, `coverage` (level to share), `rank` (see `flatness`). Further
        `sound`: lead to the share of prognostic variables whose spread over skill is within 0.8
        and 1.25. What is not defined is null.
    """
    size = len(next(iter(made.cases.values()))[0].members)
    variables: dict[str, Any] = {}
    for variable, by_lead in made.cases.items():
        rows = []
        for days, cases in zip(made.lead_days, by_lead, strict=True):
            inflation = None if calibration is None else calibration.at(variable, days)
            rows.append({"lead_days": days, **_scores(variable, cases, inflation)})
        variables[variable] = {"units": VARIABLES[variable].units, "leads": rows}
    kinds = ("raw",) if calibration is None else ("raw", "calibrated")
    sound = {
        kind: [_sound(variables, kind, i) for i in range(len(made.lead_days))] for kind in kinds
    }
    return finite_or_none(
        {
            "model": name,
            "members": size,
            "lead_days": list(made.lead_days),
            "columns": made.columns,
            "starts": made.starts,
            "levels": list(LEVELS),
            "calibration": None if calibration is None else dict(calibration.fitted_on),
            "sound": sound,
            "variables": variables,
        }
    )


def _scores(variable: str, cases: Cases, inflation: Inflation | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "cases": len(cases.truth),
        "settled": int((~open_cases(cases.members, cases.truth)).sum()),
        "crps_climatology": (
            math.nan
            if cases.climatology is None or not len(cases.truth)
            else crps(cases.climatology, cases.truth)
        ),
        "raw": _of_members(cases.members, cases, Inflation()),
    }
    if inflation is not None:
        row["inflation"] = {"factor": inflation.factor, "dressing": inflation.dressing}
        row["calibrated"] = _of_members(
            inflation.members(cases.members, name=variable) if len(cases.truth) else cases.members,
            cases,
            inflation,
        )
    return row


def _of_members(said: np.ndarray, cases: Cases, inflation: Inflation) -> dict[str, Any]:
    """Scores of members `[member, case]` that `inflation` has made of the cases' own."""
    if not len(cases.truth) or not np.isfinite(said).all():
        nothing = ("rmse", "spread", "spread_over_skill", "crps", "crps_fair")
        return dict.fromkeys(nothing, math.nan) | {"coverage": {}, "rank": None}
    counts = open_cases(cases.members, cases.truth)
    mean, scale, freedom = inflation.predictive(cases.members[:, counts])
    truth, column = cases.truth[counts], cases.column[counts]
    return {
        **spread_and_skill(said, cases.truth),
        "crps": crps(said, cases.truth),
        "crps_fair": crps(said, cases.truth, method="fair"),
        "coverage": {
            f"{level:g}": coverage(mean, scale, truth, level=level, freedom=freedom)
            for level in LEVELS
        },
        "rank": flatness(ranks(said[:, counts], truth), column, members=len(said)),
    }


def _sound(variables: Mapping[str, Any], kind: str, lead: int) -> float:
    ratios = [
        row["leads"][lead][kind]["spread_over_skill"]
        for name, row in variables.items()
        if name in PROGNOSTIC
    ]
    known = [ratio for ratio in ratios if math.isfinite(ratio)]
    low, high = SOUND_RATIO
    return sum(low <= ratio <= high for ratio in known) / len(known) if known else math.nan
