"""Where the runs of an inverse problem begin: the data's state, spun up, or sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, on_records
from calibration.covariance import Errors, whitened
from calibration.experiment import FIRST_WATER, FirstState, _first_year, problem_of
from hybrid_land.columns import forcing_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.toy import LAYERS, Buckets, case

COLUMNS, RECORDS = 3, 16
OBSERVED = ("swvl1", "swvl4")


@pytest.fixture(scope="module")
def given():
    """The toy's inputs, and observations of two layers with an error of one."""
    parameters, state, forcing = case(columns=COLUMNS, steps=RECORDS, dtype="float32")
    shape = (RECORDS, COLUMNS)
    observations = Observations(
        values={name: jnp.zeros(shape) for name in OBSERVED},
        errors={name: jnp.ones(shape) for name in OBSERVED},
        mask={name: jnp.ones(shape) for name in OBSERVED},
    )
    return parameters, state, forcing, whitened(observations, time_step=21600.0, errors=Errors())


def problem(given, **options):
    return problem_of(Buckets(), *given, names=("theta_cap",), **options)


def run(parameters, state, forcing):
    series = on_records(state, *rollout(Buckets(), parameters, state, forcing))
    return np.concatenate([np.asarray(series[name]) for name in OBSERVED])


def test_spun_up_is_the_end_of_years_with_the_parameters_tried(given):
    parameters, state, forcing, _ = given
    year = {"rain": forcing["rain"][:7] * 2.0}
    made = problem(given, first_state=FirstState("spun-up", years=2), year=year)
    z = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    tried = parameters | {"theta_cap": jnp.asarray(made.parameters(z)["theta_cap"][0])}
    begin = state
    for _ in range(2):
        after, _ = rollout(Buckets(), tried, begin, year)
        begin = {name: values[-1] for name, values in after.items()}
    expected = run(tried, begin, forcing)
    np.testing.assert_allclose(made.evaluate(z)[0], expected, rtol=1e-5)
    # And not what the data's own state gives.
    assert np.abs(problem(given).evaluate(z)[0] - expected).max() > 0.01


def test_operators_see_the_weather_of_the_records_after_the_spin_up(given, monkeypatch):
    monkeypatch.setitem(OPERATORS, "swvl4", lambda _, context: context.forcing["rain"])
    _, _, forcing, _ = given
    made = problem(given, first_state=FirstState("spun-up"), year={"rain": forcing["rain"][:7]})
    found = made.evaluate(np.zeros((1, 1, COLUMNS), np.float32))[0, RECORDS:]
    np.testing.assert_allclose(found, forcing["rain"], rtol=1e-6)


def test_spin_up_is_over_the_first_year():
    data = load_sample("ecland_sample").isel(time=slice(0, 12), column=slice(0, 2)).load()
    times = data["time"].to_numpy()[0] + np.arange(12) * np.timedelta64(73, "D")
    slow = data.assign_coords(time=times)
    year = _first_year(slow)
    np.testing.assert_array_equal(year["met_tair"], forcing_from(slow)["met_tair"][:5])
    with pytest.raises(InputError, match=r"data of 4 records, expected a year \(5\)"):
        _first_year(slow.isel(time=slice(0, 4)))


def test_an_empty_and_a_full_layer_can_be_moved(given):
    parameters, state, forcing, seen = given
    most = parameters["theta_max"]
    ends = state | {"swvl1": 0.0 * most, "swvl4": most}
    made = problem((parameters, ends, forcing, seen), first_state=FirstState("sampled", spread=1.0))
    z = np.zeros((1, 2, COLUMNS), np.float32)
    z[0, 1] = [0.0, 2.0, -2.0]
    first = made.evaluate(z)[0, [0, RECORDS]] / np.asarray(most)
    odds = np.exp(z[0, 1]) / 999.0
    np.testing.assert_allclose(first[0], odds / (1.0 + odds), rtol=1e-3)
    np.testing.assert_allclose(first[1], 1.0 / (1.0 + np.exp(-z[0, 1]) / 999.0), rtol=1e-3)


def test_sampled_soil_water_is_one_more_parameter(given):
    parameters, state, forcing, _ = given
    made = problem(given, first_state=FirstState("sampled", spread=0.4))
    assert made.names == ("theta_cap", FIRST_WATER)
    z = np.array([[[0.3, -0.2, 0.1], [0.0, 1.0, -2.0]]], np.float32)
    values = made.parameters(z)
    np.testing.assert_allclose(values[FIRST_WATER][0], [0.0, 0.4, -0.8], rtol=1e-6)
    tried = parameters | {"theta_cap": jnp.asarray(values["theta_cap"][0])}
    most = np.asarray(parameters["theta_max"])
    shifted = {}
    for name in LAYERS:
        share = np.asarray(state[name]) / most
        odds = share / (1.0 - share) * np.exp([0.0, 0.4, -0.8])
        shifted[name] = jnp.asarray(most * odds / (1.0 + odds), jnp.float32)
    expected = run(tried, shifted, forcing)
    np.testing.assert_allclose(made.evaluate(z)[0], expected, rtol=1e-4)
    np.testing.assert_allclose(expected[:, 0], run(tried, state, forcing)[:, 0], rtol=1e-5)


def test_the_data_s_state_is_the_default(given):
    z = jax.random.normal(jax.random.key(0), (1, 1, COLUMNS))
    assert problem(given).names == ("theta_cap",)
    np.testing.assert_array_equal(
        problem(given).evaluate(z), problem(given, first_state=FirstState()).evaluate(z)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "cold"}, "first state 'cold' is not known, expected data, spun-up or sampled"),
        ({"kind": "spun-up", "years": 0}, "first state of 0 years"),
        ({"kind": "sampled", "spread": 0.0}, "a spread of 0, expected at least one year and more"),
    ],
)
def test_a_first_state_that_is_none_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        FirstState(**options)
