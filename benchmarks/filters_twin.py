"""Surface soil moisture into the root zone by ensembles: the twin of `assimilation_twin.py`.

    python benchmarks/filters_twin.py [--first-guess profile|layers] [--methods etkf,enks,...]
        [--columns 40] [--days 365] [--members 40] [--localisation-depth-m 2]
    python benchmarks/filters_twin.py --growth

Truth, rain, first guess and observations are those of `assimilation_twin.py` (which see), so that
the numbers stand beside those of the simplified EKF and of 4D-Var in `RESULTS.md`. Members differ
in their first guess (B as it is), their rain (a lognormal factor of standard deviation 0.3, each
step apart, as the twin's; snow too, which in the twin is right) and what is added for the model's
own error. Nothing is inflated, and no number is chosen on the test file: the model's own error is
`filter_options.OWN_GROWTH`, measured by `--growth` on places withheld from training. LETKF sees
columns within 500 km; with a localisation in depth it sees its own column alone. Prints a table and
JSON.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from assimilation_twin import CORRELATED_OVER, ROOT, WRONG, problem, row_of, table, with_root_zone

from assimilation import FILTERS, FilterOptions, assimilate, read_observations
from assimilation.covariance import background_root
from hybrid_land.data import load
from hybrid_land.forecasts import from_starts
from hybrid_land.interface import Model
from hybrid_land.models.store import load_model
from hybrid_land.training.windows import validation_columns
from hybrid_land.variables import SOIL_WATER

_REACH = 500.0  # km, of letkf
_LEAD_DAYS, _STARTS, _WITHHELD = 20, 24, 60


def growth(model: Model, folder: Path) -> dict[str, float]:
    """Root mean square of the model's error in 20 days over their root, where it never learnt.

    The rain is right, and every start is from ECLand's state. Places as `hybrid-land train`
    withholds them.
    """
    whole = load(folder / "ecland_train_wide_0.nc")
    held = np.flatnonzero(validation_columns(whole, share=0.1, seed=0))[:_WITHHELD]
    truth = whole.isel(column=held).load()
    steps = round(_LEAD_DAYS * 86400.0 / model.time_step)
    starts = np.linspace(0, truth.sizes["time"] - 1 - steps, _STARTS).astype(int)
    found = from_starts(model, truth, starts, np.array([steps]))
    rates = {}
    for name in SOIL_WATER:
        error = found[name][0] - truth[name].transpose("time", "column").to_numpy()[starts + steps]
        rates[name] = float(np.sqrt(np.mean(error.astype(np.float64) ** 2) / _LEAD_DAYS))
    return rates


def main() -> None:
    """Parse the command line, run every method and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--first-guess", choices=tuple(CORRELATED_OVER), default="profile")
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--members", type=int, default=40)
    parser.add_argument("--localisation-depth-m", type=float, help="of letkf")
    parser.add_argument("--methods", default="etkf,denkf,enkf-n,enks,letkf,pf")
    parser.add_argument("--growth", action="store_true", help="measure the model's own error only")
    given = parser.parse_args()
    model = load_model(given.model)
    if given.growth:
        print(json.dumps(growth(model, home)))
        return
    truth, weather, seen, guess, whole = problem(
        home, "test", given.first_guess, given.columns, given.days
    )
    observations = read_observations(seen, weather)
    truth, normal = with_root_zone(truth, whole)
    root = background_root(
        SOIL_WATER,
        deviation=dict.fromkeys(SOIL_WATER, WRONG),
        length=CORRELATED_OVER[given.first_guess],
    )
    result: dict[str, Any] = {}
    for method in given.methods.split(","):
        if method not in FILTERS:
            parser.error(f"{method!r} is no filter, expected {', '.join(FILTERS)}")
        depth = given.localisation_depth_m if method == "letkf" else None
        reach = _REACH if method == "letkf" and depth is None else None
        begin = time.monotonic()
        analysis = assimilate(
            model,
            weather,
            observations,
            first_guess=guess,
            method=method,
            window_days=73.0,
            options=FilterOptions(
                root=root,
                members=given.members,
                localisation_km=reach,
                localisation_depth_m=depth,
            ),
        )
        spent = time.monotonic() - begin
        if not result:
            result["open loop"] = row_of(analysis, truth, normal, suffix="_open_loop")
        result[method] = row_of(analysis, truth, normal) | {
            "members_replaced": float(analysis.attrs["members_replaced"]),
            "seconds": round(spent, 1),
        }
        print(json.dumps({method: result[method]}), file=sys.stderr, flush=True)
    print(table(result))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
