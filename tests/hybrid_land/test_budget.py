"""The water budget: by hand, on ECLand's own output, and broken on purpose."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import water_budget, water_residual, water_storage

DIMS = ("time", "column")
STEP = 21600.0


def bucket() -> xr.Dataset:
    """Two columns, three records; of 3 mm of rain 1 evaporates, 0.5 runs off, the rest stays."""
    time = pd.date_range("2010-01-01", periods=3, freq="6h")
    zero = np.zeros((3, 2))
    gain = 1.5 / 70.0  # mm into the first layer, 70 mm thick
    values = dict.fromkeys(("swvl2", "swvl3", "swvl4", "sd", "src", "met_snowf", "ssro"), zero)
    values |= {
        "swvl1": 0.2 + gain * np.arange(3)[:, None] * np.ones((1, 2)),
        "met_rainf": zero + 3.0 / STEP,
        "e": zero - 1.0,
        "sro": zero + 0.5,
    }
    return xr.Dataset({k: (DIMS, v) for k, v in values.items()}, coords={"time": time})


def test_storage_is_in_kilograms() -> None:
    ds = bucket()
    ds["swvl4"] = ds.swvl4 + 0.1
    ds["sd"] = ds.sd + 7.0
    ds["src"] = ds.src + 0.3
    np.testing.assert_allclose(water_storage(ds)[0], 0.2 * 70.0 + 189.0 + 7.0 + 0.3)


def test_a_closed_bucket_closes() -> None:
    np.testing.assert_allclose(water_residual(bucket()), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("met_snowf", 2.0 / STEP, 2.0),
        ("met_rainf", 2.0 / STEP, 2.0),
        ("e", 2.0, 2.0),
        ("sro", 2.0, -2.0),
        ("ssro", 2.0, -2.0),
    ],
)
def test_each_flux_counts_with_its_sign(name: str, change: float, expected: float) -> None:
    ds = bucket()
    ds[name] = ds[name] + change
    np.testing.assert_allclose(water_residual(ds), expected, rtol=1e-12)


def test_a_leak_shows_in_every_number() -> None:
    ds = bucket()
    leak = xr.zeros_like(ds.e)
    leak[0, 1] = -0.2
    ds["e"] = ds.e + leak
    found = water_budget(ds)
    assert found["max_abs_mm_per_step"] == pytest.approx(0.2)
    # -0.2 mm in two steps of one of two columns: -0.05 mm a step on average, 1461 steps a year.
    assert found["mean_mm_per_year"] == pytest.approx(-0.05 * 1461.0)
    assert found["max_abs_mm_per_year"] == pytest.approx(0.1 * 1461.0)


def test_a_missing_reservoir_is_named() -> None:
    with pytest.raises(InputError, match="missing variable src"):
        water_budget(bucket().drop_vars("src"))


def test_ecland_closes_on_the_packaged_sample() -> None:
    found = water_budget(load_sample("unseen"))
    assert found["max_abs_mm_per_step"] < 0.011  # rounding of the file
    assert found["max_abs_mm_per_year"] < 0.01


def test_ecland_closes_on_the_test_file(data_dir: Path) -> None:
    with xr.open_dataset(data_dir / "ecland" / "ecland_test.nc") as ds:
        found = water_budget(ds)
    assert found["max_abs_mm_per_step"] < 0.011
    assert abs(found["mean_mm_per_year"]) < 0.01
    assert found["max_abs_mm_per_year"] < 0.01
