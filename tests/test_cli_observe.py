"""The command that turns satellite files into observations: its file, its numbers, its mistakes."""

import json

import numpy as np
import pytest
import xarray as xr

from assimilation import read_observations
from hybrid_land.data import save
from tests.assimilation import satellite_files as files
from tests.kit import run
from tests.mistakes import fails

OPTIONS = [
    *("SOURCE...", "--data", "--out", "--product", "--overpass", "--quality", "--error"),
    *("--porosity", "--variable", "--times", "--max-distance", "--skip-missing", "--frozen-by"),
    *("--rescale", "--reference", "--fit-period", "--window-months", "--skip-few"),
    *("--rescaling", "--save-rescaling", "--json"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Data of three columns with a year of soil water and temperature, and two products."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    water = 0.2 + 0.05 * generator.standard_normal((4 * 200, 3)).clip(-3, 3)
    units = {"units": "m3 m-3"}
    data = files.model(
        days=200,
        swvl1=(("time", "column"), water, units),
        stl1=(("time", "column"), np.full(water.shape, 290.0), {"units": "K"}),
        clim_theta_max=("column", [0.5, 0.5, 0.5], units),
    )
    save(data, tmp_path / "data.nc")
    files.smap(tmp_path / "smap.nc")
    files.cci(tmp_path / "cci.nc")
    many(tmp_path / "long.nc", data)
    return tmp_path


def many(path, data):
    """SMAP that sees half of the model's soil water of each day at 6 h, in all three locations."""
    water = data["swvl1"].to_numpy()[1::4]
    count = water.size
    fields = {
        "soil_moisture": (0.5 * water.ravel() + 0.05).astype(np.float32),
        "soil_moisture_error": np.full(count, 0.01, np.float32),
        "retrieval_qual_flag": np.full(count, 8, np.uint16),
        "surface_flag": np.zeros(count, np.uint16),
        "Overpass": np.ones(count, int),
    }
    ds = xr.Dataset(
        {name: ("time", values) for name, values in fields.items()} | files.locations(),
        coords={
            "time": ("time", files.at(*np.repeat(np.arange(200) + 0.3, 3)), {"units": files.EPOCH})
        },
    )
    index = np.tile(np.arange(3), 200)
    ds["locationIndex"] = ("time", index, {"instance_dimension": "locations"})
    ds.to_netcdf(path)


def test_help_names_every_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    out = run("observe --help", capsys)
    assert "Usage: hybrid-land observe" in out
    for option in OPTIONS:
        assert option in out, option
    assert "observe" in run("--help", capsys)


def test_observations_that_the_assimilation_reads(here, capsys):
    command = "observe smap.nc --data data.nc --out obs.nc --error 0.05 --skip-missing --json"
    found = json.loads(run(command, capsys))
    assert found["observations"] == 3
    assert found["product"] == "smap"
    assert found["screened_snow"] == 1
    assert found["columns_without_location"] == 1
    with xr.open_dataset(here / "obs.nc") as written, xr.open_dataset(here / "data.nc") as data:
        observed = read_observations(written, data)
        assert observed.count.tolist() == [2, 1, 0]
        assert np.flatnonzero(observed.mask["swvl1"][:, 0]).tolist() == [0, 24]
        assert written.attrs["screened_frozen"] == 2
        np.testing.assert_allclose(written["swvl1_error"].to_numpy()[0, 0], 0.05, rtol=1e-6)
    words = run("observe cci.nc --data data.nc --out cci_obs.nc --skip-missing", capsys)
    assert words.startswith("cci_obs.nc: 3 columns, 2 times, 2 observations\n")


def test_rescaled_by_a_fit_that_is_kept(here, capsys):
    """The fit of the first half takes the second half back to the model's climate."""
    command = (
        "observe long.nc --data data.nc --out obs.nc --rescale linear --fit-period "
        "2017-01:2017-04 --save-rescaling fit.nc --json"
    )
    found = json.loads(run(command, capsys))
    assert found["observations"] == 600
    assert found["rescaling"] == "linear"
    with xr.open_dataset("data.nc") as data, xr.open_dataset("obs.nc") as written:
        model = data["swvl1"].to_numpy()[1::4]
        np.testing.assert_allclose(written["swvl1"], model, atol=1e-4)
        np.testing.assert_allclose(written["swvl1_error"], 0.02, rtol=1e-3)
        kept = written.load()
    run("observe long.nc --data data.nc --out again.nc --rescaling fit.nc", capsys)
    with xr.open_dataset("again.nc") as written:
        np.testing.assert_allclose(written["swvl1"], kept["swvl1"], rtol=1e-6)


def test_rescaled_to_a_file_and_screened_by_it(here, capsys):
    with xr.open_dataset("data.nc") as data:
        other = data.isel(column=[2, 1, 0]).load()
    other["swvl1"] = other["swvl1"] + 0.1
    other["stl1"][: 4 * 50] = 260.0
    save(other, here / "other.nc")
    command = (
        "observe long.nc --data data.nc --out obs.nc --rescale cdf --reference other.nc "
        "--frozen-by other.nc --json"
    )
    found = json.loads(run(command, capsys))
    assert found["screened_frozen_by_model"] == 150
    assert found["observations"] == 450
    with xr.open_dataset("obs.nc") as written, xr.open_dataset("data.nc") as data:
        wanted = data["swvl1"].to_numpy()[1::4][50:] + 0.1
        np.testing.assert_allclose(written["swvl1"], wanted, atol=0.03)
        np.testing.assert_allclose(written["swvl1"].mean(), wanted.mean(), atol=2e-3)


GOOD = "--data data.nc --out out.nc"
MISTAKES = [
    (f"observe smap.nc {GOOD} --skip-missing", "smap.nc: smap gives no error, expected"),
    (f"observe long.nc {GOOD} --rescale best", "--rescale best is not known, expected cdf"),
    (f"observe long.nc {GOOD} --fit-period 2017", "an option of the rescaling without --rescale"),
    (
        f"observe long.nc {GOOD} --rescale cdf --fit-period 2030",
        "--fit-period 2030: nothing in it, expected a part of 2017-01-01 to 2017-07-19",
    ),
    (
        f"observe long.nc {GOOD} --rescale cdf --fit-period spring",
        "--fit-period 'spring' is no period, expected dates",
    ),
    (
        f"observe long.nc {GOOD} --rescale cdf --fit-period 2017-01",
        "swvl1 of column 0: 31 observations and 31 values of the reference, expected at least 60",
    ),
    (f"observe long.nc {GOOD} --rescale cdf --rescaling fit.nc", "--rescaling and --rescale are"),
    (f"observe long.nc {GOOD} --rescaling data.nc", "data.nc: not a fitted rescaling, expected"),
    (f"observe smap.nc {GOOD} --error 0.1", "column 2 at -20.050 N, -180.020 E: the nearest"),
    (f"observe long.nc {GOOD} --max-distance -1", "distance of -1 km, expected a positive"),
    (f"observe nothing.nc {GOOD}", "nothing.nc: no such file"),
    (f"observe data.nc {GOOD}", "data.nc: clim_theta_max, lat, lon, stl1, swvl1: no known product"),
    (f"observe long.nc cci.nc {GOOD}", "cci.nc: missing variable soil_moisture, expected"),
    ("observe long.nc --data data.nc --out no/out.nc", "no is not a folder; make it or choose"),
    ("observe long.nc --data nothing.nc --out out.nc", "nothing.nc: no such file or folder"),
    (f"observe {GOOD}", "Missing argument 'SOURCE...'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[row[1][:30] for row in MISTAKES])
def test_mistakes_are_one_line(arguments, message, here, capsys):
    assert message in fails(arguments, place=here, capsys=capsys)


def test_real_files_of_hawaii(data_dir, tmp_path, monkeypatch, capsys):
    """From SMOS' file and ERA5-Land's as the reference to observations of two columns."""
    folder = data_dir / "satellite"
    if not folder.is_dir():
        pytest.skip(f"no satellite files in {folder}; set HYBRID_LAND_DATA to their folder")
    monkeypatch.chdir(tmp_path)
    place = files.model(days=365).isel(column=[0, 1])
    place = place.assign(lat=("column", [19.3, 19.5]), lon=("column", [-155.5, -155.7]))
    save(place, tmp_path / "data.nc")
    reference = folder / "era5_land" / "0165.nc"
    command = (
        f"observe {folder / 'smos_l3'} --data data.nc --out obs.nc --overpass night --rescale cdf "
        f"--reference {reference} --fit-period 2018 --frozen-by {reference} --json"
    )
    found = json.loads(run(command, capsys))
    assert found["product"] == "smos"
    assert 100 < found["observations"] < 365
    assert found["rescaling_fitted"].startswith("2018-01")
    with xr.open_dataset("obs.nc") as written:
        assert (written["time"].dt.year == 2017).all()
        assert float(written["swvl1"].mean()) > 0.2  # ERA5-Land's climate; SMOS' own is 0.15
