"""What each way of learning may use, and in which units: nothing is trained to the end here."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme
from assimilation.lorenz96 import Lorenz96
from assimilation.model_error import (
    Loop,
    Offline,
    Online,
    fit_offline,
    fit_online,
    learn_error,
)
from assimilation.model_error.course import make_twin
from assimilation.model_error.hybrid import trainable
from tests.assimilation.made_hybrid import untrained

POINTS, CYCLES, EVERY = 8, 60, 2
TRUTH = Lorenz96(points=POINTS, forcing=10.0)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def twin():
    """Observed at each second step."""
    return make_twin(0, truth=TRUTH, cycles=CYCLES, later=0, members=10, error=0.1, every=EVERY)


@pytest.mark.parametrize(("method", "most"), [("online", 1), ("offline", 2)])
def test_nothing_is_learnt_from_the_part_held_out(twin, method, most):
    loop = Loop(
        method=method,
        most=most,
        least_gain=-np.inf,
        held_out=0.25,
        noise=0.1,
        factors=(1.0,),
        spin_up=5,
        lag=4,
        offline=Offline(updates=3, batch=64, check_every=3),
        online=Online(steps=2 * EVERY, sweeps=1, batch=5, deviation=0.1, least=0.1),
    )
    last = int(0.75 * CYCLES) * EVERY
    seen = twin.observations
    shifted = replace(seen, values={n: x.at[last + 1 :].add(3.0) for n, x in seen.values.items()})

    def learnt(observations):
        return learn_error(
            *(untrained(Lorenz96(points=POINTS)), {}, twin.members, twin.forcing, observations),
            scheme=Scheme(every=EVERY),
            loop=loop,
            key=KEY,
        ).rounds

    rounds, others = learnt(seen), learnt(shifted)
    assert len(rounds) == most + 1
    assert others[0].score > 2.0 * rounds[0].score
    weights = [jax.tree.leaves(trainable(r.hybrid)[0]) for r in rounds]
    for here, there in zip(weights, others, strict=True):
        for one, two in zip(here, jax.tree.leaves(trainable(there.hybrid)[0]), strict=True):
            np.testing.assert_array_equal(one, two)
    for before, after in pairwise(weights):
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    # A window of two cycles has twice a cycle's variance.
    assert rounds[1].noise == pytest.approx(0.1 / np.sqrt(2) if method == "online" else 0.1)


def test_a_perfect_model_has_no_loss_offline_however_far_apart_the_analyses(twin):
    options = Offline(steps=2, updates=1, rate=0.0, check_every=1)
    analyses = {name: x[::3] for name, x in twin.truth.items()}
    given = {}, analyses, twin.forcing
    _, history = fit_offline(untrained(TRUTH), *given, every=3, options=options, key=KEY)
    assert history["loss"][0] < 1e-8
    wrong = untrained(Lorenz96(points=POINTS))
    _, missed = fit_offline(wrong, *given, every=3, options=options, key=KEY)
    assert missed["loss"][0] > 1e-2
    doubt = {name: jnp.full_like(x, 2.0) for name, x in analyses.items()}
    _, less = fit_offline(wrong, *given, every=3, deviations=doubt, options=options, key=KEY)
    assert less["loss"] == pytest.approx([0.25 * x for x in missed["loss"]], rel=1e-5)


def test_the_unit_of_the_model_s_error_is_a_unit(twin):
    options = Online(steps=4, sweeps=2, batch=5)
    half = replace(options, deviation=0.15, least=0.0025, state_rate=0.01)
    given = untrained(Lorenz96(points=POINTS)), {}, twin.truth, twin.forcing, twin.observations
    one = fit_online(*given, options=options, key=KEY)
    other = fit_online(*given, options=half, scale=dict.fromkeys(TRUTH.prognostic, 2.0), key=KEY)
    np.testing.assert_allclose(other.history["cost"], one.history["cost"], rtol=1e-4)
    assert one.deviation == pytest.approx(2.0 * other.deviation, rel=1e-4)
    np.testing.assert_allclose(other.starts["x_0"], one.starts["x_0"], atol=1e-4)
    assert float(jnp.abs(one.starts["x_0"] - twin.truth["x_0"][one.records]).max()) > 1e-2
