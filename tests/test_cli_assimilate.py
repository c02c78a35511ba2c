"""What `hybrid-land assimilate` tells of an analysis by flag, and what it refuses or lets pass."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assimilation.diagnose import DIAGNOSTICS
from hybrid_land.data import save
from tests.kit import answered
from tests.mistakes import fails, holds, plain
from tests.toy import Weathered

COMMAND = "assimilate model good.nc --obs obs.nc --window-days 5 --out out.nc"
# What each flag adds to the answer, and its figure.
TOLD = {
    "taylor-test": ("taylor_order", "taylor_test"),
    "adjoint-test": ("adjoint_difference", "adjoint_test"),
    "chi-squared": ("chi_squared_ratio", "chi_squared"),
    "desroziers": ("swvl1_background_factor", "desroziers"),
    "innovations": ("swvl1_lag_1", "innovations"),
    "rank": ("rank_dispersion_swvl1", "rank"),
}
ALWAYS = {"increments", "before_after", "map", "convergence"}


@pytest.fixture
def whole(toy_place, capsys):
    """Everything that can be told, once for this file: answer and figures are kept."""
    kept = Path("whole.json")
    if not kept.exists():
        found, _ = answered(
            f"{COMMAND} --truth good.nc --diagnose --withhold 0.2 --figures whole", capsys
        )
        Path("out.nc").rename("whole.nc")
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def test_everything_is_told_and_drawn(whole):
    assert sorted(TOLD) == sorted(DIAGNOSTICS)
    figures = {path.stem for path in Path("whole").glob("*.png")}
    assert figures == ALWAYS | {row[1] for row in TOLD.values()} | {
        "coverage",
        "spread",
        "withheld",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in Path("whole").iterdir())
    assert {key for key, _ in TOLD.values()} <= set(whole)
    assert whole["taylor_order"] > 1.9
    assert whole["adjoint_difference"] < 1e-12
    assert 0.0 <= whole["covered_68_swvl1"] <= whole["covered_95_swvl1"] <= 1.0
    count = whole["withheld_swvl1_background_count"]
    assert 0 < count < 10
    assert whole["observations"] == whole["swvl1_count"] == 20 - count
    with xr.open_dataset("whole.nc") as analysis:
        assert analysis.attrs["taylor_order"] == pytest.approx(whole["taylor_order"])
        assert int(np.isfinite(analysis.swvl1_innovation).sum()) == 20 - count


@pytest.mark.parametrize("flag", sorted(TOLD))
def test_each_flag_tells_and_draws_its_own(whole, flag, capsys, monkeypatch):
    with xr.open_dataset("whole.nc") as file:
        analysis = file.load().drop_attrs()
    with xr.open_dataset("whole.nc") as file:
        analysis.attrs = {key: file.attrs[key] for key in ("observations", "shift_days")}
    monkeypatch.setattr("assimilation.assimilate", lambda *_, **__: analysis)
    found, _ = answered(f"{COMMAND} --{flag} --truth good.nc --figures {flag}", capsys)
    told = {name for name, (key, _) in TOLD.items() if key in found}
    assert told == {flag}
    drawn = {path.stem for path in Path(flag).glob("*.png")} - ALWAYS
    assert drawn == {TOLD[flag][1]} | ({"coverage", "spread"} if flag == "rank" else set())


def test_without_an_observation_the_background_comes_back_with_a_notice(toy_place, capsys):
    with xr.open_dataset("obs.nc") as sound:
        save(sound.load().assign(swvl1=sound.swvl1.load() * np.nan), "none.nc")
    found, told = answered(
        f"{COMMAND.replace('obs.nc', 'none.nc')} --diagnose --figures none".replace("out.", "n."),
        capsys,
    )
    notice = "no observation in any window: the analysis is the background"
    assert told.splitlines()[-1] == f"none.nc: {notice}"
    assert found["notice"] == notice
    assert not any(key.startswith(("taylor", "chi_squared")) for key in found)
    with xr.open_dataset("n.nc") as analysis:
        np.testing.assert_allclose(analysis.swvl1, analysis.swvl1_background, rtol=1e-5)
    assert {path.stem for path in Path("none").iterdir()} == ALWAYS


def _twin_layers(place):
    """Data whose third layer is its second: a climate with a covariance of lower rank."""
    with xr.open_dataset(place / "good.nc") as sound:
        same = sound.load().assign(swvl3=sound.swvl2.assign_attrs(sound.swvl3.attrs))
        save(same, place / "bad.nc")


def _labelled(place):
    """Columns a and b in the data, a and c in the observations."""
    for name, new, labels in (("good", "bad", ["a", "b"]), ("obs", "other", ["a", "c"])):
        with xr.open_dataset(place / f"{name}.nc") as sound:
            save(sound.load().assign_coords(column=labels), place / f"{new}.nc")


BAD = COMMAND.replace("good.nc", "bad.nc")
MISTAKES = {
    "rank without a truth": plain(f"{COMMAND} --rank", "--rank without --truth", "give it"),
    "all withheld": plain(
        f"{COMMAND} --withhold 1", "share of 1 to withhold", "expected one between 0 and 1"
    ),
    "figures in a file": plain(
        f"{COMMAND} --figures obs.nc", "obs.nc: is a file, expected a folder", "give another"
    ),
    "an observed column that the data lack": plain(
        BAD.replace("obs.nc", "other.nc"),
        "other.nc: column 'c' is not in the data",
        "expected labels such as 'a'",
        "remove it or choose",
        make=_labelled,
    ),
    "B of lower rank": plain(
        f"{BAD} --background climatology",
        "the climatological covariance of swvl1, swvl2, swvl3, swvl4 is not positive definite",
        "expected one that is",
        "add to its diagonal",
        make=_twin_layers,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line(name, place, capsys):
    assert holds(MISTAKES[name], place=place, capsys=capsys)


@pytest.mark.parametrize("kind", ["climatology", "nmc"])
def test_a_parameter_has_a_deviation_beside_any_background(kind, toy_place, capsys):
    options = f"--background {kind} --control swvl1,theta_cap --background-error theta_cap=0.02"
    found, _ = answered(f"{COMMAND} {options} --propagate --growth swvl1=0.01", capsys)
    assert "theta_cap 0.02" in found["background_error"]


@jax.tree_util.register_static
class Rooted(Weathered):
    """The toy with a root at zero in every step: a value, but no slope."""

    def step(self, parameters, state, forcing):
        new, diagnostics = super().step(parameters, state, forcing)
        new["swvl1"] += jnp.sqrt(0.0 * state["swvl1"])
        return new, diagnostics


def test_a_gradient_that_is_not_finite_is_named_with_variable_and_step(place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Rooted())
    line = fails(COMMAND, place=place, capsys=capsys)
    assert "window 0, column 0: the gradient of the cost by swvl1 is not finite at step 19" in line
