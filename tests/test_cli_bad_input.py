"""Mistakes on the command line: exit status 2, one line that helps, and nothing left behind."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from assimilation import make_observations
from hybrid_land.cli import main
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.models.emulator import create
from hybrid_land.models.store import save_model

ROLLOUT = "rollout model bad.nc --out out.nc"
ASSIMILATE = "assimilate model good.nc --obs bad.nc --out out.nc --window-days 5"
TRAIN = "train good.nc --out run --config bad.toml"

Change = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """Sound inputs: ten days of two columns, observations of them, a tiny model, a tiny config."""
    folder = tmp_path_factory.mktemp("kit")
    data = load_sample("ecland_sample").isel(time=slice(0, 40), column=slice(0, 2)).load()
    save(data, folder / "good.nc")
    save(make_observations(data, errors={"swvl1": 0.02}, every=4, seed=0), folder / "obs.nc")
    save(data.isel(time=0, drop=True), folder / "guess.nc")
    first = {name: series[0] for name, series in forcing_from(data).items()}
    model = create(
        parameters_from(data), state_from(data), first, hidden=(8,), key=jax.random.key(0)
    )
    save_model(model, folder / "model")
    (folder / "tiny.toml").write_text(
        "hidden = [8]\nphases = [{ length = 1, updates = 1, batch = 4 }]\n"
    )
    return folder


@pytest.fixture
def place(kit, tmp_path, monkeypatch) -> Path:
    """A folder with the sound inputs, where the command runs."""
    folder = tmp_path / "here"
    shutil.copytree(kit, folder)
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too: path to content, nothing for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def fails(arguments: str, *, place: Path, capsys) -> str:
    """Run a command that must fail as a user's mistake does; its line."""
    before = contents(place)
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("hybrid-land: error: ")
    assert contents(place) == before
    return lines[0]


@dataclass(frozen=True)
class Case:
    """A command, how its bad input is made, and the words that the line must have, in order."""

    command: str
    words: tuple[str, ...]
    make: Callable[[Path], object] = lambda place: None


def data(change: Change, command: str, *words: str) -> Case:
    """A fault in a data file `bad.nc`, made from the sound one."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "good.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, ("bad.nc", *words), make)


def observed(change: Change, *words: str, command: str = ASSIMILATE) -> Case:
    """A fault in a file of observations `bad.nc`."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "obs.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, ("bad.nc", *words), make)


def guessed(change: Change, *words: str, command: str) -> Case:
    """A fault in a first guess `bad.nc`."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "guess.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, words, make)


def configured(text: str, *words: str) -> Case:
    """A fault in a configuration."""
    return Case(TRAIN, words, lambda place: (place / "bad.toml").write_text(text))


def plain(command: str, *words: str, make: Callable[[Path], object] = lambda place: None) -> Case:
    """A fault in the command itself, or one that `make` makes."""
    return Case(command, words, make)


def put(name: str, index: tuple[int, int], value: float) -> Change:
    """Put one value into a variable."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name][index] = value
        return ds

    return change


def scaled(name: str, factor: float = 1.0, shift: float = 0.0) -> Change:
    """A variable in another unit, its attribute unchanged."""
    return lambda ds: ds.assign({name: (ds[name] * factor + shift).assign_attrs(ds[name].attrs)})


