"""Observations on the model's records and columns: read, checked and made."""

import numpy as np
import pytest
import xarray as xr

from assimilation import make_observations, read_observations
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError


@pytest.fixture
def data():
    """Two days of three columns with labels, 6-hourly from 2010-01-01."""
    cut = load_sample("ecland_sample").isel(time=slice(0, 8), column=slice(0, 3)).load()
    return cut.assign_coords(column=["wet", "dry", "cold"])


def observed(values, times, columns=None, error=0.02, name="swvl1"):
    """A file of observations in memory; `times` are hours after the data's first record."""
    start = np.datetime64("2010-01-01T00:00", "ns")
    time = start + (np.asarray(times) * 3600).astype("timedelta64[s]")
    result = xr.Dataset(
        {name: (("time", "column"), np.asarray(values, float), {"units": "m3 m-3"})},
        coords={"time": time} | ({} if columns is None else {"column": columns}),
    )
    result[f"{name}_error"] = error if isinstance(error, xr.DataArray) else ((), float(error))
    return result


ROW = [[0.1, 0.2, 0.3]]


@pytest.mark.parametrize(
    ("hours", "record"), [(0, 0), (6, 1), (7.5, 1), (11.99, 1), (12, 2), (42, 7), (47.9, 7)]
)
def test_a_time_off_the_grid_goes_to_the_step_that_holds_it(data, hours, record):
    found = read_observations(observed(ROW, [hours]), data)
    assert np.flatnonzero(found.mask["swvl1"].any(axis=1)).tolist() == [record]
    np.testing.assert_allclose(found.values["swvl1"][record], ROW[0], rtol=1e-6)


@pytest.mark.parametrize("hours", [-0.1, 48, 1000])
def test_a_time_outside_the_data_is_named(data, hours):
    with pytest.raises(InputError, match=r"time .* is outside the data, expected 2010-01-01T00:00"):
        read_observations(observed(ROW, [hours]), data)


def test_several_in_one_step_are_averaged_with_the_largest_error(data):
    error = xr.DataArray([0.01, 0.03], dims="time")
    found = read_observations(observed([*ROW, [[0.3, 0.2, np.nan]][0]], [6, 9], error=error), data)
    np.testing.assert_allclose(found.values["swvl1"][1], [0.2, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(found.errors["swvl1"][1], [0.03, 0.03, 0.01], rtol=1e-6)
    assert found.count.tolist() == [1, 1, 1]


def test_columns_match_by_label(data):
    found = read_observations(observed([[0.3, 0.1]], [0], columns=["cold", "wet"]), data)
    np.testing.assert_allclose(found.values["swvl1"][0], [0.1, 0.0, 0.3], rtol=1e-6)
    assert found.mask["swvl1"][0].tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="column 'hot' is not in the data, expected labels such"):
        read_observations(observed([[0.3]], [0], columns=["hot"]), data)


def test_columns_match_by_position_without_labels(data):
    found = read_observations(observed(ROW, [0]), data)
    np.testing.assert_allclose(found.values["swvl1"][0], ROW[0], rtol=1e-6)
    labelled = observed(ROW, [0], columns=["a", "b", "c"])
    found = read_observations(labelled, data.drop_vars("column"))
    np.testing.assert_allclose(found.values["swvl1"][0], ROW[0], rtol=1e-6)
    with pytest.raises(InputError, match="1 columns without labels, expected 3 as in the data"):
        read_observations(observed([[0.1]], [0]), data)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (0.02, [[0.02] * 3] * 2),
        (xr.DataArray([0.01, 0.02, 0.03], dims="column"), [[0.01, 0.02, 0.03]] * 2),
        (xr.DataArray([0.01, 0.02], dims="time"), [[0.01] * 3, [0.02] * 3]),
        (xr.DataArray(np.full((3, 2), 0.04), dims=("column", "time")), [[0.04] * 3] * 2),
    ],
    ids=["scalar", "column", "time", "both, turned"],
)
def test_an_error_may_have_a_smaller_shape(data, error, expected):
    found = read_observations(observed([*ROW, *ROW], [0, 6], error=error), data)
    np.testing.assert_allclose(found.errors["swvl1"][:2], expected, rtol=1e-6)


def test_what_is_not_observed_is_masked_and_finite(data):
    values = [[0.1, np.nan, np.nan], [np.nan, np.nan, 0.3]]
    error = xr.DataArray([[0.02, np.nan, 0.0], [np.nan, -1.0, 0.04]], dims=("time", "column"))
    found = read_observations(observed(values, [0, 6], error=error), data)
    assert found.mask["swvl1"].shape == (8, 3)
    assert found.mask["swvl1"].sum() == 2
    assert found.count.tolist() == [1, 0, 1]
    for field in (found.values, found.errors):
        assert np.isfinite(field["swvl1"]).all()
    unseen = np.asarray(found.mask["swvl1"]) == 0
    assert (np.asarray(found.values["swvl1"])[unseen] == 0).all()
    assert (np.asarray(found.errors["swvl1"])[unseen] == 1).all()


