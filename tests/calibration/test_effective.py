"""Effective values about the true ones: the error's law, its size, and what it does to a posterior.

The expected numbers are by integration over a fine grid of prior probability.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import kstest

from calibration.covariance import Errors
from calibration.effective import density, spreads, true_values
from calibration.hierarchy import share
from calibration.priors import Prior
from calibration.problem import chosen_columns
from calibration.shared_quadrature import shared_grid
from hybrid_land.errors import InputError
from tests.calibration.exact import along_a_covariate, seen_itself

U = (np.arange(2000) + 0.5) / 2000
GIVEN = {
    "theta_pwp": jnp.array([0.10, 0.15]),
    "theta_cap": jnp.array([0.30, 0.35]),
    "theta_max": jnp.array([0.45, 0.50]),
    "theta_sat": jnp.array([0.44, 0.48]),
}


def kernel(spread):
    """Probabilities of one value of `U` (columns) given the other (rows)."""
    weight = np.asarray(density(U[:, None], U[None], np.asarray(spread)), np.float64)
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("spread", [0.05, 0.12, 0.4, 3.0])
def test_the_error_keeps_the_prior_and_is_the_density_s(spread):
    """Draws of the prior stay the prior's; from one value they follow the density."""
    shape = (4000, 1, 2)
    z = np.asarray(jax.random.normal(jax.random.key(0), shape))
    both = true_values(z, np.array([[spread, spread]]), key=jax.random.key(1))
    assert both.dtype == z.dtype
    assert kstest(ndtr(both).ravel(), "uniform").pvalue > 0.01
    np.testing.assert_allclose(kernel(spread).sum(axis=0), 1.0, atol=1e-4)
    at = np.array([200, 1700])  # near an end, and away from them
    one = np.broadcast_to(ndtri(U[at]), shape).astype(np.float32)
    drawn = ndtr(true_values(one, np.array([[spread, spread]]), key=jax.random.key(2)))[:, 0]
    exact = kernel(spread)[at].cumsum(axis=1)
    for column in range(2):
        law = lambda u, column=column: np.interp(u, U, exact[column])  # noqa: E731
        assert kstest(drawn[:, column], law).pvalue > 0.01
    middle = true_values(np.zeros((20000, 1, 1)), np.full((1, 1), 0.05), key=jax.random.key(3))
    np.testing.assert_allclose(ndtr(middle).std(), 0.05, rtol=0.04)


def test_without_an_error_values_are_the_true_ones():
    z = np.asarray(jax.random.normal(jax.random.key(0), (5, 2, 3)))
    spread = np.array([[0.0] * 3, [0.0, 0.1, 0.1]])
    same = true_values(z, spread, key=jax.random.key(1)) == z
    np.testing.assert_array_equal(same, np.broadcast_to(spread == 0.0, z.shape))


def test_shares_are_of_the_range_whatever_the_prior():
    """A prior of half the range: the same difference is twice as much of it."""
    names = ("theta_cap", "theta_pwp", "first_soil_water")
    found = spreads({"theta_cap": 0.1, "ksat": 0.2}, GIVEN, names=names)
    np.testing.assert_allclose(found, [[0.1, 0.1], [0.0, 0.0], [0.0, 0.0]], rtol=1e-6)
    low = np.asarray(GIVEN["theta_pwp"] + 0.15 * (GIVEN["theta_max"] - GIVEN["theta_pwp"]))
    high = 0.99 * np.asarray(GIVEN["theta_sat"])
    half = Prior("uniform", jnp.asarray(low), jnp.asarray(0.5 * (low + high)))
    found = spreads({"theta_cap": 0.1}, GIVEN, names=("theta_cap",), priors={"theta_cap": half})
    np.testing.assert_allclose(found, [[0.2, 0.2]], rtol=1e-4)


