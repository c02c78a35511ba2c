"""Real satellite soil moisture over Hawaii: screened, rescaled, and what its errors are.

    python benchmarks/satellite.py [--out DIR]

Files are the providers' (`satellite/`), read by `assimilation.satellite`. The columns are the 71
points of ERA5-Land there (0.1 degrees, daily, 2017 and 2018), each given the nearest location that
has observations, at most 26 km away; neighbouring columns share one, so columns are not
independent. Rescaling is fitted on one period and scored on the next, against ERA5-Land's first
layer within 12 hours: 2017 and 2018 for SMAP and SMOS; ASCAT's file ends in 2017, so the first and
the second half of that year; CCI's ends in January 2012, before ERA5-Land's begins, so its fit is
of all that each has, unpaired, and nothing can be scored. An error of 0.04 m3 m-3 is SMAP's
requirement (its file gives none), 0.5 the porosity that makes ASCAT's percent volumetric where no
soil map is at hand. Triple collocation is of daily means in 2017, the only year that all have, not
of anomalies. Nothing here was assimilated: there is no forcing for these points. Prints JSON.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assimilation import read_observations
from assimilation.bias import Rescaling, fit_rescaling
from assimilation.satellite import (
    cut_to,
    observe,
    read_era5_land,
    read_satellite,
    screen_frozen,
)
from assimilation.triple_collocation import triple_collocation
from hybrid_land.data.files import atomic_path, make_folder

ROOT = Path(__file__).resolve().parents[1]
CELL = "0165.nc"
POROSITY, ERROR = 0.5, 0.04
FEWEST = 30  # pairs for a column's scores
HALVES = ("2017-01:2017-06", "2017-07:2017-12")
YEARS = ("2017", "2018")
# Folder, options of the reader, and the periods of fit and score.
PRODUCTS: dict[str, tuple[str, dict[str, Any], tuple[str, str] | None]] = {
    "SMAP v9": ("smap_l3_v9", {"error": ERROR}, YEARS),
    "SMAP v9, all retrieved": ("smap_l3_v9", {"error": ERROR, "quality": "retrieved"}, YEARS),
    "SMAP v8 AM": ("smap_l3_v8_am", {"error": ERROR}, YEARS),
    "SMOS": ("smos_l3", {}, YEARS),
    "ASCAT": ("ascat_h113", {"porosity": POROSITY}, HALVES),
    "CCI": ("esa_cci_v09.2", {}, None),
}
TRIPLETS = (
    ("ERA5-Land", "ASCAT", "SMAP v9, all retrieved"),
    ("ERA5-Land", "ASCAT", "SMOS"),
    ("ERA5-Land", "ASCAT", "SMAP v9"),
)


def period(values: xr.Dataset, span: str) -> xr.Dataset:
    """`2017` or `2017-01:2017-06`, both ends whole."""
    begin, _, end = span.partition(":")
    return values.sortby("time").sel(time=slice(begin, end or begin))


def against(observed: xr.Dataset, reference: xr.Dataset) -> dict[str, float]:
    """Scores of paired values: pooled, and the correlation as a mean over columns."""
    model = reference["swvl1"].transpose("time", "column")
    model = model.reindex(time=observed["time"], method="nearest", tolerance="12h").to_numpy()
    seen = observed["swvl1"].transpose("time", "column").to_numpy()
    both = np.isfinite(seen) & np.isfinite(model)
    error = (seen - model)[both].astype(np.float64)
    correlations = [
        float(np.corrcoef(x[where], y[where])[0, 1])
        for x, y, where in zip(seen.T, model.T, both.T, strict=True)
        if where.sum() >= FEWEST and x[where].std() > 0.0 and y[where].std() > 0.0
    ]
    centred = [
        (x - y)[where] - (x - y)[where].mean()
        for x, y, where in zip(seen.T, model.T, both.T, strict=True)
        if where.any()
    ]
    return {
        "pairs": int(both.sum()),
        "columns": len(correlations),
        "bias": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "ubrmse": float(np.sqrt((np.concatenate(centred) ** 2).mean())),
        "correlation": float(np.mean(correlations)) if correlations else float("nan"),
    }


def rescaled(
    observed: xr.Dataset, reference: xr.Dataset, spans: tuple[str, str]
) -> tuple[dict[str, Any], dict[str, Rescaling]]:
    """Scores in the second period before and after each rescaling, fitted on the first."""
    fit, judge = (period(observed, span) for span in spans)
    result: dict[str, Any] = {"fit": spans[0], "scored": spans[1]}
    fits, applied = {}, {}
    for method in ("cdf", "linear"):
        fits[method] = fit_rescaling(fit, period(reference, spans[0]), method=method, skip_few=True)
        applied[method] = fits[method].apply(judge)
    # The same values before and after: those of columns that could be fitted.
    fitted = np.logical_and.reduce([np.isfinite(x["swvl1"].to_numpy()) for x in applied.values()])
    judge = judge.assign(swvl1=judge["swvl1"].where(fitted))
    result["before"] = against(judge, reference)
    for method, values in applied.items():
        kept = values.assign(swvl1=values["swvl1"].where(fitted))
        result[method] = against(kept, reference)
        spread = kept["swvl1_error"].to_numpy()[fitted]
        result[method]["mean_error"] = float(spread.mean()) if spread.size else float("nan")
    return result, fits


def errors_of(
    names: tuple[str, str, str], series: Mapping[str, xr.DataArray], span: str
) -> dict[str, Any]:
    """Triple collocation: medians over columns of each product's error and of its interval."""
    three = [series[name].sortby("time").sel(time=span) for name in names]
    found = triple_collocation(*three, names=names, skip_few=True, confidence=0.95)
    sound = np.isfinite(found["error_std"].to_numpy()).all(axis=0)
    triplets = found["count"].to_numpy()
    result: dict[str, Any] = {
        "columns_with_100_triplets": int((triplets >= 100).sum()),
        "columns_with_positive_variances": int(sound.sum()),
        "median_triplets": float(np.median(triplets[sound])) if sound.any() else 0.0,
    }
    for name in names if sound.any() else ():
        mine = found.sel(product=name).isel(column=sound)
        keys = ("error_std", "error_std_lower", "error_std_upper", "scaled_error_std", "snr")
        result[name] = {key: float(np.median(mine[key])) for key in keys}
        result[name]["columns_whose_interval_holds_zero"] = int(
            (mine["error_std_lower"] <= 0).sum()
        )
    return result


