"""The samples of real ECLand output that come with the package."""

from importlib import resources
from pathlib import Path

import xarray as xr

from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.errors import InputError

SAMPLES = {
    "ecland_sample": "24 of the training columns, 2 years",
    "unseen": "12 columns of the test file, one a climate class, its fifth year",
    "theta_cap": "4 columns with 9 values of field capacity each, 1 year",
}


def sample_path(name: str) -> Path:
    """Path of a packaged sample.

    Raises:
        InputError: if there is no sample of that name.
    """
    if name not in SAMPLES:
        raise InputError(f"{name}: no such sample, expected one of {', '.join(SAMPLES)}")
    return Path(str(resources.files("hybrid_land") / "samples" / f"{name}.nc"))


def load_sample(name: str) -> xr.Dataset:
    """A packaged sample as a Dataset. `theta_cap` has the dim `member` beside `column`."""
    return open_netcdf(sample_path(name))
