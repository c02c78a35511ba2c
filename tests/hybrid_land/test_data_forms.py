"""Zarr forms: what each reader makes of a store, and that it stays lazy."""

import json
import tracemalloc
from typing import Literal

import numpy as np
import pytest
import xarray as xr
import zarr

from hybrid_land.data import load, save, validate
from hybrid_land.data.accumulation import amounts_from_window_means, window_means
from hybrid_land.data.forms import conversion, our_name
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER, VARIABLES

RECORDS = 200
MONTHLY = ("clim_malbedo", "clim_mlail", "clim_mlaih")


@pytest.fixture(scope="module")
def sample():
    return load_sample("ecland_sample").isel(time=slice(0, RECORDS), column=slice(0, 5)).load()


def put(group, name, values, **attributes):
    values = np.asarray(values)
    chunks = (min(100, len(values)), *values.shape[1:])
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)
    array[...] = values
    array.attrs.update(attributes)


def put_place(group, data, lat="lat", lon="lon"):
    put(group, lat, data.lat.to_numpy())
    put(group, lon, data.lon.to_numpy())


def hours_since_2010(time):
    return ((time.to_numpy() - np.datetime64("2010-01-01")) / np.timedelta64(1, "h")).astype(int)


def split(data):
    series = [n for n in data.data_vars if "time" in data[n].dims]
    fixed = [n for n in data.data_vars if data[n].dims == ("column",) and n.startswith("clim_")]
    return series, fixed


def ailand_store(
    path, data, *, units=True, zarr_format: Literal[2, 3] = 2, change=lambda name, values: values
):
    series, fixed = split(data)
    group = zarr.create_group(path, zarr_format=zarr_format)
    stacked = np.stack([change(n, data[n].to_numpy()) for n in series], axis=-1)
    put(group, "data", stacked)
    put(group, "data_means", stacked.mean((0, 1)))
    put(group, "data_maxs", stacked.max((0, 1)))
    put(group, "clim_data", np.stack([data[n].to_numpy() for n in fixed], axis=-1))
    # Fixed-length bytes: the one string type that both Zarr formats hold without a warning.
    put(group, "variable", np.array(series, "S"))
    put(group, "clim_variable", np.array(fixed, "S"))
    if units:
        spelled = [VARIABLES[n].units for n in series]
        group["variable"].attrs["variable_units"] = spelled
    put(group, "time", hours_since_2010(data.time), units="hours since 2010-01-01")
    put(group, "x", np.arange(100, 100 + data.sizes["column"]))
    put_place(group, data)
    return path


def assert_same(found, data, *, without=(*MONTHLY, "climate_index"), rtol=0.0):
    for name in data.data_vars:
        if name in without:
            continue
        np.testing.assert_allclose(found[name], data[name], rtol=rtol, atol=1e-12, err_msg=name)
        assert found[name].attrs["units"] == VARIABLES[name].units
        assert found[name].attrs["long_name"] == VARIABLES[name].long_name
    np.testing.assert_array_equal(found.time, data.time)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_ailand_database(sample, tmp_path, zarr_format):
    found = load(ailand_store(tmp_path / "db.zarr", sample, zarr_format=zarr_format))
    assert found.swvl1.chunks is not None
    assert_same(found, sample)
    assert found.column.to_numpy().tolist() == [100, 101, 102, 103, 104]
    validate(found)
    assert found.attrs["form"] == "aiLand Zarr"


def test_units_are_told_from_values_where_none_are_given(sample, tmp_path):
    def change(name, values):
        factors = {"snowc": 100, "sd": 1e-3, "e": 1e-3, "sro": 1e-3, "ssro": 1e-3}
        return values * np.float32(factors.get(name, 1))

    found = load(ailand_store(tmp_path / "db.zarr", sample, units=False, change=change))
    assert_same(found, sample, rtol=1e-6)
    assert "snowc from % (told from the values)" in found.attrs["derived"]


def test_ailand_with_a_shape_that_does_not_fit_is_named(sample, tmp_path):
    path = ailand_store(tmp_path / "db.zarr", sample)
    group = zarr.open_group(path, mode="a")
    del group["variable"]
    put(group, "variable", np.array(["swvl1", "swvl2"], "S"))
    with pytest.raises(InputError, match=r"db\.zarr: data has shape .*expected \(200, 5, 2\)"):
        load(path)


