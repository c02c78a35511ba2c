"""Field capacity and wilting point from soil moisture probes at three sites: what they are worth.

    python benchmarks/calibration_sites.py [MODEL] [--sites US-Wkg,...] [--method grid] [--draws N]

Sites, probes, screening and which records are for what are those of `assimilation_sites.py`: in the
first two thirds blocks of 10 days take turns, one observation a day from every other block is used,
the others are withheld; the last third comes after all that was used. Nothing is rescaled: what
theta_cap and theta_pwp can do about a probe's climate is the question.

Errors: 0.01 m3 m-3 of the probe, independent, and 0.03 of a probe for a field (Cosh et al. 2016,
Vadose Zone J. 15(4)) that lasts, AR(1) in 10 days, as field and probe dry apart; 0.01 of the
emulator with a memory of 30 days, and that of its theta_cap about the true one (`errors.nc`).
Priors: what the model was trained on for the site's soil type. The first state is that of the
site's data. No number was tuned on these sites.

Before is the site's own parameters and the prior, after the posterior: scores of the run with the
parameters' mean, and the share of the probe's values within the 90% interval of the predictions.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from assimilation_sites import prepare, skill

from assimilation import read_observations
from assimilation.probe import at_depth, probe_name
from calibration import calibrate, summary
from calibration.covariance import Errors
from hybrid_land.any_model import load_model, own_errors, trained_ranges
from hybrid_land.devices import use_cores
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_WATER

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("theta_cap", "theta_pwp")
SITES = ("US-Wkg", "SE-Svb", "US-Hn1")
OWN, FIELD, MODEL_ERROR = 0.01, 0.03, 0.01  # m3 m-3
DRAWS = 40  # of which predictions are made


def runs(model: Model, case: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Soil moisture at the probe's depth for each set of parameters, `[time, draw]`."""
    count = len(values[NAMES[0]])
    data = case["data"].isel(column=[0] * count)
    changed = {f"clim_{name}": ("column", x.astype(np.float32)) for name, x in values.items()}
    run = simulate(model, data.assign(changed))
    series = {name: jnp.asarray(run[name].to_numpy()) for name in SOIL_WATER}
    return np.asarray(at_depth(series, depth=0.01 * case["depth"]["probe"]), np.float64)


def inside(case: Mapping[str, Any], found: np.ndarray, which: np.ndarray) -> float:
    """Share of the probe's values within the 90% interval of predictions."""
    generator = np.random.default_rng(0)
    error = float(np.sqrt(OWN**2 + FIELD**2 + MODEL_ERROR**2))
    noisy = found[:, None, :] + error * generator.standard_normal((len(found), 25, found.shape[1]))
    low, high = np.quantile(noisy.reshape(len(found), -1), [0.05, 0.95], axis=1)
    values = case["values"]["probe"]
    seen = which & np.isfinite(values)
    return float(((low <= values) & (values <= high))[seen].mean())


def calibrated(site: str, name: str, model: Model, folder: Path, **method: Any) -> dict[str, Any]:
    """One site: the posterior, and scores before and after of what was withheld and came later."""
    case = prepare(folder, site, model)
    observable = probe_name("soil_moisture", case["depth"]["probe"])
    values = np.where(case["used"], case["values"]["probe"], np.nan)[:, None]
    table = xr.Dataset(
        {observable: (("time", "column"), values), f"{observable}_error": ((), OWN)},
        coords={"time": case["data"]["time"]},
    )
    begin = time.monotonic()
    posterior = calibrate(
        model,
        case["data"],
        read_observations(table, case["data"]),
        parameters=NAMES,
        **method,
        errors=Errors(
            correlated={observable: FIELD},
            model={observable: MODEL_ERROR},
            memory_days=10.0,
            parameters=own_errors(model, name).parameters,
        ),
        ranges=trained_ranges(name),
    )
    spent = time.monotonic() - begin
    own = {key: case["data"][f"clim_{key}"].to_numpy().astype(float) for key in NAMES}
    groups = {}
    # Runs are made with the model's own values.
    for group, values in (("prior", "prior"), ("posterior", "unconstrained_posterior")):
        drawn = posterior[values][list(NAMES)].stack(sample=("chain", "draw"))
        flat = {key: drawn[key].to_numpy().reshape(-1) for key in NAMES}
        every = max(1, len(flat[NAMES[0]]) // DRAWS)
        groups[group] = {key: x[::every][:DRAWS] for key, x in flat.items()}
        groups[f"{group} mean"] = {key: np.array([x.mean()]) for key, x in flat.items()}
    found = {label: runs(model, case, values) for label, values in ({"own": own} | groups).items()}
    parts = {"withheld": case["withheld"], "later": case["later"]}
    result: dict[str, Any] = {
        "observations": int(case["used"].sum()),
        "seconds": spent,
        "own": {key: float(x[0]) for key, x in own.items()},
        "posterior": {
            key: {what: row[0] for what, row in summary(posterior)[key].items()} for key in NAMES
        },
    }
    for part, which in parts.items():
        before, after = (
            skill(case, {"probe": found[label][:, 0]}, "probe", which)
            for label in ("own", "posterior mean")
        )
        result[part] = {
            "before": before,
            "after": after,
            "covered by the prior": inside(case, found["prior"], which),
            "covered by the posterior": inside(case, found["posterior"], which),
        }
    return result


def table_of(results: Mapping[str, Any]) -> str:
    """Markdown: a row a site and part of the record."""
    lines = [
        "| site, part | n | theta_cap own / posterior | theta_pwp own / posterior | bias | RMSE "
        "| ubRMSE | r | 90% interval covers, prior / posterior |",
        "| --- " * 9 + "|",
    ]
    for site, row in results.items():
        for part in ("withheld", "later"):
            before, after = row[part]["before"], row[part]["after"]
            values = [
                f"{row['own'][key]:.3f} / {row['posterior'][key]['mean']:.3f} ± "
                f"{row['posterior'][key]['sd']:.3f}"
                for key in NAMES
            ]
            scores = [
                f"{before[key]:.3f} → {after[key]:.3f}"
                for key in ("bias", "rmse", "ubrmse", "correlation")
            ]
            covered = " / ".join(
                f"{100 * row[part][f'covered by the {group}']:.0f}%"
                for group in ("prior", "posterior")
            )
            cells = [f"{site}, {part}", str(before["n"]), *values, *scores, covered]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, calibrate every site and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "sites"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--sites", default=",".join(SITES))
    parser.add_argument("--method", default="grid")
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    use_cores()
    model = load_model(options.model)
    results: dict[str, Any] = {}
    for site in options.sites.split(","):
        results[site] = calibrated(
            site, options.model, model, home, method=options.method, draws=options.draws
        )
        print(json.dumps({site: results[site]}), file=sys.stderr, flush=True)
        jax.clear_caches()
    print(table_of(results))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
