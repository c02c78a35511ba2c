"""Cut the packaged samples from the project's ECLand runs.

    HYBRID_LAND_DATA=... python benchmarks/make_samples.py

Writes hybrid_land/samples/*.nc, 5 MB in all. Soil water keeps all its digits, so that the water
budget still closes; other variables keep the digits that the runs were rounded to.
"""

import os
from pathlib import Path

import numpy as np
import xarray as xr

ROOT = Path(__file__).parents[1]
EXACT = ("swvl", "sd", "src", "e", "sro", "ssro", "met_rainf", "met_snowf", "clim", "lat", "lon")


def write(data: xr.Dataset, path: Path, *, bits: int = 9) -> None:
    """Compressed NetCDF; what the water budget does not need is rounded to `bits` binary digits."""
    encoding = {}
    for name, variable in data.variables.items():
        variable.encoding = {}
        if not np.issubdtype(variable.dtype, np.floating):
            continue
        encoding[name] = {"zlib": True, "complevel": 9, "shuffle": True}
        if not str(name).startswith(EXACT) and variable.ndim > 1:
            temperature = variable.attrs.get("units") == "K"
            digits = 14 if temperature else bits
            encoding[name] |= {"quantize_mode": "BitRound", "significant_digits": digits}
    data.to_netcdf(path, engine="netcdf4", encoding=encoding)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB {dict(data.sizes)}")


def main() -> None:
    """Cut and write the three samples."""
    runs = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    out = ROOT / "hybrid_land" / "samples"
    sample = xr.open_dataset(runs / "ecland_sample.nc").load()
    write(sample, out / "ecland_sample.nc")

    test = xr.open_dataset(runs / "ecland_test.nc")
    columns = [int(np.flatnonzero(test.climate_index == k)[1]) for k in range(12)]
    # The fifth year: after the training years, on columns that training never saw.
    last = test.isel(column=columns, time=slice(4 * 1461, 4 * 1461 + 1460)).load()
    last["column"] = ("column", columns, {"long_name": "column of ecland_test.nc"})
    last.attrs["title"] = "ECLand: 12 columns of the test file, one a climate class, fifth year"
    write(last, out / "unseen.nc")

    capacity = xr.open_dataset(runs / "ecland_theta_cap.nc")
    chosen = [int(np.flatnonzero(capacity.climate_index == k)[0]) for k in (1, 2, 5, 7)]
    capacity = capacity.drop_vars(["skt", "sro", "ssro"])
    capacity = capacity.isel(column=chosen, time=slice(0, 1460)).load()
    capacity["column"] = ("column", chosen, {"long_name": "column of ecland_theta_cap.nc"})
    capacity.attrs["title"] = "ECLand: 4 columns with 9 values of field capacity each, one year"
    write(capacity, out / "theta_cap.nc")


if __name__ == "__main__":
    main()
