"""Forecasts of an ensemble from many starts, beside what ECLand then had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hybrid_land.columns import time_step_of
from hybrid_land.ensemble_run import member_states, rollout_members
from hybrid_land.errors import InputError
from hybrid_land.evaluation.growth import MOST_ROWS, leads_of, starts_of
from hybrid_land.evaluation.scores import counted
from hybrid_land.forecasts import rows_from_starts
from hybrid_land.models.ensemble import Ensemble
from hybrid_land.models.perturbation import Perturbation
from hybrid_land.noise import noise_series
from hybrid_land.variables import DIAGNOSTIC, PROGNOSTIC, SNOW_INNER, SNOW_PRESENT, VARIABLES

LEAD_DAYS = (1.0, 3.0, 10.0, 30.0, 90.0)
# Less than this is nothing: ECLand leaves 1e-20 kg m-2 of snow, an emulator 1e-9, and a rank would
# tell them apart. Its files close their water to 0.01 kg m-2 a step.
TRACES = {"sd": SNOW_PRESENT, "snowc": 1e-3, "src": 0.01, "sro": 0.01, "ssro": 0.01}
_YEAR = 365  # d, to the same day of another year
_APART, _WINDOW = 5, 15  # d, between climatological samples and from the day itself


@dataclass(frozen=True)
class Cases:
    """Forecasts of one variable at one lead: a case is a start and a column.

    Traces (`TRACES`) are zero in all of them.

    Attributes:
        members: what each member says.
        truth: what ECLand had.
        column: which column a case is of; columns are the independent units.
        climatology: what ECLand had at that hour within 15 days of that day in other years;
            nothing where the record has no other year.
    """

    members: Float[np.ndarray, "member case"]
    truth: Float[np.ndarray, " case"]
    column: Int[np.ndarray, " case"]
    climatology: Float[np.ndarray, "sample case"] | None = None


@dataclass(frozen=True)
class Forecasts:
    """All of an ensemble's forecasts.

    Attributes:
        lead_days: ascending.
        cases: variable to its cases at each lead.
        columns: how many.
        starts: how many, of each column (the most, where files differ).
    """

    lead_days: tuple[float, ...]
    cases: dict[str, list[Cases]]
    columns: int
    starts: int


def forecasts(
    ensemble: Ensemble,
    truth: xr.Dataset,
    *,
    lead_days: Sequence[float] = LEAD_DAYS,
    most_starts: int = 12,
    perturbation: Perturbation | None = None,
    key: jax.Array | None = None,
) -> Forecasts:
    """Start every member from the truth at records spread over the file, and look at some leads.

    Starts and columns run side by side, some 1000 of them at once; a run holds 92 bytes a member,
    row and step: 8 members and 90 days are 0.27 GB. Errors of soil water over a day are those of
    a few storms: its RMSE needs a hundred starts of each column.

    Args:
        ensemble: K members.
        truth: ECLand.
        lead_days: each a whole number of steps, no longer than the record.
        most_starts: fewer where the file is short.
        perturbation: of the members' states; none by default.
        key: of the perturbation's random numbers.

    Raises:
        InputError: if the record is too short for the longest lead.
    """
    leads = leads_of(truth, days=lead_days)
    step = time_step_of(truth)
    if len(leads) != len(set(lead_days)):
        raise InputError(
            f"the data have {truth.sizes['time']} records of {step / 3600:g} h, expected more than "
            f"the longest lead, {max(lead_days):g} days; give a longer record"
        )
    longest = int(leads[-1])
    starts = starts_of(truth, longest, most=most_starts)
    spread = {} if perturbation is None else perturbation.spreads(ensemble.size)
    if spread and key is None:
        raise ValueError("a perturbation needs random numbers; give a key")
    parts = []
    for first in range(0, len(starts), at_once := max(1, MOST_ROWS // truth.sizes["column"])):
        some = starts[first : first + at_once]
        parameters, state, forcing = rows_from_starts(truth, some, longest, ensemble.prognostic)
        noise: dict[str, Any] = {}
        if spread and perturbation is not None and key is not None:
            series = noise_series(
                jax.random.fold_in(key, first),
                tuple(spread),
                (ensemble.size, len(some) * truth.sizes["column"]),
                begin=0,
                steps=longest,
                correlation=perturbation.correlation(step),
            )
            noise = {name: jnp.asarray(values.swapaxes(0, 1)) for name, values in series.items()}
        start = member_states(state, ensemble.size)
        part = _at_leads(ensemble, parameters, start, forcing, spread, noise, jnp.asarray(leads))
        parts.append({name: np.asarray(values) for name, values in part.items()})
    said = {name: np.concatenate([part[name] for part in parts], axis=2) for name in parts[0]}
    names = [name for name in (*PROGNOSTIC, *DIAGNOSTIC) if name in said and name in truth]
    column = np.tile(np.arange(truth.sizes["column"]), len(starts))
    cases: dict[str, list[Cases]] = {name: [] for name in names}
    for name in names:
        series = _without_traces(name, truth[name].transpose("time", "column").to_numpy())
        counts = counted(truth, name).transpose("time", "column").to_numpy()
        # Fluxes belong to the step that ends at the lead, instantaneous values to its end.
        late = int(VARIABLES[name].kind == "instantaneous")
        for i, lead in enumerate(leads):
            valid = starts + lead - 1 + late
            where = counts[valid].reshape(-1)
            others = (
                None if name in SNOW_INNER else near_the_day_in_other_years(series, valid, step)
            )
            cases[name].append(
                Cases(
                    members=_without_traces(name, said[name][:, i])[:, where],
                    truth=series[valid].reshape(-1)[where],
                    column=column[where],
                    climatology=None if others is None else others[:, where],
                )
            )
    days = tuple(float(lead) * step / 86400.0 for lead in leads)
    return Forecasts(days, cases, columns=truth.sizes["column"], starts=len(starts))


@jax.jit
def _at_leads(
    ensemble: Any, parameters: Any, state: Any, forcing: Any, spread: Any, noise: Any, leads: Any
) -> dict[str, jax.Array]:
    states, diagnostics = rollout_members(
        ensemble, parameters, state, forcing, spread=spread, noise=noise
    )
    return {name: series[:, leads - 1] for name, series in (states | diagnostics).items()}


def _without_traces(name: str, values: Any) -> np.ndarray:
    exact = np.asarray(values, np.float64)
    return np.where(np.abs(exact) < TRACES[name], 0.0, exact) if name in TRACES else exact


def near_the_day_in_other_years(
    series: np.ndarray, valid: np.ndarray, step: float
) -> np.ndarray | None:
    """Values within 15 days of the same day of other years at the same hour.

    Args:
        series: `[time, column]`.
        valid: records to be near to, `[start]`.
        step: length of a step, s.

    Returns:
        `[sample, start x column]`, or nothing where there is no other year.
    """
    a_day = round(86400.0 / step)
    records = len(series) - len(series) % a_day
    years = round(records / a_day / 365.25)
    if years < 2:
        return None
    near = np.arange(-_WINDOW, _WINDOW + 1, _APART)
    shifts = (np.arange(1, years)[:, None] * _YEAR + near[None, :]).reshape(-1) * a_day
    places = (valid[None, :] + shifts[:, None]) % records
    return series[places].reshape(len(shifts), -1)


def join(parts: Sequence[Forecasts]) -> Forecasts:
    """Forecasts over several files as one, their columns told apart; without climatology.

    Raises:
        ValueError: if their leads differ.
    """
    first = parts[0]
    if any(part.lead_days != first.lead_days for part in parts):
        raise ValueError("forecasts with other leads; expected the same leads for all files")
    offset = np.cumsum([0, *(part.columns for part in parts)])
    names = [name for name in first.cases if all(name in part.cases for part in parts)]
    cases: dict[str, list[Cases]] = {}
    for name in names:
        by_lead = zip(*(part.cases[name] for part in parts), strict=True)
        cases[name] = [
            Cases(
                members=np.concatenate([one.members for one in same], axis=1),
                truth=np.concatenate([one.truth for one in same]),
                column=np.concatenate(
                    [one.column + o for one, o in zip(same, offset, strict=False)]
                ),
            )
            for same in by_lead
        ]
    return Forecasts(
        first.lead_days, cases, columns=int(offset[-1]), starts=max(p.starts for p in parts)
    )
