"""The surface energy budget: by hand, on ECLand's own output, and broken on purpose."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.energy import (
    NEEDED,
    STEFAN_BOLTZMANN,
    energy_budget,
    energy_residual,
    energy_terms,
)
from hybrid_land.evaluation.evaluate import score_datasets
from hybrid_land.evaluation.scoreboard import scoreboard
from hybrid_land.variables import FORCING

DIMS = ("time", "column")
STEP = 21600.0
LAND, SNOW = 0.7173 * 0.99 + 0.2827 * 0.96, 0.7173 * 0.99 + 0.2827 * 0.98


def plate(days: int = 2) -> xr.Dataset:
    """Two columns at 290 K without snow, whose sensible heat is what radiation leaves."""
    records = 4 * days + 1
    values = dict.fromkeys((*FORCING, "sd", "snowc", "e", "slhf"), 0.0)
    values |= {f"stl{k}": 290.0 for k in range(1, 5)}
    values |= {"swvl1": 0.3, "tsn": 273.16, "asn": 0.85, "skt": 290.0, "sshf": 0.0}
    values |= {"met_lwdown": 350.0, "met_swdown": 100.0, "met_tair": 290.0, "met_psurf": 1e5}
    ds = xr.Dataset(
        {name: (DIMS, np.full((records, 2), value)) for name, value in values.items()},
        coords={"time": pd.date_range("2010-06-01", periods=records, freq="6h")},
    )
    for name, value in {
        "clim_cvh": 0.5, "clim_veg_covh": 0.8, "clim_tvh": 3.0,
        "clim_theta_cap": 0.3, "clim_theta_pwp": 0.1, "clim_theta_sat": 0.4,
        "lat": 50.0, "lon": 0.0,
    }.items():  # fmt: skip
        ds[name] = ("column", np.full(2, value))
    ds["clim_malbedo"] = (("month", "column"), np.full((12, 2), 0.2))
    emitted = STEFAN_BOLTZMANN * 290.0**4
    ds["sshf"] = ds.sshf - (80.0 + LAND * (350.0 - emitted))
    return ds


def test_a_balanced_plate_closes() -> None:
    np.testing.assert_allclose(energy_residual(plate()), 0.0, atol=1e-4)
    found = energy_budget(plate())
    assert found is not None
    assert found["thawed_share"] == 1.0


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("sshf", 5.0, 5.0),
        ("met_swdown", 10.0, 8.0),
        ("met_lwdown", 10.0, 10.0 * LAND),
        ("skt", 1.0, -LAND * STEFAN_BOLTZMANN * (291.0**4 - 290.0**4)),
        ("e", -1.0, -2.5008e6 / STEP),  # evaporation without its latent heat
    ],
)
def test_an_error_put_in_is_found(name: str, change: float, expected: float) -> None:
    ds = plate()
    ds[name] = ds[name] + change
    np.testing.assert_allclose(energy_residual(ds), expected, rtol=1e-4)


def test_heat_stays_in_the_soil() -> None:
    ds = plate()
    ds["stl2"] = ds.stl2 + 0.1 * np.arange(ds.sizes["time"])[:, None]
    capacity = (1.0 - 0.4) * 1.6e6 + 0.3 * 4.18e6
    gained = 0.21 * capacity * 0.1 / STEP
    np.testing.assert_allclose(energy_terms(ds)["soil"], gained, rtol=1e-9)
    np.testing.assert_allclose(energy_residual(ds), -gained, rtol=1e-4)


def test_melting_snow_takes_the_heat_of_fusion_and_falling_snow_brings_none() -> None:
    ds = plate()
    ds["sd"] = 50.0 - 1.0 * xr.DataArray(np.arange(ds.sizes["time"]), dims="time") + ds.sd
    np.testing.assert_allclose(energy_terms(ds)["snow"], 3.337e5 / STEP, rtol=1e-9)
    ds["sd"] = 50.0 + 1.0 * xr.DataArray(np.arange(ds.sizes["time"]), dims="time") + 0 * ds.sd
    ds["met_snowf"] = ds.met_snowf + 1.0 / STEP
    np.testing.assert_allclose(energy_terms(ds)["snow"], 0.0, atol=1e-5)


def test_snow_that_sublimates_takes_its_latent_heat_once() -> None:
    ds = plate()
    ds["sd"] = 50.0 - 0.1 * xr.DataArray(np.arange(ds.sizes["time"]), dims="time") + ds.sd
    ds["e"], ds["slhf"] = ds.e - 0.1, ds.slhf - 0.1 * 2.8345e6 / STEP
    terms = energy_terms(ds)
    np.testing.assert_allclose(terms["snow"], 0.0, atol=1e-9)
    np.testing.assert_allclose(energy_residual(ds), terms["latent"], rtol=1e-4)


def test_snow_shows_its_own_albedo_in_the_open_only() -> None:
    ds = plate()
    ds["snowc"] = ds.snowc + 1.0
    absorbed = 100.0 * (1.0 - 0.6 * 0.85 - 0.4 * 0.27)
    np.testing.assert_allclose(energy_terms(ds)["short_wave"], absorbed, rtol=1e-9)


def test_a_missing_part_is_named_or_gives_no_budget() -> None:
    ds = plate().drop_vars("stl3")
    with pytest.raises(InputError, match="missing variable stl3"):
        energy_residual(ds)
    assert energy_budget(ds) is None
    assert energy_budget(plate().isel(time=slice(0, 4))) is None


def test_ecland_closes_where_the_files_can_tell() -> None:
    found = energy_budget(load_sample("unseen").load())
    assert found is not None
    assert abs(found["mean_w_m2"]) < 2.0
    assert found["rms_w_m2"] < 10.0
    assert abs(found["mean_thawed_w_m2"]) < 1.5
    assert found["rms_thawed_w_m2"] < 5.0
    assert found["latent_rms_w_m2"] < 0.06  # rounding of the file


def test_ecland_closes_on_the_test_file(data_dir: Path) -> None:
    with xr.open_dataset(data_dir / "ecland" / "ecland_test.nc") as ds:
        found = energy_budget(ds[list(NEEDED)].isel(time=slice(0, 1462)))
    assert found is not None
    assert abs(found["mean_w_m2"]) < 2.0
    assert abs(found["mean_thawed_w_m2"]) < 2.0
    assert found["rms_thawed_w_m2"] < 5.0


def test_the_scores_hold_the_budget_of_the_run_beside_that_of_the_truth() -> None:
    truth = load_sample("unseen").isel(time=slice(0, 41)).load()
    run = truth.copy()
    run["sshf"] = run.sshf + 20.0
    result = score_datasets(truth, {"shifted": run}, name="shifted")
    ours, theirs = result["energy_budget"], result["truth"]["energy_budget"]
    assert ours["mean_w_m2"] - theirs["mean_w_m2"] == pytest.approx(20.0, abs=1e-3)
    text = scoreboard(result)
    assert "## Surface energy budget" in text
    assert text.count("| ECLand |") == 2
