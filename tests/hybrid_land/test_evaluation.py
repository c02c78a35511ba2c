"""Evaluation of a small model from end to end: the numbers, the files, the mistakes."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.evaluate import evaluate, score_datasets
from hybrid_land.evaluation.growth import error_growth, leads_of, starts_of
from hybrid_land.evaluation.plots import typical_columns
from hybrid_land.evaluation.scoreboard import number, scoreboard
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.simulation import simulate
from hybrid_land.variables import DIAGNOSTIC, FORCING, PROGNOSTIC


@jax.tree_util.register_static
class Relaxing:
    """Soil temperature relaxes to the air's; sensible heat is a multiple of the difference."""

    time_step = 21600.0
    prognostic = ("stl1",)
    diagnostic = ("sshf",)
    required = ("stl1", *FORCING, "lat", "lon")

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = rate

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        gap = forcing["met_tair"] - state["stl1"]
        return {"stl1": state["stl1"] + self.rate * gap}, {"sshf": 10.0 * gap}


@jax.tree_util.register_static
class Exploding(Relaxing):
    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        first = jnp.arange(state["stl1"].shape[0]) == 0
        return {"stl1": jnp.where(first, jnp.nan, state["stl1"])}, {"sshf": 0.0 * state["stl1"]}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return load_sample("unseen").isel(time=slice(0, 400)).load()


