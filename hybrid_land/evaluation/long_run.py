"""Decades of a free run on repeated forcing: does it stay in bounds, and does it drift?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.columns import time_step_of
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import NEEDED, water_residual
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import DIAGNOSTIC, PROGNOSTIC, SOIL_WATER, VARIABLES

_YEAR = 365.25 * 86400.0  # s
_ROUNDING = 1e-5  # of a bound's size: what float32 and the conversion of units may add

Report = Callable[[str], None]


@dataclass(frozen=True)
class LongRun:
    """A long run by calendar year, and what was counted on the way.

    Attributes:
        annual: name to means over each year of the run, `[year, column]`.
        truth: the same of ECLand over the years of its file, `[year_of_file, column]`.
        counts: name to `not_finite`, `out_of_bounds`, `smallest`, `largest`.
        residual: water that does not close, kg m-2, `[column]` over the whole run, and the worst
            step; None where the data lack a part of the budget.
        passes: how often the forcing was repeated.
    """

    annual: dict[str, Float[np.ndarray, "year column"]]
    truth: dict[str, Float[np.ndarray, "year_of_file column"]]
    counts: dict[str, dict[str, int | float]]
    residual: tuple[Float[np.ndarray, " column"], float] | None
    passes: int

    @property
    def years(self) -> int:
        """Years of the run."""
        return len(next(iter(self.annual.values())))


def passes_of(model: Model, data: xr.Dataset, passes: int) -> Iterator[xr.Dataset]:
    """Runs over the data's times, each from the last state of the one before.

    The state at the last record starts the next pass, so that the forcing of that record, which
    leads beyond the file, is left out.
    """
    initial = None
    for _ in range(passes):
        run = simulate(model, data, initial=initial)
        initial = run[list(model.prognostic)].isel(time=-1, drop=True)
        yield run


def long_run(
    model: Model, data: xr.Dataset, *, passes: int = 4, report: Report | None = None
) -> LongRun:
    """Repeat the forcing of `data`, run on freely and keep annual means.

    Args:
        model: started from the data's first state.
        data: ECLand, whole years but for a few records at the end.
        passes: repetitions.
        report: called with a sentence before each pass.

    Raises:
        InputError: if the data are shorter than a year or lack a variable of the model.
    """
    say = report or (lambda sentence: None)
    a_year = round(_YEAR / time_step_of(data))
    years = round((data.sizes["time"] - 1) / a_year)
    if years < 1:
        raise InputError(
            f"{data.sizes['time']} records, expected a year ({a_year}) at least; give longer data"
        )
    names = [n for n in (*PROGNOSTIC, *DIAGNOSTIC) if n in (*model.prognostic, *model.diagnostic)]
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
    counts: dict[str, dict[str, int | float]] = {}
    sums, worst, whole = np.zeros(data.sizes["column"]), 0.0, True
    for number, run in enumerate(passes_of(model, data, passes), start=1):
        say(f"pass {number} of {passes} scored")
        for name in names:
            values = _values(run, name)
            pieces[name].append(_annual(values, years))
            _count(counts.setdefault(name, {}), values[1:], _bounds(name, data))
        whole = whole and all(name in run for name in NEEDED)
        if whole:
            residual = water_residual(run)
            sums += residual.sum(axis=0)
            worst = max(worst, float(np.abs(residual).max()))
    return LongRun(
        annual={name: np.concatenate(found) for name, found in pieces.items()},
        truth={name: _annual(_values(data, name), years) for name in names if name in data},
        counts=counts,
        residual=(sums, worst) if whole else None,
        passes=passes,
    )


def summary(run: LongRun) -> dict[str, Any]:
    """Bounds, drift and budget of a long run as numbers.

    For each variable, over columns: `trend` and `trend_ecland`, mean of the least-squares slopes
    of annual means per decade, and `trend_rms...`, their root mean square; `trend_first_pass`, the
    model's over the years that `trend_ecland` covers, with the same weather; `drift` and
    `drift_rms`, the last pass less the first over the same calendar years; `drift_late_rms`, the
    last less the one before it; `between_years`, ECLand's own spread between its years, root mean
    square over columns, to judge the drift by. Numbers that are not finite are null.
    """
    variables: dict[str, dict[str, float | None]] = {}
    a_pass = run.years // run.passes
    for name, annual in run.annual.items():
        by_pass = annual.reshape(run.passes, a_pass, -1)
        row: dict[str, float | None] = {
            "trend": float(_trend(annual).mean()),
            "trend_rms": _rms(_trend(annual)),
            "drift": float((by_pass[-1] - by_pass[0]).mean()),
            "drift_rms": _rms((by_pass[-1] - by_pass[0]).mean(axis=0)),
        }
        if run.passes > 1:
            row["drift_late_rms"] = _rms((by_pass[-1] - by_pass[-2]).mean(axis=0))
        if name in run.truth and len(run.truth[name]) > 1:
            trend = _trend(run.truth[name])
            row |= {
                "trend_first_pass": float(_trend(by_pass[0]).mean()),
                "trend_ecland": float(trend.mean()),
                "trend_rms_ecland": _rms(trend),
                "between_years": _rms(run.truth[name].std(axis=0, ddof=1)),
            }
        finite = {key: x if x is not None and np.isfinite(x) else None for key, x in row.items()}
        variables[name] = finite | run.counts[name]
    budget = None
    if run.residual is not None:
        total, worst = run.residual
        budget = {
            "max_abs_mm_per_step": worst,
            "mean_mm_over_the_run": float(total.mean()),
            "max_abs_mm_over_the_run": float(np.abs(total).max()),
        }
        budget = {key: x if np.isfinite(x) else None for key, x in budget.items()}
    return {
        "years": run.years,
        "passes": run.passes,
        "columns": int(next(iter(run.annual.values())).shape[1]),
        "not_finite": int(sum(row["not_finite"] for row in run.counts.values())),
        "out_of_bounds": int(sum(row["out_of_bounds"] for row in run.counts.values())),
        "water_budget": budget,
        "variables": variables,
    }


def _values(ds: xr.Dataset, name: str) -> Float[np.ndarray, "time column"]:
    return ds[name].transpose("time", "column").to_numpy().astype(np.float64)


def _annual(values: np.ndarray, years: int) -> Float[np.ndarray, "year column"]:
    """Means over equal parts of the record, one a year; the first record is a given state."""
    return np.stack([part.mean(axis=0) for part in np.array_split(values[1:], years)])


def _bounds(name: str, data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The table's, and for soil water what the column's layer can hold."""
    row = VARIABLES[name]
    lower, upper = np.array(row.lower), np.array(row.upper)
    full = next((n for n in ("clim_theta_max", "clim_theta_sat") if n in data), None)
    if name in SOIL_WATER and full is not None:
        upper = np.minimum(upper, data[full].to_numpy().astype(np.float64))
    return lower, upper


def _count(
    found: dict[str, int | float], values: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> None:
    """Add what is not finite or out of bounds, and keep the extremes."""
    lower, upper = bounds
    sound = np.isfinite(values)
    room = [_ROUNDING * np.where(np.isfinite(b), np.maximum(np.abs(b), 1e-3), 0.0) for b in bounds]
    outside = sound & ((values < lower - room[0]) | (values > upper + room[1]))
    known = values[sound]
    found["not_finite"] = found.get("not_finite", 0) + int((~sound).sum())
    found["out_of_bounds"] = found.get("out_of_bounds", 0) + int(outside.sum())
    if known.size:
        found["smallest"] = min(found.get("smallest", np.inf), float(known.min()))
        found["largest"] = max(found.get("largest", -np.inf), float(known.max()))


def _trend(annual: Float[np.ndarray, "year column"]) -> Float[np.ndarray, " column"]:
    """Least-squares slope of annual means, per decade; zero for a single year."""
    if len(annual) < 2:
        return np.zeros(annual.shape[1])
    year = np.arange(len(annual)) - 0.5 * (len(annual) - 1)
    return 10.0 * (year @ annual) / (year @ year)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
