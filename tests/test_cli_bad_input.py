"""Mistakes in what a command is given beside its data: model, options, output, configuration."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.mistakes import (
    ROLLOUT,
    TRAIN,
    Case,
    configured,
    data,
    guessed,
    holds,
    observed,
    plain,
    scaled,
)


def describe_otherwise(old: str, new: str) -> Callable[[Path], object]:
    """Change the description of the model, as a model of other variables has it."""

    def make(place: Path) -> None:
        path = place / "model" / "model.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return make


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
    "no trees": plain(
        "evaluate model good.nc --out dir --trees nowhere",
        "nowhere: no trees here",
        "expected model.json",
        "train them",
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

CALIBRATE = "calibrate model good.nc --obs obs.nc --out out.nc --method nuts --parameters"
SENSITIVITY = "sensitivity model good.nc --out dir --parameters"

PARAMETERS = {
    "not to be estimated": plain(
        f"{CALIBRATE} theta_gap", "parameter 'theta_gap' cannot be estimated", "expected", "correct"
    ),
    "none to estimate": plain(f"{CALIBRATE} ,", "--parameters is empty", "expected", "give one"),
    "twice estimated": plain(
        f"{CALIBRATE} theta_cap,theta_cap", "--parameters: 'theta_cap' is named twice", "remove one"
    ),
    "unknown sampler": plain(
        f"{CALIBRATE.replace('nuts', 'gibbs')} theta_cap",
        "method 'gibbs' is not known",
        "expected nuts",
    ),
    "few draws": plain(
        f"{CALIBRATE} theta_cap --draws 1", "'--draws'", "See hybrid-land calibrate"
    ),
    "no observations": plain(
        f"{CALIBRATE} theta_cap".replace("obs.nc", "none.nc"), "none.nc: no such file", "give"
    ),
    "observations of another variable": Case(
        f"{CALIBRATE} theta_cap".replace("obs.nc", "bad.nc"),
        ("bad.nc: unknown variable 'ssm'", "expected observables", "rename"),
        observed(lambda ds: ds.rename(swvl1="ssm")).make,
    ),
    "not to be varied": plain(
        f"{SENSITIVITY} theta_gap", "parameter 'theta_gap' cannot be varied", "expected", "correct"
    ),
    "a class varied": plain(f"{SENSITIVITY} tvh", "parameter 'tvh' cannot be varied", "expected"),
    "none to vary": plain(f"{SENSITIVITY} ,", "--parameters is empty", "expected", "give one"),
    "twice varied": plain(f"{SENSITIVITY} ksat,ksat", "--parameters: 'ksat' is named twice"),
    "unknown method": plain(
        f"{SENSITIVITY} ksat --method morris", "method 'morris' is not known", "expected curves"
    ),
    "a method twice": plain(
        f"{SENSITIVITY} ksat --method sobol,sobol", "--method: 'sobol' is named twice"
    ),
    "unknown target": plain(
        f"{SENSITIVITY} ksat --targets swvl9", "target 'swvl9' is not of the model", "expected"
    ),
    "another time of the target": plain(
        f"{SENSITIVITY} ksat --at middle", "'middle'", "expected mean or end"
    ),
    "Sobol of one": plain(
        f"{SENSITIVITY} ksat --method sobol", "Sobol indices of 1", "expected two", "add"
    ),
    "samples that are no power of 2": plain(
        f"{SENSITIVITY} ksat,cvh --method sobol --samples 100", "100 samples", "expected a power"
    ),
    "a range that is none": plain(
        f"{SENSITIVITY} ksat,cvh --method sobol --ranges ksat=low:high", "'ksat=low:high' cannot"
    ),
    "a range of one number": plain(
        f"{SENSITIVITY} ksat,cvh --method sobol --ranges ksat=1e-6", "1 numbers, expected low:high"
    ),
    "a range upside down": plain(
        f"{SENSITIVITY} ksat,cvh --method sobol --ranges ksat=1e-5:1e-6", "expected the lower end"
    ),
    "a range of another": plain(
        f"{SENSITIVITY} ksat,cvh --method sobol --ranges cvl=0.1:0.2", "range of 'cvl'", "expected"
    ),
    "a range without a soil": plain(
        f"{SENSITIVITY} theta_cap,ksat --method sobol --ranges theta_cap=0.9:1.0",
        "range of theta_cap: no column has a possible value",
        "widen",
    ),
    "a range for another method": plain(
        f"{SENSITIVITY} ksat --ranges ksat=1e-6:1e-5", "--ranges is for sobol", "add it"
    ),
    "a baseline of two numbers": plain(
        f"{SENSITIVITY} ksat --method integrated-gradients --baseline ksat=1e-6:1e-5",
        "2 numbers, expected one",
    ),
    "a baseline of another": plain(
        f"{SENSITIVITY} ksat --method integrated-gradients --baseline cvl=0.1",
        "baseline of 'cvl'",
        "expected",
    ),
    "unknown baseline of the weather": plain(
        f"{SENSITIVITY} ksat --method integrated-gradients --forcing-baseline zero",
        "baseline 'zero' of the weather",
        "expected climatology or mean",
    ),
    "no points": plain(
        f"{SENSITIVITY} ksat --method integrated-gradients --points 0", "0 points", "at least 1"
    ),
    "data without a parameter": data(
        lambda ds: ds.drop_vars("clim_theta_cap"),
        f"{SENSITIVITY} theta_cap".replace("good", "bad"),
        "missing variable clim_theta_cap",
        "add",
    ),
}

OUTPUT = {
    **{
        f"{command.split()[0]} below a file": plain(command, "good.nc", "another path")
        for command in (
            "rollout model good.nc --out good.nc/out.nc",
            "convert good.nc --out good.nc/out.nc",
            "assimilate model good.nc --obs obs.nc --out good.nc/out.nc --window-days 5",
            "calibrate model good.nc --obs obs.nc --out good.nc/out.nc",
            "evaluate model good.nc --out good.nc/dir",
            "sensitivity model good.nc --out good.nc/dir",
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

CASES = {
    **{f"model: {name}": case for name, case in MODEL.items()},
    **{f"assimilation: {name}": case for name, case in ASSIMILATION.items()},
    **{f"parameters: {name}": case for name, case in PARAMETERS.items()},
    **{f"output: {name}": case for name, case in OUTPUT.items()},
    **{f"configuration: {name}": case for name, case in CONFIGURATION.items()},
    **{f"usage: {name}": case for name, case in USAGE.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_gets_one_line(name, place, capsys):
    assert holds(CASES[name], place=place, capsys=capsys)
