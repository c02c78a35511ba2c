"""Is the ensemble's spread the size of its error: raw and calibrated, on columns never seen.

    python benchmarks/ensemble.py ENSEMBLE_DIR [--json] [--out DIR] [--starts 128]
        [--fit-starts 120]

The inflation (see `hybrid_land.evaluation.inflation`) is fitted on the columns of the training
files that the members' common validation split withheld, and saved as `calibration.json` in
ENSEMBLE_DIR. Scores are on `ecland_test.nc`, which has no part in the fit: forecasts from 128
starts of each of its 60 columns, at leads of 1, 3, 10, 30 and 90 days. Climatology is ECLand's own
values within 15 days of that day in the other four years of the test file, at the same hour.
Validation columns also chose each member's best checkpoint, so that errors there are a little
smaller than on other columns. Expected: spread over skill between 0.8 and 1.25 calibrated, and
below 0.8 raw at most leads, since members share what they were trained on. Cost: with 3 members
8 million steps of a column for the test file and 16 million for the fit. Prints the tables, or
JSON; with `--out` the figures too.
"""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from hybrid_land.data import load
from hybrid_land.errors import InputError
from hybrid_land.evaluation.ensemble import evaluate_ensemble
from hybrid_land.evaluation.ensemble_calibration import calibrate_ensemble, withheld_from_all
from hybrid_land.evaluation.ensemble_table import ensemble_table
from hybrid_land.evaluation.inflation import save_calibration
from hybrid_land.models.ensemble import load_ensemble
from hybrid_land.models.store import describe_model, model_directory
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split

ROOT = Path(__file__).resolve().parents[1]


def say(sentence: Any) -> None:
    """Progress, apart from the result."""
    print(sentence, file=sys.stderr, flush=True)


def withheld_columns(directory: str, folder: Path) -> dict[str, xr.Dataset]:
    """By training file, the columns that every member's split withheld.

    Raises:
        InputError: if the ensemble does not say what its members were trained on.
    """
    description = describe_model(directory)
    members = description.get("member_facts", [])
    if "trained_on" not in description or not all("config" in member for member in members):
        raise InputError(
            f"{directory}: does not say what its members were trained on, expected trained_on and "
            "each member's config; assemble it from training runs (hybrid-land ensemble assemble)"
        )

    def held(config: TrainingConfig, whole: xr.Dataset) -> xr.Dataset:
        return split(whole, config)[1]

    splits = [partial(held, TrainingConfig.model_validate(member["config"])) for member in members]
    return {
        name: withheld_from_all(load(folder / name), splits).load()
        for name in description["trained_on"]
    }


def measure(
    directory: str, folder: Path, *, out: Path | None, starts: int, fit_starts: int
) -> dict[str, Any]:
    """Fit the calibration, save it, and score the test file."""
    ensemble = load_ensemble(directory)
    begin = time.monotonic()
    calibration = calibrate_ensemble(
        ensemble, withheld_columns(directory, folder), most_starts=fit_starts, report=say
    )
    save_calibration(calibration, model_directory(directory))
    result = evaluate_ensemble(
        ensemble,
        load(folder / "ecland_test.nc").load(),
        calibration=calibration,
        out=out,
        name=Path(directory).name,
        most_starts=starts,
        report=say,
    )
    return result | {"seconds": round(time.monotonic() - begin, 1)}


def main() -> None:
    """Parse the command line and print the result."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ensemble", metavar="ENSEMBLE_DIR")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--starts", type=int, default=128)
    parser.add_argument("--fit-starts", type=int, default=120)
    options = parser.parse_args()
    try:
        result = measure(
            options.ensemble,
            runs,
            out=options.out,
            starts=options.starts,
            fit_starts=options.fit_starts,
        )
    except InputError as error:
        parser.error(str(error))
    print(json.dumps(result, indent=1) if options.json else ensemble_table(result))


if __name__ == "__main__":
    main()
