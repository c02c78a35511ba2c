"""The score by which training chooses: a free rollout over the withheld columns."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from hybrid_land.models.emulator import Emulator
from hybrid_land.simulation import simulate
from hybrid_land.variables import DIAGNOSTIC, PROGNOSTIC, SNOW_INNER, SNOW_PRESENT


def validation_scores(
    model: Emulator,
    validation: Sequence[xr.Dataset],
    *,
    judged: tuple[str, ...] = PROGNOSTIC,
) -> tuple[dict[str, float], dict[str, float]]:
    """Free rollout over the withheld columns.

    Args:
        model: to roll out.
        validation: the withheld columns.
        judged: variables that the score is of.

    Returns:
        RMSE of each judged variable over its spread, which is the truth's over time about
        each column's mean, with `score` their mean (infinity for a rollout that is not finite);
        and the RMSE of each variable in its own unit.
    """
    sums = {name: np.zeros(3) for name in (*PROGNOSTIC, *DIAGNOSTIC)}
    for truth in validation:
        run = simulate(model, truth)
        snow = truth["sd"] > SNOW_PRESENT
        for name in sums:
            where = snow if name in SNOW_INNER else xr.ones_like(snow)
            actual = truth[name].where(where)
            sums[name] += (
                float(((run[name] - actual) ** 2).sum(dtype=np.float64)),
                float(((actual - actual.mean("time")) ** 2).sum(dtype=np.float64)),
                float(actual.count()),
            )
    scores = {name: float(np.sqrt(sums[name][0] / max(sums[name][1], 1e-30))) for name in judged}
    mean = float(np.mean(list(scores.values())))
    errors = {name: float(np.sqrt(a / max(count, 1.0))) for name, (a, _, count) in sums.items()}
    return {"score": mean if np.isfinite(mean) else float("inf"), **scores}, errors
