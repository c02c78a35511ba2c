"""What is seen at the end of a step: from the records beside it, without touching the state."""

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from hybrid_land.columns import BESIDE, KNOWN, forcing_from, parameters_from, state_from
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.models.emulator import create
from hybrid_land.models.screen import SEEN, changes
from hybrid_land.models.store import load_model, save_model
from hybrid_land.rollout import rollout
from hybrid_land.simulation import simulate
from hybrid_land.training.config import Phase, TrainingConfig
from hybrid_land.training.loop import train


@pytest.fixture(scope="module")
def data():
    return load_sample("unseen").isel(time=slice(0, 480)).load()


def test_a_slice_knows_the_records_beside_it(data):
    whole, part = forcing_from(data), forcing_from(data, steps=slice(3, 9))
    assert set(part) == set(whole)
    for name, series in whole.items():
        np.testing.assert_array_equal(part[name], series[3:9], err_msg=name)
    air = data.met_tair.to_numpy()
    np.testing.assert_allclose(part["tair_before"], air[2:8] - air[3:9])
    np.testing.assert_allclose(part["tair_later"], air[5:11] - air[3:9])
    moist = data.met_qair.to_numpy()
    np.testing.assert_allclose(
        part["humidity_after"], np.log(moist[4:10] / moist[3:9]), rtol=1e-3, atol=1e-6
    )


def test_beyond_the_ends_nothing_is_known(data):
    forcing = forcing_from(data.isel(time=slice(0, 5)))
    before = {name for name in BESIDE if name.endswith("_before")}
    first = {name for name in (*BESIDE, *KNOWN) if not forcing[name][0].any()}
    last = {name for name in (*BESIDE, *KNOWN) if not forcing[name][-1].any()}
    assert first == before | {"before_known"}
    assert last == (set(BESIDE) - before) | {"after_known"}
    middle = [forcing[name][1:-1] for name in KNOWN]
    np.testing.assert_array_equal(middle, 1.0)


def test_forcing_without_records_beside_counts_as_no_change(data):
    forcing = {name: series[7] for name, series in forcing_from(data).items()}
    bare = {name: value for name, value in forcing.items() if name not in (*BESIDE, *KNOWN)}
    assert np.abs(np.asarray(changes(forcing))).max() > 0.1
    assert not np.asarray(changes(bare)).any()


def test_runs_in_pieces_see_what_a_whole_run_sees(data):
    model = load_model("default")
    whole, pieces = simulate(model, data), simulate(model, data, steps_at_once=53)
    for name in SEEN:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-5, atol=1e-3)


def test_the_shipped_model_sees_the_end_of_a_step_and_keeps_its_state(data):
    model = load_model("default")
    parameters, state, forcing = parameters_from(data), state_from(data), forcing_from(data)
    still = forcing | {name: 0.0 * forcing[name] for name in (*BESIDE, *KNOWN)}
    states, seen = rollout(model, parameters, state, forcing)
    same, without = rollout(model, parameters, state, still)
    for name, series in states.items():
        np.testing.assert_array_equal(series, same[name], err_msg=name)
    for name in ("slhf", "e", "sro", "ssro", "aco2gpp"):
        np.testing.assert_array_equal(seen[name], without[name], err_msg=name)

    def error(values):
        return float(np.sqrt(np.mean((np.asarray(values["t2m"])[:-1] - data.t2m[1:]) ** 2)))

    # A mean over 6 hours does not say how warm the air is at their end; its neighbours do.
    assert error(seen) < 0.6 * error(without)


def test_training_the_screen_keeps_every_other_weight(data, tmp_path):
    first = {name: series[0] for name, series in forcing_from(data).items()}
    model = create(
        parameters_from(data), state_from(data), first, hidden=(8,), key=jax.random.key(0)
    )
    save_model(model, tmp_path / "start")
    save(data.isel(time=slice(0, 200)), tmp_path / "train.nc")
    config = TrainingConfig(
        start_from=str(tmp_path / "start"),
        part="screen",
        screen_width=6,
        phases=(Phase(length=1, updates=60, batch=256),),
        validate_every=30,
        checkpoint_every=30,
        validation_share=0.2,
    )
    described = train([tmp_path / "train.nc"], tmp_path / "run", config=config)
    assert described["screen_width"] == 6
    assert set(described["validation"]) == {"score", *SEEN}
    before = load_file(tmp_path / "start" / "weights.safetensors")
    after = load_file(tmp_path / "run" / "weights.safetensors")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)
    new = set(after) - set(before)
    assert new
    assert all("screen" in name for name in new)
    start, ended = load_model(tmp_path / "start"), load_model(tmp_path / "run")
    assert start.screen is None
    runs = [simulate(one, data) for one in (start, ended)]
    t2m, truth = [run.t2m.to_numpy()[1:] for run in runs], data.t2m.to_numpy()[1:]
    assert np.abs(t2m[1] - truth).mean() < np.abs(t2m[0] - truth).mean()


@pytest.mark.parametrize(
    "lacking", [{"start_from": ""}, {"screen_width": 0}, {"start_from": "large_ensemble"}]
)
def test_the_screen_alone_needs_an_emulator_and_a_width(data, tmp_path, lacking):
    config = TrainingConfig(**({"start_from": "default", "part": "screen"} | lacking))
    with pytest.raises(InputError, match="give start_from"):
        train([tmp_path / "none.nc"], tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_a_new_screen_adds_nothing(data):
    model = load_model("default")
    parameters, state = parameters_from(data), state_from(data)
    forcing = {name: series[3] for name, series in forcing_from(data).items()}
    model.add_screen(0, rngs=nnx.Rngs(params=0))
    plain = model.step(parameters, state, forcing)[1]
    model.add_screen(5, rngs=nnx.Rngs(params=0))
    new = model.step(parameters, state, forcing)[1]
    for name in SEEN:
        np.testing.assert_allclose(new[name], plain[name], rtol=1e-6, err_msg=name)
