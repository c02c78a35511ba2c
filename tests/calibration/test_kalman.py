"""Ensemble Kalman inversion and sampling: exact where the model is linear, by column."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.kalman import eki, eks
from tests.calibration.exact import bounded, linear, moments, share_of

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def case():
    return linear()


def test_inversion_of_a_linear_model_is_exact(case):
    problem, mean, covariance = case
    z, statistics = eki(problem, key=KEY, chains=2, draws=8)
    assert z.shape == (2, 8, *mean.shape)
    for ensemble in z:
        at, spread = moments(ensemble[None])
        np.testing.assert_allclose(at, mean, atol=1e-4)
        np.testing.assert_allclose(spread, covariance, atol=1e-4)
    assert statistics["converged"].all()
    assert not statistics["failed"].any()
    # Nothing observed is met in one step; the others take more.
    assert statistics["steps"][-1] == 1 < statistics["steps"][0]


def test_sampler_keeps_the_posterior_of_a_linear_model_with_few_members(case):
    problem, mean, covariance = case
    z, _ = eks(problem, key=KEY, chains=8, draws=1600, members=6, step_size=0.05)
    assert z.shape == (8, 1600, *mean.shape)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.1)
    size = np.sqrt(np.einsum("kpp->kp", covariance))
    found = np.sqrt(np.einsum("kpp->kp", spread))
    np.testing.assert_allclose(found / size, 1.0, atol=0.1)


def test_sampler_takes_the_members_of_the_last_steps(case):
    problem, *_ = case
    reports = []
    z, _ = eks(
        problem, key=KEY, draws=25, members=10, warmup=2, progress=lambda *at: reports.append(at)
    )
    assert z.shape[1] == 25
    assert reports == [(i, 5) for i in range(1, 6)]
    with pytest.raises(ValueError, match="3 members, expected more than 3"):
        eks(problem, key=KEY, members=3)


@pytest.mark.parametrize(("method", "off"), [(eki, 0.35), (eks, 0.5)])
def test_at_a_bound_they_are_near(method, off):
    """The posterior is not normal: an approximation, within bounds."""
    problem, mean, spread = bounded()
    z, _ = method(problem, key=KEY, draws=200)
    at, width = share_of(problem, z)
    assert (np.abs(at - mean) < 0.5 * spread).all()
    np.testing.assert_allclose(width, spread, rtol=off)


@pytest.mark.parametrize("method", [eki, eks])
def test_runs_that_fail_are_counted_and_spare_the_others(method, case):
    problem, *_ = case

    def sometimes(z, columns):
        return jnp.where(z[:1] > 1.5, jnp.nan, problem.expected(z, columns))

    z, statistics = method(replace(problem, expected=sometimes), key=KEY, draws=100)
    assert np.isfinite(z).all()
    assert (statistics["failed"] > 0).all()
