"""The statistics of forecast errors: those of a toy are recovered, files come back the same."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from hybrid_land.any_model import own_errors
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.error_covariance import (
    ForecastErrors,
    forecast_errors,
    load_errors,
    save_errors,
)
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models.store import load_model, model_directory
from hybrid_land.variables import FORCING

LEADS = (1, 4, 16)
SPREAD = {"stl1": 0.5, "swvl1": 0.01}
RHO = -0.6


@jax.tree_util.register_static
class Held:
    """The state stays; the sensible heat flux is zero."""

    time_step = 21600.0
    prognostic = ("stl1", "swvl1", "tsn")
    diagnostic = ("sshf",)
    required = (*prognostic, *FORCING, "lat", "lon")

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        return dict(state), {"sshf": 0.0 * state["stl1"]}


@pytest.fixture(scope="module")
def walk() -> xr.Dataset:
    """A truth that walks at random, so that the held state's errors are known at every lead."""
    ds = load_sample("unseen").isel(time=slice(0, 600), column=[0, 1] * 20).load()
    rng = np.random.default_rng(3)
    shape = (ds.sizes["time"], ds.sizes["column"])
    first = rng.normal(size=shape)
    second = RHO * first + np.sqrt(1.0 - RHO**2) * rng.normal(size=shape)
    ds["stl1"] = (("time", "column"), 280.0 + np.cumsum(SPREAD["stl1"] * first, axis=0))
    ds["swvl1"] = (("time", "column"), 0.3 + 1e-3 * np.cumsum(second, axis=0) * 10.0)
    ds["sshf"] = (("time", "column"), 7.0 + 3.0 * rng.normal(size=shape))
    ds["sd"] = 0.0 * ds.sd + np.where(np.arange(shape[1]) % 2 == 0, 5.0, 0.0)
    ds["tsn"] = (("time", "column"), 260.0 + np.cumsum(rng.normal(size=shape), axis=0))
    ds["swvl1"] = ds.swvl1 + 10.0  # far from the lower bound
    return ds


@pytest.fixture(scope="module")
def found(walk: xr.Dataset) -> ForecastErrors:
    return forecast_errors(Held(), walk, leads=LEADS, lags=(1, 4, 100), starts=30)


def test_the_variance_of_a_random_walk_grows_with_the_lead(found: ForecastErrors) -> None:
    for name, spread in SPREAD.items():
        for lead in LEADS:
            expected = lead * spread**2
            assert float(found.variance(name, lead)) == pytest.approx(expected, rel=0.15), name


def test_a_flux_has_its_mean_and_no_memory(found: ForecastErrors) -> None:
    flux = found.table.sel(name="sshf")
    np.testing.assert_allclose(flux["mean"], -7.0, atol=0.4)
    np.testing.assert_allclose(flux["variance"], 9.0, rtol=0.15)
    assert abs(float(flux["autocorrelation"].sel(lag=1))) < 0.05
    assert float(found.table["autocorrelation"].sel(name="stl1", lag=1)) > 0.9


def test_the_correlation_between_variables_is_recovered(found: ForecastErrors) -> None:
    pairs = found.table["correlation"].sel(prognostic="stl1", prognostic_2="swvl1")
    np.testing.assert_allclose(pairs, RHO, atol=0.08)
    matrix = found.covariance(4, variables=("stl1", "swvl1"))
    assert matrix[0, 0] == pytest.approx(float(found.variance("stl1", 4)))
    expected = RHO * 4 * SPREAD["stl1"] * SPREAD["swvl1"]
    assert matrix[0, 1] == pytest.approx(expected, rel=0.25)
    assert np.linalg.eigvalsh(found.covariance(16)).min() > -1e-12


def test_snow_counts_only_where_there_is_some(found: ForecastErrors) -> None:
    samples = found.table["samples"].sel(lead=1)
    assert int(samples.sel(name="tsn")) * 2 == int(samples.sel(name="stl1")) == 30 * 40
    assert float(found.variance("tsn", 1)) == pytest.approx(1.0, rel=0.15)


def test_the_variance_between_leads_lies_between_theirs(found: ForecastErrors) -> None:
    at = found.variance("stl1", np.array([0.5, 1, 2, 4, 8, 16, 400]))
    assert (np.diff(at)[1:5] > 0.0).all()
    assert at[0] == at[1]
    assert at[-1] == at[-2] == float(found.variance("stl1", 16))
    middle = np.sqrt(float(found.variance("stl1", 1))), np.sqrt(float(found.variance("stl1", 4)))
    assert np.sqrt(at[2]) == pytest.approx(0.5 * sum(middle))


