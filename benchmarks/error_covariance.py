"""A model's forecast errors by variable and lead, on the columns withheld from its training.

    python benchmarks/error_covariance.py MODEL DATA... [--out FILE] [--starts 12]

The columns are those that `hybrid_land.training.split` withholds with the configuration in the
model's `model.json`; give the training files as DATA. Forecasts start from ECLand's state at
`starts` records a file. Without `--out` the result goes beside `model.json` as `errors.nc`, where
`load_errors` finds it; the error of parameters, which was there, is to be found anew
(`parameter_error.py --write`). Prints the standard deviations as JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from hybrid_land.data import load
from hybrid_land.evaluation.error_covariance import ForecastErrors, forecast_errors, save_errors
from hybrid_land.models.store import describe_model, load_model, model_directory
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split


def withheld_errors(model: str, paths: list[Path], *, starts: int) -> ForecastErrors:
    """Statistics over the withheld columns of all files."""
    config = TrainingConfig.model_validate(describe_model(model).get("config", {}))
    data = [split(load(path), config)[1].load() for path in paths]
    return forecast_errors(load_model(model), data, starts=starts)


def summary(errors: ForecastErrors) -> dict[str, Any]:
    """Standard deviation by variable and lead, and the memory of the error at one day."""
    table = errors.table
    a_day = round(86400.0 / table.attrs["time_step"])
    return {
        "lead_days": [round(int(lead) / a_day, 3) for lead in table["lead"]],
        "forecasts": table.attrs["forecasts"],
        "columns": table.attrs["columns"],
        "standard_deviation": {
            name: [float(f"{x:.3g}") for x in table["variance"].sel(name=name).to_numpy() ** 0.5]
            for name in errors.names
        },
        "autocorrelation_at_lags": {
            "steps": table["lag"].to_numpy().tolist(),
            **{
                name: [round(float(x), 3) for x in table["autocorrelation"].sel(name=name)]
                for name in errors.names
            },
        },
    }


def main() -> None:
    """Parse the command line, write the file and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--starts", type=int, default=12)
    options = parser.parse_args()
    begin = time.monotonic()
    errors = withheld_errors(options.model, options.data, starts=options.starts)
    path = save_errors(errors, options.out or model_directory(options.model))
    found = summary(errors) | {
        "file": str(path),
        "bytes": path.stat().st_size,
        "seconds": round(time.monotonic() - begin, 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
