"""Variational inference: exact where the posterior is in the family, near it elsewhere."""

import jax
import numpy as np
import pytest

from calibration.variational import svi
from hybrid_land.errors import InputError
from tests.calibration.exact import bounded, linear, moments, share_of

KEY = jax.random.key(9)


@pytest.fixture(scope="module")
def case():
    return linear()


def test_normal_guide_finds_a_normal_posterior(case):
    problem, mean, covariance = case
    z, statistics = svi(problem, key=KEY, chains=2, draws=4000)
    assert z.shape == (2, 4000, *mean.shape)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.1)
    np.testing.assert_allclose(spread, covariance, atol=0.1)
    assert statistics["converged"].all()
    # The bound is the evidence, which is that of nothing in the last column.
    assert statistics["elbo"][-1] == pytest.approx(0.0, abs=0.05)


def test_too_few_steps_are_marked(case):
    problem, *_ = case
    _, statistics = svi(problem, key=KEY, steps=6, draws=5)
    assert not statistics["converged"].all()


def test_flow_guide_comes_near_too(case):
    problem, mean, covariance = case
    with jax.numpy_rank_promotion("allow"):  # which NumPyro's flow relies on
        z, _ = svi(problem, key=KEY, guide="flow", draws=1000, learning_rate=0.02)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.2)
    np.testing.assert_allclose(spread, covariance, atol=0.25)


def test_at_a_bound_a_normal_guide_is_near():
    problem, mean, spread = bounded()
    z, _ = svi(problem, key=KEY, draws=1000)
    at, width = share_of(problem, z)
    assert (np.abs(at - mean) < 0.2 * spread).all()
    np.testing.assert_allclose(width, spread, rtol=0.2)


def test_guides_that_cannot_be_are_refused(case):
    with pytest.raises(InputError, match="guide 'spline' is not known, expected normal, flow"):
        svi(case[0], key=KEY, guide="spline")
    with pytest.raises(InputError, match="needs two parameters or more, found one"):
        svi(bounded()[0], key=KEY, guide="flow")