def test_columns_take_their_errors_along():
    problem = replace(seen_itself(np.zeros((6, 3))), spread=np.array([[0.1, 0.2, 0.3]]))
    np.testing.assert_array_equal(chosen_columns(problem, np.array([2, 0])).spread, [[0.3, 0.1]])
    assert chosen_columns(seen_itself(np.zeros((6, 3))), np.array([1])).spread is None


@pytest.fixture(scope="module")
def shared():
    problem, x = along_a_covariate(effects=0.5, columns=8, seen=40)
    return replace(problem, spread=np.full((1, 8), 0.15)), x


def test_what_columns_share_is_of_the_true_values(shared):
    """With an intercept alone: its posterior and the effective values', by integration over it."""
    problem, _ = shared
    z, found = shared_grid(share(problem, pooled=True), key=jax.random.key(0), draws=800)
    seen = np.asarray(problem.observed, np.float64)
    u = ndtri(U)
    log = -0.5 * ((seen[:, None] - u[None, :, None]) ** 2).sum(axis=0)
    likelihood = np.exp(log - log.max(axis=0))
    averaged = kernel(0.15) @ likelihood
    a = np.linspace(-4.0, 4.0, 4001)
    of_columns = np.array([np.interp(ndtr(a), U, np.log(one)) for one in averaged.T]).sum(axis=0)
    weight = np.exp(of_columns - 0.5 * a**2 - (of_columns - 0.5 * a**2).max())
    weight /= weight.sum()
    mean = (weight * a).sum()
    spread = np.sqrt((weight * (a - mean) ** 2).sum())
    drawn = z[:, :, 0, 0]
    assert abs(drawn.mean() - mean) < 0.1 * spread
    np.testing.assert_allclose(drawn.std(), spread, rtol=0.1)
    # Without the error all of the scatter between columns would be noise of the observations.
    assert spread > 1.5 / np.sqrt(1.0 + seen.size)
    assert found["effective"].shape == (4, 800, 1, 8)
    rows = np.array([np.interp(ndtr(a), U, row) for row in kernel(0.15).T]).T
    for column in range(8):
        given = rows * likelihood[:, column]
        law = weight @ (given / given.sum(axis=1, keepdims=True))
        exact = (law * u).sum(), np.sqrt((law * u**2).sum() - (law * u).sum() ** 2)
        effective = found["effective"][:, :, 0, column]
        assert abs(effective.mean() - exact[0]) < 0.1 * exact[1]
        np.testing.assert_allclose(effective.std(), exact[1], rtol=0.1)


def test_effective_values_are_the_true_ones_where_the_model_is_exact(shared):
    problem, _ = shared
    some = replace(problem, spread=np.array([[0.15] * 7 + [0.0]]))
    of_columns = share(some)
    z, found = shared_grid(of_columns, key=jax.random.key(0), draws=50)
    true = of_columns.by_column(z.reshape(200, -1, 1)).reshape(4, 50, 1, 8)
    same = np.isclose(true, found["effective"], atol=1e-6).all(axis=(0, 1, 2))
    np.testing.assert_array_equal(same, [False] * 7 + [True])
    exact, said = shared_grid(share(replace(problem, spread=None)), key=jax.random.key(0), draws=50)
    bare = share(replace(problem, spread=np.zeros((1, 8))))
    zero, _ = shared_grid(bare, key=jax.random.key(0), draws=50)
    np.testing.assert_array_equal(exact, zero)
    np.testing.assert_array_equal(
        said["effective"], bare.by_column(exact.reshape(200, -1, 1)).reshape(4, 50, 1, 8)
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"theta_cup": 0.1},
            "parameter error of 'theta_cup', expected one of theta_pwp, theta_cap",
        ),
        ({"theta_cap": 3.0}, "parameter error of theta_cap is 3, expected a share of its range"),
        ({"theta_cap": -0.1}, "parameter error of theta_cap is -0.1, expected a share"),
    ],
)
def test_errors_of_parameters_are_checked(parameters, message):
    with pytest.raises(InputError, match=message):
        Errors(parameters=parameters)
