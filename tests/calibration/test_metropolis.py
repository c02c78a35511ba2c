"""Random-walk Metropolis against posteriors that are known."""

import jax
import numpy as np
import pytest

from calibration.metropolis import metropolis
from tests.calibration.exact import bounded, linear, moments, share_of

KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def found():
    problem, mean, covariance = linear()
    return mean, covariance, *metropolis(problem, key=KEY, chains=16, warmup=200, draws=2000)


def test_posterior_of_a_linear_model(found):
    mean, covariance, z, statistics = found
    assert z.shape == (16, 2000, *mean.shape)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.06)
    np.testing.assert_allclose(spread, covariance, atol=0.08)
    assert statistics["lp"].shape == (16, 2000, mean.shape[1])


def test_the_step_is_tuned_in_the_warm_up_and_then_kept(found):
    *_, statistics = found
    accepted = statistics["acceptance_rate"].mean(axis=(0, 1))
    np.testing.assert_allclose(accepted, 0.3, atol=0.05)
    assert (np.ptp(statistics["step_size"], axis=1) == 0).all()


def test_at_a_bound():
    problem, mean, spread = bounded()
    z, statistics = metropolis(problem, key=KEY, chains=16, warmup=200, draws=2000)
    at, width = share_of(problem, z)
    assert (np.abs(at - mean) < 0.1 * spread).all()
    np.testing.assert_allclose(width, spread, rtol=0.08)
    np.testing.assert_allclose(statistics["acceptance_rate"].mean(), 0.44, atol=0.05)
