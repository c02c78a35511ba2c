"""The posterior of one parameter on a grid, against densities that are known."""

import jax
import numpy as np
import pytest
from scipy import stats

from calibration.methods import METHODS
from calibration.quadrature import _quantile, grid
from hybrid_land.errors import InputError
from tests.calibration.exact import bounded, linear


def flat(z):
    return z.reshape(-1, z.shape[-1])


def test_a_normal_posterior_is_drawn():
    """And the prior where nothing was observed; independent draws err by their number alone."""
    problem, mean, covariance = linear(parameters=1)
    z, statistics = METHODS["grid"](problem, key=jax.random.key(0), draws=500)
    assert z.shape == (4, 500, 1, problem.count)
    for k in range(problem.count):
        exact = stats.norm(mean[0, k], np.sqrt(covariance[k, 0, 0]))
        assert stats.kstest(flat(z)[:, k], exact.cdf).pvalue > 0.1
    assert (statistics["cells"] > 10).all()
    chains = z[:, :, 0].mean(axis=1)
    assert np.ptp(chains, axis=0).max() < 6 * np.sqrt(covariance[:, 0, 0]).max() / np.sqrt(500)


def test_a_posterior_at_its_bound_is_drawn():
    problem, mean, spread = bounded()
    z, _ = grid(problem, key=jax.random.key(1), draws=500)
    share = problem.parameters(z.reshape(-1, 1, problem.count))["share"]
    np.testing.assert_allclose(share.mean(axis=0), mean, atol=0.02 * spread.max())
    np.testing.assert_allclose(share.std(axis=0), spread, rtol=0.03)


def test_between_points_the_density_is_linear():
    corner = np.array([-1.0, 0.0, 1.0])
    found = _quantile(corner, np.array([0.0, 1.0, 0.0]), np.array([0.125, 0.5, 0.875, 0.995]))
    np.testing.assert_allclose(found, [-0.5, 0.0, 0.5, 0.9], atol=1e-12)


def test_a_grid_too_coarse_says_so_and_a_finer_one_resolves():
    problem, _, covariance = linear(parameters=1)
    cells = [grid(problem, key=jax.random.key(0), points=n)[1]["cells"] for n in (5, 40)]
    assert cells[0][0] < 5 < cells[1][0]
    assert covariance[0, 0, 0] < 1


@pytest.mark.parametrize(
    ("parameters", "points", "words"),
    [(2, 48, "2 parameters, expected one for method grid"), (1, 2, "2 points, expected at least")],
)
def test_what_a_grid_cannot_do_is_said(parameters, points, words):
    problem, *_ = linear(parameters=parameters)
    with pytest.raises(InputError, match=words):
        grid(problem, key=jax.random.key(0), points=points)
