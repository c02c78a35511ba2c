"""Factors of parameters, learnt by an ensemble of weights: a known one is found, and refusals."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import make_observations, read_observations
from assimilation.model_error.ensemble_of_weights import EnsembleOfWeights, fit_ensemble
from assimilation.model_error.land import LandLoop, learn_land_error, with_factors
from assimilation.model_error.store import load_hybrid, save_hybrid
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.simulation import simulate
from tests.toy import Weathered

MODEL = Weathered()
FIT = EnsembleOfWeights(members=12, shared=1.0)
LOOP = LandLoop(most=2, held_out=0.4, parameters=("theta_cap",), ensemble=FIT)


@pytest.fixture(scope="module")
def truth():
    """Ten days of five columns, by the toy."""
    data = load_sample("ecland_sample").isel(time=slice(700, 740), column=slice(0, 20, 4)).load()
    return simulate(MODEL, data)


@pytest.fixture(scope="module")
def seen(truth):
    made = make_observations(truth, errors={"swvl1": 0.005}, every=1, seed=1)
    return read_observations(made, truth)


@pytest.fixture(scope="module")
def wrong(truth):
    """What the model is given: field capacity times 0.8."""
    return truth.assign(clim_theta_cap=0.8 * truth["clim_theta_cap"])


def arrays(data):
    return parameters_from(data), state_from(data, variables=MODEL.prognostic), forcing_from(data)


def factors(hybrid, data):
    found = hybrid.correction(parameters_from(data), {}, {})
    return np.exp(np.asarray(found["theta_cap"]))


def test_a_wrong_field_capacity_is_found_from_free_runs(truth, seen, wrong):
    given = arrays(wrong)
    plain = with_factors(MODEL, ("theta_cap",), given[0])
    np.testing.assert_array_equal(factors(plain, wrong), 1.0)
    hybrid, history = fit_ensemble(plain, *given, seen, options=FIT)
    np.testing.assert_allclose(factors(hybrid, wrong), 1.25, atol=0.05)
    assert history["departure"][0] > 1.5
    assert history["departure"][-1] == pytest.approx(1.0, abs=0.15)
    assert all(a > b for a, b in zip(history["spread"], history["spread"][1:], strict=False))
    run, before = simulate(hybrid, wrong), simulate(MODEL, wrong)
    off, was = (float(abs(x["swvl1"] - truth["swvl1"]).mean()) for x in (run, before))
    assert off < 0.2 * was


def test_a_vague_observation_leaves_the_prior(seen, wrong):
    given = arrays(wrong)
    vague = replace(seen, errors={"swvl1": jnp.full_like(seen.errors["swvl1"], 100.0)})
    plain = with_factors(MODEL, ("theta_cap",), given[0])
    hybrid, history = fit_ensemble(plain, *given, vague, options=replace(FIT, members=200))
    np.testing.assert_allclose(factors(hybrid, wrong), 1.0, atol=0.05)
    assert history["spread"][-1] == pytest.approx(1.0, abs=0.1)


def test_the_loop_corrects_a_parameter_and_the_hybrid_is_kept(seen, wrong, tmp_path):
    learnt = learn_land_error(MODEL, wrong, seen, loop=LOOP)
    assert learnt.best > 0
    assert learnt.rounds[learnt.best].score < 0.6
    save_hybrid(learnt.hybrid, tmp_path, base="toy")
    again = load_hybrid(tmp_path, base=MODEL)
    np.testing.assert_array_equal(factors(again, wrong), factors(learnt.hybrid, wrong))
    more = learn_land_error(again, wrong, seen, loop=replace(LOOP, most=1))
    assert more.hybrid.base is MODEL  # learnt on, not corrected twice
    own = ~learnt.held_out
    shifted = replace(seen, values={"swvl1": seen.values["swvl1"] + jnp.where(own, 0.0, 0.1)[None]})
    other = learn_land_error(MODEL, wrong, shifted, loop=LOOP)
    for one, two in zip(learnt.rounds, other.rounds, strict=False):
        np.testing.assert_array_equal(factors(one.hybrid, wrong), factors(two.hybrid, wrong))


def test_what_cannot_be_learnt_so_is_refused(seen, wrong):
    given = arrays(wrong)
    plain = with_factors(MODEL, ("theta_cap",), given[0])
    with pytest.raises(InputError, match="'theta_gap' is not a parameter of the data"):
        with_factors(MODEL, ("theta_gap",), given[0])
    with pytest.raises(InputError, match="2 members and 4 repetitions, expected three"):
        fit_ensemble(plain, *given, seen, options=replace(FIT, members=2))
    with pytest.raises(InputError, match="prior 0 and 1 observations"):
        fit_ensemble(plain, *given, seen, options=replace(FIT, prior=0.0))
    blind = replace(seen, mask={"swvl1": jnp.zeros_like(seen.mask["swvl1"])})
    with pytest.raises(InputError, match="nothing is observed in these columns"):
        fit_ensemble(plain, *given, blind, options=FIT)
    state = {name: jnp.full_like(x, jnp.nan) for name, x in given[1].items()}
    with pytest.raises(InputError, match="12 of 12 members of the weights make runs"):
        fit_ensemble(plain, given[0], state, given[2], seen, options=FIT)


FLOOR = 0.16  # m3 m-3


class Fragile(Weathered):
    """A model whose runs are not finite where field capacity is very low."""

    def step(self, parameters, state, forcing):
        new, diagnostics = super().step(parameters, state, forcing)
        low = parameters["theta_cap"] < FLOOR
        return {name: jnp.where(low, jnp.nan, x) for name, x in new.items()}, diagnostics


def test_members_whose_runs_fail_are_left_out(seen, wrong):
    given = arrays(wrong)
    lowest = float(given[0]["theta_cap"].min())
    assert FLOOR < lowest < 1.2 * FLOOR  # a deviation of 0.2 takes some members below
    plain = with_factors(Fragile(), ("theta_cap",), given[0])
    hybrid, history = fit_ensemble(plain, *given, seen, options=FIT)
    assert np.isfinite(history["departure"]).all()
    np.testing.assert_allclose(factors(hybrid, wrong), 1.25, atol=0.1)
