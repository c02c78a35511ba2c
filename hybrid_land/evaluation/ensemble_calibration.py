"""Fitting an ensemble's inflation on the columns that were withheld from all its members."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hybrid_land.errors import InputError
from hybrid_land.evaluation.ensemble_forecasts import LEAD_DAYS, forecasts, join
from hybrid_land.evaluation.inflation import Calibration, fit_calibration
from hybrid_land.models.ensemble import Ensemble

POSITION = "position"


def calibrate_ensemble(
    ensemble: Ensemble,
    withheld: Mapping[str, xr.Dataset],
    *,
    lead_days: Sequence[float] = LEAD_DAYS,
    most_starts: int = 12,
    report: Callable[[str], None] | None = None,
) -> Calibration:
    """Fit the inflation by variable and lead.

    Args:
        ensemble: K members.
        withheld: by the file's name, the columns that no member was trained on.
        lead_days: see `forecasts`.
        most_starts: of each file.
        report: called with a sentence before each file.

    Raises:
        InputError: if there are no columns, or a record is too short.
    """
    some = {name: data for name, data in withheld.items() if data.sizes["column"]}
    if not some:
        raise InputError(
            "no column is withheld from all members, so there is nothing to calibrate on; train "
            "the members with one split (the same validation share and seed of the split)"
        )
    parts = []
    for name, data in some.items():
        if report is not None:
            report(f"forecasts on {data.sizes['column']} withheld columns of {name}")
        parts.append(forecasts(ensemble, data, lead_days=lead_days, most_starts=most_starts))
    return fit_calibration(join(parts), fitted_on={"files": list(some)})


def withheld_from_all(
    whole: xr.Dataset, splits: Sequence[Callable[[xr.Dataset], xr.Dataset]]
) -> xr.Dataset:
    """The columns of a file that every member's split withholds.

    Args:
        whole: dims `(time, column)`.
        splits: for each member, from the file to its withheld columns.
    """
    numbered = whole.assign_coords({POSITION: ("column", np.arange(whole.sizes["column"]))})
    kept: Any = set(range(whole.sizes["column"]))
    for split in splits:
        kept &= set(split(numbered)[POSITION].to_numpy().tolist())
    return whole.isel(column=sorted(kept))
