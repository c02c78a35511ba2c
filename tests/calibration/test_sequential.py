"""Sequential Monte Carlo against posteriors that are known, with their evidence."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from calibration.sequential import smc
from tests.calibration.exact import bounded, linear, moments, share_of

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def found():
    problem, mean, covariance = linear()
    return problem, mean, covariance, *smc(problem, key=KEY, chains=4, draws=400)


def test_posterior_of_a_linear_model(found):
    _, mean, covariance, z, statistics = found
    assert z.shape == (4, 400, *mean.shape)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.12)
    np.testing.assert_allclose(spread, covariance, atol=0.12)
    assert statistics["converged"].all()
    # Nothing observed is met in one stage.
    assert statistics["stages"][-1] == 1 < statistics["stages"][0]
    assert (statistics["acceptance_rate"] > 0.2).all()


def test_evidence_of_a_linear_model(found):
    problem, *_, statistics = found
    matrix, observed = np.asarray(problem.columns), np.asarray(problem.observed)
    for k in range(problem.count):
        covariance = np.eye(len(observed)) + matrix[..., k] @ matrix[..., k].T
        expected = stats.multivariate_normal.logpdf(observed[:, k], cov=covariance)
        if not problem.present[:, k].any():
            expected = 0.0
        assert statistics["log_evidence"][k] == pytest.approx(expected, abs=0.25)


def test_at_a_bound():
    problem, mean, spread = bounded()
    z, _ = smc(problem, key=KEY, draws=300)
    at, width = share_of(problem, z)
    assert (np.abs(at - mean) < 0.15 * spread).all()
    np.testing.assert_allclose(width, spread, rtol=0.1)


def test_runs_that_fail_are_not_drawn():
    problem, *_ = linear()

    def sometimes(z, columns):
        return jnp.where(z[:1] > 1.5, jnp.nan, problem.expected(z, columns))

    z, statistics = smc(replace(problem, expected=sometimes), key=KEY, draws=100)
    assert (z[:, :, 0] <= 1.5).all()
    assert statistics["converged"].all()
