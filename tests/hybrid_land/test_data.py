"""The data's form: read, checked, written; every fault of a file is named."""

import numpy as np
import pytest

from hybrid_land.data import flatten_members, load, save, validate
from hybrid_land.data.files import atomic_path
from hybrid_land.data.samples import SAMPLES, load_sample, sample_path
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import water_budget


@pytest.fixture
def small():
    return load_sample("unseen").isel(time=slice(0, 40), column=slice(0, 3)).load()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_packaged_samples_are_sound(name):
    assert validate(load(sample_path(name)), source=name) is None


def test_samples_are_small():
    assert sum(sample_path(name).stat().st_size for name in SAMPLES) < 5.05e6


def test_ecland_s_own_water_closes_in_the_samples():
    for name in ("ecland_sample", "unseen"):
        budget = water_budget(load_sample(name))
        assert budget["max_abs_mm_per_step"] < 0.02
        assert abs(budget["mean_mm_per_year"]) < 0.02


def test_round_trip(small, tmp_path):
    save(small, tmp_path / "a.nc")
    again = load(tmp_path / "a.nc")
    for name in small.data_vars:
        np.testing.assert_array_equal(again[name], small[name])
    np.testing.assert_array_equal(again.time, small.time)
    assert again.swvl1.attrs["units"] == "m3 m-3"
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_chunks_are_lazy(small, tmp_path):
    save(small, tmp_path / "a.nc")
    opened = load(tmp_path / "a.nc", chunks={})
    assert opened.swvl1.chunks is not None
    validate(opened)


def test_a_failed_write_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_path(tmp_path / "a.nc") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_members_become_columns():
    runs = load_sample("theta_cap")
    flat = flatten_members(runs)
    members, columns = runs.sizes["member"], runs.sizes["column"]
    assert flat.sizes["column"] == members * columns
    for member, column in ((0, 0), (3, 2), (8, 1)):
        k = member * columns + column
        np.testing.assert_array_equal(flat.swvl3[:, k], runs.swvl3[:, member, column])
        assert flat.clim_theta_cap[k] == runs.theta_cap[member, column]
        assert flat.stl2[0, k] == runs.init_stl2[member, column]
        assert flat.clim_theta_pwp[k] == runs.clim_theta_pwp[column]
        assert flat.base_column[k] == runs.column[column]
    assert np.isnan(flat.stl2[1:]).all()


def spoil(data, name, change):
    bad = data.copy(deep=True)
    bad[name] = (bad[name].dims, change(bad[name].to_numpy().copy()), bad[name].attrs)
    return bad


def at(i, j, value):
    def change(values):
        values[i, j] = value
        return values

    return change


FAULTS = {
    "missing variable": (
        lambda d: d.drop_vars("met_tair"),
        r"f\.nc: missing variable met_tair; expected .*; add",
    ),
    "units": (
        lambda d: d.assign(met_psurf=d.met_psurf.assign_attrs(units="hPa")),
        r"met_psurf has units 'hPa', expected 'Pa'; convert",
    ),
    "celsius": (
        lambda d: spoil(d, "stl1", lambda v: v - 273.15),
        r"stl1 is .* at record 0 \(2014-01-01T00:00\), column 0; expected .* K; .*Celsius",
    ),
    "percent": (
        lambda d: spoil(d, "snowc", lambda v: 100 * np.ones_like(v)),
        r"snowc is 100 .*percent: divide by 100",
    ),
    "mm": (
        lambda d: spoil(d, "swvl2", lambda v: v * 210),
        r"swvl2 is .*mm of water .*layer's thickness of 0.21 m",
    ),
    "nan in forcing": (
        lambda d: spoil(d, "met_rainf", at(7, 2, np.nan)),
        r"met_rainf is missing .* record 7 \(2014-01-02T18:00\), column 2; .*fill the gap",
    ),
    "uneven": (
        lambda d: d.isel(time=[0, 1, 2, 4, 5, 6]),
        r"uneven time at record 3: 12 h after .*expected 6 h",
    ),
    "reversed": (lambda d: d.isel(time=slice(None, None, -1)), r"time goes backwards at record 1"),
    "duplicate": (lambda d: d.isel(time=[0, 1, 1, 2]), r"duplicate times at record 2"),
    "no columns": (lambda d: d.isel(column=slice(0, 0)), r"zero columns, expected at least one"),
    "above capacity": (
        lambda d: spoil(d, "swvl3", at(5, 1, 0.99)),
        r"swvl3 is 0.99 at record 5 .*column 1; expected at most what the layer can hold",
    ),
    "order of parameters": (
        lambda d: d.assign(clim_theta_cap=d.clim_theta_pwp - 0.01),
        r"clim_theta_cap is .* not above clim_theta_pwp",
    ),
    "no first state": (
        lambda d: spoil(d, "sd", at(0, 1, np.nan)),
        r"sd is missing in the first state at record 0",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faults_are_named(small, fault):
    change, message = FAULTS[fault]
    validate(small, source="f.nc")
    with pytest.raises(InputError, match=message):
        validate(change(small), source="f.nc")


def test_a_truncated_file_is_named(small, tmp_path):
    path = tmp_path / "a.nc"
    save(small, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a\.nc: not a whole NetCDF file"):
        load(path)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.nc")


def test_real_runs_are_sound(data_dir):
    for path in (data_dir / "ecland" / "ecland_train_wide_2.nc", data_dir / "sites" / "SE-Svb.nc"):
        assert validate(load(path), source=path.name) is None
