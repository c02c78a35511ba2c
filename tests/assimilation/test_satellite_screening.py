"""Made files: each flag leaves out what it should, and files that are not sound are refused."""

import numpy as np
import pytest
import xarray as xr

from assimilation.satellite import read_satellite, screen_frozen
from hybrid_land.errors import InputError
from tests.assimilation import satellite_files as files


def counts(product):
    return {
        str(key).removeprefix("screened_"): value
        for key, value in product.attrs.items()
        if str(key).startswith("screened_") and value
    }


def days(product):
    """Whole days after 2017-01-01 of the observations."""
    since = product["time"].to_numpy() - np.datetime64("2017-01-01")
    return (since / np.timedelta64(1, "D")).astype(int).tolist()


def test_smap_flags(tmp_path):
    file = files.smap(tmp_path / "smap.nc")
    product = read_satellite(file, error=0.04)
    assert days(product) == [0, 6, 7]
    assert product["location_index"].to_numpy().tolist() == [0, 0, 1]
    assert counts(product) == {"not_retrieved": 1, "snow": 1, "frozen": 2, "not_recommended": 1}
    assert days(read_satellite(file, error=0.04, quality="retrieved")) == [0, 1, 6, 7]
    assert days(read_satellite(file, error=0.04, overpass="descending")) == [0, 7]
    assert days(read_satellite(file, error=0.04, overpass="day")) == [6]
    assert counts(read_satellite(file, error=0.04, overpass="night"))["other_overpass"] == 1


def test_an_error_field_is_used_where_there_is_one(tmp_path):
    field = np.array([0.03, 0.03, 0.03, 0.03, 0.03, 0.03, np.nan, 0.05], np.float32)
    file = files.smap(tmp_path / "smap.nc", fields={"soil_moisture_error": field})
    product = read_satellite(file)
    np.testing.assert_allclose(product["soil_moisture_error"], [0.03, 0.05], rtol=1e-6)
    assert counts(product)["without_error"] == 1
    assert (read_satellite(file, error=0.1)["soil_moisture_error"] == 0.1).all()


def test_smos_flags(tmp_path):
    file = files.smos(tmp_path / "smos.nc")
    product = read_satellite(file)
    assert days(product) == [0, 5]
    assert counts(product) == {
        "snow": 1,
        "frozen": 1,
        "surface": 2,
        "interference": 1,
        "without_error": 1,
    }
    assert days(read_satellite(file, quality="retrieved")) == [0, 3, 4, 5, 6]
    # At 20 degrees east 5 h UTC is in the morning: the ascending orbit.
    assert (product["ascending"] == 1).all()
    assert product["time"].to_numpy()[0] == np.datetime64("2017-01-01T05:00")


def test_ascat_flags_and_porosity(tmp_path):
    file = files.ascat(tmp_path / "ascat.nc")
    product = read_satellite(file, porosity=0.4)
    assert days(product) == [4, 5]
    np.testing.assert_allclose(product["soil_moisture"], [0.16, 0.2])
    np.testing.assert_allclose(product["soil_moisture_error"], [0.016, 0.016])
    assert product["night"].to_numpy().tolist() == [0, 1]
    assert counts(product) == {
        "not_retrieved": 1,
        "frozen": 1,
        "low_confidence": 1,
        "without_error": 1,
    }
    # The third location holds the last four records, the second none.
    kept = read_satellite(file, porosity=0.4, quality="retrieved")
    assert kept["location_index"].to_numpy().tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("given", "porosity"),
    [
        ({"clim_theta_sat": [0.5, 0.9, 0.9]}, 0.5),
        ({"clim_theta_sat": [0.5, 0.9, 0.9], "clim_theta_max": [0.45, 0.9, 0.9]}, 0.45),
    ],
)
def test_porosity_from_the_nearest_column(tmp_path, given, porosity):
    data = files.model(**{name: ("column", values) for name, values in given.items()})
    product = read_satellite(files.ascat(tmp_path / "ascat.nc"), porosity=data)
    np.testing.assert_allclose(product["soil_moisture"], [0.4 * porosity, 0.5 * porosity])
    far = data.assign(lat=("column", [50.0, 51.0, 52.0]))
    none = read_satellite(files.ascat(tmp_path / "ascat2.nc"), porosity=far)
    assert counts(none)["without_porosity"] == 5


def test_cci_flags(tmp_path):
    file = files.cci(tmp_path / "cci.nc")
    product = read_satellite(file)
    assert days(product) == [0, 4]
    assert product["location_index"].to_numpy().tolist() == [1, 1]
    assert product["time"].to_numpy()[0] == np.datetime64("2017-01-01T06:00")
    assert counts(product) == {"frozen_or_snow": 1, "flagged": 1, "barren": 1}
    assert days(read_satellite(file, quality="retrieved")) == [0, 3, 4]
    assert days(read_satellite(file, overpass="day")) == [4]


