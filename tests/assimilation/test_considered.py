"""The stated error of strong 4D-Var when the model is wrong, against the error that is made."""

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import Options, assimilate
from assimilation.control import CONTROL, ControlVector
from assimilation.covariance import background_root
from assimilation.forced import PREFIX, forced
from assimilation.observations import Observations
from assimilation.operators import on_records
from assimilation.window import make_window_analysis
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.assimilation.test_cycling import twin as cycling_twin
from tests.toy import Buckets, case

twin = cycling_twin
GROWTH = {"swvl1": 0.01, "swvl2": 0.006}
ERROR, COLUMNS, STEPS = 0.01, 1500, 80  # 20 days: two parts of an error of the model


@pytest.fixture
def wrong_model(float64):
    """Columns with first guesses, rain and a model error drawn from what is told."""
    model = Buckets()
    parameters, state, forcing = case(columns=COLUMNS, steps=STEPS)
    generator = np.random.default_rng(2)
    weather = dict(forcing)
    for name, sd in GROWTH.items():
        rates = sd / np.sqrt(10.0) * generator.standard_normal((2, COLUMNS))
        weather[f"{PREFIX}{name}"] = jnp.asarray(np.repeat(rates, STEPS // 2, axis=0))
    truth = on_records(state, *rollout(forced(model, tuple(GROWTH)), parameters, state, weather))
    shape = truth["swvl1"].shape
    mask = jnp.zeros(shape).at[::8].set(1.0)
    seen = truth["swvl1"] + ERROR * generator.standard_normal(shape)
    observations = Observations(
        values={"swvl1": mask * seen},
        errors={"swvl1": jnp.full(shape, ERROR)},
        mask={"swvl1": mask},
    )
    root = background_root(CONTROL, deviation=dict.fromkeys(CONTROL, 0.03), length=0.3)
    off = np.asarray(root) @ generator.standard_normal((4, COLUMNS))
    background = {name: state[name] + off[k] for k, name in enumerate(CONTROL)}
    return (model, parameters, background, forcing, observations, root), truth


def spread(given, truth, growth):
    """Root mean square of error over stated error, at times of the window and its end."""
    model, *rest = given
    analyse = make_window_analysis(
        model,
        control=ControlVector(start=CONTROL),
        error_of=CONTROL,
        growth=growth,
        tolerance=1e-8,
    )
    found = analyse(*rest)
    kinds = {}
    for name in CONTROL:
        for record in (0, 39, 79):
            error = found.series[name][record] - truth[name][record]
            ratio = error / found.error[name][record]
            kinds[name, record] = float(jnp.sqrt(jnp.mean(ratio**2)))
    return found, kinds


def test_the_stated_error_is_the_error_made_by_a_wrong_model(wrong_model):
    given, truth = wrong_model
    found, ratios = spread(given, truth, GROWTH)
    # Of 1,500 columns a root mean square is known to 2%.
    assert max(abs(ratio - 1.0) for ratio in ratios.values()) < 0.07, ratios
    # What the next window starts from is what is stated at this one's end, one step further.
    carried = jnp.sqrt(jnp.sum(found.next_root**2, axis=1))
    for k, name in enumerate(CONTROL):
        np.testing.assert_allclose(carried[k], found.error[name][-1], rtol=0.06)
    blind, ratios = spread(given, truth, None)
    assert min(ratios["swvl1", 39], ratios["swvl2", 39]) > 2.0
    # It changes what is stated and no analysis.
    np.testing.assert_allclose(found.control, blind.control, rtol=1e-12)
    np.testing.assert_allclose(found.signal, blind.signal, rtol=1e-9)
    np.testing.assert_allclose(found.cost["observation"], blind.cost["observation"], rtol=1e-9)
    for before, after in zip(blind.stated["swvl1"], found.stated["swvl1"], strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-9)


def test_growth_of_what_the_model_does_not_predict_is_refused(twin):
    model, data, _, observations, guess = twin
    with pytest.raises(InputError, match="growth of the error of 'theta_cap', which is no prog"):
        assimilate(
            model, data, observations, first_guess=guess, options=Options(growth={"theta_cap": 0.1})
        )
