"""ECLand's own output: a folder made from the sample as ECLand writes it, and read back."""

import numpy as np
import pytest
import xarray as xr

from hybrid_land.columns import forcing_numpy
from hybrid_land.data import load, validate
from hybrid_land.data.ecland_output import open_ecland_output
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import water_budget
from hybrid_land.variables import LAYER_THICKNESS, VARIABLES

STEP = 21600.0
MISSING = 1e20
RECORDS = 60


@pytest.fixture(scope="module")
def sample():
    part = load_sample("ecland_sample").isel(time=slice(0, RECORDS), column=slice(2, 7))
    return part.load()


def times(data):
    origin = str(data.time.to_numpy()[0])[:19].replace("T", " ")
    return np.arange(data.sizes["time"]) * STEP, f"seconds since {origin}"


def write(path, data, variables, *, shift):
    """One file: name -> (dims after time, values, units); label at the start or the end."""
    seconds, units = times(data)
    content = {}
    for name, (dims, values, unit) in variables.items():
        lead = () if dims[:1] == ("month",) or path.name in ("o_fix.nc", "surfclim") else ("time",)
        content[name] = ((*lead, *dims, "x"), values, {"units": unit})
    coords = {"time": ("time", seconds + shift, {"units": units})}
    file = xr.Dataset(content, coords=coords if path.name not in ("o_fix.nc", "surfclim") else {})
    file["lat"], file["lon"] = ("x", data.lat.to_numpy()), ("x", data.lon.to_numpy())
    file.to_netcdf(path)


def write_run(folder, data, *, forcing=True):
    def rate(name):
        return data[name].to_numpy() / STEP

    def of(name):
        return data[name].to_numpy()

    water = [1000 * d * of(f"swvl{k + 1}") for k, d in enumerate(LAYER_THICKNESS)]
    state = {
        "SoilMoist": (("nlevs",), np.stack(water, axis=1), "kg m-2"),
        "SoilTemp": (("nlevs",), np.stack([of(f"stl{k}") for k in range(1, 5)], axis=1), "K"),
        "SWE": ((), of("sd"), "kg m-2"),
        "snowdens": ((), of("rsn"), "kg m-3"),
        "SnowT": ((), of("tsn"), "K"),
        "SAlbedo": ((), of("asn"), "-"),
        "CanopInt": ((), of("src"), "kg m-2"),
        "AvgSurfT": ((), of("skt"), "K"),
        "TLICE": ((), of("skt"), "K"),
    }
    write(folder / "o_gg.nc", data, state, shift=0.0)
    # The last state has no fluxes: ECLand stops there.
    part = data.isel(time=slice(0, -1))
    cut = slice(0, -1)
    energy = {"Qh": "sshf", "Qle": "slhf", "SWdown": "met_swdown", "LWdown": "met_lwdown"}
    write(
        folder / "o_efl.nc",
        part,
        {theirs: ((), of(ours)[cut], "W m-2") for theirs, ours in energy.items()},
        shift=STEP,
    )
    amounts = {"Evap": rate("e"), "Qs": rate("sro"), "Qsb": rate("ssro")}
    amounts |= {"Rainf": of("met_rainf"), "Snowf": of("met_snowf")}
    balance = {name: ((), values[cut], "kg m-2 s-1") for name, values in amounts.items()}
    write(folder / "o_wat.nc", part, balance, shift=STEP)
    carbon = {"Ag": ((), -of("aco2gpp")[cut], "kg m-2 s-1")}
    write(folder / "o_co2.nc", part, carbon, shift=STEP)
    air = {"Tair": "met_tair", "Qair": "met_qair", "psurf": "met_psurf"}
    air |= {"Uwind": "met_wind_e", "Vwind": "met_wind_n"}
    units = {"Tair": "K", "Qair": "kg/kg", "psurf": "Pa", "Uwind": "m/s", "Vwind": "m/s"}
    outer = {name: ((), of(ours)[cut], units[name]) for name, ours in air.items()}
    write(folder / "o_ext.nc", part, outer, shift=STEP)
    screen = {"T2m": ((), of("t2m")[1:], "K"), "D2m": ((), of("d2m")[1:], "K")}
    write(folder / "o_d2m.nc", part, screen, shift=STEP)
    leaves = np.stack([of("lai_lv"), of("lai_hv")], axis=1)[cut]
    write(folder / "o_vty.nc", part, {"lai": (("vtype",), leaves, "m2 m-2 ")}, shift=STEP)
    four = np.ones((4, 1))
    soil = {"SoilFC": "theta_cap", "SoilWilt": "theta_pwp", "SoilSat": "theta_sat"}
    fixed = {
        theirs: (("nlevs",), four * of(f"clim_{ours}"), "m3 m-3") for theirs, ours in soil.items()
    }
    write(folder / "o_fix.nc", data, fixed, shift=0.0)
    climate: dict[str, tuple] = {
        name: ((), of(f"clim_{name.lower()}"), "-")
        for name in ("cvl", "cvh", "tvl", "tvh", "sotype", "Ctype", "CLAKE", "landsea")
    }
    climate["geopot"] = ((), of("clim_geopot"), "m2 m-2")
    climate["sdor"] = ((), of("clim_sdor"), "m")
    climate["Mlail"] = (("month",), of("clim_mlail"), "m2 m-2")
    climate["Malbedo"] = (("month",), of("clim_malbedo"), "-")
    write(folder / "surfclim", data, climate, shift=0.0)
    if forcing:
        hourly = np.repeat(of("met_ctpf"), 6, axis=0)
        hours = np.arange(len(hourly)) * 3600.0
        file = xr.Dataset(
            {"ctpf": (("time", "x"), hourly, {"units": "-"})},
            coords={"time": ("time", hours, {"units": times(data)[1]})},
        )
        file.to_netcdf(folder / "forcing_1h.nc")


