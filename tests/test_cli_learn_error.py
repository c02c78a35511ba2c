"""`hybrid-land learn-error`: from files to a hybrid that commands take, and what it refuses."""

import json
from pathlib import Path

import pytest
import xarray as xr

from assimilation import make_observations
from hybrid_land.data import load, save
from hybrid_land.simulation import simulate
from tests.kit import answered, run
from tests.mistakes import fails, holds, observed, plain
from tests.toy import Buckets, Networked

QUICK = (
    "--cycles 2 --members 4 --lag-days 2 --forecast-days 2 --updates 20 --rate 0.1 --prior 3 "
    "--hidden 2"
)
COMMAND = f"learn-error model good.nc --obs obs.nc {QUICK} --held-out 0.5"


@pytest.fixture
def wrong_place(toy_place, monkeypatch):
    """A toy that dries too fast in the emulator's place, and observations of one that does not."""
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Networked(1.0))
    truth = simulate(Networked(), load("good.nc"))
    save(truth, "truth.nc")
    save(make_observations(truth, errors={"swvl1": 0.01}, every=1, seed=1), "seen.nc")
    return toy_place


def test_it_leaves_a_hybrid_that_other_commands_take(wrong_place, capsys):
    command = f"{COMMAND.replace('obs.nc', 'seen.nc')} --restart kept"
    found, told = answered(f"{command} --out learnt --truth truth.nc", capsys)
    scores = [row["score"] for row in found["rounds"]]
    assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert found["best"] > 0
    assert min(scores) == scores[found["best"]] < 0.8, scores
    assert found["rounds"][found["best"]]["rmse"]["swvl1"] < found["rounds"][0]["rmse"]["swvl1"]
    assert [line.split("  ")[0] for line in told.splitlines()] == [
        f"cycle {number} of 2" for number in range(len(scores))
    ]
    folder = Path("learnt")
    assert {path.name for path in folder.iterdir()} == {
        *("model.json", "weights.safetensors", "learnt.json", "base"),
        *("score.png", "columns.png", "rmse.png"),
    }
    assert json.loads((folder / "learnt.json").read_text())["rounds"] == found["rounds"]
    assert not list(Path().glob(".learnt*"))
    for name in ("learnt", "model"):
        answered(f"rollout {name} good.nc --out {name}.nc", capsys)
    with xr.open_dataset("learnt.nc") as hybrid, xr.open_dataset("model.nc") as plain_run:
        assert float((hybrid["swvl1"] - plain_run["swvl1"]).mean()) > 0.005
    assert "kind: hybrid" in run("info learnt", capsys)
    again, _ = answered(f"{command} --out again", capsys)
    assert [row["score"] for row in again["rounds"]] == scores


def test_it_learns_the_factor_of_a_parameter(wrong_place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Networked())
    good = load("good.nc")
    save(good.assign(clim_theta_cap=0.8 * good["clim_theta_cap"]), "dry.nc")
    command = "learn-error model dry.nc --obs seen.nc --held-out 0.5 --cycles 1 --prior 0.3"
    found, _ = answered(f"{command} --parameters theta_cap --out factors", capsys)
    first, last = found["rounds"]
    assert first["factors"]["theta_cap"] == {"mean": 1.0, "sd": 0.0}
    assert last["factors"]["theta_cap"]["mean"] == pytest.approx(1.25, abs=0.15)
    assert last["score"] < 0.9 * first["score"]
    description = json.loads(Path("factors/model.json").read_text())
    assert description["correction"]["names"] == ["theta_cap"]
    assert description["loop"]["ensemble"]["prior"] == 0.3
    run("rollout factors dry.nc --out factors.nc", capsys)


def test_a_network_of_more_weights_than_analyses_is_told_of(wrong_place, capsys):
    few = COMMAND.replace("--hidden 2", "--hidden 30").replace("--cycles 2", "--cycles 1")
    _, told = answered(f"{few} --out many", capsys)
    assert "warning: 10 analyses for a correction of 121 weights, expected more" in told


def test_a_model_without_a_network_is_refused(wrong_place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Buckets())
    line = fails(f"{COMMAND} --out none", place=wrong_place, capsys=capsys)
    assert "needs a model with a network, and Buckets has none" in line


MISTAKES = {
    "members": plain(f"{COMMAND} --members 1 --out none", "1 member", "expected at least 2"),
    "parameter": plain(
        f"{COMMAND.replace(QUICK, '--cycles 1')} --parameters theta_gap --out none",
        *("'theta_gap' is not a parameter", "correct"),
    ),
    "held out": plain(f"{COMMAND} --held-out 1 --out none", "1 of 2 columns held out"),
    "hidden": plain(f"{COMMAND} --hidden six --out none", "--hidden 'six'", "such as 6 or 16,8"),
    "long": plain(
        f"{COMMAND} --forecast-days 11 --out none", "40 records for forecasts of 44 steps"
    ),
    "prior": plain(f"{COMMAND} --prior 0 --out none", "--prior is 0", "above 0"),
    "growth": plain(f"{COMMAND} --growth swvl1 --out none", "--growth 'swvl1'", "name=number"),
    "lag": plain(f"{COMMAND} --lag-days 0.1 --out none", "lag of 0.1 days", "at least a cycle"),
    "rain": plain(f"{COMMAND} --rain-error -1 --out none", "precipitation is -1"),
    "both": plain(
        f"{COMMAND.replace(QUICK, '--lag-days 9')} --parameters theta_cap --out none",
        *("--lag-days with --parameters", "leave one"),
    ),
    "full": plain(f"{COMMAND} --out model", "model: not empty", "new or empty folder"),
    "model": plain(f"{COMMAND} --out none".replace("model ", "absent ", 1), "absent: no model"),
    "error": observed(
        lambda ds: ds.assign(swvl1_error=-ds["swvl1_error"]),
        *("swvl1_error", "positive"),
        command=f"{COMMAND.replace('obs.nc', 'bad.nc')} --out none",
    ),
    "truth": plain(
        f"{COMMAND} --truth short.nc --out none",
        *("short.nc", "expected", "as in good.nc"),
        make=lambda place: (
            xr.open_dataset(place / "good.nc").isel(time=slice(0, 20)).to_netcdf(place / "short.nc")
        ),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line(name, place, capsys, monkeypatch):
    if name != "model":
        monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Networked())
    assert holds(MISTAKES[name], place=place, capsys=capsys)
