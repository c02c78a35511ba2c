"""The posterior of one or two parameters on a grid, against densities that are known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from calibration.methods import METHODS
from calibration.quadrature import drawn_places, grid
from hybrid_land.errors import InputError
from tests.calibration.exact import bounded, linear, moments
from tests.calibration.linear import linear_problem
from tests.calibration.linear import moments as exact_moments


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
    shares = np.array([0.125, 0.5, 0.875, 0.995])
    found = drawn_places(np.array([0.0, 1.0, 0.0]), shares, shares)
    np.testing.assert_allclose(found[:, 0], [0.5, 1.0, 1.5, 1.9], atol=1e-12)
    # Two cells of densities x (1 - y) and its mirror image: a quarter of the first's mass is
    # below half of x, and below 1 - sqrt(3) / 2 of y.
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = drawn_places(corner, shares[:3], np.array([0.25, 0.25, 0.25]))
    np.testing.assert_allclose(found[:, 0], [0.5, 1.0, 1.5], atol=1e-12)
    np.testing.assert_allclose(found[:, 1], 1.0 - np.sqrt(0.75), atol=1e-12)


def test_a_grid_too_coarse_says_so_and_a_finer_one_resolves():
    problem, _, covariance = linear(parameters=1)
    coarse, fine = (grid(problem, key=jax.random.key(0), points=n)[1] for n in (5, 40))
    assert coarse["cells"][0] < 5 < fine["cells"][0]
    assert not coarse["converged"][0]
    assert fine["converged"].all()
    assert covariance[0, 0, 0] < 1


def test_a_normal_posterior_of_two_parameters_is_drawn():
    """Its distances from the mean are distributed as they should; the prior in the last column."""
    problem, mean, covariance = linear(parameters=2)
    z, statistics = METHODS["grid"](problem, key=jax.random.key(0), draws=500)
    assert z.shape == (4, 500, 2, problem.count)
    for k in range(problem.count):
        away = z.reshape(-1, 2, problem.count)[..., k] - mean[:, k]
        distance = np.einsum("np,pq,nq->n", away, np.linalg.inv(covariance[k]), away)
        assert stats.kstest(distance, stats.chi2(2).cdf).pvalue > 0.1
        assert stats.kstest(away[:, 1] / np.sqrt(covariance[k, 1, 1]), "norm").pvalue > 0.1
    assert statistics["converged"].all()


def test_a_narrow_ridge_of_two_parameters_is_drawn():
    """Only a sum is observed, to a fiftieth of what the prior leaves open along the ridge."""
    maps = 50.0 * np.array([1.0, 0.6])[None, :, None]
    problem = linear_problem(maps, observed=np.full((1, 1), 40.0), present=np.ones((1, 1)))
    mean, covariance = exact_moments(problem)
    z, statistics = grid(problem, key=jax.random.key(0), draws=2000)
    found, spread = moments(z)
    np.testing.assert_allclose(found, mean, atol=0.02)
    axes = np.linalg.eigh(covariance[0]).eigenvectors
    np.testing.assert_allclose(
        np.diag(axes.T @ spread[0] @ axes), np.linalg.eigvalsh(covariance[0]), rtol=0.06
    )
    assert statistics["converged"].all()


@pytest.mark.parametrize("parameters", [1, 2])
def test_a_posterior_within_a_cell_of_the_first_grid_is_found(parameters):
    """To either side of its nearest point."""
    near = np.linspace(-3.5, 3.5, 48 if parameters == 1 else 24)[20]
    aim = near + np.array([-0.06, 0.06])
    maps = np.repeat(50.0 * np.eye(parameters)[:, :, None], 2, axis=2)
    problem = linear_problem(maps, observed=np.tile(50.0 * aim, (parameters, 1)))
    mean, covariance = exact_moments(problem)
    z, statistics = grid(problem, key=jax.random.key(0), draws=500)
    found, spread = moments(z)
    np.testing.assert_allclose(found, mean, atol=0.002)
    np.testing.assert_allclose(spread, covariance, atol=0.1 * covariance.max())
    assert statistics["converged"].all()


def test_a_column_whose_runs_all_fail_is_given_the_prior_and_marked():
    problem, mean, _ = linear(parameters=2)
    broken = replace(problem, columns=problem.columns.at[..., 0].set(jnp.nan))
    z, statistics = grid(broken, key=jax.random.key(0))
    assert statistics["converged"].tolist() == [False, True, True]
    assert np.isfinite(z).all()
    assert np.abs(z[..., 0].std() - 1.0) < 0.05
    np.testing.assert_allclose(moments(z)[0][:, 1], mean[:, 1], atol=0.1)


def test_what_is_held_at_a_time_does_not_change_the_misfit(monkeypatch):
    problem, *_ = linear(parameters=2)
    z = np.random.default_rng(0).standard_normal((20, 2, problem.count))
    whole = problem.misfit(z)
    monkeypatch.setattr("calibration.problem._HELD", 7)
    np.testing.assert_allclose(problem.misfit(z), whole, rtol=1e-5)
    assert whole.shape == (20, problem.count)


@pytest.mark.parametrize(
    ("parameters", "points", "words"),
    [
        (3, None, "3 parameters, expected one or two for method grid"),
        (1, 2, "2 points, expected at least"),
    ],
)
def test_what_a_grid_cannot_do_is_said(parameters, points, words):
    problem, *_ = linear(parameters=parameters)
    with pytest.raises(InputError, match=words):
        grid(problem, key=jax.random.key(0), points=points)
