"""The providers' real files: what is read equals what netCDF4 finds at the same place."""

import netCDF4
import numpy as np
import pytest

from assimilation.satellite import observe, read_era5_land, read_satellite


@pytest.fixture(scope="module")
def folder(data_dir):
    place = data_dir / "satellite"
    if not place.is_dir():
        pytest.skip(f"no satellite files in {place}; set HYBRID_LAND_DATA to the folder with them")
    return place


def stored(path, *names):
    """Raw values, as the file holds them."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return [file[name][:] for name in names]


def one(product, number):
    """The observations of the location with that number."""
    place = int(np.flatnonzero(product["location_id"].to_numpy() == number)[0])
    return product.isel(observation=product["location_index"].to_numpy() == place)


def test_smap_of_one_grid_point(folder):
    file = folder / "smap_l3_v9" / "0165.nc"
    index, identity, time, value, quality, surface, half = stored(
        file,
        *("locationIndex", "location_id", "time", "soil_moisture", "retrieval_qual_flag"),
        *("surface_flag", "Overpass"),
    )
    mine = (index == 3) & (value > -9000)
    snow = (surface & 0b1100000) != 0
    good = mine & ((quality & 0b101) == 0) & ~snow & (half == 1)
    found = one(read_satellite(file, overpass="descending", error=0.04), identity[3])
    assert good.sum() == 1182  # of 2969 with a value
    order = np.argsort(time[good], kind="stable")
    np.testing.assert_allclose(found["soil_moisture"], value[good][order], rtol=1e-7)
    seconds = (found["time"].to_numpy() - np.datetime64("2000-01-01T12:00:00")) / np.timedelta64(
        1, "s"
    )
    np.testing.assert_allclose(seconds, np.floor(time[good][order]))
    assert (found["soil_moisture_error"] == 0.04).all()
    assert (found["night"] == 1).all()


def test_smap_counts_what_was_left_out(folder):
    found = read_satellite(folder / "smap_l3_v9", error=0.04)
    counts = {key: value for key, value in found.attrs.items() if str(key).startswith("screened")}
    assert found.attrs["observations_read"] == 16875
    assert found.attrs["observations_kept"] == found.sizes["observation"] == 2666
    assert sum(counts.values()) == 16875 - 2666
    assert counts["screened_snow"] == 146
    # The radiometer's frozen bit is set in all of Hawaii, where it means nothing.
    assert counts["screened_frozen"] == 0


def test_both_versions_of_smap_give_the_same_mornings(folder):
    """Version 8 has the time in a variable and the overpass in its name only."""
    old, new = (
        read_satellite(folder / name / "0165.nc", error=0.04, quality="retrieved")
        for name in ("smap_l3_v8_am", "smap_l3_v9")
    )
    assert (old["ascending"] == 0).all()
    ours, theirs = (one(product, 260345) for product in (old, new))
    ours, theirs = (
        part.swap_dims(observation="time")["soil_moisture"].to_series() for part in (ours, theirs)
    )
    both = ours.index.intersection(theirs.index)
    assert len(both) > 0.95 * len(ours)
    assert np.corrcoef(ours[both], theirs[both])[0, 1] > 0.95


def test_smos_of_one_grid_point(folder):
    file = folder / "smos_l3" / "0165.nc"
    names = ("Soil_Moisture", "Soil_Moisture_Dqx", "Mean_Acq_Time_Days", "Mean_Acq_Time_Seconds")
    value, error, days, seconds, flags, ratio, probability, identity = (
        part[415] if part.ndim == 2 else part[415:416]
        for part in stored(file, *names, "Science_Flags", "Ratio_RFI", "Rfi_Prob", "location_id")
    )
    seen = np.isfinite(value)
    bits = np.where(seen, flags, 0).astype(np.int64)
    bad = sum((bits >> bit) & 1 for bit in (3, 14, 16, 25)) > 0
    bad |= np.fmax(ratio, probability) > 0.2
    found = one(read_satellite(file, overpass="ascending"), identity[0])
    keep = seen & ~bad
    assert keep.sum() > 1000
    np.testing.assert_allclose(found["soil_moisture"], value[keep], rtol=1e-6)
    np.testing.assert_allclose(found["soil_moisture_error"], error[keep], rtol=1e-6)
    since = (found["time"].to_numpy() - np.datetime64("2000-01-01")) / np.timedelta64(1, "s")
    np.testing.assert_allclose(since, days[keep] * 86400.0 + seconds[keep])
    assert not read_satellite(file, overpass="descending").sizes["observation"]


def test_ascat_of_one_grid_point(folder):
    file = folder / "ascat_h113" / "0165.nc"
    rows, identity, value, noise, time, confidence, direction = stored(
        file, "row_size", "location_id", "sm", "sm_noise", "time", "conf_flag", "dir"
    )
    mine = slice(int(rows[:12].sum()), int(rows[:13].sum()))
    good = (value[mine] != 127) & (confidence[mine] == 0) & (direction[mine] == 0)
    product = read_satellite(file, porosity=0.5, overpass="night")
    found = one(product, identity[12])
    assert good.sum() > 2000
    order = np.argsort(time[mine][good], kind="stable")
    np.testing.assert_allclose(found["soil_moisture"], value[mine][good][order] * 0.005)
    np.testing.assert_allclose(found["soil_moisture_error"], noise[mine][good][order] * 0.005)
    since = (found["time"].to_numpy() - np.datetime64("1900-01-01")) / np.timedelta64(1, "s")
    np.testing.assert_allclose(since, time[mine][good][order] * 86400.0, atol=1.0)
    # Where the grid says that these points are.
    gpi, lat, lon = stored(file.with_name("TUW_WARP5_grid_info_2_3.nc"), "gpi", "lat", "lon")
    numbers = product["location_id"].to_numpy()
    assert (gpi[numbers] == numbers).all()
    np.testing.assert_allclose(product["lat"], lat[numbers])
    np.testing.assert_allclose(product["lon"], lon[numbers])


def test_cci_of_a_folder_of_cells(folder):
    """The second cell has 12 locations and no value."""
    product = read_satellite(folder / "esa_cci_v09.2", overpass="night")
    value, error, moment, identity = stored(
        folder / "esa_cci_v09.2" / "0165.nc", "sm", "sm_uncertainty", "t0", "location_id"
    )
    assert product.sizes["location"] == 26
    found = one(product, identity[6])
    seen = np.isfinite(value[6])
    assert seen.sum() == found.sizes["observation"] == 2831
    order = np.argsort(moment[6][seen], kind="stable")
    np.testing.assert_allclose(found["soil_moisture"], value[6][seen][order], rtol=1e-6)
    np.testing.assert_allclose(found["soil_moisture_error"], error[6][seen][order], rtol=1e-6)
    days = (found["time"].to_numpy() - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    np.testing.assert_allclose(days, moment[6][seen][order], atol=2e-5)


def test_era5_land_as_observations_and_as_a_reference(folder):
    file = folder / "era5_land" / "0165.nc"
    reference = read_era5_land(file)
    assert reference.sizes == {"time": 730, "column": 71}
    water, warmth, day = stored(file, "swvl1", "stl1", "time")
    np.testing.assert_array_equal(reference["swvl1"].to_numpy(), water.T)
    np.testing.assert_array_equal(reference["stl1"].to_numpy(), warmth.T)
    since = (reference["time"].to_numpy() - np.datetime64("1858-11-17")) / np.timedelta64(1, "D")
    np.testing.assert_allclose(since, day)
    product = read_satellite(file, error=0.05)
    place = observe(product, reference)
    np.testing.assert_allclose(place["swvl1"], reference["swvl1"], rtol=1e-6)
    assert (place["distance_km"] < 0.01).all()
