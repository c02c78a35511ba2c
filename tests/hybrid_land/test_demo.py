"""The demonstration's parts on small cuts of the samples; `make demo` runs the whole."""

import importlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from calibration import load_posterior
from hybrid_land.data.samples import load_sample
from hybrid_land.demo import demo
from hybrid_land.demo.free_run import free_run, score_table
from hybrid_land.demo.surface_to_root import frost_free, wrong_first_guess
from hybrid_land.errors import InputError
from hybrid_land.models.store import load_model, model_directory
from hybrid_land.variables import SOIL_WATER

# Each module has a function of its own name, which the package's attribute may hide.
job = importlib.import_module("hybrid_land.demo.job")
surface_to_root_module = importlib.import_module("hybrid_land.demo.surface_to_root")
field_capacity_module = importlib.import_module("hybrid_land.demo.field_capacity")
answer_module = importlib.import_module("hybrid_land.demo.answer_to_field_capacity")


@pytest.fixture(scope="module")
def unseen() -> xr.Dataset:
    return load_sample("unseen").isel(column=[0, 9], time=slice(0, 130)).load()


def test_a_free_run_leaves_its_files_numbers_and_words(unseen: xr.Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    part = free_run(load_model("default"), unseen, out=tmp_path, say=said.append)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["variables"]["swvl1"]["rmse"] == part.metrics["variables"]["swvl1"]["rmse"]
    assert xr.open_dataset(tmp_path / "rollout.nc").sizes == {"time": 130, "column": 2, "month": 12}
    assert all(picture.path.is_file() for picture in part.section.pictures)
    assert any("persistence" in finding.sentence for finding in part.section.findings)
    assert said[0] == "rolling out"


def test_the_lowest_error_of_a_row_is_marked_and_a_missing_one_is_a_dash() -> None:
    row = {"units": "K", "bias": 0.1, "acc": None}
    scores = {
        "baselines": {"persistence": {}},
        "variables": {
            "stl1": row | {"rmse": 2.0, "baselines": {"persistence": {"rmse": 1.0}}},
            "stl2": row | {"rmse": None, "baselines": {"persistence": {"rmse": 1.0}}},
        },
    }
    table = score_table(scores)
    assert table.header[2:4] == ["emulator", "persistence"]
    assert [row[2] for row in table.rows] == ["2", "-"]
    assert table.best == [[3], [3]]


def test_frozen_columns_are_left_out(unseen: xr.Dataset) -> None:
    assert frost_free(unseen)["column"].to_numpy().tolist() == [12]


def test_the_first_guess_is_wrong_by_what_is_said_and_physical(unseen: xr.Dataset) -> None:
    state = unseen.isel(time=0, drop=True)
    guess = wrong_first_guess(state, unseen)
    for name in SOIL_WATER:
        shift = np.abs((guess[name] - state[name]).to_numpy())
        np.testing.assert_allclose(shift, 0.06, atol=1e-6)
        assert bool((guess[name] > 0).all())
        assert bool((guess[name] < unseen["clim_theta_max"]).all())
    assert bool((guess["stl1"] == state["stl1"]).all())


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="folder cannot be made"):
        demo(tmp_path / "file" / "out")


def test_a_mistake_in_another_process_is_the_same_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_directory("default"), broken)
    (broken / "weights.safetensors").write_bytes(b"half")
    console = Console(file=io.StringIO())
    with pytest.raises(InputError, match="weights cannot be read"):
        demo(tmp_path / "out", model=broken, console=console, processes=2)
    assert not list((tmp_path / "out").iterdir())


def test_the_whole_demonstration_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unseen: xr.Dataset
) -> None:
    """All four questions, the page and the numbers, on fewer columns and records."""
    varied = (
        load_sample("theta_cap").isel(column=[0, 1], member=[0, 4, 8], time=slice(0, 61)).load()
    )
    monkeypatch.setattr(
        job, "load_sample", {"unseen": unseen, "theta_cap": varied}.__getitem__, raising=True
    )
    monkeypatch.setattr(surface_to_root_module, "_BEGIN", 0)
    monkeypatch.setattr(surface_to_root_module, "_WINDOW_DAYS", 10.0)
    monkeypatch.setattr(field_capacity_module, "_MEMBERS", (0, 2))
    monkeypatch.setattr(field_capacity_module, "_RECORDS", 61)
    monkeypatch.setattr(field_capacity_module, "_WARMUP", 10)
    monkeypatch.setattr(field_capacity_module, "_DRAWS", 10)
    monkeypatch.setattr(field_capacity_module, "_EACH", 1)
    monkeypatch.setattr(answer_module, "_SHOWN", (0, 1))
    metrics = demo(tmp_path / "out", console=Console(file=io.StringIO()), processes=1)
    assert metrics == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics) == {"rollout", "assimilation", "calibration", "sensitivity", "seconds"}
    assert metrics["calibration"]["columns"] == 4
    checks = metrics["calibration"]["checks"]
    observed = xr.open_dataset(tmp_path / "out" / "calibration_observations.nc")
    made = sum(int(observed[name].count()) for name in ("swvl1", "swvl2"))
    assert checks["observations"] == made
    assert 0.5 < checks["covered"] <= 1.0
    assert checks["unsure"] <= made
    assert len(checks["spread_left"]) == 4
    assert 0.0 < min(checks["spread_left"]) <= max(checks["spread_left"]) <= 1.0
    assert set(metrics["sensitivity"]) == {"swvl1", "swvl2", "swvl3", "swvl4", "slhf"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 9
    assert "http" not in page.replace("http://www.w3.org", "")
    for part in ("free-run", "assimilation", "calibration", "sensitivity"):
        assert f'id="{part}"' in page
    assert f"Of the {made} observations {100 * checks['covered']:.0f}% lie" in page
    assert f"k is {checks['largest_k']:.2f}" in page
    left = 100 * np.median(checks["spread_left"])
    assert f"in the median column {left:.0f}% of it is left" in page
    posterior = load_posterior(tmp_path / "out" / "posterior.nc")
    assert posterior["posterior"]["theta_cap"].sizes == {"chain": 4, "draw": 10, "column": 4}
    assert not list((tmp_path / "out").glob(".*"))
