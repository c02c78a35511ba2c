"""Laplace's approximation: exact where the model is linear, marked where no maximum is found."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from calibration.laplace import laplace
from tests.calibration.exact import bounded, linear, moments


@pytest.fixture(scope="module")
def found():
    problem, mean, covariance = linear()
    z, statistics = laplace(problem, key=jax.random.key(0), chains=2, draws=5000)
    return z, statistics, mean, covariance


def test_of_a_linear_model_it_is_exact(found):
    z, statistics, mean, covariance = found
    assert z.shape == (2, 5000, *mean.shape)
    at, spread = moments(z)
    np.testing.assert_allclose(at, mean, atol=0.04)
    np.testing.assert_allclose(spread, covariance, atol=0.04)
    assert statistics["converged"].all()


def test_eigenvalues_say_what_the_data_see(found):
    _, statistics, _, covariance = found
    expected = 1.0 / np.linalg.eigvalsh(covariance)
    for i in range(2):
        values = statistics[f"hessian_eigenvalue_{i + 1}"]
        np.testing.assert_allclose(values, expected[:, i], rtol=1e-4)
    assert statistics["hessian_eigenvalue_1"][-1] == pytest.approx(1.0)
    assert statistics["map_cost"][-1] == pytest.approx(0.0, abs=1e-6)


def test_at_a_bound_the_maximum_is_found():
    problem, *_ = bounded()
    z, statistics = laplace(problem, key=jax.random.key(1), draws=2000)
    for k in range(problem.count):
        scale = float(problem.columns["scale"][k])

        def cost(at, scale=scale):
            return 0.5 * at**2 + 0.5 * (scale * (1.05 - norm.cdf(at))) ** 2

        best = minimize_scalar(cost, bounds=(-5, 5), method="bounded")
        assert statistics["map_cost"][k] == pytest.approx(best.fun, rel=1e-4)
        curvature = 1.0 + (scale * norm.pdf(best.x)) ** 2
        assert z[..., k].mean() == pytest.approx(best.x, abs=0.05)
        assert z[..., k].std() == pytest.approx(curvature**-0.5, rel=0.05)
    assert statistics["converged"].all()


def test_a_column_without_a_maximum_is_marked_and_keeps_its_prior():
    problem, mean, _ = linear()
    broken = replace(problem, columns=problem.columns.at[..., 0].set(jnp.nan))
    z, statistics = laplace(broken, key=jax.random.key(0), draws=2000)
    assert statistics["converged"].tolist() == [False, True, True]
    at, spread = moments(z)
    np.testing.assert_allclose(at[:, 0], 0.0, atol=0.06)
    np.testing.assert_allclose(spread[0], np.eye(2), atol=0.08)
    np.testing.assert_allclose(at[:, 1], mean[:, 1], atol=0.06)


def test_too_few_iterations_are_marked():
    problem, *_ = bounded()
    _, statistics = laplace(problem, key=jax.random.key(1), starts=1, max_iterations=1)
    assert not statistics["converged"].any()
