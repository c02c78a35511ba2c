"""Each command on tiny inputs: what it prints, for people and for scripts, and what it leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from calibration import load_posterior
from hybrid_land.cli import answer, app, main
from hybrid_land.data import load, validate
from hybrid_land.models.trees import save_trees
from hybrid_land.training.trees import TreeSettings, train_trees
from hybrid_land.variables import DIAGNOSTIC, PROGNOSTIC, SOIL_WATER
from tests.kit import run
from tests.toy import Weathered

# Commands of a file of their own come by an application without a name.
_FLAT = [app, *(group.typer_instance for group in app.registered_groups)]
_ROWS = [
    row for one in _FLAT if one and one.info.name != "ensemble" for row in one.registered_commands
]
COMMANDS = [row.name or row.callback.__name__ for row in _ROWS if row.callback]
OPTIONS = {
    "demo": ["--out", "--json"],
    "train": ["DATA...", "--out", "--config", "--resume", "--json"],
    "evaluate": ["MODEL", "DATA", "--out", "--trees", "--json"],
    "rollout": ["MODEL", "DATA", "--out", "--first-guess", "--json"],
    "assimilate": [
        *("MODEL", "DATA", "--obs", "--out", "--method", "--truth", "--first-guess"),
        *("--window-days", "--shift-days", "--control", "--background", "--background-error"),
        *(
            "--background-scale",
            "--ensemble",
            "--propagate",
            "--growth",
            "--model-error",
            "--parts",
            "--bias",
            "--minimiser",
            "--members",
        ),
        *("--inflation", "--seed", "--cycle-days", "--lag-days", "--relaxation"),
        *("--localisation-km", "--localisation-depth-m"),
        *("--rain-error", "--forcing-error", "--forcing-memory-days"),
        *(
            "--forcing-km",
            "--restart",
            "--withhold",
            "--withhold-seed",
            "--taylor-test",
            "--adjoint-test",
        ),
        *("--chi-squared", "--desroziers", "--innovations", "--rank", "--diagnose", "--figures"),
        "--json",
    ],
    "learn-error": [
        *("MODEL", "DATA", "--obs", "--out", "--truth", "--first-guess", "--cycles", "--held-out"),
        *("--parameters", "--hidden", "--forecast-days", "--updates", "--rate", "--prior"),
        *("--members", "--lag-days", "--background-error", "--growth", "--rain-error", "--seed"),
        *("--restart", "--json"),
    ],
    "observe": ["SOURCE...", "--data", "--out", "--product", "--overpass", "--rescale", "--json"],
    "calibrate": [
        *("MODEL", "DATA", "--obs", "--out", "--parameters", "--method", "--prior", "--structure"),
        *("--covariates", "--discrepancy", "--discrepancy-factor", "--parameter-error"),
        *("--representativeness", "--ar1", "--ar1-days", "--first-state", "--chains", "--warmup"),
        *("--draws", "--options", "--predictions", "--checks", "--figures", "--restart"),
        *("--seed", "--json"),
    ],
    "sensitivity": [
        *("MODEL", "DATA", "--out", "--parameters", "--method", "--targets", "--at", "--ranges"),
        *("--samples", "--seed", "--baseline", "--forcing-baseline", "--points", "--json"),
    ],
    "convert": ["SOURCE", "--out", "--json"],
    "info": ["MODEL|DATA", "--json"],
}


@pytest.fixture(autouse=True)
def here(laid_out, monkeypatch) -> None:
    monkeypatch.chdir(laid_out)


def run_json(arguments: str, capsys) -> dict:
    return json.loads(run(f"{arguments} --json", capsys))


def test_every_command_is_tested_here():
    assert sorted(COMMANDS) == sorted(OPTIONS)


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_help_names_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = run(f"{command} --help", capsys)
    assert f"Usage: hybrid-land {command}" in text
    for option in OPTIONS[command]:
        assert option in text, option


@pytest.mark.parametrize("arguments", ["", "--help"])
def test_help_lists_the_commands(arguments, capsys):
    text = run(arguments, capsys)
    assert "hybrid-land" in text
    for command in OPTIONS:
        assert command in text


def test_info_of_a_model(capsys):
    assert "hidden: [8]" in run("info model", capsys)
    found = run_json("info model", capsys)
    assert found["kind"] == "model"
    assert found["prognostic"] == list(PROGNOSTIC)
    assert found["time_step"] == 21600.0


def test_info_of_the_shipped_model(capsys):
    found = run_json("info default", capsys)
    assert found["kind"] == "model"
    assert found["trained_on"]


def test_info_of_data(capsys):
    words = run("info good.nc", capsys)
    assert words.startswith("2 columns, 40 records of 6 h, 2010-01-01T00:00 to 2010-01-10T18:00\n")
    found = run_json("info sample:unseen", capsys)
    assert found["kind"] == "data"
    assert found["columns"] == 12
    assert found["variables"]["diagnostic"] == list(DIAGNOSTIC)
    low, high = found["parameters"]["clim_theta_cap"]
    assert 0.1 < low < high < 0.9


def test_convert_gives_the_data_s_own_form(capsys):
    found = run_json("convert good.nc --out converted.nc", capsys)
    assert found["out"] == "converted.nc"
    assert found["records"] == 40
    again, source = load("converted.nc"), load("good.nc")
    validate(again)
    np.testing.assert_array_equal(again.swvl2, source.swvl2)
    assert "2 columns" in run("convert good.nc --out converted.nc", capsys)


def test_rollout_can_be_loaded_and_evaluated_like_ecland_s_output(capsys):
    found = run_json("rollout model good.nc --out run.nc", capsys)
    assert found == {"out": "run.nc", "columns": 2, "steps": 40}
    assert run("rollout model good.nc --out run.nc", capsys) == "run.nc: 2 columns, 40 steps\n"
    result, source = load("run.nc"), load("good.nc")
    validate(result, source="run.nc")
    for name in PROGNOSTIC:
        np.testing.assert_allclose(result[name][0], source[name][0], atol=1e-6)
    assert float(abs(result.swvl1 - source.swvl1).max()) > 1e-3
    assert set(DIAGNOSTIC) <= set(result.data_vars)
    assert result.swvl1.attrs == {
        "units": "m3 m-3",
        "long_name": "volumetric soil water layer 1",
    }


def test_rollout_starts_from_a_first_guess(capsys):
    with xr.open_dataset("guess.nc") as guess:
        wet = guess.load().assign(swvl1=guess.swvl1 * 0 + 0.3)
    wet.to_netcdf("wet.nc")
    run("rollout model good.nc --first-guess wet.nc --out run_wet.nc", capsys)
    result = load("run_wet.nc")
    np.testing.assert_allclose(result.swvl1[0], 0.3, atol=1e-6)
    np.testing.assert_allclose(result.swvl2[0], load("good.nc").swvl2[0], atol=1e-6)


def test_evaluate_writes_scores_and_figures(capsys):
    found = run_json("evaluate model good.nc --out scores", capsys)
    folder = Path("scores")
    assert json.loads((folder / "scores.json").read_text()) == found
    assert found["model"] == "model"
    assert (found["columns"], found["steps"]) == (2, 39)
    row = found["variables"]["swvl1"]
    assert row["rmse"] > 0
    assert {"persistence", "climatology"} <= set(row["baselines"])
    assert "| swvl1 |" in (folder / "scoreboard.md").read_text()
    figures = list(folder.glob("*.png"))
    assert len(figures) >= 3
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)


def test_evaluate_scores_trees_in_the_same_table(capsys):
    data = load("good.nc")
    settings = TreeSettings(rows=500, rounds=2, depth=2, threads=1)
    save_trees(train_trees([data], [data], settings=settings), Path("trees"), facts={})
    found = run_json("evaluate model good.nc --out with_trees --trees trees", capsys)
    assert found["variables"]["swvl1"]["baselines"]["xgboost"]["rmse"] > 0
    assert "xgboost" in Path("with_trees/scoreboard.md").read_text()


def test_train_and_resume(capsys):
    found = run_json("train good.nc --out trained --config tiny.toml", capsys)
    assert found["trained_on"] == ["good.nc"]
    assert found["hidden"] == [8]
    assert found["command"] == "hybrid-land train good.nc --out RUN --config tiny.toml"
    assert np.isfinite(found["validation"]["score"])
    assert run_json("info trained", capsys)["validation"] == found["validation"]
    weights = Path("trained/weights.safetensors").read_bytes()
    words = run("train good.nc --out trained --config tiny.toml --resume", capsys)
    assert words.startswith("model: trained (score ")
    assert Path("trained/weights.safetensors").read_bytes() == weights
    history = [json.loads(line) for line in Path("trained/history.jsonl").read_text().splitlines()]
    assert [record["update"] for record in history] == [2, 4]
    assert not list(Path("trained").glob(".*"))


def test_calibrate_writes_a_posterior(capsys):
    found = run_json(
        "calibrate model good.nc --obs obs.nc --parameters theta_cap --method laplace --chains 2 "
        "--draws 10 --predictions 0 --out posterior.nc",
        capsys,
    )
    assert found["out"] == "posterior.nc"
    row = found["theta_cap"]
    assert {"mean", "sd", "low", "high", "rhat", "ess"} <= set(row)
    posterior = load_posterior("posterior.nc")["posterior"]
    assert posterior.theta_cap.dims == ("chain", "draw", "column")
    assert dict(posterior.sizes) == {"chain": 2, "draw": 10, "column": 2}
    np.testing.assert_allclose(row["mean"], posterior.theta_cap.mean(("chain", "draw")), rtol=1e-5)
    assert (posterior.theta_cap > load("good.nc").clim_theta_pwp).all()
    assert posterior.attrs["method"] == "laplace"


def test_sensitivity_writes_curves_and_derivatives(capsys, monkeypatch):
    words = run("sensitivity model good.nc --parameters theta_cap,ksat --out answer", capsys)
    assert words == "answer: sensitivity.md, sensitivity.nc, sensitivity.png\n"
    with xr.open_dataset("answer/sensitivity.nc") as file:
        found = file.load()
    assert found.parameter.to_numpy().tolist() == ["theta_cap", "ksat"]
    quotient = (found.swvl2.sel(scale=1.05) - found.swvl2.sel(scale=0.95)) / 0.1
    # The untrained network bends in between in the second column.
    np.testing.assert_allclose(found.swvl2_gradient[:, 0], quotient[:, 0], rtol=0.2)
    assert found.swvl2.attrs["units"] == "m3 m-3"
    assert "| theta_cap | swvl1 |" in Path("answer/sensitivity.md").read_text()
    monkeypatch.setattr("hybrid_land.sensitivity.curves.sensitivity", lambda *_, **__: found)
    printed = run_json("sensitivity model good.nc --out answer", capsys)
    assert printed["out"] == "answer"
    assert np.shape(printed["swvl1"]) == (2, 9)
    assert np.shape(printed["swvl1_gradient"]) == (2,)


def test_sensitivity_by_the_other_methods(capsys, monkeypatch):
    # A toy in the emulator's place compiles in a second.
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Weathered())
    found = run_json(
        "sensitivity model good.nc --method adjoint,sobol,integrated-gradients --out others "
        "--parameters theta_cap,cvl --targets swvl1,slhf --samples 8 --points 2 "
        "--ranges cvl=0.1:0.4 --baseline theta_cap=0.3",
        capsys,
    )
    assert {row["target"] for row in found["adjoint"]} == {"swvl1", "slhf"}
    assert len(found["sobol"]) == 4
    assert [row["target"] for row in found["integrated_gradients"]] == ["swvl1", "slhf"]
    for stem in ("adjoint", "sobol", "integrated_gradients"):
        assert Path(f"others/{stem}.png").stat().st_size > 5000
        assert "| swvl1 |" in Path(f"others/{stem}.md").read_text()
        with xr.open_dataset(f"others/{stem}.nc") as file:
            for name, variable in file.data_vars.items():
                assert {"units", "long_name"} <= set(variable.attrs), name


def test_json_has_no_number_that_json_cannot_say(capsys):
    answer(
        {"a": [np.float32(np.nan), np.int64(2)], "b": (np.inf, None, True)}, as_json=True, words=""
    )
    assert json.loads(capsys.readouterr().out) == {"a": [None, 2], "b": [None, None, True]}


def test_assimilate_writes_an_analysis(capsys, monkeypatch):
    command = (
        "assimilate model good.nc --obs obs.nc --truth good.nc --window-days 5 --out analysis.nc "
        "--control swvl1,theta_cap"
    )
    found = run_json(command, capsys)
    assert found["out"] == "analysis.nc"
    assert (found["method"], found["windows"], found["observations"]) == ("4dvar", 2, 20)
    # The network is untrained: that an analysis is better is tested elsewhere.
    assert 0.0 < found["rmse_analysis_swvl1"] < 2.0 * found["rmse_open_loop_swvl1"]
    with xr.open_dataset("analysis.nc") as analysis:
        assert analysis.swvl1.dims == ("time", "column")
        assert (analysis.time.to_numpy() == load("good.nc").time.to_numpy()).all()
        for name in SOIL_WATER:
            assert np.isfinite(analysis[f"{name}_analysis_error"]).all()
        assert analysis.theta_cap.dims == ("column",)
        assert (analysis.theta_cap != analysis.theta_cap_background).all()
        monkeypatch.setattr("assimilation.assimilate", lambda *_, **__: analysis.load())
    words = run(command.replace("analysis.nc", "again.nc"), capsys)
    assert words.startswith("again.nc\n")
    assert "method: 4dvar" in words


def test_assimilate_takes_every_option_and_says_what_it_is_worth(capsys):
    command = (
        "assimilate model good.nc --obs obs.nc --window-days 5 --shift-days 5 --out weak.nc "
        "--method weak-4dvar --background climatology --background-scale 0.5 --parts 2 "
        "--model-error swvl1=0.003 --bias swvl1=0.02 --restart windows --diagnose"
    )
    found = run_json(command, capsys)
    assert found["method"] == "weak-4dvar"
    assert found["chi_squared_ratio"] > 0.0
    assert found["swvl1_observation_factor"] > 0.0
    assert found["swvl1_count"] == 20
    assert "swvl1_error_2 0.003" in found["background_error"]
    assert len(list(Path("windows").iterdir())) == 2
    with xr.open_dataset("weak.nc") as analysis:
        assert analysis["swvl1_bias"].dims == ("window", "column")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--background-error swvl1", "--background-error 'swvl1', expected name=number such as"),
        ("--background soil", "--background 'soil' is not known, expected given, climatology"),
        ("--method 3dvar", "method '3dvar' is not known, expected 4dvar, weak-4dvar"),
    ],
)
def test_an_option_of_assimilate_that_is_none_is_one_line(option, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(f"assimilate model good.nc --obs obs.nc --out none.nc {option}".split())
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert words in err
    assert err.count("\n") == 1
    assert out == ""
    assert not Path("none.nc").exists()
