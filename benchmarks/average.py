"""Average the weights of training runs that started from one another, and score the average.

    python benchmarks/average.py RUN... --weights 0.4,0.3,0.3 --out DIR

The stages of one training end in one basin, where the mean of their weights has less error than
any of them (Izmailov et al. 2018; Wortsman et al. 2022). Scored, as in training, by a free run
over the places that all of the runs withheld. Prints JSON.
"""

import argparse
import json
import os
from pathlib import Path

import jax
from flax import nnx

from hybrid_land.data import load
from hybrid_land.devices import use_cores
from hybrid_land.models.store import describe_model, load_model, save_model
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import split
from hybrid_land.training.validation import validation_scores

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse the command line, average, score and save."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--weights", required=True, help="one for each run, separated by commas")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    shares = [float(share) for share in options.weights.split(",")]
    if len(shares) != len(options.runs) or abs(sum(shares) - 1.0) > 1e-6:
        parser.error(f"--weights {options.weights}: expected one for each RUN, with the sum 1")
    use_cores()
    parts = [nnx.split(load_model(run), nnx.Param, ...) for run in options.runs]
    definition, _, fixed = parts[0]
    mean = jax.tree.map(
        lambda *leaves: sum(share * leaf for share, leaf in zip(shares, leaves, strict=True)),
        *[weights for _, weights, _ in parts],
    )
    model = nnx.merge(definition, mean, fixed)
    facts = describe_model(options.runs[0])
    config = TrainingConfig.model_validate(facts["config"])
    withheld = [split(load(home / name), config)[1].load() for name in facts["trained_on"]]
    scores, errors = validation_scores(model, withheld)
    names = [Path(run).name for run in options.runs]
    kept = {
        "trained_on": facts["trained_on"],
        "parameter_ranges": facts["parameter_ranges"],
        "command": f"python benchmarks/average.py {' '.join(names)} --weights {options.weights}",
        "config": facts["config"] | {"start_from": Path(facts["config"]["start_from"]).name},
        "average_of": dict(zip(names, shares, strict=True)),
        "validation": scores,
        "validation_rmse": errors,
    }
    save_model(model, options.out, facts=kept)
    print(json.dumps({key: kept[key] for key in ("average_of", "validation", "validation_rmse")}))


if __name__ == "__main__":
    main()
