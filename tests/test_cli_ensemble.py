"""The commands for ensembles on tiny inputs: assembled, looked at, run, scored; and mistakes."""

import json

import jax
import numpy as np
import pytest
import xarray as xr

from hybrid_land.cli import main
from hybrid_land.models.store import load_model, save_model
from tests.kit import run
from tests.mistakes import fails

OPTIONS = {
    "assemble": ["RUN...", "--out", "--json"],
    "rollout": ["ENSEMBLE", "DATA", "--out", "--first-guess", "--json"],
    "evaluate": ["ENSEMBLE", "DATA", "--out", "--json"],
}


@pytest.fixture
def two(place):
    """The kit's model and another beside it, and the ensemble of both."""
    other = jax.tree.map(lambda leaf: 1.1 * leaf, load_model("model"))
    save_model(other, place / "other")
    with pytest.raises(SystemExit) as ended:
        main(["ensemble", "assemble", "model", "other", "--out", "both"])
    assert ended.value.code == 0
    return place


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option(command, capsys):
    out = run(f"ensemble {command} --help", capsys)
    for option in OPTIONS[command]:
        assert option in out


def test_assembled_and_looked_at(two, capsys):
    capsys.readouterr()
    found = json.loads(run("info both --json", capsys))
    assert found["members"] == 2
    assert [member["name"] for member in found["member_facts"]] == ["model", "other"]
    words = run("info both", capsys)
    assert "members: 2" in words
    assert "member_facts" not in words


def test_rollout_leaves_every_member(two, capsys):
    capsys.readouterr()
    found = json.loads(run("ensemble rollout both good.nc --out out.nc --json", capsys))
    assert found == {"out": "out.nc", "columns": 2, "steps": 40, "members": 2}
    with xr.open_dataset("out.nc") as written:
        assert written["swvl1"].dims == ("member", "time", "column")
        assert np.isfinite(written["swvl1"]).all()
        assert written.attrs["title"] == "Free run of the ensemble both"


def test_evaluate_scores_the_mean_and_the_spread(two, capsys, monkeypatch):
    """Without the figures, which have their own tests."""
    monkeypatch.setattr("hybrid_land.evaluation.evaluate.save_figures", lambda *_: [])
    monkeypatch.setattr("hybrid_land.evaluation.ensemble.save_ensemble_figures", lambda *_: [])
    capsys.readouterr()
    found = json.loads(run("ensemble evaluate both good.nc --out scored --json", capsys))
    assert found["model"] == "both (mean)"
    assert "first member" in found["variables"]["swvl1"]["baselines"]
    assert found["ensemble"]["lead_days"] == [1.0, 3.0]  # what ten days have room for
    written = {path.name for path in (two / "scored").iterdir()}
    assert {"scores.json", "scoreboard.md", "ensemble.json", "ensemble.md"} <= written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ensemble assemble model --out both", "1 models has no spread, expected at least 2"),
        ("ensemble assemble model nothing --out both", "nothing: no model here"),
        ("ensemble rollout model good.nc --out out.nc", "expected an ensemble; assemble one"),
        ("ensemble evaluate model good.nc --out out", "expected an ensemble; assemble one"),
        ("ensemble rollout", "Missing argument 'ENSEMBLE'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, place, capsys):
    assert message in fails(arguments, place=place, capsys=capsys)


def test_commands_for_one_model_refuse_an_ensemble(two, capsys):
    capsys.readouterr()
    said = fails("rollout both good.nc --out out.nc", place=two, capsys=capsys)
    assert "an ensemble of 2 members, expected one emulator" in said
    assert "hybrid-land ensemble rollout" in said