def anemoi_store(path, data, *, members=1, missing=()):
    series, fixed = split(data)
    names = [*series, *fixed]
    times = data.sizes["time"]
    stacked = np.stack(
        [np.broadcast_to(data[n].to_numpy(), (times, data.sizes["column"])) for n in names], axis=1
    )
    group = zarr.create_group(path, zarr_format=2)
    put(group, "data", np.repeat(stacked[:, :, None], members, axis=2))
    put(group, "dates", data.time.to_numpy().astype("datetime64[s]"))
    put(group, "maximum", stacked.max((0, 2)))
    put_place(group, data, "latitudes", "longitudes")
    units = {n: {"units": VARIABLES[n].units} for n in names}
    attributes = {"variables": names, "variables_metadata": units, "missing_dates": list(missing)}
    group.attrs.update(attributes)
    return path


def test_anemoi_dataset(sample, tmp_path):
    found = load(anemoi_store(tmp_path / "a.zarr", sample))
    assert found.swvl1.chunks is not None
    assert found.clim_cvh.dims == ("column",)
    assert_same(found, sample)
    validate(found)


def test_anemoi_members_become_columns_and_missing_dates_nan(sample, tmp_path):
    gone = [str(sample.time.to_numpy()[7])[:19]]
    found = load(anemoi_store(tmp_path / "a.zarr", sample, members=2, missing=gone))
    assert found.sizes["column"] == 10
    np.testing.assert_array_equal(found.stl1[8, 5:], sample.stl1[8])
    np.testing.assert_array_equal(found.lat[5:], sample.lat)
    assert np.isnan(found.met_tair[7]).all()
    assert np.isfinite(found.clim_ksat).all()
    with pytest.raises(InputError, match=r"met_.* is missing .* at record 7"):
        validate(found)


def early_store(path, data, hourly):
    """One array a variable, statics repeated, accumulations, as ECMWF's sample has it."""
    raw = xr.Dataset(coords={"time": data.time.to_numpy(), "x": np.arange(data.sizes["column"])})
    names = {"clim_clake": "clim_CLAKE", "clim_ctype": "clim_Ctype"}
    for name in data.data_vars:
        if name in MONTHLY or name.startswith(("clim_theta", "clim_vg", "clim_veg", "clim_ksat")):
            continue
        values, units = data[name].to_numpy(), VARIABLES[name].units
        if name in hourly:
            values, units = hourly[name], "m" if name != "aco2gpp" else "kg m**-2"
        elif name == "snowc":
            values, units = 100 * values, "%"
        elif name == "sd":
            values, units = values / 1000, "m of water equivalent"
        if data[name].dims == ("column",) and name.startswith("clim_"):
            values = np.broadcast_to(values, (data.sizes["time"], len(values)))
        dims = ("time", "x") if values.ndim == 2 else ("x",)
        raw[names.get(name, name)] = (dims, values.copy(), {"units": units})
    raw["clim_z0m"] = raw["met_tair"] * 0
    raw.to_zarr(path, zarr_format=2, encoding={"sro": {"chunks": (40, 5)}})
    return path


@pytest.fixture
def hourly_truth(sample):
    """Hourly amounts that are steady over each step but for photosynthesis' pauses."""
    steps = {n: sample[n].to_numpy().astype(float) for n in ("sro", "ssro", "aco2gpp")}
    steps["aco2gpp"] = np.maximum(steps["aco2gpp"], 0.0) * 21600
    return {name: np.maximum(values, 0.0) for name, values in steps.items()}