def test_windows_cut_all_fields(data):
    found = read_observations(observed([*ROW, *ROW], [6, 18]), data)
    part = found.window(2, 5)
    assert part.values["swvl1"].shape == part.errors["swvl1"].shape == (3, 3)
    assert np.flatnonzero(part.mask["swvl1"].any(axis=1)).tolist() == [1]


def test_place_of_the_columns_is_no_observation(data):
    placed = observed(ROW, [0]).assign(lat=("column", [1.0, 2.0, 3.0]))
    assert list(read_observations(placed, data).values) == ["swvl1"]


FAULTS = {
    "unknown": (
        lambda ds: ds.rename(swvl1="ssm"),
        "f: unknown variable 'ssm', expected observables among .*swvl1.*; rename or remove it",
    ),
    "none": (lambda ds: ds[[]], "f: no observed variable found, expected at least one such as"),
    "all missing": (
        lambda ds: ds.assign(swvl1=ds.swvl1 * np.nan),
        r"f: all observations are missing \(NaN\), expected at least one value; check",
    ),
    "no error": (
        lambda ds: ds.drop_vars("swvl1_error"),
        "f: missing variable swvl1_error, expected the standard deviation of swvl1; add it",
    ),
    "zero error": (
        lambda ds: ds.assign(swvl1_error=0.0),
        "f: swvl1_error is 0 at record 0, column 0, expected a positive standard deviation",
    ),
    "negative error": (lambda ds: ds.assign(swvl1_error=-0.1), "swvl1_error is -0.1 at record 0"),
    "missing error": (lambda ds: ds.assign(swvl1_error=np.nan), "swvl1_error is nan at record 0"),
    "error of more dims": (
        lambda ds: ds.assign(swvl1_error=("satellite", [0.1, 0.2])),
        r"swvl1_error has dims \('satellite',\), expected those of swvl1 or fewer",
    ),
    "units": (
        lambda ds: ds.assign(swvl1=ds.swvl1.assign_attrs(units="%")),
        "swvl1 has units '%', expected 'm3 m-3'; convert the values",
    ),
    "percent": (
        lambda ds: ds.assign(swvl1=(100 * ds.swvl1).assign_attrs(units="m3 m-3")),
        "swvl1 is 10 at record 0, column 0; expected 0 to 1 m3 m-3; percent .* divided by 100",
    ),
    "time": (
        lambda ds: ds.assign_coords(time=[0.0]),
        "f: time is float64, expected dates; give time a CF unit",
    ),
    "dimension": (lambda ds: ds.isel(column=0), "f: no dimension 'column', expected dims"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(data, fault):
    spoil, message = FAULTS[fault]
    sound = observed(ROW, [0])
    assert float(read_observations(sound, data, name="f").count.sum()) == 3
    with pytest.raises(InputError, match=message):
        read_observations(spoil(sound), data, name="f")


def test_noise_below_zero_is_an_observation(data):
    found = read_observations(observed([[-0.01, 0.2, 0.3]], [0]), data)
    assert found.mask["swvl1"][0].tolist() == [1, 1, 1]


def test_made_observations_are_noisy_sparse_and_read_back(tmp_path):
    truth = load_sample("ecland_sample").isel(time=slice(0, 400), column=slice(0, 6)).load()
    errors = {"swvl1": 0.02, "root_zone_soil_moisture": 0.01, "skt": 1.5}
    made = make_observations(truth, errors=errors, every=4, seed=3, first=2)
    assert made.sizes == {"time": 100, "column": 6}
    assert (made.time == truth.time[2::4]).all()
    noise = made.swvl1 - truth.swvl1[2::4]
    assert 0.018 < float(noise.std()) < 0.022
    assert abs(float(noise.mean())) < 0.003
    root = 0.07 * truth.swvl1 + 0.21 * truth.swvl2 + 0.72 * truth.swvl3
    assert 0.009 < float((made.root_zone_soil_moisture - root[2::4]).std()) < 0.011
    save(made, tmp_path / "obs.nc")
    found = read_observations(tmp_path / "obs.nc", truth)
    assert np.flatnonzero(found.mask["skt"].any(axis=1)).tolist() == list(range(2, 400, 4))
    np.testing.assert_allclose(found.values["skt"][2::4], made.skt, rtol=1e-6)
    np.testing.assert_allclose(found.errors["skt"][2::4], 1.5)
    again = make_observations(truth, errors=errors, every=4, seed=3, first=2)
    assert (again.swvl1 == made.swvl1).all()
    other = make_observations(truth, errors=errors, every=4, seed=4, first=2)
    assert (other.swvl1 != made.swvl1).all()