def test_several_files_become_one(tmp_path):
    for name in ("0001.nc", "0002.nc"):
        files.smap(tmp_path / name)
    files.smap(tmp_path / "grid.nc")
    product = read_satellite(tmp_path, error=0.04)
    assert product.sizes == {"observation": 6, "location": 6}
    assert product["location_index"].to_numpy().tolist() == [0, 3, 0, 3, 1, 4]
    assert product.attrs["observations_read"] == 16
    assert counts(product)["frozen"] == 4


def test_frozen_ground_and_snow_of_a_model(tmp_path):
    product = read_satellite(files.smap(tmp_path / "smap.nc"), error=0.04)  # days 0, 6, 7
    warmth = np.full((28, 3), 290.0)
    warmth[24:28, 0] = 272.0  # the seventh day of the first column
    data = files.model(days=7, stl1=(("time", "column"), warmth))
    screened = screen_frozen(product, data)
    assert days(screened) == [0, 7]
    assert counts(screened) == {"frozen_by_model": 1} | counts(product)
    assert screened.attrs["not_checked_by_model"] == 1  # the eighth day is not in the data
    assert screened.attrs["observations_kept"] == 2
    snow = np.zeros((28, 3))
    snow[0:4, 0] = 5.0
    assert days(screen_frozen(product, data.assign(sd=(("time", "column"), snow)))) == [7]
    with pytest.raises(InputError, match="no stl1 or sd"):
        screen_frozen(product, files.model())


FAULTS = [
    (lambda p: files.smap(p), {}, "smap gives no error, expected a standard deviation in m3 m-3"),
    (lambda p: files.smap(p), {"error": -1.0}, "error of -1 m3 m-3, expected a positive"),
    (lambda p: files.smap(p), {"overpass": "noon"}, "overpass 'noon' is not known, expected all"),
    (lambda p: files.smap(p), {"quality": "best"}, "quality 'best' is not known, expected recomm"),
    (lambda p: files.smap(p), {"product": "sentinel"}, "product 'sentinel' is not known, expected"),
    (lambda p: files.cci(p), {"overpass": "ascending"}, "cci has no ascending overpass, expected"),
    (
        lambda p: files.smap(p),
        {"product": "smos"},
        "missing variable Soil_Moisture, expected a pro",
    ),
    (lambda p: files.smap(p, drop=["surface_flag"]), {}, "no known product, expected smap, smos"),
    (lambda p: files.smap(p, drop=["lat"]), {"error": 0.1}, "missing variable lat, expected a"),
    (lambda p: files.smap(p, drop=["locationIndex"]), {"error": 0.1}, "no way from records to loc"),
    (
        lambda p: files.smap(p, index=np.array([0, 0, 7, 0, 0, 0, 0, 0])),
        {"error": 0.1},
        "locationIndex is 7 at record 2, expected 0 to 2; the file is damaged",
    ),
    (
        lambda p: files.smap(p, fields={"soil_moisture": np.full(8, 20.0, np.float32)}),
        {"error": 0.1},
        "most soil moisture is out of range, up to 20, expected m3 m-3; percent",
    ),
    (lambda p: files.ascat(p), {}, "ASCAT measures percent of saturation, expected a porosity"),
    (lambda p: files.ascat(p), {"porosity": 45.0}, "porosity of 45 m3 m-3, expected between 0 and"),
    (lambda p: files.ascat(p), {"porosity": files.model()}, "neither clim_theta_max nor clim_the"),
    (
        lambda p: files.ascat(p, rows=(2, 0, 5)),
        {"porosity": 0.4},
        "row_size adds up to 7, expected 6, the number of records; the file is damaged",
    ),
    (lambda p: xr.Dataset({"x": ("y", [1.0])}).to_netcdf(p), {}, "bad.nc: x: no known product"),
    (lambda p: p.write_bytes(b"nothing"), {}, "bad.nc: not a whole NetCDF file"),
    (lambda p: p.mkdir(), {}, "bad.nc: a folder without cells, expected files such as 0165.nc"),
    (lambda p: None, {}, "bad.nc: no such file"),
]


@pytest.mark.parametrize(("make", "options", "message"), FAULTS, ids=[f[2][:30] for f in FAULTS])
def test_faults_are_named(tmp_path, make, options, message):
    make(tmp_path / "bad.nc")
    with pytest.raises(InputError, match=message):
        read_satellite(tmp_path / "bad.nc", **options)
