"""What inflation, relaxation and model noise make of the first cycle of a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from tests.assimilation.filters.linear import COLUMNS, ERRORS, kalman, linear_case

KEY = jax.random.key(0)


@pytest.fixture
def case(float64):
    return linear_case()


def run(case, *, key=KEY, **options):
    return run_filter(*case.given, scheme=Scheme(**options), key=key)


@pytest.mark.parametrize("method", [{}, {"method": "ienks", "lag": 1, "iterations": 2}])
def test_analysed_members_are_relaxed_to_the_forecast_and_inflated(case, method):
    plain = run(case)
    prior = plain.forecast_spread[0]
    if method:  # relaxed at the window's start, whose forecast is linear
        prior = run(case, rtpp=1.0).analysis_spread[0]
    found = run(case, rtpp=1.0, inflation=1.2, **method)
    np.testing.assert_allclose(found.analysis_spread[0], 1.2 * prior, rtol=1e-6)
    np.testing.assert_allclose(found.analysis_mean[0], plain.analysis_mean[0], rtol=1e-6)
    assert float(jnp.min(prior[0] / plain.analysis_spread[0, 0])) > 1.2


def test_analysed_members_are_relaxed_to_the_forecasts_spread(case):
    plain, found = run(case), run(case, rtps=0.3, inflation=1.2)
    expected = 1.2 * (0.7 * plain.analysis_spread[0] + 0.3 * plain.forecast_spread[0])
    np.testing.assert_allclose(found.analysis_spread[0], expected, rtol=1e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_model_noise_goes_through_the_forecast_and_only_draws_need_the_key(case, drawn):
    plain = run(case)
    one, other = (
        run(case, additive={"swvl1": 0.1}, drawn=drawn, key=jax.random.key(k)) for k in (0, 1)
    )
    gained = one.forecast_spread[0] ** 2 - plain.forecast_spread[0] ** 2
    if not drawn:
        # Of what is in the top layer a step leaves 0.98 and gives a tenth to the next.
        expected = np.array([0.098**2, 0.01**2, 0.0, 0.0])[:, None] * np.ones(COLUMNS)
        np.testing.assert_allclose(gained, expected, atol=1e-9)
    assert float(jnp.abs(gained[0]).min()) > 1e-3
    np.testing.assert_allclose(one.forecast_mean[0], plain.forecast_mean[0], rtol=1e-9)
    same = np.array_equal(one.forecast_spread[0], other.forecast_spread[0])
    assert same is not drawn


def test_adaptive_inflation_is_of_the_forecasts_covariance(case):
    found = run(case, adaptive=True)
    for c in range(COLUMNS):
        ((m, P), *_), _, _ = kalman(case, c)
        factor = float(found.factor[0, c])
        assert factor > 1.0
        H = np.eye(4)[[0, 2]]
        R = np.diag(np.square(list(ERRORS.values())))
        seen = [float(case.observations.values[name][1, c]) for name in ERRORS]
        K = factor * P @ H.T @ np.linalg.inv(factor * H @ P @ H.T + R)
        after = factor * (P - K @ H @ P)
        np.testing.assert_allclose(found.analysis_mean[0, :, c], m + K @ (seen - H @ m), rtol=1e-6)
        np.testing.assert_allclose(
            found.analysis_spread[0, :, c], np.sqrt(np.diag(after)), rtol=1e-6
        )


def test_a_particle_brings_what_is_not_analysed(case):
    case.forcing = {"rain": case.forcing["rain"][:1]}
    first = jax.tree.map(lambda x: x[:2], case.observations)
    doubtful = {name: 3.0 * x for name, x in first.errors.items()}  # so that several are drawn
    case.observations = dataclasses.replace(first, errors=doubtful)
    found = run(case, method="pf", regularisation=1e-3, variables=("swvl1",), keep_members=True)
    moved, _ = jax.vmap(
        lambda x: case.model.step(case.parameters, x, {"rain": case.forcing["rain"][0]})
    )(case.ensemble)
    ahead = np.stack([moved[name] for name in found.names], axis=1)
    for c in range(COLUMNS):
        beside = [tuple(row) for row in ahead[:, 1:, c].round(9)]
        after = [tuple(row) for row in np.asarray(found.members[0, :, 1:, c]).round(9)]
        assert set(after) < set(beside)
        # Its top layer is its source's, but for the noise that tells copies apart.
        sources = ahead[[beside.index(row) for row in after], 0, c]
        np.testing.assert_allclose(found.members[0, :, 0, c], sources, atol=1e-3)
