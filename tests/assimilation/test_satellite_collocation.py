"""From a product's locations to a model's columns and records."""

import numpy as np
import pytest
import xarray as xr

from assimilation import read_observations
from assimilation.satellite import cut_to, observe
from assimilation.satellite.places import nearest
from hybrid_land.data import save
from hybrid_land.errors import InputError
from tests.assimilation import satellite_files as files


def product(hours, places, values, errors=0.04):
    """Observations at hours after the start of 2017."""
    time = np.datetime64("2017-01-01", "ns") + (3600 * np.array(hours)).astype("timedelta64[s]")
    return xr.Dataset(
        {
            "soil_moisture": ("observation", np.array(values, float)),
            "soil_moisture_error": ("observation", np.broadcast_to(errors, len(values)).copy()),
            "location_index": ("observation", np.array(places)),
        },
        coords={
            "time": ("observation", time),
            "lat": ("location", files.LAT),
            "lon": ("location", files.LON),
            "location_id": ("location", files.IDENTITY),
        },
        attrs={"observations_read": 9},
    )


@pytest.fixture
def three():
    return product([1.0, 7.0, 8.0, 1.0, 500.0], [0, 0, 0, 2, 1], [0.1, 0.2, 0.4, 0.3, 0.5])


def test_distance_along_the_great_circle():
    """A degree of longitude at 60 N is half of one at the equator; the date line is no wall."""
    degree = np.pi * 6371.0 / 180.0
    lat, lon = np.array([0.0, 60.0, 0.0]), np.array([0.0, 0.0, 179.9])
    index, distance = nearest(
        lat, lon, np.array([0.0, 60.0, 0.0]), np.array([1.0, 1.0, -179.9]), max_distance_km=60.0
    )
    np.testing.assert_allclose(distance, [degree, 0.5 * degree, 0.2 * degree], rtol=1e-4)
    assert index.tolist() == [-1, 1, 2]


def test_the_union_of_times_with_nothing_elsewhere(three):
    found = observe(three, files.model())
    hours = (found["time"].to_numpy() - np.datetime64("2017-01-01")) / np.timedelta64(1, "h")
    assert hours.tolist() == [1.0, 7.0, 8.0, 500.0]
    none = np.nan
    np.testing.assert_allclose(
        found["swvl1"].to_numpy(),
        [[0.1, none, 0.3], [0.2, none, none], [0.4, none, none], [none, 0.5, none]],
        rtol=1e-6,
    )
    assert (np.isfinite(found["swvl1_error"]) == np.isfinite(found["swvl1"])).all()
    assert found["location_id"].to_numpy().tolist() == [11, 12, 13]
    assert found["distance_km"].to_numpy()[0] == pytest.approx(2.48, abs=0.01)
    assert found.attrs["observations_read"] == 9
    assert found.attrs["observations_collocated"] == 5


def test_on_the_data_s_records_as_the_reader_of_observations_would(three):
    data = files.model()
    direct = observe(three, data, times="data")
    assert (direct["time"].to_numpy() == data["time"].to_numpy()[[0, 1]]).all()
    np.testing.assert_allclose(direct["swvl1"].to_numpy()[1], [0.3, np.nan, np.nan], rtol=1e-6)
    later = read_observations(cut_to(observe(three, data), data), data)
    again = read_observations(direct, data)
    for field in ("values", "errors", "mask"):
        np.testing.assert_allclose(
            getattr(later, field)["swvl1"], getattr(again, field)["swvl1"], rtol=1e-6
        )
    assert again.count.tolist() == [2, 0, 1]


def test_cut_to_the_data_s_time(three):
    data = files.model()
    found = observe(three, data)
    with pytest.raises(InputError, match="is outside the data"):
        read_observations(found, data)
    cut = cut_to(found, data)
    assert cut.sizes["time"] == 3
    assert cut.attrs["times_cut"] == 1
    with pytest.raises(InputError, match="no observation within the data's time, 2017-01-01 to"):
        cut_to(found.isel(time=[3]), data)


def test_labels_and_a_written_file(three, tmp_path):
    data = files.model().assign_coords(column=["a", "b", "c"])
    save(cut_to(observe(three, data), data), tmp_path / "obs.nc")
    found = read_observations(tmp_path / "obs.nc", data.isel(column=[2, 1, 0]))
    assert found.count.tolist() == [1, 0, 3 - 1]
    assert list(found.values) == ["swvl1"]


def test_columns_may_share_a_location(three):
    data = files.model().isel(column=[0, 0, 2])
    found = observe(three, data)
    np.testing.assert_array_equal(found["swvl1"][:, 0], found["swvl1"][:, 1])
    assert found.attrs["observations_collocated"] == 7


def test_a_column_without_a_location(three):
    data = files.model().assign(lat=("column", [10.02, 11.0, -20.05]))
    with pytest.raises(
        InputError, match=r"column 1 at 11.000 N, 20.300 E: .* 78 km away, expected"
    ):
        observe(three, data)
    found = observe(three, data, skip_missing=True)
    assert not np.isfinite(found["swvl1"][:, 1]).any()
    assert found["location_id"].to_numpy().tolist() == [11, -1, 13]
    assert found.attrs["columns_without_location"] == 1
    assert observe(three, data, max_distance_km=80.0)["location_id"].to_numpy()[1] == 12
    with pytest.raises(InputError, match="column 0 at"):
        observe(three, data.assign(lat=("column", [50.0, 51.0, 52.0])), skip_missing=True)


def test_a_location_without_observations_is_passed_over(three):
    """Nearest with observations: what was screened away entirely does not count."""
    few = three.isel(observation=[0, 3])
    found = observe(few, files.model(), max_distance_km=60.0)
    assert found["location_id"].to_numpy().tolist() == [11, 11, 13]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": "days"}, "times 'days' is not known, expected observation or data"),
        ({"max_distance_km": 0.0}, "distance of 0 km, expected a positive number"),
    ],
)
def test_options_that_are_not_known(three, options, message):
    with pytest.raises(InputError, match=message):
        observe(three, files.model(), **options)


def test_nothing_left_or_no_place(three):
    with pytest.raises(InputError, match="no observation left after screening, expected at least"):
        observe(three.isel(observation=slice(0, 0)), files.model())
    with pytest.raises(InputError, match="the data have no lat on column, expected degrees"):
        observe(three, files.model().drop_vars("lat"))
    hole = files.model().assign(lon=("column", [20.0, np.nan, 20.0]))
    with pytest.raises(InputError, match="lon of column 1 is missing"):
        observe(three, hole)
