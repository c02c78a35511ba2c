"""Diagnostics that must tell a right analysis from a wrong one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assimilation.control import CONTROL, ControlVector
from assimilation.covariance import background_root
from assimilation.diagnostics import (
    adjoint_test,
    chi_squared,
    coverage,
    desroziers,
    innovation_statistics,
    taylor_test,
    whiteness,
)
from assimilation.observations import Observations
from assimilation.operators import on_records
from assimilation.variational import Problem
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.toy import Buckets, case


@pytest.fixture
def problem(float64):
    """A window of the linear model near its bounds, where the cost is curved."""
    model = Buckets()
    parameters, state, forcing = case(steps=12)
    parameters = parameters | {"theta_max": jnp.full_like(parameters["theta_max"], 0.52)}
    truth = on_records(state, *rollout(model, parameters, state, forcing))
    seen = Observations(
        values={"swvl1": truth["swvl1"] + 0.03},
        errors={"swvl1": jnp.full_like(truth["swvl1"], 0.02)},
        mask={"swvl1": jnp.ones_like(truth["swvl1"])},
    )
    root = jnp.repeat(background_root(CONTROL)[..., None], 3, axis=2)
    return Problem(
        model=model,
        parameters=parameters,
        background=state,
        forcing=forcing,
        observations=seen,
        root=root,
        control=ControlVector(start=CONTROL),
    )


def test_taylor_s_order_is_two_and_one_for_a_wrong_gradient(problem):
    v = 0.3 * jnp.ones((4, 3))
    way = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    found = taylor_test(problem, v, way)
    assert found.order == pytest.approx(2.0, abs=0.1)
    assert found.remainders[0] > 1e3 * found.remainders[2]

    class Wrong(Problem):
        def cost(self, v):
            return super().cost(v) + 0.1 * (v[0] - jax.lax.stop_gradient(v[0]))

    wrong = Wrong(**{name: getattr(problem, name) for name in problem.__dataclass_fields__})
    assert taylor_test(wrong, v, way).order < 1.2


def test_a_gradient_that_is_not_finite_is_named(problem):
    rain = problem.forcing["rain"].at[3, 2].set(jnp.nan)
    broken = replace(problem, forcing={"rain": rain})
    with pytest.raises(InputError, match="not finite in column 2, expected numbers"):
        taylor_test(broken, jnp.zeros((4, 3)), jnp.ones((4, 3)))


def test_tangent_and_adjoint_agree(problem):
    one, other = adjoint_test(problem, 0.2 * jnp.ones((4, 3)), key=jax.random.key(3))
    assert one == pytest.approx(other, rel=1e-10)
    assert abs(one) > 1e-3


@pytest.fixture(scope="module")
def kalman():
    """Scalar analyses with B = 0.04^2 and R = 0.02^2 that are just as good as they say."""
    generator = np.random.default_rng(2)
    truth = generator.uniform(0.2, 0.4, (4000, 2))
    background = truth + 0.04 * generator.standard_normal(truth.shape)
    observed = truth + 0.02 * generator.standard_normal(truth.shape)
    gain = 0.04**2 / (0.04**2 + 0.02**2)
    value = background + gain * (observed - background)
    cost = (observed - background) ** 2 / (0.04**2 + 0.02**2) / 2.0
    dims = ("time", "column")
    analysis = xr.Dataset(
        {
            "swvl1": (dims, value),
            "swvl1_analysis_error": (dims, np.full_like(value, 0.02 * np.sqrt(gain))),
            "swvl1_innovation": (dims, observed - background),
            "swvl1_residual": (dims, observed - value),
            "cost_background": (("window", "column"), 0.4 * cost.sum(axis=0)[None]),
            "cost_observation": (("window", "column"), 0.6 * cost.sum(axis=0)[None]),
            "observed": (("window", "column"), np.full((1, 2), 4000)),
            "converged": (("window", "column"), np.ones((1, 2), bool)),
            "swvl1_observation_error": (dims, np.full_like(value, 0.02)),
            "swvl1_background_error": (dims, np.full_like(value, 0.08)),
        },
        attrs={"observations": cost.size},
    )
    return analysis, xr.Dataset({"swvl1": (dims, truth)})


def test_desroziers_finds_both_errors_and_the_factor(kalman):
    found = desroziers(kalman[0], "swvl1", error=0.01)
    assert found["observation_error"] == pytest.approx(0.02, rel=0.05)
    assert found["background_error"] == pytest.approx(0.04, rel=0.05)
    assert found["observation_factor"] == pytest.approx(2.0, rel=0.05)
    assert found["background_factor"] == pytest.approx(0.5, rel=0.05)
    said = desroziers(kalman[0], "swvl1")
    assert said["observation_factor"] == pytest.approx(1.0, rel=0.05)
    kinked = kalman[0].copy(deep=True)
    kinked.swvl1_background_error[7] = 5.0
    kinked.swvl1_innovation[7] = 0.9
    assert desroziers(kinked, "swvl1")["background_factor"] == pytest.approx(0.5, rel=0.05)
    with pytest.raises(InputError, match="no innovations of swvl2"):
        desroziers(kalman[0], "swvl2", error=0.01)


def test_chi_squared_is_one_for_right_errors_and_tells_wrong_ones(kalman):
    analysis = kalman[0]
    found = chi_squared(analysis)
    assert found["ratio"] == pytest.approx(1.0, abs=0.05)
    assert found["p_value"] > 0.01
    wrong = analysis.assign(cost_background=1.2 * analysis.cost_background)
    assert chi_squared(wrong)["p_value"] < 0.01
    with pytest.raises(InputError, match="no observation in any window"):
        chi_squared(analysis.assign(observed=0 * analysis.observed))
    failed = analysis.converged.copy(data=[[True, False]])
    broken = wrong.cost_background.where(failed)
    half = chi_squared(analysis.assign(cost_background=broken / 1.2, converged=failed))
    assert half["ratio"] == pytest.approx(1.0, abs=0.07)


def test_coverage_is_what_the_stated_error_promises(kalman):
    analysis, truth = kalman
    found = coverage(analysis, truth, "swvl1")
    assert found[0.68] == pytest.approx(0.68, abs=0.02)
    assert found[0.95] == pytest.approx(0.95, abs=0.01)
    sure = analysis.assign(swvl1_analysis_error=0.5 * analysis.swvl1_analysis_error)
    assert coverage(sure, truth, "swvl1")[0.68] < 0.45


def test_innovations_of_a_column_have_a_mean_a_spread_and_a_memory(kalman):
    analysis = kalman[0].isel(time=slice(0, 1000))
    found = innovation_statistics(analysis, "swvl1")
    assert found["count"] == 2000
    assert found["sd_innovation"] == pytest.approx(np.hypot(0.04, 0.02), rel=0.05)
    assert found["sd_residual"] < found["sd_innovation"]
    assert abs(found["lag_1"]) < 0.08
    slow = analysis.assign(swvl1_innovation=analysis.swvl1_innovation.rolling(time=5).mean())
    assert innovation_statistics(slow, "swvl1")["lag_1"] > 0.6


def test_innovations_that_remember_are_not_white_at_any_lag_that_they_remember(kalman):
    analysis = kalman[0].isel(time=slice(0, 1000))
    white = whiteness(analysis, "swvl1", lags=6)
    assert white.shape == (6,)
    assert np.abs(white).max() < 0.1
    before = analysis.swvl1_innovation
    # A mean over four has the correlations 3/4, 1/2, 1/4 and none; gaps do not count.
    slow = analysis.assign(swvl1_innovation=before.rolling(time=4).mean())
    np.testing.assert_allclose(
        whiteness(slow, "swvl1", lags=6), [0.75, 0.5, 0.25, 0, 0, 0], atol=0.1
    )
    assert whiteness(slow, "swvl1", lags=1)[0] == innovation_statistics(slow, "swvl1")["lag_1"]
    few = analysis.isel(time=slice(0, 2))
    assert np.isnan(whiteness(few, "swvl1", lags=2)).all()


def test_innovations_have_a_score_of_what_was_promised(kalman):
    analysis = kalman[0]
    honest = analysis.assign(swvl1_background_error=0.5 * analysis.swvl1_background_error)
    found = innovation_statistics(honest, "swvl1")["crps"]
    assert found == pytest.approx(np.hypot(0.04, 0.02) / np.sqrt(np.pi), rel=0.02)
    assert innovation_statistics(analysis, "swvl1")["crps"] > 1.05 * found
    bare = analysis.drop_vars("swvl1_background_error")
    assert "crps" not in innovation_statistics(bare, "swvl1")