def main() -> None:
    """Parse the command line, read, rescale, collocate and print."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "satellite"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    reference = read_era5_land(home / "era5_land" / CELL)
    series = {"ERA5-Land": reference["swvl1"]}
    result: dict[str, Any] = {"screening": {}, "rescaling": {}, "triple_collocation": {}}
    for name, (folder, given, spans) in PRODUCTS.items():
        product = read_satellite(home / folder / CELL, **given)
        found = screen_frozen(product, reference)
        observed = observe(found, reference, skip_missing=True)
        series[name] = observed["swvl1"]
        counts = {k: v for k, v in found.attrs.items() if isinstance(v, int | np.integer) and v}
        when = found["time"].to_numpy()
        result["screening"][name] = counts | {
            "locations_with_observations": len(np.unique(found["location_index"])),
            "first": str(when.min().astype("datetime64[D]")),
            "last": str(when.max().astype("datetime64[D]")),
            "columns_with_a_location": 71 - int(observed.attrs["columns_without_location"]),
            "values_on_columns": int(np.isfinite(observed["swvl1"]).sum()),
        }
        if spans is None:
            fit = fit_rescaling(observed, reference, method="cdf", paired=False, skip_few=True)
            scaled = fit.apply(observed)
            result["rescaling"][name] = {
                "fit": "all of each, unpaired",
                "mean_before": float(observed["swvl1"].mean()),
                "mean_after": float(scaled["swvl1"].mean()),
                "mean_reference": float(reference["swvl1"].mean()),
                "columns_fitted": int((fit.parameters["count"] >= 60).sum()),
            }
            continue
        result["rescaling"][name], fits = rescaled(observed, reference, spans)
        # The end of the chain: observations on the columns' own records, as `assimilate` takes.
        last = cut_to(fits["cdf"].apply(observed), reference)
        ready = read_observations(last[["swvl1", "swvl1_error"]], reference)
        mask = ready.mask["swvl1"] > 0
        result["screening"][name] |= {
            "on_records_of_era5_land": int(mask.sum()),
            "mean_stated_error": float(ready.errors["swvl1"][mask].mean()),
        }
    for names in TRIPLETS:
        result["triple_collocation"][", ".join(names)] = errors_of(names, series, "2017")
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        with atomic_path(make_folder(options.out) / "satellite.json") as path:
            path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
