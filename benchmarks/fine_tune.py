"""Fine-tune a model on ECMWF's own ten points, 2020 and 2021.

    python benchmarks/fine_tune.py --out RUN [--model default]
    python benchmarks/real_world.py default --also RUN

The archive holds means over 6 hours and lacks part of the state, so that it is first made into
instants (`hybrid_land.evaluation.window_means.as_instants`); two of the ten points choose the
update that is kept, and nothing of 2022 is seen. The second command scores both models over 2022.
Some minutes on 2 cores. Prints JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from hybrid_land.data import load, save
from hybrid_land.evaluation.window_means import as_instants
from hybrid_land.models.store import load_model
from hybrid_land.training.config import read_config
from hybrid_land.training.loop import train

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse the command line, train and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    archive = load(home / "ecmwf_sample" / "ecland_cy49r2_2020_2022.zarr")
    years = archive.sel(time=slice("2020-01-01", "2021-12-31")).load()
    config = read_config(Path(__file__).with_suffix(".toml"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ecmwf_2020_2021.nc"
        save(as_instants(load_model(options.model), years), path)
        result = train(
            [path],
            options.out,
            config=config.model_copy(update={"start_from": options.model}),
            report=lambda record: print(json.dumps(record), file=sys.stderr, flush=True),
            command="python benchmarks/fine_tune.py",
        )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