def test_lags_beyond_half_a_forecast_are_left_out(found: ForecastErrors) -> None:
    assert found.table["lag"].to_numpy().tolist() == [1, 4]


def test_an_error_that_stays_is_seen_by_the_long_forecasts(walk: xr.Dataset) -> None:
    """A flux off by a constant of variance 4 a column, and by noise of variance 9."""
    rng = np.random.default_rng(8)
    offset = xr.DataArray(2.0 * rng.normal(size=walk.sizes["column"]), dims="column")
    truth = walk.assign(sshf=walk.sshf + offset)
    short = forecast_errors(Held(), truth, leads=LEADS, lags=(1, 4), starts=30).table
    assert short["lag"].to_numpy().tolist() == [1, 4]  # 600 records hold no year
    given = {"long_lead": 200, "long_lags": (2, 30, 90)}
    both = forecast_errors(Held(), truth, leads=LEADS, lags=(1, 4), starts=30, **given).table
    assert both["lag"].to_numpy().tolist() == [1, 4, 30, 90]
    share = float(np.var(offset)) / (float(np.var(offset)) + 9.0)
    np.testing.assert_allclose(both["autocorrelation"].sel(name="sshf"), share, atol=0.08)
    walked = both["autocorrelation"].sel(name="stl1")
    # Of a walk between steps s and s + lag: sqrt(s / (s + lag)), s from 100 to 200 less the lag.
    assert float(walked.sel(lag=90)) == pytest.approx(np.sqrt(105.0 / 195.0), abs=0.12)
    xr.testing.assert_identical(both["variance"], short["variance"])


def test_several_files_are_one_sample(walk: xr.Dataset, found: ForecastErrors) -> None:
    parts = [walk.isel(column=slice(0, 10)), walk.isel(column=slice(10, None))]
    both = forecast_errors(Held(), parts, leads=LEADS, lags=(1, 4, 100), starts=30)
    xr.testing.assert_allclose(both.table["variance"], found.table["variance"])
    assert both.table.attrs["columns"] == 40


def test_files_come_back_the_same(found: ForecastErrors, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    path = save_errors(found, tmp_path)
    assert path.name == "errors.nc"
    assert path.stat().st_size < 200_000
    assert {p.name for p in tmp_path.iterdir()} == {"model.json", "errors.nc"}
    for source in (tmp_path, path):
        again = load_errors(source)
        xr.testing.assert_identical(again.table, found.table)
    assert str(again.table["units"].sel(name="stl1").item()) == "K"
    assert again.table.attrs["time_step"] == 21600.0
    np.testing.assert_array_equal(again.covariance(2), found.covariance(2))
    assert again.parameters == {}
    known = found.table.assign(parameter_error=("parameter", [0.25, 0.5]))
    known = known.assign_coords(parameter=["theta_cap", "ksat"])
    path = save_errors(ForecastErrors(known), tmp_path)
    assert load_errors(path).parameters == {"theta_cap": 0.25, "ksat": 0.5}


def test_mistakes_are_named(found: ForecastErrors, walk: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="errors of 'sro' are not known, expected one of stl1"):
        found.variance("sro", 4)
    with pytest.raises(InputError, match="lead 0 steps, expected more than 0"):
        found.variance("stl1", 0)
    with pytest.raises(InputError, match="correlations of sshf are not known"):
        found.covariance(4, variables=("stl1", "sshf"))
    with pytest.raises(InputError, match="10 records, expected more than 16 for the longest lead"):
        forecast_errors(Held(), walk.isel(time=slice(0, 10)), leads=LEADS)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match=r"errors\.nc: no such file, expected the model's error"):
        load_errors(tmp_path)
    walk[["stl1"]].to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match=r"other\.nc: form None, expected 1"):
        load_errors(tmp_path / "other.nc")


def test_what_a_model_s_directory_says_of_its_error_is_what_a_calibration_counts(tmp_path):
    model = load_model("small")
    folder = shutil.copytree(model_directory("small"), tmp_path / "copy")
    known = load_errors("small")
    for name in ("small", folder):
        found = own_errors(model, name, factor=2.0)
        assert found.table is not None
        assert found.table.identical(known.table)
        assert (found.table_factor, found.parameters) == (2.0, known.parameters)
    (folder / "errors.nc").unlink()
    bare = own_errors(model, folder, factor=2.0)
    assert (bare.table, bare.parameters) == (None, {})
    expected = dict(model.expected_error)
    assert bare.model == {name: 2.0 * error for name, error in expected.items()}
    assert bare.model["swvl1"] > 0.0
