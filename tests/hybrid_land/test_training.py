"""Training: what is withheld, that it learns, and that a killed run resumes to the same bits."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.training.config import Phase, TrainingConfig, read_config
from hybrid_land.training.loop import train
from hybrid_land.training.split import split
from hybrid_land.training.windows import pack, validation_columns

TINY = TrainingConfig(
    hidden=(16,),
    phases=(Phase(length=1, updates=15, batch=256), Phase(length=4, updates=6, batch=32)),
    validate_every=3,
    checkpoint_every=3,
    leave_out_last_year=False,
    validation_share=0.2,
)


@pytest.fixture(scope="module")
def training_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.nc"
    save(load_sample("ecland_sample").isel(time=slice(0, 120), column=slice(0, 10)), path)
    return path


@pytest.fixture(scope="module")
def finished(training_file, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    description = train([training_file], run, config=TINY)
    return run, description


class KilledError(Exception):
    """Stands for a kill signal."""


@pytest.mark.parametrize("kill_at", [3, 9])
def test_a_killed_run_resumes_to_identical_bits(training_file, finished, tmp_path, kill_at):
    def kill(record):
        if record["update"] == kill_at + 3:
            raise KilledError

    run = tmp_path / "run"
    with pytest.raises(KilledError):
        train([training_file], run, config=TINY, report=kill)
    train([training_file], run, config=TINY, resume=True)
    whole = finished[0]
    assert (run / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()
    scores = [
        [
            json.loads(line)["validation"]
            for line in (place / "history.jsonl").read_text().splitlines()
        ]
        for place in (run, whole)
    ]
    assert scores[0] == scores[1]


def test_learning_lowers_the_loss(finished):
    history = [
        json.loads(line) for line in (finished[0] / "history.jsonl").read_text().splitlines()
    ]
    one_step = [record["loss"] for record in history if record["length"] == 1]
    assert one_step[-1] < one_step[0]
    assert finished[1]["validation"]["score"] == min(r["validation"]["score"] for r in history)


def test_a_run_can_start_from_another_s_weights(training_file, finished, tmp_path):
    """A run of one tiny update stays where it began; one from random weights is elsewhere."""
    config = TINY.model_copy(
        update={
            "start_from": str(finished[0]),
            "phases": (Phase(length=1, updates=1, batch=8),),
            "learning_rate": 1e-12,
            "seed": 3,
        }
    )
    train([training_file], tmp_path / "run", config=config)
    begun, ended = (
        load_file(place / "weights.safetensors") for place in (finished[0], tmp_path / "run")
    )
    assert begun.keys() == ended.keys()
    for name in begun:
        np.testing.assert_allclose(ended[name], begun[name], atol=1e-6)


def test_the_split_stays_when_the_seed_changes(training_file):
    """Members of an ensemble withhold the same columns."""
    data = load_sample("ecland_sample").isel(time=slice(0, 4))
    first, second, other = (
        split(data, TINY.model_copy(update=change))[1].lat.to_numpy()
        for change in ({"seed": 1}, {"seed": 2}, {"split_seed": 7})
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_an_occupied_directory_is_refused(training_file, finished):
    with pytest.raises(InputError, match=r"not empty; give a new directory, or --resume"):
        train([training_file], finished[0], config=TINY)


def test_resume_refuses_another_configuration(training_file, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    other = TINY.model_copy(update={"seed": 5})
    with pytest.raises(InputError, match="another configuration"):
        train([training_file], run, config=other, resume=True)
    with pytest.raises(InputError, match="nothing to resume"):
        train([training_file], tmp_path / "none", config=TINY, resume=True)


def test_validation_withholds_whole_places_of_every_climate():
    place = np.repeat(np.arange(60), 2)
    data = xr.Dataset(
        {
            "lat": ("column", place * 1.0),
            "lon": ("column", place * 2.0),
            "climate_index": ("column", place % 12),
        }
    )
    held = validation_columns(data, share=0.2, seed=0)
    assert held.sum() == 24
    assert np.array_equal(held[0::2], held[1::2])
    assert set(data.climate_index.to_numpy()[held]) == set(range(12))


def test_windows_stay_within_a_column_and_depend_on_seed_and_update_alone():
    data = load_sample("ecland_sample").isel(time=slice(0, 30), column=slice(0, 4)).load()
    windows = pack([data], sources=["sample"])
    phase = Phase(length=8, updates=1, batch=50)
    batch = windows.draw(phase, seed=1, update=7)
    again = windows.draw(phase, seed=1, update=7)
    assert np.array_equal(batch["rows"], again["rows"])
    assert not np.array_equal(batch["rows"], windows.draw(phase, seed=1, update=8)["rows"])
    row = windows.variables.index("stl4")
    truth = data.stl4.to_numpy()
    capacity = windows.parameters.index("theta_cap")
    for k in range(50):
        column = int(
            np.argmin(np.abs(data.clim_theta_cap.to_numpy() - batch["fixed"][capacity, k]))
        )
        series = batch["rows"][:, row, k]
        starts = [i for i in range(22) if np.array_equal(truth[i : i + 9, column], series)]
        assert starts


def test_a_misspelt_key_is_named(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("learning_rat = 0.1\n")
    with pytest.raises(InputError, match="unknown key 'learning_rat'; expected one of"):
        read_config(path)
    path.write_text("learning_rate = -1.0\n")
    with pytest.raises(InputError, match=r"learning_rate is -1\.0"):
        read_config(path)
    path.write_text("learning_rate = \n")
    with pytest.raises(InputError, match="not TOML"):
        read_config(path)
