"""The loop on land: corrections inside an emulator, forecasts from analyses, round and round."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import make_observations, read_observations
from assimilation.filters.localisation import by_kind
from assimilation.model_error import make_hybrid
from assimilation.model_error.forecasts import Forecasts, fit_forecasts
from assimilation.model_error.hybrid import trainable
from assimilation.model_error.land import LandLoop, learn_land_error, untrained
from hybrid_land.any_model import load_model, save_learnt
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import water_budget
from hybrid_land.models.emulator import create
from hybrid_land.models.store import save_model
from hybrid_land.simulation import simulate
from tests.toy import Buckets, Networked

WRONG = Networked(1.0)
LOOP = LandLoop(
    most=3,
    hidden=(2,),
    held_out=0.4,
    reanalysis=replace(LandLoop().reanalysis, members=6, lag_days=2.0),
    fit=Forecasts(steps=8, updates=40, rate=0.1, prior=1.0, shared=1.0, check_every=10),
)


@pytest.fixture(scope="module")
def data():
    """Ten days of five columns of ECLand."""
    return load_sample("ecland_sample").isel(time=slice(700, 740), column=slice(0, 20, 4)).load()


@pytest.fixture(scope="module")
def truth(data):
    """The same of a model without the error of `WRONG`."""
    return simulate(Networked(), data)


@pytest.fixture(scope="module")
def seen(truth):
    made = make_observations(truth, errors={"swvl1": 0.01}, every=1, seed=1)
    return read_observations(made, truth)


def disturbed(hybrid, size=0.5):
    """The hybrid with a correction that is large and means nothing."""
    draw = np.random.default_rng(0)
    weights, rebuilt = trainable(hybrid)
    return rebuilt(
        jax.tree.map(lambda x: x + jnp.asarray(size * draw.normal(size=x.shape), x.dtype), weights)
    )


def test_inside_a_correction_moves_water_and_the_budget_still_closes(data, tmp_path):
    first = {name: series[0] for name, series in forcing_from(data).items()}
    model = create(
        parameters_from(data), state_from(data), first, hidden=(6,), key=jax.random.key(0)
    )
    plain = untrained(model, (3,))
    base = simulate(plain, data)
    hybrid = disturbed(plain)
    run = simulate(hybrid, data)
    assert float(abs(run["swvl1"] - base["swvl1"]).max()) > 0.01
    assert float(abs(run["e"] - base["e"]).max()) > 0.01
    assert water_budget(run)["max_abs_mm_per_step"] < 0.01
    for layer in range(1, 5):
        water = run[f"swvl{layer}"]
        assert float(water.min()) >= 0.0
        assert float((water - data["clim_theta_max"]).max()) < 1e-5
    save_model(model, tmp_path / "model")
    save_learnt(hybrid, tmp_path / "hybrid", base=str(tmp_path / "model"))
    save_learnt(hybrid, tmp_path / "twice", base=str(tmp_path / "hybrid"))
    for part in ("model", "hybrid"):
        (tmp_path / part / "model.json").unlink()  # the last one has all it needs
    again = simulate(load_model(tmp_path / "twice"), data)
    for name in ("swvl3", "stl1", "e"):
        np.testing.assert_array_equal(again[name], run[name])


def test_an_untrained_correction_inside_changes_nothing(data):
    parameters, state = parameters_from(data), state_from(data, variables=WRONG.prognostic)
    first = {name: series[0] for name, series in forcing_from(data).items()}
    new, _ = untrained(WRONG, (2,)).step(parameters, state, first)
    plain, _ = WRONG.step(parameters, state, first)
    right, _ = Networked().step(parameters, state, first)
    np.testing.assert_array_equal(new["swvl1"], plain["swvl1"])
    np.testing.assert_allclose(new["swvl1"] - right["swvl1"], -0.01, atol=1e-6)


def test_a_correction_inside_needs_a_network_and_its_inputs():
    with pytest.raises(InputError, match="needs a model with a network, and Buckets has none"):
        untrained(Buckets(), (2,))
    net = untrained(WRONG, (2,)).correction
    net.inputs = net.inputs[:-1]
    with pytest.raises(InputError, match="must have the inputs of the model's network"):
        make_hybrid(WRONG, net, form="inside")


def test_forecasts_find_what_observations_say_is_wrong(truth, seen):
    analyses = {n: jnp.asarray(truth[n].to_numpy()) for n in WRONG.prognostic}
    analyses["swvl2"] = analyses["swvl2"].at[8].set(jnp.nan)  # forecasts from here do not count
    hybrid, history = fit_forecasts(
        *(untrained(WRONG, (2,)), parameters_from(truth), analyses, forcing_from(truth), seen),
        every=1,
        held_out=np.arange(5) == 3,
        options=LOOP.fit,
    )
    assert history["update"] == [0, 10, 20, 30, 40]
    assert min(history["held_out"]) < 0.5 * history["held_out"][0]
    x_norm = jnp.stack([jnp.linspace(-0.3, 0.3, 5), jnp.linspace(0.0, 1.0, 5)])
    np.testing.assert_allclose(hybrid.correction.of_rows(x_norm).mean(), -1.0, atol=0.3)


def test_forecasts_warn_of_few_analyses_and_refuse_what_they_cannot_use(truth, seen):
    analyses = {n: jnp.asarray(truth[n].to_numpy()) for n in WRONG.prognostic}
    given = (parameters_from(truth), analyses, forcing_from(truth), seen)
    hybrid, none = untrained(WRONG, (2,)), np.zeros(5, bool)
    with pytest.raises(InputError, match="40 records for forecasts of 48 steps"):
        fit_forecasts(
            *(hybrid, *given), every=4, held_out=np.arange(5) == 0, options=Forecasts(steps=47)
        )
    with pytest.raises(InputError, match="5 columns to learn from and 0 held out"):
        fit_forecasts(*(hybrid, *given), every=1, held_out=none, options=LOOP.fit)
    with pytest.warns(UserWarning, match="160 analyses for a correction of 201 weights"):
        fit_forecasts(
            *(untrained(WRONG, (50,)), *given),
            every=1,
            held_out=np.arange(5) == 0,
            options=replace(LOOP.fit, updates=1),
        )


def test_the_loop_gets_better_stops_and_goes_on_where_it_was_killed(truth, seen, tmp_path):
    whole = learn_land_error(WRONG, truth, seen, loop=LOOP, restart=tmp_path)
    assert whole.rounds[0].score == pytest.approx(1.0, abs=1e-5)
    assert whole.best > 0
    assert whole.rounds[whole.best].score < 0.7
    assert whole.held_out.sum() == 2
    assert whole.rounds[0].departures["swvl1"].shape == (2,)
    last = len(whole.rounds) - 1
    (tmp_path / f"window_{last:05d}.safetensors").unlink()  # killed in the last cycle
    called = []
    again = learn_land_error(
        *(WRONG, truth, seen),
        loop=LOOP,
        restart=tmp_path,
        report=lambda number, one: called.append((number, one.score)),
    )
    assert called == [(number, one.score) for number, one in enumerate(whole.rounds)]
    np.testing.assert_array_equal(
        again.hybrid.correction.head.kernel[...], whole.hybrid.correction.head.kernel[...]
    )
    with pytest.raises(InputError, match="of a run with other settings"):
        learn_land_error(WRONG, truth, seen, loop=replace(LOOP, seed=1), restart=tmp_path)


def test_a_right_model_is_left_alone_and_stops_the_loop(truth, seen):
    found = learn_land_error(Networked(), truth, seen, loop=replace(LOOP, least_gain=0.2))
    assert (found.stopped, len(found.rounds)) == (True, 2)


def test_water_and_temperature_are_analysed_apart():
    found = by_kind(("swvl1", "swvl2", "stl1"), ("skt", "swvl1", "brightness_temperature_h"))
    counts = np.asarray(found.within)[np.asarray(found.group)]
    np.testing.assert_array_equal(counts, [[0, 1, 1], [0, 1, 1], [1, 0, 0]])


def test_the_loop_refuses_what_it_cannot_split(truth, seen):
    with pytest.raises(InputError, match="0 of 5 columns held out, expected some"):
        learn_land_error(WRONG, truth, seen, loop=replace(LOOP, held_out=0.0))
    with pytest.raises(InputError, match=r"0.4 of 1 columns held out"):
        learn_land_error(WRONG, truth.isel(column=[0]), seen, loop=LOOP)
    blind = replace(seen, mask={"swvl1": jnp.zeros_like(seen.mask["swvl1"])})
    with pytest.raises(InputError, match="2 columns held out have no observation"):
        learn_land_error(WRONG, truth, blind, loop=LOOP)
