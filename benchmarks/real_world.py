"""Scores where the forcing is real: six sites with observations, and ECMWF's own ten points.

    python benchmarks/real_world.py MODEL [--also MODEL2] [--out DIR] [--json]

Sites: one free run from ECLand's first state with the site's observed forcing, scored against
ECLand run with the same, beside persistence and the record's own climatology (an oracle); then
model and ECLand against the site's observations on the same times. A model that costs nothing
against reality has ECLand's errors there, which come from the forcing, the parameters (chosen from
the site's description) and what ECLand is. Long wave is estimated at US-Hn1 and US-Bi1, and the
forcing of US-Bi1 lacks its irrigation.
ECMWF's sample: another ECLand cycle, window means, no `swvl4`, `stl4`, `tsn`, `asn`, `src`; scored
over 2022 after a spin-up over 2020 and 2021 (see `hybrid_land.evaluation.window_means`). No
model here was trained on any of this, except what `--also` names, such as a fine-tuned one. Prints
tables in Markdown, or JSON; with `--out` both and a figure are written too.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.evaluation.baselines import BASELINES, baseline
from hybrid_land.evaluation.evaluate import score_datasets, scored_variables
from hybrid_land.evaluation.observed import against_observations
from hybrid_land.evaluation.scoreboard import number
from hybrid_land.evaluation.window_means import zero_shot_scores
from hybrid_land.figures import TRUTH, colour_of, paper_style, pretty_units, save_figure
from hybrid_land.interface import Model
from hybrid_land.models.store import load_model
from hybrid_land.simulation import simulate
from hybrid_land.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
SITES = ("US-Wkg", "SE-Svb", "US-Hn1", "US-Bi1", "CN-Cng", "US-ShaleHills")
SAMPLE = "ecland_cy49r2_2020_2022.zarr"
_TABLED = ("swvl1", "swvl2", "swvl3", "swvl4", "stl1", "stl2", "stl3", "sd", "snowc")
_TABLED += ("skt", "slhf", "sshf", "sro", "ssro")
_SHORT = {"swvl1": "surface soil moisture", "swvl2": "soil moisture 7-28 cm"}
_SHORT |= {"stl1": "soil temperature 0-7 cm", "stl2": "soil temperature 7-28 cm"}
_SHORT |= {"slhf": "latent heat", "sshf": "sensible heat"}


def site_scores(
    models: Mapping[str, Model], truth: xr.Dataset, observations: xr.Dataset | None
) -> dict[str, Any]:
    """One site: scores against ECLand and, where there are observations, against them."""
    runs = {name: simulate(model, truth) for name, model in models.items()}
    first = next(iter(runs))
    variables = scored_variables(runs[first], truth)
    rivals = {kind: baseline(kind, truth, variables) for kind in BASELINES}
    result = score_datasets(truth, {**runs, **rivals}, name=first)
    found: dict[str, Any] = {
        "records": truth.sizes["time"],
        "against_ecland": result["variables"],
        "water_budget": result["water_budget"],
        "energy_budget": {"model": result["energy_budget"], **result["truth"]},
    }
    if observations is not None:
        found["against_observations"] = against_observations(
            {**runs, "ecland": truth}, observations
        )
    return found


def sites_table(sites: Mapping[str, Any]) -> str:
    """RMSE against ECLand: variables down, sites across, in bold where climatology is beaten."""
    lines = [
        "| variable | unit | " + " | ".join(sites) + " |",
        "| --- " * (len(sites) + 2) + "|",
    ]
    for name in _TABLED:
        cells = []
        for site in sites.values():
            row = site["against_ecland"].get(name)
            ours = None if row is None else row["rmse"]
            rival = None if row is None else row["baselines"]["climatology"]["rmse"]
            won = ours is not None and rival is not None and ours < rival
            cells.append(f"**{number(ours)}**" if won else number(ours))
        lines.append(f"| {name} | {VARIABLES[name].units} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def observations_table(sites: Mapping[str, Any], models: Mapping[str, Model]) -> str:
    """RMSE, bias and correlation against observations, the models beside ECLand."""
    runs = [*models, "ecland"]
    heads = [f"{run} {what}" for run in runs for what in ("RMSE", "bias", "r")]
    lines = [
        "| site | observed | variable | unit | n | " + " | ".join(heads) + " |",
        "| --- " * (5 + len(heads)) + "|",
    ]
    for site, content in sites.items():
        for name, row in content.get("against_observations", {}).items():
            variable = row["variable"]
            cells = [
                number(_known(row[run][key]))
                for run in runs
                for key in ("rmse", "bias", "correlation")
            ]
            front = [site, name, variable, VARIABLES[variable].units, str(row["observations"])]
            lines.append("| " + " | ".join([*front, *cells]) + " |")
    return "\n".join(lines)


def sample_table(result: Mapping[str, Any], models: Mapping[str, Model]) -> str:
    """RMSE and anomaly correlation on ECMWF's sample."""
    first, *rest = models
    lines = [
        "| variable | unit | "
        + " | ".join(f"{run} RMSE" for run in (*models, "persistence", "climatology"))
        + " | "
        + " | ".join(f"{run} bias | {run} ACC" for run in models)
        + " |",
        "| --- " * (4 + 3 * len(models)) + "|",
    ]
    for name, row in result["variables"].items():
        by_run = {first: row} | {run: row["baselines"][run] for run in row["baselines"]}
        errors = [number(by_run[run]["rmse"]) for run in (*models, "persistence", "climatology")]
        rest = [number(by_run[run][key]) for run in models for key in ("bias", "acc")]
        lines.append("| " + " | ".join([name, row["units"], *errors, *rest]) + " |")
    return "\n".join(lines)


