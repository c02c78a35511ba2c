"""Inflation of an ensemble, by variable and lead, so that its spread matches its error.

Members that were trained on the same data share errors, and their spread is too small. The
calibrated ensemble is made of inflated and dressed members,

    y_m = mean + a (x_m - mean) + b e_m

with e_m normal numbers of mean zero over the members and variance one: a keeps what the members
know of where they err, b is what they cannot know. For given share q of the inflation,

    a^2 = q v / s^2,   b^2 = (1 - q) v,   v = mse K / (K + 1)

with s^2 the mean variance of the members and mse the mean square error of their mean, so that
spread matches skill for every q; q is that of the least CRPS (as normal distributions, Gneiting
et al. 2005). Both are fitted on columns withheld from training, never on those scored. Dressed
members are cut to the variable's bounds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_land.data.files import atomic_path
from hybrid_land.errors import InputError
from hybrid_land.evaluation.ensemble_forecasts import Cases, Forecasts
from hybrid_land.evaluation.ensemble_scores import Members, Values
from hybrid_land.gaussian_crps import gaussian_crps
from hybrid_land.variables import VARIABLES

CALIBRATION = "calibration.json"
_FORM = 1
_SHARES = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Inflation:
    """Of one variable at one lead: `factor` a, without a unit, and `dressing` b, in its unit."""

    factor: float = 1.0
    dressing: float = 0.0

    def deviation(self, members: Members) -> Values:
        """Standard deviation of the calibrated ensemble in each case."""
        return np.sqrt(self.factor**2 * members.var(axis=0, ddof=1) + self.dressing**2)

    def predictive(self, members: Members) -> tuple[Values, Values, Values]:
        """Mean, scale and degrees of freedom of Student's distribution of the truth.

        The scale holds 1 + 1/K for the error of the mean. The members' variance has K - 1
        degrees of freedom and the dressing is known: Welch and Satterthwaite's combination.
        """
        size = len(members)
        inner = self.factor**2 * members.var(axis=0, ddof=1)
        total = inner + self.dressing**2
        share = np.divide(inner, total, out=np.ones_like(total), where=total > 0.0)
        freedom = (size - 1) / np.maximum(share**2, 1e-6)
        return members.mean(axis=0), np.sqrt((1.0 + 1.0 / size) * total), freedom

    def members(self, members: Members, *, name: str, seed: int = 0) -> Members:
        """Inflated and dressed members of a variable, within its bounds."""
        mean = members.mean(axis=0)
        noise = np.random.default_rng(seed).normal(size=members.shape)
        noise -= noise.mean(axis=0)  # its variance with K - 1 below stays one
        moved = mean + self.factor * (members - mean) + self.dressing * noise
        row = VARIABLES[name]
        return np.clip(moved, min(row.lower, members.min()), max(row.upper, members.max()))


@dataclass(frozen=True)
class Calibration:
    """Inflation of every variable by lead, as `calibration.json` holds it.

    Attributes:
        members: K of the ensemble it belongs to.
        lead_days: ascending.
        variables: variable to its inflation at each lead.
        fitted_on: what it was fitted on, for the reader.
    """

    members: int
    lead_days: tuple[float, ...]
    variables: dict[str, tuple[Inflation, ...]]
    fitted_on: dict[str, Any]

    def at(self, name: str, lead_days: float) -> Inflation:
        """Inflation at any lead: linear in the logarithm of the lead, held beyond the ends.

        A variable without a calibration is left as it is.
        """
        if name not in self.variables:
            return Inflation()
        x = np.log(self.lead_days)
        at = np.log(lead_days)
        rows = self.variables[name]
        return Inflation(
            factor=float(np.interp(at, x, [row.factor for row in rows])),
            dressing=float(np.interp(at, x, [row.dressing for row in rows])),
        )


def fit_inflation(cases: Cases, *, dressed: bool = True) -> Inflation:
    """The inflation of one variable at one lead; none where the mean makes no error.

    Args:
        cases: of columns that no member was trained on.
        dressed: choose q; inflate alone (q = 1) if not. The variance of few members is mostly
            chance, so that the best q is below 1 even where members are drawn as the truth is.
    """
    size = len(cases.members)
    if not len(cases.truth):
        return Inflation()
    mean = cases.members.mean(axis=0)
    variance = cases.members.var(axis=0, ddof=1)
    wanted = float(np.mean((mean - cases.truth) ** 2)) * size / (size + 1)
    spread = float(variance.mean())
    if not (np.isfinite(wanted) and np.isfinite(spread)) or wanted == 0.0:
        return Inflation()
    if spread == 0.0:
        return Inflation(factor=1.0, dressing=float(np.sqrt(wanted)))

    def of(share: float) -> Inflation:
        return Inflation(
            factor=float(np.sqrt(share * wanted / spread)),
            dressing=float(np.sqrt((1.0 - share) * wanted)),
        )

    def score(share: float) -> float:
        deviation = np.sqrt(1.0 + 1.0 / size) * of(share).deviation(cases.members)
        return gaussian_crps(mean, deviation, cases.truth)

    return of(float(min(_SHARES[::-1], key=score)) if dressed else 1.0)


def fit_calibration(forecasts: Forecasts, *, fitted_on: Mapping[str, Any]) -> Calibration:
    """Inflation of every variable and lead of some forecasts.

    Args:
        forecasts: over columns that no member was trained on.
        fitted_on: what to say of them.
    """
    size = len(next(iter(forecasts.cases.values()))[0].members)
    return Calibration(
        members=size,
        lead_days=forecasts.lead_days,
        variables={
            name: tuple(fit_inflation(cases) for cases in by_lead)
            for name, by_lead in forecasts.cases.items()
        },
        fitted_on={
            **fitted_on,
            "columns": forecasts.columns,
            "starts": forecasts.starts,
        },
    )


def save_calibration(calibration: Calibration, directory: str | Path) -> Path:
    """Write `calibration.json` beside an ensemble's weights, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    content = {
        "form": _FORM,
        "members": calibration.members,
        "lead_days": list(calibration.lead_days),
        "variables": {
            name: {
                "units": VARIABLES[name].units,
                "factor": [row.factor for row in rows],
                "dressing": [row.dressing for row in rows],
            }
            for name, rows in calibration.variables.items()
        },
        "fitted_on": calibration.fitted_on,
    }
    target = Path(directory) / CALIBRATION
    with atomic_path(target) as path:
        path.write_text(json.dumps(content, indent=1) + "\n")
    return target


def load_calibration(directory: str | Path, *, members: int) -> Calibration | None:
    """The calibration of an ensemble, or nothing where it has none.

    Args:
        directory: of the ensemble.
        members: how many it has.

    Raises:
        InputError: if the file is not one, or belongs to an ensemble of another size.
    """
    path = Path(directory) / CALIBRATION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content["form"] != _FORM:
            raise ValueError(f"form {content['form']!r}, expected {_FORM}")
        days = tuple(float(x) for x in content["lead_days"])
        variables = {
            name: tuple(
                Inflation(float(a), float(b))
                for a, b in zip(row["factor"], row["dressing"], strict=True)
            )
            for name, row in content["variables"].items()
        }
        if any(len(rows) != len(days) for rows in variables.values()):
            raise ValueError("not one inflation for each lead")
        found = Calibration(int(content["members"]), days, variables, content["fitted_on"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a calibration ({error}); fit it again with benchmarks/ensemble.py"
        ) from error
    if found.members != members:
        raise InputError(
            f"{path}: fitted for {found.members} members, expected the ensemble's {members}; fit "
            "it again with benchmarks/ensemble.py"
        )
    return found
