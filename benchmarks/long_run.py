"""Twenty years of a free run: bounds, drift and water, on five years of forcing four times.

    python benchmarks/long_run.py MODEL [--years 20] [--columns N] [--data FILE] [--out DIR]

The forcing of `ecland_test.nc` is repeated; the last state of one pass starts the next. Expected:
nothing that is not finite or out of bounds; the last pass within ECLand's spread between years of
the first (`drift_rms` below `between_years`). ECLand's own trend over its five years stands beside
the model's over twenty: it holds the weather's and, in deserts, the end of its spin-up. Prints
JSON; with `--out` a figure and the numbers are written too.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.evaluation.long_run import LongRun, long_run, summary
from hybrid_land.figures import MODEL, TRUTH, paper_style, pretty_units, save_figure
from hybrid_land.models.store import load_model
from hybrid_land.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
_SHOWN = ("swvl1", "swvl2", "swvl3", "swvl4", "stl1", "stl4", "sd", "e")
_STEPS_A_YEAR = 1461


def draw(run: LongRun, *, name: str) -> Figure:
    """Annual means over the columns: the model's years, and ECLand's repeated as its forcing is."""
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True).ravel()
    year = np.arange(1, run.years + 1)
    a_pass = run.years // run.passes
    for axis, variable in zip(axes, _SHOWN, strict=True):
        scale = _STEPS_A_YEAR if VARIABLES[variable].kind == "amount" else 1.0
        units = pretty_units(VARIABLES[variable].units) or "1"
        truth = np.tile(scale * run.truth[variable].mean(axis=1), run.passes)
        axis.plot(year, truth, color=TRUTH, lw=1.6, ls=(0, (4, 2)), label="ECLand, repeated")
        ours = scale * run.annual[variable].mean(axis=1)
        axis.plot(year, ours, color=MODEL, lw=1.4, marker="o", ms=3, label=name)
        for k in range(1, run.passes):
            axis.axvline(k * a_pass + 0.5, color="#c3c9d0", lw=0.7)
        axis.set_title(variable)
        axis.set_ylabel(f"{units} a year" if scale != 1.0 else units)
        axis.ticklabel_format(useOffset=False)
    for axis in axes[4:]:
        axis.set_xlabel("year of the run")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def main() -> None:
    """Parse the command line, run and print the numbers as JSON."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--columns", type=int, default=None, help="the first N columns only")
    parser.add_argument("--data", type=Path, default=runs / "ecland_test.nc")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    data = load(options.data).isel(column=slice(0, options.columns)).load()
    in_file = max(1, round(data.sizes["time"] / _STEPS_A_YEAR))
    begin = time.monotonic()
    run = long_run(load_model(options.model), data, passes=max(1, -(-options.years // in_file)))
    name = Path(options.model).name
    found = {"model": name, **summary(run), "seconds": round(time.monotonic() - begin, 1)}
    text = json.dumps(found, indent=1)
    if options.out is not None:
        folder = make_folder(options.out)
        with paper_style():
            save_figure(draw(run, name=name), folder / "long_run.png")
        with atomic_path(folder / "long_run.json") as path:
            path.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