def _known(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def draw(sites: Mapping[str, Any], models: Mapping[str, Model]) -> Figure:
    """RMSE against observations, a model's beside ECLand's, one panel a quantity."""
    entries = [
        (site, row)
        for site, c in sites.items()
        for row in c.get("against_observations", {}).values()
    ]
    kinds = [kind for kind in _SHORT if any(row["variable"] == kind for _, row in entries)]
    figure = Figure(figsize=(3.1 * 3, 2.5 * -(-len(kinds) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(kinds) // 3), 3, squeeze=False).ravel()
    runs = {"ecland": TRUTH} | {
        name: colour_of("model" if i == 0 else name, i - 1) for i, name in enumerate(models)
    }
    width = 0.8 / len(runs)
    for axis, kind in zip(axes, kinds, strict=False):
        shown = [(site, row) for site, row in entries if row["variable"] == kind]
        for i, (run, colour) in enumerate(runs.items()):
            axis.bar(
                [k + (i - 0.5 * (len(runs) - 1)) * width for k in range(len(shown))],
                [row[run]["rmse"] for _, row in shown],
                width,
                color=colour,
                label="ECLand" if run == "ecland" else run,
            )
        axis.set_xticks(range(len(shown)), [site for site, _ in shown], fontsize=7.0)
        axis.set_title(_SHORT[kind])
        axis.set_ylabel(f"RMSE ({pretty_units(VARIABLES[kind].units)})")
        axis.grid(visible=False, axis="x")
    for axis in axes[len(kinds) :]:
        axis.set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(runs))
    return figure


def main() -> None:
    """Parse the command line, score and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--also", default=None, help="a second model for the same tables")
    parser.add_argument("--data", type=Path, default=home, help="the folder with sites/ and others")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begin = time.monotonic()
    named = [options.model] if options.also is None else [options.model, options.also]
    models: dict[str, Model] = {Path(name).name: load_model(name) for name in named}
    if len(models) < len(named):
        parser.error("MODEL and --also have the same name, expected two; rename one folder")
    sites = {}
    for site in SITES:
        path = options.data / "sites" / f"{site}_obs.nc"
        observations = open_netcdf(path).load() if path.is_file() else None
        truth = load(options.data / "sites" / f"{site}.nc").load()
        sites[site] = site_scores(models, truth, observations)
    sample = zero_shot_scores(
        models, load(options.data / "ecmwf_sample" / SAMPLE).load(), start="2022-01-01"
    )
    found = {
        "models": list(models),
        "sites": sites,
        "ecmwf_sample": sample,
        "seconds": round(time.monotonic() - begin, 1),
    }
    text = json.dumps(found, indent=1)
    tables = "\n\n".join(
        [
            f"# {', '.join(models)} where the forcing is real",
            "## RMSE against ECLand at the sites",
            "Bold where the record's own climatology is beaten, which for a record of a year is "
            "nearly the record itself.",
            sites_table(sites),
            "## Against observations",
            observations_table(sites, models),
            "## ECMWF's ten points, 2022, never trained on",
            "Persistence of the first record; climatology of 2020 and 2021.",
            sample_table(sample, models),
        ]
    )
    if options.out is not None:
        folder = make_folder(options.out)
        with paper_style():
            save_figure(draw(sites, models), folder / "real_world.png")
        for name, content in (("real_world.json", text), ("real_world.md", tables)):
            with atomic_path(folder / name) as path:
                path.write_text(content + "\n", encoding="utf-8")
    print(text if options.json else tables)


if __name__ == "__main__":
    main()