def truncate(name: str) -> Callable[[Path], object]:
    def make(place: Path) -> None:
        whole = (place / name).read_bytes()
        (place / "bad.nc").write_bytes(whole[: len(whole) // 2])

    return make


def corrupt(place: Path) -> None:
    """A file that opens but whose compressed values (each begins with x^) were overwritten."""
    whole = (place / "good.nc").read_bytes()
    assert b"x^" in whole
    (place / "bad.nc").write_bytes(whole.replace(b"x^", b"--"))


def describe_otherwise(old: str, new: str) -> Callable[[Path], object]:
    """Change the description of the model, as a model of other variables has it."""

    def make(place: Path) -> None:
        path = place / "model" / "model.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return make


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

MODEL = {
    "no model": plain(
        "rollout nothing good.nc --out out.nc", "nothing: no model here", "expected", "default"
    ),
    "a file for a model": plain(
        "rollout good.nc good.nc --out out.nc", "good.nc: no model here", "expected"
    ),
    "variables of the model": plain(
        ROLLOUT.replace("bad", "good"),
        "model",
        "'swvl5'",
        "expected",
        make=describe_otherwise('"swvl4"', '"swvl5"'),
    ),
    "variables of the data": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc",
        "model",
        "'swvl5'",
        "expected",
        make=describe_otherwise('"swvl4"', '"swvl5"'),
    ),
    "input of the model": plain(
        ROLLOUT.replace("bad", "good"),
        "the model has an input 'moon'",
        "expected",
        "use the version",
        make=describe_otherwise('"available_1"', '"moon"'),
    ),
    "time step": data(
        lambda ds: ds.assign_coords(
            time=ds.time.to_numpy()[0] + np.arange(ds.sizes["time"]) * np.timedelta64(1, "h")
        ),
        ROLLOUT,
        "time step is 1 h",
        "expected the model's 6 h",
        "resample",
    ),
    "time step in evaluate": data(
        lambda ds: ds.isel(time=slice(None, None, 2)),
        "evaluate model bad.nc --out dir",
        "time step is 12 h",
        "expected the model's 6 h",
    ),
    "broken description": plain(
        "info model",
        "model.json: not a model's description",
        "restore",
        make=lambda place: (place / "model" / "model.json").write_text("{"),
    ),
    "half a description": plain(
        "info model",
        "model.json",
        "expected",
        make=lambda place: (place / "model" / "model.json").write_text(
            '{"form": 1, "inputs": ["a"]}'
        ),
    ),
    "truncated weights": plain(
        ROLLOUT.replace("bad", "good"),
        "weights.safetensors: the weights cannot be read",
        "restore",
        make=lambda place: (place / "model" / "weights.safetensors").write_bytes(b"12345678"),
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

ASSIMILATION = {
    "unknown method": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --method kalman",
        "method 'kalman' is not known",
        "expected 4dvar",
    ),
    "unknown control": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days 5 --control swvl1,swvl9",
        "control variable 'swvl9' is not known",
        "expected",
        "theta_cap",
    ),
    "no control": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days 5 --control ,",
        "--control is empty",
        "expected",
        "give one",
    ),
    "twice the same control": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days 5 --control swvl1,swvl1",
        "'swvl1' is named twice",
        "expected",
    ),
    "long window": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days 11",
        "window of 11 days is longer than the data",
        "expected at most 10 days",
        "shorten it",
    ),
    "short window": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days 0.1",
        "window of 0.1 days is shorter than",
        "expected at least 0.25",
    ),
    "negative window": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days -5",
        "window of -5 days",
        "expected at least 0.25",
    ),
    "window is no number": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days nan",
        "window of nan days",
        "expected at least 0.25",
    ),
    "window is a word": plain(
        "assimilate model good.nc --obs obs.nc --out out.nc --window-days month",
        "'--window-days'",
        "number",
    ),
    "first guess lacks a variable": guessed(
        lambda ds: ds.drop_vars("stl3"),
        "bad.nc",
        "missing variable stl3",
        "expected",
        command="rollout model good.nc --first-guess bad.nc --out out.nc",
    ),
    "first guess in Celsius": guessed(
        scaled("stl3", shift=-273.15),
        "bad.nc",
        "stl3 is",
        "Celsius",
        command="assimilate model good.nc --obs obs.nc --first-guess bad.nc --out out.nc",
    ),
    "first guess above capacity": guessed(
        lambda ds: ds.assign(swvl2=ds.swvl2 * 0 + 0.95),
        "bad.nc",
        "swvl2 is 0.95",
        "expected at most what the layer can hold",
        command="rollout model good.nc --first-guess bad.nc --out out.nc",
    ),
    "first guess of other columns": guessed(
        lambda ds: ds.isel(column=[0]),
        "bad.nc",
        "1 columns",
        "expected 2",
        command="rollout model good.nc --first-guess bad.nc --out out.nc",
    ),
    "truth without times": guessed(
        lambda ds: ds,
        "bad.nc: no dimension 'time'",
        "expected",
        command="assimilate model good.nc --obs obs.nc --truth bad.nc --out out.nc",
    ),
    "truth of other columns": Case(
        "assimilate model good.nc --obs obs.nc --truth bad.nc --out out.nc",
        ("the truth has 1 columns", "expected 2", "cut it"),
        data(lambda ds: ds.isel(column=[0]), "").make,
    ),
    "truth of other times": Case(
        "assimilate model good.nc --obs obs.nc --truth bad.nc --out out.nc",
        ("the truth has other times", "expected the same 40 records", "cut it"),
        data(lambda ds: ds.isel(time=slice(1, None)), "").make,
    ),
}