# `theta_max` and van Genuchten's parameters are not in ECLand's files.
FOUND = [
    *(f"{stem}{k}" for stem in ("swvl", "stl") for k in (1, 2, 3, 4)),
    *("sd", "rsn", "tsn", "asn", "src", "skt", "sshf", "slhf", "e", "sro", "ssro", "aco2gpp"),
    *(f"met_{n}" for n in ("tair", "qair", "psurf", "wind_e", "wind_n", "swdown", "lwdown")),
    *("met_rainf", "met_snowf", "met_ctpf", "lai_lv", "lai_hv"),
    *(f"clim_{n}" for n in ("theta_cap", "theta_pwp", "theta_sat", "cvl", "cvh", "tvl", "tvh")),
    *(f"clim_{n}" for n in ("sotype", "ctype", "clake", "geopot", "sdor", "mlail", "malbedo")),
]


def test_a_run_is_read_back(sample, tmp_path):
    write_run(tmp_path, sample)
    found = load(tmp_path, chunks={"time": 30})
    whole = sample.isel(time=slice(0, -1))
    assert found.swvl1.chunks is not None
    assert len(found.met_rainf.chunks[0]) > 1
    np.testing.assert_array_equal(found.time, whole.time)
    for name in FOUND:
        np.testing.assert_allclose(found[name], whole[name], rtol=2e-6, atol=1e-7, err_msg=name)
        assert found[name].attrs["units"] == VARIABLES[name].units
    # Written at the end of the step, so that the first time has none.
    assert np.isnan(found.t2m[0]).all()
    np.testing.assert_array_equal(found.t2m[1:], whole.t2m[1:])
    snow = whole.sd > 1.0
    np.testing.assert_allclose(found.snowc.where(snow), whole.snowc.where(snow), atol=0.03)
    np.testing.assert_array_equal(found.lat, sample.lat)
    for part in ("sign turned", "snowc from sd and rsn", "clim_vg_alpha", "clim_veg_covh"):
        assert part in found.attrs["derived"]


def test_a_run_is_sound_closes_its_water_and_can_force_a_model(sample, tmp_path):
    write_run(tmp_path, sample)
    found = load(tmp_path)
    # Columns that vary around their class may hold more than the class' saturation.
    validate(found.drop_vars("clim_theta_sat"), required=("swvl1", "met_tair", "clim_cvh"))
    budget = water_budget(found)
    assert budget["max_abs_mm_per_step"] < 0.02
    assert set(forcing_numpy(found)) >= set(FOUND[FOUND.index("met_tair") : 31])


def test_what_is_not_there_stays_absent_and_is_named(sample, tmp_path):
    write_run(tmp_path, sample, forcing=False)
    (tmp_path / "o_vty.nc").unlink()
    found = load(tmp_path)
    assert "met_ctpf" not in found
    assert "lai_hv" not in found
    np.testing.assert_allclose(found.lai_lv, sample.lai_lv[:-1], atol=0.1)
    with pytest.raises(InputError, match="missing variable met_ctpf, lai_hv; expected all"):
        validate(found)


def test_a_grid_with_sea_becomes_columns(sample, tmp_path):
    write_run(tmp_path, sample.isel(column=slice(0, 4)), forcing=False)
    with xr.open_dataset(tmp_path / "o_gg.nc") as flat:
        state = flat.load()
    grid = {}
    for name, values in state.data_vars.items():
        if "x" not in values.dims or name in ("lat", "lon"):
            continue
        lead = values.shape[:-1]
        array = values.to_numpy().reshape(*lead, 2, 2).copy()
        array[..., 1, 0] = np.nan
        grid[name] = ((*values.dims[:-1], "lat", "lon"), array, values.attrs)
    coords = {"lat": [10.0, 20.0], "lon": [5.0, 6.0], "time": state.time}
    run = tmp_path / "grid"
    run.mkdir()
    xr.Dataset(grid, coords=coords).to_netcdf(run / "o_gg.nc")
    found = load(run)
    assert found.sizes["column"] == 3
    assert found.sizes["time"] == RECORDS  # no fluxes, so that every state is kept
    np.testing.assert_array_equal(found.lat, [10, 10, 20])
    np.testing.assert_array_equal(found.lon, [5, 6, 6])
    np.testing.assert_array_equal(found.stl1[:, 2], sample.stl1[:, 3])
    assert "1 points that ECLand did not run left out" in found.attrs["derived"]


def test_files_that_do_not_belong_together_are_named(sample, tmp_path):
    write_run(tmp_path, sample)
    with xr.open_dataset(tmp_path / "o_wat.nc", decode_times=False) as file:
        moved = file.load().assign_coords(time=file.time + 1e7)
    moved.time.attrs["units"] = times(sample)[1]
    moved.to_netcdf(tmp_path / "o_wat.nc")
    with pytest.raises(InputError, match=r"o_wat\.nc: Evap starts at .*use the files of one run"):
        load(tmp_path)
    with xr.open_dataset(tmp_path / "o_fix.nc") as file:
        fewer = file.load().isel(x=slice(0, 3))
    fewer.to_netcdf(tmp_path / "o_fix.nc")
    with pytest.raises(InputError, match=r"o_fix has 3 points, expected the 5 of o_gg\.nc"):
        load(tmp_path)
    (tmp_path / "o_gg.nc").unlink()
    with pytest.raises(InputError, match=r"o_gg\.nc is missing, found .*o_efl.*; expected"):
        open_ecland_output(tmp_path)