@pytest.fixture(scope="module")
def result(truth: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("evaluation")
    found = evaluate(
        Relaxing(), truth, out=out, name="toy", others={"quick": Relaxing(0.9)}, most_starts=3
    )
    return found, out


def test_the_scores_have_the_agreed_form(result: tuple[dict, Path], truth: xr.Dataset) -> None:
    found, out = result
    assert json.loads((out / "scores.json").read_text()) == found
    assert found["model"] == "toy"
    assert found["columns"] == truth.sizes["column"]
    assert found["steps"] == 399
    assert set(found["variables"]) == {"stl1", "sshf"}
    row = found["variables"]["stl1"]
    assert {"rmse", "bias", "ubrmse", "acc", "scores", "baselines"} <= set(row)
    assert list(row["baselines"]) == ["persistence", "climatology", "quick"]
    assert {"rmse", "bias", "ubrmse", "acc"} <= set(row["baselines"]["quick"])
    assert row["rmse"] ** 2 == pytest.approx(row["bias"] ** 2 + row["ubrmse"] ** 2)


def test_a_rollout_scores_as_the_model_that_made_it(
    result: tuple[dict, Path], truth: xr.Dataset
) -> None:
    run = simulate(Relaxing(), truth)
    again = score_datasets(truth, {"model": run}, name="file")
    assert again["variables"]["stl1"]["rmse"] == result[0]["variables"]["stl1"]["rmse"]
    error = (run["stl1"] - truth["stl1"]).isel(time=slice(1, None)).astype(float)
    assert again["variables"]["stl1"]["rmse"] == pytest.approx(float((error**2).mean() ** 0.5))


def test_the_truth_scores_perfectly_and_closes_its_budget(truth: xr.Dataset) -> None:
    found = score_datasets(truth, {"ecland": truth})
    assert set(found["variables"]) == {*PROGNOSTIC, *DIAGNOSTIC}
    for name, row in found["variables"].items():
        assert row["rmse"] == 0.0, name
        assert row["acc"] is None or row["acc"] == pytest.approx(1.0), name
    assert found["water_budget"]["max_abs_mm_per_step"] < 0.011


def test_climate_classes_share_out_the_columns(result: tuple[dict, Path]) -> None:
    found = result[0]
    classes = found["climate_classes"]
    assert sum(c["columns"] for c in classes.values()) == found["columns"]
    squares = sum(c["columns"] * c["variables"]["stl1"]["rmse"] ** 2 for c in classes.values())
    whole = found["variables"]["stl1"]["rmse"]
    assert (squares / found["columns"]) ** 0.5 == pytest.approx(whole)


def test_the_scoreboard_says_the_numbers_and_marks_the_best(result: tuple[dict, Path]) -> None:
    found, out = result
    text = (out / "scoreboard.md").read_text()
    assert text == scoreboard(found)
    line = next(line for line in text.splitlines() if line.startswith("| stl1 | K |"))
    best = min(
        found["variables"]["stl1"]["rmse"],
        *(b["rmse"] for b in found["variables"]["stl1"]["baselines"].values()),
    )
    assert re.findall(r"\*\*(.+?)\*\*", line) == [number(best)]
    assert "## Error growth" in text
    assert "RMSE of toy by climate class" in text


def test_the_figures_are_pictures_and_nothing_else_is_left(result: tuple[dict, Path]) -> None:
    _, out = result
    assert {path.name for path in out.iterdir()} == {
        "scores.json",
        "scoreboard.md",
        "time_series.png",
        "scatter.png",
        "map.png",
        "error_growth.png",
    }
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG"), path.name
        assert path.stat().st_size > 10_000, path.name


def test_error_growth_of_one_step_is_the_models_own(truth: xr.Dataset) -> None:
    found = error_growth(truth, {"model": Relaxing(0.0)}, ["stl1"], most_starts=5)
    # A model that changes nothing is persistence at every lead.
    held = error_growth(truth, {"persistence": truth}, ["stl1"], most_starts=5)
    np.testing.assert_allclose(
        found["rmse"]["stl1"]["model"], held["rmse"]["stl1"]["persistence"], rtol=1e-6
    )
    assert found["lead_days"] == [0.25, 1.0, 10.0, 30.0, 90.0]
    assert found["starts"] == 5
    change = truth["stl1"].to_numpy().astype(float)
    starts = starts_of(truth, 360, most=5)
    by_hand = np.sqrt(np.mean((change[starts + 4] - change[starts]) ** 2))
    assert found["rmse"]["stl1"]["model"][1] == pytest.approx(by_hand, rel=1e-6)


def test_fluxes_persist_from_the_step_before_the_start(truth: xr.Dataset) -> None:
    found = error_growth(truth, {"persistence": truth}, ["sshf"], most_starts=4)
    flux = truth["sshf"].to_numpy().astype(float)
    starts = starts_of(truth, 360, most=4)
    assert starts[0] == 1
    by_hand = np.sqrt(np.mean((flux[starts] - flux[starts - 1]) ** 2))
    assert found["rmse"]["sshf"]["persistence"][0] == pytest.approx(by_hand)


def test_a_run_from_a_file_has_one_start(truth: xr.Dataset) -> None:
    run = simulate(Relaxing(), truth)
    found = error_growth(truth, {"model": run, "other": Relaxing()}, ["stl1", "sshf"])
    assert found["starts"] == 1
    for name in ("stl1", "sshf"):
        by_run = found["rmse"][name]
        np.testing.assert_allclose(by_run["model"], by_run["other"], rtol=1e-4)


def test_leads_are_no_longer_than_the_record(truth: xr.Dataset) -> None:
    assert list(leads_of(truth.isel(time=slice(0, 6)))) == [1, 4]
    assert list(leads_of(truth.isel(time=slice(0, 1)))) == []


def test_a_run_that_blew_up_has_no_score_rather_than_the_score_of_the_rest(
    truth: xr.Dataset, tmp_path: Path
) -> None:
    found = evaluate(Exploding(), truth, out=tmp_path, most_starts=1)
    row = found["variables"]["stl1"]
    assert row["rmse"] is None
    assert row["scores"]["ilamb_overall"] is None
    assert row["baselines"]["persistence"]["rmse"] > 0.0
    assert found["error_growth"]["rmse"]["stl1"]["model"][0] is None
    assert "NaN" not in (tmp_path / "scores.json").read_text()


def test_typical_columns_are_neither_best_nor_worst(truth: xr.Dataset) -> None:
    five = truth.isel(column=[0, 0, 0, 0, 0])
    run = five[["stl1"]].copy(deep=True)
    run["stl1"] = run["stl1"] + xr.DataArray([3.0, 1.0, 5.0, 2.0, 4.0], dims="column")
    assert typical_columns(five, run, "stl1") == [0]


def test_nothing_is_written_without_a_folder(
    truth: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate(Relaxing(), truth, most_starts=0)
    assert list(tmp_path.iterdir()) == []


def test_other_times_or_columns_are_refused(truth: xr.Dataset) -> None:
    with pytest.raises(InputError, match="5 columns, expected the data's 12"):
        score_datasets(truth, {"run": truth.isel(column=slice(0, 5))})
    shifted = truth.assign_coords(time=truth.time + np.timedelta64(6, "h"))
    with pytest.raises(InputError, match="run: its 400 times are not the data's 400"):
        score_datasets(truth, {"run": shifted})
    with pytest.raises(InputError, match="second: missing variable sshf"):
        score_datasets(truth, {"first": truth, "second": truth.drop_vars("sshf")})


def test_a_run_with_nothing_to_score_is_refused(truth: xr.Dataset) -> None:
    with pytest.raises(InputError, match="share no prognostic or diagnostic variable"):
        score_datasets(truth, {"run": truth[["met_tair"]]})


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    truth: xr.Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another path"):
        evaluate(Exploding(), truth, out=tmp_path / "file" / "inside")


def test_a_name_twice_in_the_table_is_refused(truth: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="persistence"):
        evaluate(Relaxing(), truth, others={"persistence": Relaxing()})