OUTPUT = {
    **{
        f"{command.split()[0]} below a file": plain(command, "good.nc", "another path")
        for command in (
            "rollout model good.nc --out good.nc/out.nc",
            "convert good.nc --out good.nc/out.nc",
            "assimilate model good.nc --obs obs.nc --out good.nc/out.nc --window-days 5",
            "evaluate model good.nc --out good.nc/dir",
            "demo --out good.nc/dir",
            "demo --out good.nc",
        )
    },
    "train below a file": plain(
        "train good.nc --out good.nc/run --config tiny.toml", "good.nc/run", "choose"
    ),
    "train into a file": plain(
        "train good.nc --out obs.nc --config tiny.toml", "obs.nc", "expected", "give"
    ),
    "missing folder": plain(
        "rollout model good.nc --out nowhere/out.nc",
        "nowhere/out.nc: cannot be written",
        "make it or choose another path",
    ),
    "a folder for a file": plain(
        "rollout model good.nc --out model", "model: is a folder", "expected a file", "add"
    ),
    "an occupied run": plain(
        "train good.nc --out model --config tiny.toml", "model: not empty", "--resume"
    ),
    "nothing to resume": plain(
        "train good.nc --out run --resume --config tiny.toml", "run: nothing to resume", "expected"
    ),
}

CONFIGURATION = {
    "misspelt key": configured(
        "learning_rat = 0.1\n",
        "bad.toml: unknown key 'learning_rat'",
        "expected one of",
        "learning_rate",
        "correct or remove",
    ),
    "misspelt key of a phase": configured(
        "phases = [{ lenght = 4, updates = 1, batch = 4 }]\n",
        "bad.toml: unknown key 'phases.0.lenght'",
        "expected one of length, updates, batch",
        "correct or remove",
    ),
    "missing key of a phase": configured(
        "phases = [{ updates = 1, batch = 4 }]\n", "bad.toml: phases.0.length", "required"
    ),
    "no phase": configured("phases = []\n", "bad.toml: phases is []", "at least 1", "correct"),
    "wrong type": configured(
        'learning_rate = "fast"\n', "bad.toml: learning_rate is 'fast'", "valid number", "correct"
    ),
    "a unit": configured(
        'phases = [{ length = "6 h", updates = 1, batch = 4 }]\n',
        "bad.toml: phases.0.length is '6 h'",
        "valid integer",
        "correct",
    ),
    "out of range": configured(
        "validation_share = 1.5\n", "bad.toml: validation_share is 1.5", "less than 1", "correct"
    ),
    "not a number": configured(
        "learning_rate = nan\n", "bad.toml: learning_rate is nan", "correct the value"
    ),
    "infinite": configured(
        "learning_rate = inf\n", "bad.toml: learning_rate is inf", "finite", "correct the value"
    ),
    "broken TOML": configured("learning_rate = \n", "bad.toml: not TOML", "line 1", "correct"),
    "missing file": plain(TRAIN, "bad.toml: the configuration cannot be read", "give a TOML file"),
    "a folder": plain(
        TRAIN,
        "bad.toml: the configuration",
        "give",
        make=lambda place: (place / "bad.toml").mkdir(),
    ),
    "windows longer than the data": configured(
        "hidden = [8]\nphases = [{ length = 60, updates = 1, batch = 4 }]\n",
        "longest phase is 60 steps",
        "shorten the phase",
    ),
    "one place only": Case(
        "train bad.nc --out run --config tiny.toml",
        ("one place", "expected at least two", "give"),
        data(lambda ds: ds.isel(column=[0]), "").make,
    ),
    "no diagnostics": data(
        lambda ds: ds.drop_vars("slhf"),
        "train bad.nc --out run --config tiny.toml",
        "missing variable slhf",
        "add",
    ),
}

USAGE = {
    "unknown command": plain("predict", "No such command 'predict'", "See hybrid-land --help"),
    "unknown option": plain(
        "info good.nc --jsn", "No such option: --jsn", "See hybrid-land info --help"
    ),
    "no model": plain("rollout", "Missing argument 'MODEL'", "See hybrid-land rollout --help"),
    "no out": plain("rollout model good.nc", "Missing option '--out'", "See hybrid-land rollout"),
}

ALL = {
    f"{group}: {name}": case
    for group, cases in {
        "data": DATA,
        "model": MODEL,
        "observations": OBSERVATIONS,
        "assimilation": ASSIMILATION,
        "output": OUTPUT,
        "configuration": CONFIGURATION,
        "usage": USAGE,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", ALL)
def test_a_mistake_gets_one_line(name, place, capsys):
    case = ALL[name]
    case.make(place)
    line = fails(case.command, place=place, capsys=capsys)
    at = 0
    for word in case.words:
        found = line.find(word, at)
        assert found >= 0, f"{word!r} is not in its place in: {line}"
        at = found + len(word)


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
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("hybrid-land: error: none.nc: no such file")
    assert contents(place) == before
