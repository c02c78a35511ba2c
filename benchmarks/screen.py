"""What the records beside a step are worth for what is seen at its end.

    python benchmarks/screen.py [MODEL]

Free runs over the places withheld from training (`split`, all training files): RMSE of skin and
screen-level temperature, dewpoint and sensible heat, with the weather of the records beside each
step, without those that come after it (as at the last record of a forecast), and without any. The
state is the same in all three. Prints a table in Markdown.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import xarray as xr

from hybrid_land.columns import BESIDE, KNOWN, forcing_from, parameters_from, state_from
from hybrid_land.data import load
from hybrid_land.devices import use_cores
from hybrid_land.interface import ForcingSeries
from hybrid_land.models.screen import SEEN
from hybrid_land.models.store import describe_model, load_model
from hybrid_land.rollout import rollout
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split
from hybrid_land.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
SHIFTS = {name: shift for name, (_, shift) in BESIDE.items()} | KNOWN
CASES = {
    "before and after": tuple(SHIFTS),
    "before": tuple(name for name, shift in SHIFTS.items() if shift < 0),
    "none": (),
}


def known_only(forcing: ForcingSeries, names: tuple[str, ...]) -> ForcingSeries:
    """The forcing with no change told but by the records in `names`."""
    return forcing | {name: 0.0 * forcing[name] for name in SHIFTS if name not in names}


def squares(model_name: str, data: list[xr.Dataset]) -> dict[str, np.ndarray]:
    """Mean squared error of each of `SEEN`, by what is known."""
    model = load_model(model_name)
    sums = {name: np.zeros((2, len(SEEN))) for name in CASES}
    for truth in data:
        forcing, fixed = forcing_from(truth), parameters_from(truth)
        for known, names in CASES.items():
            seen = rollout(model, fixed, state_from(truth), known_only(forcing, names))[1]
            for i, name in enumerate(SEEN):
                actual, made = truth[name].to_numpy(), np.asarray(seen[name])
                if VARIABLES[name].kind == "instantaneous":  # of the step's end
                    actual, made = actual[1:], made[:-1]
                sums[known][:, i] += np.square(made - actual).sum(dtype=np.float64), made.size
    return {known: total / count for known, (total, count) in sums.items()}


def main() -> None:
    """Parse the command line, run and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    options = parser.parse_args()
    use_cores()
    facts = describe_model(options.model)
    config = TrainingConfig.model_validate(facts["config"])
    withheld = [split(load(home / name), config)[1].load() for name in facts["trained_on"]]
    found = squares(options.model, withheld)
    units = (VARIABLES[name].units for name in SEEN)
    heads = [f"{name}, {unit}" for name, unit in zip(SEEN, units, strict=True)]
    print("| records known | " + " | ".join(heads) + " |\n|" + " --- |" * (len(SEEN) + 1))
    for known, mean in found.items():
        cells = [f"{value:.3g}" for value in np.sqrt(mean)]
        print(f"| {known} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
