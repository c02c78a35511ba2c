"""Real soil moisture into the model at four sites: what was withheld, and what came after.

    python benchmarks/assimilation_sites.py MODEL [--sites US-Wkg,...] [--out DIR]

Forcing and probes are the sites' own (`sites/`). The first two thirds of each record are for
assimilation, the last third for a free forecast from the last analysis, in which nothing is
assimilated and on which nothing was chosen. In the first part blocks of 10 days take turns: one
observation a day, near 6 h local time as a satellite's, is assimilated from every other block; all
of the others are withheld. The probe at 15 cm of US-Wkg is withheld throughout; at US-Hn1 the only
probe (15 cm) is the one assimilated; US-Bi1's has no stated depth and is taken to be at 5 cm. Left
out: frozen ground (below 274.16 K in ECLand's first layer or by the probe) and snow.

Stated error 0.03 m3 m-3: what is left when one probe is scaled to the mean of a field (Cosh et al.
2016, Vadose Zone J. 15(4): about 0.03); coarser areas 0.02 to 0.06 (Gruber et al. 2013). A day
apart such errors are not independent, which R ignores. Bias, each from the assimilated blocks alone
against the open loop: none, mean, linear (mean and variance), cdf (pytesmo); or within 4D-Var as
the window's bias, prior 0.05 (varbc; not remembered from window to window), or as theta_cap. B is
the twin's (`assimilation_twin.py`), the SEKF's 0.01; `propagated` is 4D-Var whose B is the last
window's analysis error from the second window on, as in the twin. Linear and cdf multiply R by the
ratio of the standard deviations, in one run they do not. No number was tuned on these sites. Scores
against the observations as measured; correlation by rank too, as in Qiu et al. (2021, HESS 25,
1569), where SMAP L4 gains 0.056 over its open loop at the surface and 0.034 in the root zone.
Anomalies are from a moving mean of 35 days. Prints tables and JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

from assimilation import Options, assimilate, read_observations
from assimilation.bias import fit_rescaling
from assimilation.diagnostics import chi_squared, desroziers
from assimilation.probe import at_depth, probe_name, probe_weights
from hybrid_land.data import load
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.evaluation.observed import moving_anomaly, scores_against
from hybrid_land.figures import MODEL, TRUTH, paper_style, save_figure
from hybrid_land.models.store import load_model
from hybrid_land.simulation import simulate
from hybrid_land.variables import SNOW_PRESENT, SOIL_WATER

ROOT = Path(__file__).resolve().parents[1]
# Assimilated probe and its depth; one that is withheld throughout; a thermometer to screen by.
SITES: dict[str, dict[str, Any]] = {
    "US-Wkg": {"probe": ("SoilMoist_5cm", 5), "deeper": ("SoilMoist_15cm", 15)},
    "SE-Svb": {"probe": ("SoilMoist_5cm", 5)},
    "US-Bi1": {"probe": ("SoilMoist_1", 5)},
    "US-Hn1": {"probe": ("SoilMoist_15cm", 15)},
}
ERROR, BIAS_PRIOR, THAWED = 0.03, 0.05, 274.16
WINDOW_DAYS, BLOCK_DAYS, MEMORY_DAYS = 20, 10, 35
TREATMENTS = ("none", "mean", "linear", "cdf")
_CYCLED_ERROR = dict(zip(SOIL_WATER, (0.03, 0.025, 0.02, 0.015), strict=True))
_PEER_ERROR = dict.fromkeys(SOIL_WATER, 0.01)
# Method, control vector, what is done about bias beforehand, and the bias within.
RUNS: dict[str, dict[str, Any]] = {
    "4dvar": {"treatments": TREATMENTS},
    "weak-4dvar": {"treatments": TREATMENTS},
    "sekf": {"treatments": TREATMENTS, "background": _PEER_ERROR, "window": 1.0},
    "4dvar, theta_cap": {"treatments": TREATMENTS, "control": (*SOIL_WATER, "theta_cap")},
    "4dvar, varbc": {"treatments": ("none",), "bias": True},
    "weak-4dvar, varbc": {"treatments": ("none",), "bias": True},
    "4dvar, R not scaled": {"treatments": ("linear", "cdf"), "unscaled": True},
    "4dvar, propagated": {"treatments": TREATMENTS, "propagate": True},
}
PUBLISHED = {"withheld": 0.056, "deeper": 0.034}  # SMAP L4, Qiu et al. 2021
Series = dict[str, np.ndarray]


def prepare(folder: Path, site: str, model: Any) -> dict[str, Any]:
    """A site's data, open loop, observations `[time]` by probe, and which record is for what."""
    records = round(WINDOW_DAYS * 4)
    data = load(folder / f"{site}.nc").load()
    # Whole windows alone: another length would have to be compiled for itself.
    whole = slice(0, data.sizes["time"] // records * records)
    data = data.isel(time=whole)
    stored = open_netcdf(folder / f"{site}_obs.nc").load().isel(time=whole)
    when = data["time"].to_numpy()
    if not np.array_equal(when, stored["time"].to_numpy()):
        raise ValueError(f"{site}: observations are on other times than the data")
    free = simulate(model, data)
    thawed = (data["stl1"][:, 0] > THAWED) & (data["sd"][:, 0] < SNOW_PRESENT)
    sound = thawed.to_numpy()
    for name in map(str, stored.data_vars):
        if name.startswith("SoilTemp") and name.endswith("_5cm"):
            sound &= ~(stored[name].to_numpy() < THAWED)
    cut = (2 * len(when) // 3) // records * records
    index = np.arange(len(when))
    day = (when - when[0]) // np.timedelta64(1, "D")
    local = (when - when.astype("datetime64[D]")) / np.timedelta64(1, "h") + float(data.lon[0]) / 15
    morning = np.abs((local - 6.0 + 12.0) % 24.0 - 12.0) <= 3.0
    block = (day // BLOCK_DAYS) % 2 == 0
    first = sound & (index < cut) & (index > 0)
    probes = {role: SITES[site][role] for role in ("probe", "deeper") if role in SITES[site]}
    values = {role: stored[name].to_numpy().astype(float) for role, (name, _) in probes.items()}
    seen = np.isfinite(values["probe"])
    return {
        "data": data,
        "cut": cut,
        "values": values,
        "depth": {role: depth for role, (_, depth) in probes.items()},
        "open loop": {role: depths(free, depth) for role, (_, depth) in probes.items()},
        "ECLand": {role: depths(data, depth) for role, (_, depth) in probes.items()},
        "sound": sound,
        "fit": first & block & seen,
        "used": first & block & morning & seen,
        "withheld": first & ~block,
        "later": sound & (index >= cut),
    }


def depths(run: xr.Dataset, centimetres: int, column: int = 0) -> np.ndarray:
    """Soil moisture of a run at a depth, m3 m-3, `[time]`."""
    series = {n: jnp.asarray(run[n].isel(column=[column]).to_numpy()) for n in SOIL_WATER}
    return np.asarray(at_depth(series, depth=0.01 * centimetres), np.float64)[:, 0]


def treated(case: Mapping[str, Any], kind: str) -> tuple[np.ndarray, float]:
    """The assimilated probe in the open loop's climate, fitted on the first part's used blocks.

    Returns:
        Values `[time]`, all of them, and the factor of the error.
    """
    values, fit = case["values"]["probe"], case["fit"]
    if kind == "none":
        return values, 1.0
    here, there = values[fit], case["open loop"]["probe"][fit]
    if kind == "mean":
        return values - here.mean() + there.mean(), 1.0
    when = case["data"]["time"].to_numpy()

    def table(series: np.ndarray, which: np.ndarray) -> xr.Dataset:
        kept = series[which][:, None]
        return xr.Dataset({"swvl1": (("time", "column"), kept)}, coords={"time": when[which]})

    found = fit_rescaling(table(values, fit), table(case["open loop"]["probe"], fit), method=kind)
    scaled = found.apply(table(values, np.ones(len(when), bool)))["swvl1"].to_numpy()[:, 0]
    return scaled.astype(np.float64), float(found.parameters["scale"].to_numpy().ravel()[0])


def analyse(case: Mapping[str, Any], model: Any, name: str) -> tuple[xr.Dataset, list[Any]]:
    """One run of `RUNS`: a column for each treatment, and what each was given."""
    run = RUNS[name]
    given = [treated(case, kind) for kind in run["treatments"]]
    if run.get("unscaled"):
        given = [(series, 1.0) for series, _ in given]
    observable = probe_name("soil_moisture", case["depth"]["probe"])
    data = case["data"].isel(column=[0] * len(given))
    values = np.stack([np.where(case["used"], series, np.nan) for series, _ in given], axis=1)
    errors = np.broadcast_to([ERROR * factor for _, factor in given], values.shape)
    dims = ("time", "column")
    table = xr.Dataset(
        {observable: (dims, values), f"{observable}_error": (dims, errors)},
        coords={"time": data["time"]},
    )
    options = Options(
        control=run.get("control", SOIL_WATER),
        background_error=run.get("background", _CYCLED_ERROR),
        bias={observable: BIAS_PRIOR} if run.get("bias") else {},
        propagate=run.get("propagate", False),
    )
    analysis = assimilate(
        model,
        data,
        read_observations(table, data),
        method=name.split(",")[0],
        window_days=run.get("window", float(WINDOW_DAYS)),
        options=options,
    )
    return analysis, given


def skill(case: Mapping[str, Any], run: Series, role: str, which: np.ndarray) -> dict[str, float]:
    """Scores of a run against a probe as it was measured, at some records."""
    observed = np.where(case["sound"], case["values"][role], np.nan)
    there = np.where(np.isfinite(observed), run[role], np.nan)
    both = [moving_anomaly(x, records=4 * MEMORY_DAYS) for x in (there, observed)]
    kept = np.where(which, observed, np.nan)
    where = np.isfinite(kept)
    found = scores_against(run[role], kept)
    ranks = [scipy.stats.rankdata(x[where]) for x in (run[role], kept)]
    found["rank"] = float(np.corrcoef(*ranks)[0, 1])  # Spearman's
    anomaly = np.where(where & np.isfinite(both[0]), both[1], np.nan)
    found["anomaly"] = scores_against(both[0], anomaly)["correlation"]
    return found | {"n": int(where.sum())}


def stated(
    case: Mapping[str, Any], analysis: xr.Dataset, column: int, given: tuple[np.ndarray, float]
) -> dict[str, float]:
    """Do the stated errors of analysis and observation cover what was withheld?

    The analysis' standard deviations of two layers are added as if they were fully correlated.
    """
    observable = probe_name("soil_moisture", case["depth"]["probe"])
    one = analysis.isel(column=[column])
    spread = np.zeros(one.sizes["time"])
    for name, weight in zip(SOIL_WATER, probe_weights(0.01 * case["depth"]["probe"]), strict=True):
        spread += weight * one[f"{name}_analysis_error"].to_numpy()[:, 0]
    values, factor = given
    width = np.sqrt(spread**2 + (ERROR * factor) ** 2)
    departure = (values - one[observable].to_numpy()[:, 0]) / width
    z = departure[case["withheld"] & np.isfinite(departure)]
    ranks = scipy.stats.norm.cdf(z)
    found = desroziers(one, observable)
    return {
        "covered_68": float(np.mean(np.abs(z) <= 0.994)),
        "covered_95": float(np.mean(np.abs(z) <= 1.960)),
        "mean_rank": float(ranks.mean()),
        "sd_z": float(z.std()),
        "chi_squared": chi_squared(one)["ratio"],
        "observation_factor": found["observation_factor"],
        "background_factor": found.get("background_factor", float("nan")),
        "not_converged": int((~one["converged"].to_numpy().astype(bool)).sum()),
    }


def score_site(
    case: Mapping[str, Any], model: Any, runs: Sequence[str]
) -> tuple[dict[str, Any], dict[str, xr.Dataset]]:
    """Runs at one site: scores by part of the record, and the analyses."""
    parts = {"withheld": ("probe", case["withheld"]), "later": ("probe", case["later"])}
    if "deeper" in case["values"]:
        before = np.arange(len(case["sound"])) < case["cut"]
        parts["deeper"] = ("deeper", case["sound"] & before)
        parts["deeper later"] = ("deeper", case["later"])

    def scored(run: Series) -> dict[str, Any]:
        return {part: skill(case, run, role, which) for part, (role, which) in parts.items()}

    result = {name: scored(case[name]) for name in ("ECLand", "open loop")}
    kept = {}
    for name in runs:
        run = RUNS[name]
        begin = time.monotonic()
        analysis, given = analyse(case, model, name)
        spent = time.monotonic() - begin
        print(f"  {name}: {spent:.0f} s", file=sys.stderr, flush=True)
        kept[name] = analysis
        for column, kind in enumerate(run["treatments"]):
            series = {
                role: depths(analysis, depth, column) for role, depth in case["depth"].items()
            }
            label = f"{name}: {kind}"
            result[label] = scored(series) | stated(case, analysis, column, given[column])
            scaled = np.where(case["withheld"] & case["sound"], given[column][0], np.nan)
            for what, run_series in (("analysis", series), ("open loop", case["open loop"])):
                found = scores_against(run_series["probe"], scaled)
                result[label][f"rmse in the climate assimilated, {what}"] = found["rmse"]
            result[label]["seconds"] = spent
            if "theta_cap" in analysis:
                result[label]["theta_cap"] = float(analysis["theta_cap"][column])
    return result, kept


def table(result: Mapping[str, Any], parts: tuple[str, ...]) -> str:
    """Scores of one site as Markdown: runs down, parts of the record across."""
    keys = ("bias", "rmse", "ubrmse", "correlation", "rank", "anomaly")
    names = {"correlation": "r", "rank": "rank r", "anomaly": "anomaly r"}
    heads = [f"{part} {names.get(key, key)}" for part in parts for key in keys]
    lines = ["| run | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for name, row in result.items():
        cells = [
            f"{row[part][key]:.4f}" if key in keys[:3] else f"{row[part][key]:.3f}"
            for part in parts
            for key in keys
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def belief(result: Mapping[str, Any]) -> str:
    """What the stated errors are worth at one site, as Markdown."""
    rows = {name: row for name, row in result.items() if "covered_68" in row}
    keys = [k for k, x in next(iter(rows.values())).items() if not isinstance(x, dict)]
    keys = [k for k in keys if k != "theta_cap"]
    lines = ["| run | " + " | ".join(keys) + " | theta_cap |", "| --- " * (len(keys) + 2) + "|"]
    for name, row in rows.items():
        cells = [f"{row[key]:.3g}" for key in keys]
        last = f"{row['theta_cap']:.3f}" if "theta_cap" in row else ""
        lines.append(f"| {name} | " + " | ".join([*cells, last]) + " |")
    return "\n".join(lines)


def gains(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Correlation against that of the open loop, mean over the sites that have the part."""
    found: dict[str, dict[str, float]] = {}
    for name in next(iter(results.values())):
        if name in ("ECLand", "open loop"):
            continue
        row: dict[str, float] = {}
        for part in ("withheld", "later", "deeper", "deeper later"):
            for key in ("correlation", "rank", "anomaly", "ubrmse", "rmse"):
                change = [
                    result[name][part][key] - result["open loop"][part][key]
                    for result in results.values()
                    if part in result[name]
                ]
                if change:
                    row[f"{part} {key}"] = float(np.mean(change))
        found[name] = row
    return found


def gain_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """The gains as Markdown, SMAP L4's published ones in the last row."""
    keys = list(next(iter(found.values())))
    lines = ["| run | " + " | ".join(keys) + " |", "| --- " * (len(keys) + 1) + "|"]
    for name, row in found.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[key]:+.4f}" for key in keys) + " |")
    published = {f"{part} rank": value for part, value in PUBLISHED.items()}
    cells = [f"{published[key]:+.3f}" if key in published else "" for key in keys]
    lines.append("| SMAP L4, Qiu et al. 2021 | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(cases: Mapping[str, Any], kept: Mapping[str, Any], *, run: str, kind: str) -> Figure:
    """Each site's probe, open loop and analysis in time; the forecast after the line."""
    figure = Figure(figsize=(9.0, 2.3 * len(cases)), layout="constrained")
    axes = figure.subplots(len(cases), 1, squeeze=False)[:, 0]
    for axis, (site, case) in zip(axes, cases.items(), strict=True):
        when, depth = case["data"]["time"].to_numpy(), case["depth"]["probe"]
        column = RUNS[run]["treatments"].index(kind)
        values, _ = treated(case, kind)
        other = case["sound"] & ~case["used"]
        axis.plot(when, case["open loop"]["probe"], color="#e69f00", lw=0.9, label="open loop")
        best = depths(kept[site][run], depth, column)
        axis.plot(when, best, color=MODEL, lw=0.9, label=f"{run}, bias: {kind}")
        axis.plot(when[other], values[other], ".", ms=1.2, color="#8a939d", label="not assimilated")
        used = case["used"]
        axis.plot(when[used], values[used], ".", ms=3.0, color=TRUTH, label="assimilated")
        axis.axvline(when[case["cut"]], color=TRUTH, lw=0.7)
        axis.set_title(f"{site}, {depth} cm")
        axis.set_ylabel("m³ m⁻³")
    axes[0].legend(ncols=4, fontsize=7, loc="upper left")
    return figure


def main() -> None:
    """Parse the command line, run every site and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "sites"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--sites", default=",".join(SITES))
    parser.add_argument("--runs", default=";".join(RUNS), help="separated by semicolons")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    chosen = options.runs.split(";")
    model = load_model(options.model)
    results, cases, kept = {}, {}, {}
    with tempfile.TemporaryDirectory() as compiled:  # what one site compiles, the others find
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", compiled)
        jax.config.update("jax_compilation_cache_dir", cache)
        for site in options.sites.split(","):
            begin = time.monotonic()
            cases[site] = prepare(home, site, model)
            results[site], kept[site] = score_site(cases[site], model, chosen)
            spent = time.monotonic() - begin
            print(json.dumps({site: results[site], "seconds": spent}), file=sys.stderr, flush=True)
    lines = []
    for site, result in results.items():
        parts = tuple(part for part, row in result["open loop"].items() if isinstance(row, dict))
        case = cases[site]
        counts = ", ".join(f"{part} {result['open loop'][part]['n']}" for part in parts)
        lines += [f"### {site}", f"assimilated {int(case['used'].sum())}, {counts}", ""]
        lines += [table(result, parts[:2]), ""]
        lines += [table(result, parts[2:]), ""] if parts[2:] else []
        lines += [belief(result), ""]
    lines += ["### Gain over the open loop, mean of sites", gain_table(gains(results))]
    text = "\n".join(lines)
    print(text)
    print(json.dumps(results, indent=1))
    if options.out is not None:
        folder = make_folder(options.out)
        with atomic_path(folder / "assimilation_sites.md") as path:
            path.write_text(text + "\n", encoding="utf-8")
        with atomic_path(folder / "assimilation_sites.json") as path:
            path.write_text(json.dumps(results, indent=1), encoding="utf-8")
        with paper_style():
            for kind in RUNS[chosen[0]]["treatments"]:
                figure = draw(cases, kept, run=chosen[0], kind=kind)
                save_figure(figure, folder / f"assimilation_sites_{kind}.png")


if __name__ == "__main__":
    main()
