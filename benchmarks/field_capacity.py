"""Does the model answer to field capacity as ECLand does, and to other parameters?

    python benchmarks/field_capacity.py [MODEL] [--trees TREES] [--spin-up 3] [--out DIR] [--json]
    python benchmarks/field_capacity.py [MODEL] --partial [--out DIR] [--json]

`ecland_theta_cap.nc`: ECLand at 24 places with nine values of theta_cap each, 2 years, everything
else the same. The model runs from each run's own first state. Never trained on and nothing tuned
on it. Goals: slope within 10% of ECLand's, correlation over the nine values at least 0.95, the
sign right everywhere. To check the reading: per unit scale of theta_cap ECLand's latent heat flux
answers with 4.2 W m-2 (less evaporation; 4.6 in the first year), swvl3 with 0.041 m3 m-3, skin
temperature with 0.44 K. As each run starts from what ECLand's own spin-up with its theta_cap left,
holding the first state gives the slope of soil water within 12% and its sign at 96% of places;
`--spin-up N` adds runs that are handed none of it.

`--partial` asks the same of theta_pwp, stomatal resistance, conductivity and cover, on the wide
training files, where no run has one of them changed alone: weaker evidence, see
`hybrid_land.sensitivity.partial_dependence`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hybrid_land.data import load, save
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.figures import paper_style, save_figure
from hybrid_land.interface import Model
from hybrid_land.models.store import load_model
from hybrid_land.models.trees import load_trees
from hybrid_land.sensitivity import field_capacity, partial_dependence
from hybrid_land.sensitivity.field_capacity_plots import curves_figure, slopes_figure

ROOT = Path(__file__).resolve().parents[1]
WIDE = tuple(f"ecland_train_wide_{i}.nc" for i in range(4))


def say(sentence: str) -> None:
    """Progress, apart from the result."""
    print(sentence, file=sys.stderr, flush=True)


def against_ecland(
    models: dict[str, Model], data: Path, *, spin_up: int, out: Path | None
) -> tuple[dict[str, Any], str]:
    """The comparison on runs with theta_cap alone changed: numbers, and a table in words."""
    result = field_capacity.compare_field_capacity(
        models, open_netcdf(data).load(), spin_up=spin_up, report=say
    )
    found: dict[str, Any] = {"all_years": field_capacity.summary(result)}
    text = ["# All years\n", field_capacity.scoreboard(found["all_years"])]
    if result.sizes["year"] > 1:
        found["last_year"] = field_capacity.summary(result, year=-1)
        text += ["# The last year alone\n", field_capacity.scoreboard(found["last_year"])]
    if out is not None:
        folder = make_folder(out)
        save(result, folder / "field_capacity.nc")
        save(field_capacity.answers(result), folder / "field_capacity_places.nc")
        with atomic_path(folder / "field_capacity.md") as path:
            path.write_text("\n".join(text), encoding="utf-8")
        with paper_style():
            save_figure(curves_figure(result), folder / "field_capacity_curves.png")
            save_figure(slopes_figure(result), folder / "field_capacity_slopes.png")
    return found, "\n".join(text)


def partial(model: Model, folder: Path, *, out: Path | None) -> tuple[dict[str, Any], str]:
    """The other parameters, by partial dependence and by regression between columns."""
    rows = partial_dependence.compare_partial_dependence(
        model, [load(folder / name) for name in WIDE], report=say
    )
    text = partial_dependence.table(rows)
    if out is not None:
        place = make_folder(out)
        with atomic_path(place / "partial_dependence.md") as path:
            path.write_text(text, encoding="utf-8")
        with paper_style():
            save_figure(partial_dependence.figure(rows), place / "partial_dependence.png")
    return {"partial_dependence": rows}, text


def main() -> None:
    """Parse the command line and print the result."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--data", type=Path, default=runs / "ecland_theta_cap.nc")
    parser.add_argument("--trees", type=Path, default=None)
    parser.add_argument("--spin-up", type=int, default=0)
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begin = time.monotonic()
    model = load_model(options.model)
    if options.partial:
        found, text = partial(model, runs, out=options.out)
    else:
        models: dict[str, Model] = {"model": model}
        if options.trees is not None:
            models["xgboost"] = load_trees(options.trees)
        found, text = against_ecland(models, options.data, spin_up=options.spin_up, out=options.out)
    found |= {"model": Path(options.model).name, "seconds": round(time.monotonic() - begin, 1)}
    print(json.dumps(found, indent=1) if options.json else text)


if __name__ == "__main__":
    main()
