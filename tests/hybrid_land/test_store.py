"""Models on disk: the same numbers come back, and a broken one is named."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from hybrid_land.errors import InputError
from hybrid_land.models.emulator import Emulator
from hybrid_land.models.store import describe_model, load_model, save_model


@pytest.fixture
def model():
    return Emulator(
        inputs=("a", "b"),
        mean=np.array([1.0, 2.0]),
        spread=np.array([3.0, 4.0]),
        hidden=(4, 5),
        rngs=nnx.Rngs(params=jax.random.key(1)),
    )


def test_round_trip_is_exact(model, tmp_path):
    save_model(model, tmp_path / "m", facts={"trained_on": ["x.nc"]})
    again = load_model(tmp_path / "m")
    pairs = zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(again)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert describe_model(tmp_path / "m")["trained_on"] == ["x.nc"]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


def test_shipped_model_is_described():
    description = describe_model("default")
    assert description["kind"] == "emulator"
    assert all(name.startswith("ecland_train") for name in description["trained_on"])


def test_missing_model_names_the_shipped_ones(tmp_path):
    with pytest.raises(InputError, match=r"no model here.*shipped models \(.*default"):
        load_model(tmp_path / "nothing")


def test_a_run_named_as_a_shipped_model_is_not_taken_for_it(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert describe_model("small")["hidden"] == [64, 64]  # an empty folder is no model
    save_model(model, "small")
    with pytest.raises(InputError, match=r"small: found a run here and a shipped.*give \./small"):
        load_model("small")
    assert describe_model("./small")["hidden"] == [4, 5]
    assert describe_model(Path("small"))["hidden"] == [4, 5]


def test_truncated_weights_are_named(model, tmp_path):
    save_model(model, tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"weights\.safetensors: the weights cannot be read"):
        load_model(tmp_path)


def test_weights_of_another_shape_are_named(model, tmp_path):
    save_model(model, tmp_path)
    text = json.loads((tmp_path / "model.json").read_text())
    text["hidden"] = [4, 6]
    (tmp_path / "model.json").write_text(json.dumps(text))
    with pytest.raises(InputError, match=r"has shape .*expected .*restore both files"):
        load_model(tmp_path)


def test_unwritable_directory_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the model cannot be written"):
        save_model(model, tmp_path / "file" / "below")
