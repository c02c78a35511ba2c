"""Data and observations that are not what they should be, on the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.mistakes import (
    ASSIMILATE,
    ROLLOUT,
    contents,
    corrupt,
    data,
    fails,
    holds,
    observed,
    plain,
    put,
    scaled,
    truncate,
)

ROOT = Path(__file__).parents[1]

DATA = {
    "missing file": plain("rollout model none.nc --out out.nc", "none.nc", "no such file", "give"),
    "truncated": plain(ROLLOUT, "bad.nc", "not a whole NetCDF", "copy", make=truncate("good.nc")),
    "corrupt": plain(ROLLOUT, "bad.nc", "cannot be read", "copy", make=corrupt),
    "not NetCDF": plain(
        ROLLOUT,
        "bad.nc: not a whole NetCDF file",
        make=lambda place: (place / "bad.nc").write_text("swvl1,swvl2\n"),
    ),
    "a folder": plain(
        "assimilate model good.nc --obs . --out out.nc", ".: is a folder", "expected", "give"
    ),
    "missing variable": data(
        lambda ds: ds.drop_vars(["met_tair", "swvl3"]),
        ROLLOUT,
        "missing variable swvl3, met_tair",
        "expected",
        "add them",
    ),
    "wrong units": data(
        lambda ds: ds.assign(met_psurf=ds.met_psurf.assign_attrs(units="hPa")),
        ROLLOUT,
        "met_psurf has units 'hPa'",
        "expected 'Pa'",
        "convert",
    ),
    "celsius": data(
        scaled("stl2", shift=-273.15),
        ROLLOUT,
        "stl2 is",
        "record 0 (2010-01-01T00:00), column 0",
        "expected 180 to 360 K",
        "degrees Celsius: add 273.15",
    ),
    "percent": data(
        lambda ds: ds.assign(snowc=(ds.snowc * 0 + 40.0).assign_attrs(ds.snowc.attrs)),
        ROLLOUT,
        "snowc is 40",
        "expected 0 to 1",
        "percent: divide by 100",
    ),
    "mm": data(
        scaled("swvl2", 210.0),
        ROLLOUT,
        "swvl2 is",
        "expected 0 to 1 m3 m-3",
        "mm of water",
        "divide by 1000 and by the layer's thickness of 0.21 m",
    ),
    "nan in forcing": data(
        put("met_rainf", (7, 1), np.nan),
        ROLLOUT,
        "met_rainf is missing",
        "record 7 (2010-01-02T18:00), column 1",
        "expected a value",
        "fill the gap",
    ),
    "uneven": data(
        lambda ds: ds.isel(time=[0, 1, 2, 4, 5]),
        ROLLOUT,
        "uneven time at record 3: 12 h",
        "expected 6 h",
        "fill the gap",
    ),
    "reversed": data(
        lambda ds: ds.isel(time=slice(None, None, -1)),
        ROLLOUT,
        "time goes backwards at record 1",
        "expected increasing",
        "sort",
    ),
    "duplicate": data(
        lambda ds: ds.isel(time=[0, 1, 1, 2]),
        ROLLOUT,
        "duplicate times at record 2",
        "expected increasing",
        "drop repeated ones",
    ),
    "zero columns": data(
        lambda ds: ds.isel(column=slice(0, 0)),
        ROLLOUT,
        "zero columns",
        "expected at least one",
        "choose",
    ),
    "above capacity": data(
        put("swvl3", (5, 1), 0.99),
        ROLLOUT,
        "swvl3 is 0.99 at record 5",
        "column 1",
        "expected at most what the layer can hold",
        "lower it",
    ),
    "capacity below wilting": data(
        lambda ds: ds.assign(clim_theta_cap=ds.clim_theta_pwp - 0.01),
        ROLLOUT,
        "clim_theta_cap is",
        "not above clim_theta_pwp",
        "must lie above the wilting point",
        "correct",
    ),
    "text for numbers": data(
        lambda ds: ds.assign(swvl1=ds.swvl1.astype(str)), ROLLOUT, "swvl1 is", "expected numbers"
    ),
    "other dims": data(
        lambda ds: ds.rename(column="x"), ROLLOUT, "no dimension 'column'", "expected", "convert"
    ),
    "missing in info": plain("info none.nc", "none.nc: no such file or model", "expected", "give"),
    "unsound in convert": data(
        put("met_tair", (3, 0), np.inf), "convert bad.nc --out out.nc", "met_tair is missing"
    ),
    "celsius in convert": data(
        scaled("stl2", shift=-273.15), "convert bad.nc --out out.nc", "degrees Celsius"
    ),
    "celsius in info": data(scaled("stl2", shift=-273.15), "info bad.nc", "degrees Celsius"),
    "celsius in evaluate": data(
        scaled("stl2", shift=-273.15), "evaluate model bad.nc --out dir", "degrees Celsius"
    ),
    "celsius in train": data(
        scaled("stl2", shift=-273.15), "train good.nc bad.nc --out run", "degrees Celsius"
    ),
    "celsius in assimilate": data(
        scaled("stl2", shift=-273.15),
        "assimilate model bad.nc --obs obs.nc --out out.nc",
        "degrees Celsius",
    ),
    "unknown sample": plain(
        "rollout model sample:seen --out out.nc", "seen: no such sample", "expected", "unseen"
    ),
}

OBSERVATIONS = {
    "missing file": plain(
        ASSIMILATE.replace("bad", "none"), "none.nc: no such file", "give an existing NetCDF file"
    ),
    "truncated": plain(ASSIMILATE, "bad.nc", "not a whole NetCDF", make=truncate("obs.nc")),
    "unknown variable": observed(
        lambda ds: ds.rename(swvl1="ssm", swvl1_error="ssm_error"),
        "unknown variable 'ssm'",
        "expected observables among",
        "swvl1",
        "rename or remove",
    ),
    "nothing observed": observed(
        lambda ds: ds.drop_vars(["swvl1", "swvl1_error"]), "no observed variable", "expected", "add"
    ),
    "all missing": observed(
        lambda ds: ds.assign(swvl1=ds.swvl1 * np.nan),
        "all observations are missing",
        "expected at least one",
        "check",
        command="calibrate model good.nc --obs bad.nc --out out.nc",
    ),
    "zero error": observed(
        lambda ds: ds.assign(swvl1_error=0.0 * ds.swvl1_error),
        "swvl1_error is 0 at record 0, column 0",
        "expected a positive standard deviation",
        "give one or mask",
    ),
    "negative error": observed(
        lambda ds: ds.assign(swvl1_error=ds.swvl1 * 0 - 0.02), "swvl1_error is -0.02", "positive"
    ),
    "no error": observed(
        lambda ds: ds.drop_vars("swvl1_error"), "missing variable swvl1_error", "expected", "add"
    ),
    "percent": observed(
        lambda ds: ds.assign(swvl1=(100 * ds.swvl1).assign_attrs(ds.swvl1.attrs)),
        "swvl1 is",
        "expected",
        "m3 m-3",
    ),
    "celsius": observed(
        lambda ds: ds.assign(skt=ds.swvl1.drop_attrs() * 0 + 12.0, skt_error=1.0),
        "skt is 12",
        "expected",
        "Celsius",
    ),
    "units": observed(
        lambda ds: ds.assign(swvl1=ds.swvl1.assign_attrs(units="%")),
        "swvl1 has units '%'",
        "expected 'm3 m-3'",
        "convert",
    ),
    "another year": observed(
        lambda ds: ds.assign_coords(time=ds.time + np.timedelta64(365, "D")),
        "time 2011-01-01T00:00 is outside the data",
        "expected 2010-01-01T00:00 to 2010-01-11T00:00",
        "cut",
    ),
    "other columns": observed(
        lambda ds: ds.isel(column=[0]), "1 columns without labels", "expected 2", "add a coordinate"
    ),
    "no time": observed(
        lambda ds: ds.isel(time=0, drop=True), "no dimension 'time'", "expected", "add"
    ),
    "unknown dimension": observed(
        lambda ds: ds.assign(swvl1=ds.swvl1.expand_dims(layer=2)), "swvl1 has dims", "expected"
    ),
    "a text": observed(
        lambda ds: ds.assign(swvl1=ds.swvl1.astype(str)), "swvl1 is", "expected numbers"
    ),
}

CASES = {
    **{f"data: {name}": case for name, case in DATA.items()},
    **{f"observations: {name}": case for name, case in OBSERVATIONS.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_gets_one_line(name, place, capsys):
    assert holds(CASES[name], place=place, capsys=capsys)


@pytest.mark.parametrize("command", ["info none.nc", ROLLOUT, ASSIMILATE])
def test_a_script_gets_nothing_on_standard_output(command, place, capsys):
    assert "no such file" in fails(f"{command} --json", place=place, capsys=capsys)


@pytest.mark.parametrize(
    "program",
    [
        [str(Path(sys.executable).with_name("hybrid-land"))],
        [sys.executable, "-c", "from hybrid_land.cli import main; main()"],
    ],
    ids=["installed", "imported"],
)
def test_a_shell_sees_status_2_and_the_line(program, place):
    if not Path(program[0]).exists():
        pytest.skip("hybrid-land is not installed beside this interpreter; run make setup")
    before = contents(place)
    done = subprocess.run(
        [*program, "rollout", "model", "none.nc", "--out", "out.nc"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("hybrid-land: error: none.nc: no such file")
    assert contents(place) == before