def test_early_ailand_store(sample, hourly_truth, tmp_path):
    scale = {"sro": 1e-3, "ssro": 1e-3, "aco2gpp": 1.0}
    records = {
        name: window_means(np.repeat(values, 6, axis=0) / 6 * scale[name]).astype(np.float32)
        for name, values in hourly_truth.items()
    }
    found = load(early_store(tmp_path / "e.zarr", sample, records))
    assert found.sro.chunks is not None
    soil = [n for n in sample.data_vars if n.startswith(("clim_theta", "clim_vg", "clim_ksat"))]
    veg = [n for n in sample.data_vars if n.startswith("clim_veg")]
    without = (*MONTHLY, *soil, *veg, *hourly_truth, "climate_index")
    assert_same(found, sample, without=without, rtol=2e-6)
    assert found.attrs["left_out"] == "clim_z0m"
    assert "clim_theta_max" not in found
    for name in (*soil, *veg):
        if name != "clim_theta_max":
            assert f"{name}" in found.attrs["derived"]
            ratio = found[name] / sample[name]
            assert 0.2 < float(abs(ratio).median()) < 5.0, name
    for name, truth in hourly_truth.items():
        amount = found[name].to_numpy() * (21600 if name == "aco2gpp" else 1)
        assert (amount >= 0).all()
        daily, true = (v.reshape(-1, 4, 5).sum(1) for v in (amount, truth))
        assert np.sqrt(((daily - true) ** 2).mean()) < 0.15 * true.std()
        np.testing.assert_allclose(amount.sum(), truth.sum(), rtol=0.03)


def test_chunks_in_time_do_not_change_the_amounts(sample, hourly_truth, tmp_path):
    records = {n: window_means(np.repeat(v, 6, axis=0) / 6) for n, v in hourly_truth.items()}
    path = early_store(tmp_path / "e.zarr", sample, records)
    one, many = load(path, chunks={"time": 200}), load(path, chunks={"time": 30})
    assert len(many.sro.chunks[0]) > 5
    for name in hourly_truth:
        np.testing.assert_allclose(many[name], one[name], rtol=1e-6, atol=1e-12)


def test_a_steady_flux_is_recovered_exactly():
    windows = window_means(np.full((24 * 5, 2), 0.25))
    expected = np.array([6.5, 8.5, 14.5, 20.5]) / 4
    np.testing.assert_allclose(windows[4:8, 0], expected)
    np.testing.assert_allclose(amounts_from_window_means(windows)[4:], 1.5)


def test_amounts_against_ecland_s_hourly_run(data_dir):
    with xr.open_dataset(data_dir / "ecland" / "ecland_hourly_site.nc") as hourly:
        for name, weight, least in (("sro", 0.0, 0.8), ("ssro", 0.0, 0.75), ("aco2gpp", 0.3, 0.9)):
            truth = np.maximum(hourly[name].to_numpy().astype(float), 0.0)
            windows = window_means(truth)
            found = amounts_from_window_means(windows, next_day_weight=weight)
            steps = truth.reshape(-1, 6, truth.shape[1]).sum(1)
            assert (found >= 0).all()
            for column in range(truth.shape[1]):
                assert np.corrcoef(found[:, column], steps[:, column])[0, 1] > least
            np.testing.assert_allclose(found.sum(0), steps.sum(0), rtol=0.02)


def test_ecmwf_s_own_sample(data_dir):
    path = data_dir / "ecmwf_sample" / "ecland_cy49r2_2020_2022.zarr"
    if not path.is_dir():
        pytest.skip(f"no {path.name} in {data_dir}; get the folder ecmwf_sample")
    found = load(path)
    validate(found, source=path.name, required=tuple(map(str, found.data_vars)))
    assert found.sizes == {"time": 4384, "column": 10}
    assert {"e", "swvl4", "stl4"}.isdisjoint(found.data_vars)
    assert 0.99 < float(found.snowc.max()) <= 1.0
    assert 30 < float(found.sd.max()) < 100  # kg m-2, a cold week of the Rhine's plain
    years = 3
    rain = (found.met_rainf + found.met_snowf).sum("time") * 21600 / years
    runoff = (found.sro + found.ssro).sum("time") / years
    assert float(found.sro.min()) >= 0.0
    assert float(found.ssro.min()) >= 0.0
    assert ((runoff > 50) & (runoff < 0.4 * rain)).all()
    carbon = found.aco2gpp.mean("time") * 365.25 * 86400 * 12 / 44
    assert ((carbon > 0.5) & (carbon < 2.0)).all()  # kg C m-2 a year
    noon = found.aco2gpp.where(found.time.dt.hour == 6).mean()
    assert float(noon) > 2.5 * float(found.aco2gpp.where(found.time.dt.hour == 18).mean())
    for name in SOIL_WATER[:3]:
        assert (found[name] <= found.clim_theta_sat).all()


