"""Learning on a small ring: offline, online, and round and round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters.inflation import additive_root, spread
from assimilation.lorenz96 import Lorenz96, together
from assimilation.model_error import (
    Loop,
    Offline,
    Online,
    fit_offline,
    fit_online,
    learn_error,
)
from assimilation.model_error.course import analysis_rmse, forecast_rmse, make_twin
from assimilation.model_error.loop import held_out_score
from hybrid_land.errors import InputError
from tests.assimilation.made_hybrid import untrained

POINTS, CYCLES = 8, 240
BASE = Lorenz96(points=POINTS)


@pytest.fixture(scope="module")
def twin():
    """A truth of another forcing than the model's, seen at every other point."""
    truth = Lorenz96(points=POINTS, forcing=10.0)
    return make_twin(0, truth=truth, cycles=CYCLES, later=200, members=10, error=0.1)


def constant(hybrid):
    """The mean correction over the states that the truth takes."""
    x = jnp.linspace(-2.0, 8.0, POINTS)[:, None]
    return float(hybrid.correction.of_points(x).mean())


def test_offline_finds_a_missing_forcing_from_the_truth(twin):
    options = Offline(updates=300, batch=32, rate=0.02, check_every=50)
    hybrid, history = fit_offline(
        *(untrained(BASE), {}, twin.truth, twin.forcing), options=options, key=jax.random.key(0)
    )
    assert constant(hybrid) == pytest.approx(2.0, abs=0.1)
    assert history["held_out"][-1] < 1e-5
    assert history["update"] == [50, 100, 150, 200, 250, 300]


def test_offline_leaves_out_what_is_missing_and_warns_of_few(twin):
    holes = dict(twin.truth)
    holes["x_3"] = holes["x_3"].at[50:150].set(jnp.nan)
    options = Offline(updates=2, check_every=1)
    hybrid, history = fit_offline(
        *(untrained(BASE), {}, holes, twin.forcing), options=options, key=jax.random.key(0)
    )
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(constant(hybrid))
    few = {name: x[:12] for name, x in twin.truth.items()}
    with pytest.warns(UserWarning, match="9 analyses for a correction of 10 weights"):
        fit_offline(
            *(untrained(BASE), {}, few, twin.forcing), options=options, key=jax.random.key(0)
        )
    with pytest.raises(InputError, match="2 analyses in time for forecasts of 1 steps"):
        fit_offline(
            *(untrained(BASE), {}, {n: x[:2] for n, x in few.items()}, twin.forcing),
            key=jax.random.key(0),
        )


def test_online_finds_states_and_forcing_from_half_the_points(twin):
    draw = np.random.default_rng(1)
    guess = {n: x + 0.3 * draw.normal(size=x.shape) for n, x in twin.truth.items()}
    guess = {n: x.astype(jnp.float32) for n, x in guess.items()}
    options = Online(sweeps=150, batch=24, state_rate=0.03, weight_rate=0.02)
    found = fit_online(
        *(untrained(BASE), {}, guess, twin.forcing, twin.observations),
        options=options,
        key=jax.random.key(0),
    )
    assert constant(found.hybrid) == pytest.approx(2.0, abs=0.4)
    starts = {name: x[found.records] for name, x in twin.truth.items()}
    error = float(jnp.sqrt(jnp.mean((together(found.starts) - together(starts)) ** 2)))
    assert error < 0.1
    assert found.deviation < 0.5 * options.deviation
    assert len(found.history["cost"]) == 150 * 2
    # At the minimum twice the cost is the number of observations.
    assert np.mean(found.history["cost"][-20:]) == pytest.approx(0.5, abs=0.1)


def test_online_says_what_it_cannot_use(twin):
    given = (untrained(BASE), {}, twin.truth, twin.forcing, twin.observations)
    with pytest.raises(InputError, match="make 1 windows of 200, expected two"):
        fit_online(*given, options=Online(steps=200), key=jax.random.key(0))
    broken = twin.truth | {"x_2": twin.truth["x_2"].at[10].set(jnp.inf)}
    with pytest.raises(InputError, match="first guess of x_2 is not finite"):
        fit_online(given[0], {}, broken, *given[3:], key=jax.random.key(0))


@pytest.mark.parametrize("method", ["online", "offline"])
def test_the_loop_gets_better_and_stops_by_itself(twin, method):
    loop = Loop(
        method=method,
        most=6,
        least_gain=0.02,
        noise=0.1,
        spin_up=20,
        lag=5,
        offline=Offline(updates=400, batch=64, rate=0.02, check_every=100),
        online=Online(sweeps=60, batch=20, weight_rate=0.02),
    )
    told = []
    learnt = learn_error(
        *(untrained(BASE), {}, twin.members, twin.forcing, twin.observations),
        loop=loop,
        key=jax.random.key(0),
        report=lambda number, found: told.append(number),
    )
    assert told == list(range(len(learnt.rounds)))
    assert learnt.stopped
    errors = [
        analysis_rmse(r.run.analysis_mean, twin.truth, r.run.records, spin_up=20)
        for r in learnt.rounds
    ]
    assert errors[learnt.best] < 0.8 * errors[0]
    plain, better = (forecast_rmse(model, twin.later)[9] for model in (BASE, learnt.hybrid))
    assert better < 0.5 * plain
    scores = [r.score for r in learnt.rounds]
    assert scores[learnt.best] == min(scores)
    assert learnt.rounds[-1].score >= (1.0 - 0.02) * min(scores)


def test_the_loop_says_what_leaves_nothing_to_learn(twin):
    given = (untrained(BASE), {}, twin.members, twin.forcing, twin.observations)
    with pytest.raises(InputError, match="300 are spin-up"):
        learn_error(*given, loop=Loop(spin_up=300), key=jax.random.key(0))
    with pytest.raises(InputError, match="method 'both' of the loop"):
        learn_error(*given, loop=Loop(method="both"), key=jax.random.key(0))


def test_noise_by_the_square_root_adds_its_covariance(float64):
    draw = np.random.default_rng(0)
    ensemble = jnp.asarray(draw.normal(size=(12, 5, 3)))
    deviation = jnp.asarray([0.1, 0.5, 0.0, 1.0, 2.0])
    wide = additive_root(ensemble, deviation)
    np.testing.assert_allclose(wide.mean(axis=0), ensemble.mean(axis=0), atol=1e-12)
    for column in range(3):
        expected = np.cov(ensemble[..., column].T) + np.diag(deviation**2)
        np.testing.assert_allclose(np.cov(wide[..., column].T), expected, atol=1e-10)
    assert float(spread(wide)[4].min()) > 2.0


def test_the_score_is_one_for_perfect_forecasts(twin):
    from assimilation.filters import Scheme, run_filter

    truth = Lorenz96(points=POINTS, forcing=10.0)
    run = run_filter(
        *(truth, {}, twin.members, twin.forcing, twin.observations),
        scheme=Scheme(inflation=1.02),
        key=jax.random.key(0),
    )
    assert held_out_score(run, truth, twin.observations, 100) == pytest.approx(1.05, abs=0.12)
    plain = run_filter(
        *(BASE, {}, twin.members, twin.forcing, twin.observations),
        scheme=Scheme(inflation=1.02),
        key=jax.random.key(0),
    )
    assert held_out_score(plain, BASE, twin.observations, 100) > 1.5
