"""The cost of a run's own window in double precision, and where a gradient is not finite."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import Options, assimilate, make_observations, read_observations
from assimilation.control import CONTROL, ControlVector
from assimilation.covariance import background_root
from assimilation.diagnostics import adjoint_test, taylor_test
from assimilation.gradients import not_finite, window_problem
from assimilation.observations import Observations
from assimilation.operators import on_records
from assimilation.variational import Problem
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from hybrid_land.simulation import simulate
from tests.toy import LAYERS, Buckets, Weathered, case


@jax.tree_util.register_static
class Rooted(Buckets):
    """The toy with a root at zero wherever its forcing says so: a value, but no slope."""

    def step(self, parameters, state, forcing):
        new, diagnostics = super().step(parameters, state, forcing)
        new["swvl1"] += 0.1 * jnp.sqrt(1.0 - forcing["flag"] + 0.0 * state["swvl1"])
        return new, diagnostics


def problem_of(model, flagged=(), spoilt=None):
    """Twelve steps observed at the surface."""
    parameters, state, forcing = case(steps=12)
    flag = jnp.zeros((12, 3)).at[jnp.asarray(flagged, int), 1].set(1.0)
    forcing = forcing | {"flag": flag}
    truth = on_records(state, *rollout(model, parameters, state, forcing))["swvl1"]
    seen = Observations(
        values={"swvl1": truth + 0.03},
        errors={"swvl1": jnp.full_like(truth, 0.02)},
        mask={"swvl1": jnp.ones_like(truth)},
    )
    if spoilt is not None:
        forcing["rain"] = forcing["rain"].at[spoilt, 1].set(jnp.nan)
    root = jnp.repeat(background_root(CONTROL)[..., None], 3, axis=2)
    return Problem(model, parameters, state, forcing, seen, root, ControlVector(start=CONTROL))


def test_a_sound_gradient_has_no_place_that_is_not():
    assert not_finite(problem_of(Rooted()), 2) == ""


@pytest.mark.parametrize("flagged", [[0], [3, 7]])
def test_the_step_that_has_no_slope_is_named_with_its_variable(flagged):
    problem = problem_of(Rooted(), flagged=flagged)
    # The adjoint runs backwards: the last of the steps is the first that spoils it.
    found = not_finite(problem, 1)
    assert found == f"the gradient of the cost by swvl1 is not finite at step {flagged[-1]}"


def test_a_run_that_is_not_finite_is_named_before_its_gradient():
    found = not_finite(problem_of(Rooted(), spoilt=4), 1)
    assert found == "swvl1 of the background's run is not finite at step 5"


def test_an_error_or_value_that_is_not_finite_is_named():
    problem = problem_of(Rooted())
    errors = {"swvl1": problem.observations.errors["swvl1"].at[6].set(jnp.nan)}
    broken = replace(problem, observations=replace(problem.observations, errors=errors))
    assert not_finite(broken, 2) == "swvl1 as it would be observed is not finite at step 6"


@pytest.fixture(scope="module")
def twin():
    model = Weathered()
    data = load_sample("ecland_sample").isel(time=slice(0, 50), column=slice(0, 3)).load()
    for name in LAYERS:
        data[name] = data[name].clip(0.2, 0.3)
    truth = simulate(model, data)
    made = make_observations(truth, errors={"swvl1": 0.005}, every=3, seed=0, first=21)
    made["swvl1"][:, 1] = np.nan
    return data, read_observations(made, data)


def test_the_first_observed_window_passes_the_tests_of_its_gradient(twin):
    data, observations = twin
    with jax.enable_x64(True):
        options = Options(control=(*CONTROL, "theta_cap"))
        problem = window_problem(
            Weathered(),
            data,
            observations,
            method="weak-4dvar",
            window_days=5.0,
            options=options,
            most_columns=2,
        )
        found = problem.observations
        assert found.values["swvl1"].shape == (20, 2)
        assert found.values["swvl1"].dtype == problem.background["swvl1"].dtype == jnp.float64
        # It begins at record 20 with the run's state there, and the unobserved column is left out.
        assert np.flatnonzero(found.mask["swvl1"].all(axis=1)).tolist() == list(range(1, 20, 3))
        free = simulate(Weathered(), data).swvl1[20, [0, 2]]
        np.testing.assert_allclose(problem.background["swvl1"], free, rtol=1e-5)
        v = 0.1 * jnp.ones((problem.control.size, 2))
        assert taylor_test(problem, v, v).order > 1.9
        one, other = adjoint_test(problem, v, key=jax.random.key(0))
        assert one == pytest.approx(other, rel=1e-10)


def test_nothing_observed_cannot_be_tested(twin):
    data, observations = twin
    none = replace(observations, mask={"swvl1": 0.0 * observations.mask["swvl1"]})
    with pytest.raises(InputError, match="no observation in any window, expected some"):
        window_problem(Weathered(), data, none)


@jax.tree_util.register_static
class Kinked(Weathered):
    """The toy without a slope while it is dark."""

    def step(self, parameters, state, forcing):
        new, diagnostics = super().step(parameters, state, forcing)
        lit = jnp.where(forcing["met_swdown"] > 0.0, 1.0, 0.0)
        new["swvl2"] += 0.01 * jnp.sqrt(lit + 0.0 * state["swvl1"])
        return new, diagnostics


def test_assimilate_names_variable_and_step_where_no_gradient_is_finite(twin):
    data, observations = twin
    deep = replace(
        observations,
        values={"swvl2": observations.values["swvl1"]},
        errors={"swvl2": observations.errors["swvl1"]},
        mask={"swvl2": jnp.ones_like(observations.mask["swvl1"])},
    )
    dark = np.flatnonzero((data.met_swdown[:20] == 0).to_numpy()[:, 0])[-1]
    told = f"window 0, column 0: the gradient of the cost by swvl1 is not finite at step {dark}, "
    with pytest.raises(InputError, match=told):
        assimilate(Kinked(), data, deep, window_days=5.0)


def test_without_an_observation_the_background_comes_back_and_says_so(twin):
    data, observations = twin
    none = replace(observations, mask={"swvl1": 0.0 * observations.mask["swvl1"]})
    analysis = assimilate(Weathered(), data, none, window_days=5.0)
    assert analysis.attrs["notice"].startswith("no observation in any window: the analysis is the")
    assert analysis.attrs["observations"] == 0
    for name in LAYERS:
        np.testing.assert_allclose(analysis[name], analysis[f"{name}_background"], rtol=1e-5)