@pytest.mark.parametrize(
    ("units", "name", "expected"),
    [
        ("m**2 m**-2", "lai_hv", None),
        ("kg/m2s", "met_rainf", None),
        ("%", "snowc", (0.01, 0.0, 0)),
        ("m", "sro", (1000.0, 0.0, 0)),
        ("kg m**-2", "aco2gpp", (1.0, 0.0, -1)),
        ("J m**-2", "slhf", (1.0, 0.0, -1)),
        ("hPa", "met_psurf", (100.0, 0.0, 0)),
        ("degC", "stl1", (1.0, 273.15, 0)),
        ("kg m-2", "swvl3", (1 / 720.0, 0.0, 0)),
    ],
)
def test_conversions(units, name, expected):
    assert conversion(VARIABLES[name], units) == (expected and pytest.approx(expected))


def test_names_of_others():
    assert our_name("clim_CLAKE") == "clim_clake"
    assert our_name("2t") == "t2m"
    assert our_name("clim_z0m") is None


def test_a_large_store_is_saved_in_pieces(tmp_path):
    times, columns = 6000, 400  # 10 MB a variable
    group = zarr.create_group(tmp_path / "db.zarr", zarr_format=2)
    names = ["swvl1", "stl1", "met_tair", "met_swdown"]
    shape = (times, columns, len(names))
    array = group.create_array("data", shape=shape, dtype="f4", chunks=(200, columns, len(names)))
    for begin in range(0, times, 200):
        array[begin : begin + 200] = np.float32(0.3) + begin * np.float32(1e-5)
    put(group, "variable", np.array(names, "S"))
    put(group, "time", np.arange(times) * 6, units="hours since 2010-01-01")
    put(group, "lat", np.zeros(columns))
    put(group, "lon", np.zeros(columns))
    tracemalloc.start()
    try:
        save(load(tmp_path / "db.zarr"), tmp_path / "a.nc")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25e6  # of 40 MB
    again = load(tmp_path / "a.nc")
    np.testing.assert_allclose(again.met_tair[5999], 0.3 + 5800e-5, rtol=1e-5)


def test_a_parameter_that_changes_is_named(sample, tmp_path):
    raw = xr.Dataset({n: sample[n].rename(column="x") for n in ("swvl1", "lat", "lon")})
    cover = np.linspace(0, 1, RECORDS, dtype=np.float32)[:, None] * np.ones(5, np.float32)
    raw["clim_cvh"] = (("time", "x"), cover)
    raw.to_zarr(tmp_path / "e.zarr", zarr_format=2)
    with pytest.raises(InputError, match="clim_cvh changes in time, expected a parameter"):
        load(tmp_path / "e.zarr")


def test_a_store_without_dates_is_named(sample, tmp_path):
    raw = xr.Dataset({"stl1": (("time", "x"), sample.stl1.to_numpy())})
    raw.to_zarr(tmp_path / "e.zarr", zarr_format=2)
    with pytest.raises(InputError, match=r"e\.zarr: time is missing, expected dates"):
        load(tmp_path / "e.zarr")
    path = ailand_store(tmp_path / "db.zarr", sample)
    del zarr.open_group(path, mode="a")["time"].attrs["units"]
    with pytest.raises(InputError, match=r"db\.zarr: time has no unit, expected a CF unit"):
        load(path)


def test_what_is_no_data_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such file or folder"):
        load(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: a folder with nothing in it, expected a NetCDF"):
        load(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"other: a folder with notes\.txt, expected .*anemoi"):
        load(tmp_path / "other")
    put(zarr.create_group(tmp_path / "z.zarr", zarr_format=2), "precious", np.zeros(3))
    with pytest.raises(InputError, match=r"z\.zarr: a Zarr store with precious, expected"):
        load(tmp_path / "z.zarr")


def test_a_damaged_store_is_named(sample, tmp_path):
    path = ailand_store(tmp_path / "db.zarr", sample)
    (path / ".zgroup").write_text("{")
    with pytest.raises(InputError, match=r"db\.zarr: not a whole Zarr store"):
        load(path)
    (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    assert load(path).sizes["time"] == RECORDS
