"""Checks of one posterior against the observations: predictions and leave-one-out, exact cases."""

from dataclasses import replace

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from calibration.checks.loo import loo, pointwise
from calibration.checks.predictive import predictive, unconstrained, with_predictions
from calibration.problem import simulated
from hybrid_land.errors import InputError
from tests.calibration.linear import exact, linear_problem, moments

MATRIX = np.column_stack([np.ones(30), np.linspace(-1.0, 1.0, 30)])


@pytest.fixture(scope="module")
def problem():
    """Thirty observations of a straight line, simulated, in three columns."""
    present = np.ones((30, 3), np.float32)
    present[4:9, 1] = 0.0
    return simulated(linear_problem(MATRIX, columns=3, present=present), jax.random.key(0))[1]


@pytest.fixture(scope="module")
def posterior(problem):
    return exact(problem, key=jax.random.key(1), draws=2000)[0]


def correlated(problem):
    """The same problem where y = L (whitened), with an AR(1) covariance C = L L^T."""
    days = np.arange(30)
    covariance = 0.04 * 0.8 ** np.abs(days[:, None] - days)
    matrix = np.zeros((30, 30, problem.count))
    for column in range(problem.count):
        seen = np.flatnonzero(np.asarray(problem.present)[:, column])
        factor = np.linalg.cholesky(covariance[np.ix_(seen, seen)])
        matrix[seen[:, None], seen[None, :], column] = np.linalg.inv(factor)
    return replace(problem, whitening=lambda columns: jnp.asarray(matrix)), covariance


def test_intervals_are_those_of_the_exact_predictive_distribution(problem, posterior):
    found, words = predictive(problem, posterior[0], key=jax.random.key(2))
    mean, covariance = moments(problem)
    expected = MATRIX @ mean
    np.testing.assert_allclose(found["mean"][:, 0], expected[:, 0], atol=0.03)
    spread = np.sqrt(np.einsum("op,cpq,oq->oc", MATRIX, covariance, MATRIX) + 1.0)
    width = (found["high"] - found["low"]) / (2 * stats.norm.ppf(0.95))
    np.testing.assert_allclose(width[:, [0, 2]], spread[:, [0, 2]], rtol=0.1)
    np.testing.assert_allclose(found["coverage"], 0.9, atol=0.12)
    assert (found["chi_squared"] < 1.5).all()
    assert np.isnan(found["observed"][4:9, 1]).all()
    assert np.isfinite(found["observed"][:, 0]).all()
    assert "of 85 observations lie within the 90% intervals" in words


def test_a_wrong_model_does_not_predict(problem, posterior):
    wrong = replace(problem, observed=problem.observed + 3.0 * problem.present)
    found, words = predictive(wrong, posterior[0], key=jax.random.key(2))
    assert (found["coverage"] < 0.4).all()
    assert (found["chi_squared"] > 4).all()
    assert "departures are 3." in words


def test_predictions_are_in_the_units_of_the_observations(problem, posterior):
    ar1, covariance = correlated(problem)
    found, _ = predictive(ar1, posterior[0], key=jax.random.key(2))
    factor = np.linalg.cholesky(covariance)
    observed = factor @ np.asarray(problem.observed)
    np.testing.assert_allclose(found["observed"][:, [0, 2]], observed[:, [0, 2]], rtol=1e-5)
    missing = np.isnan(found["observed"].to_numpy())
    np.testing.assert_array_equal(missing, np.asarray(problem.present) == 0)
    np.testing.assert_array_equal(found["record"], np.arange(30))


def test_density_given_the_others_is_that_of_scipy(problem, float64):
    ar1, covariance = correlated(problem)
    z = np.random.default_rng(0).normal(size=(2, 2, 3))
    found = pointwise(ar1, z)
    for column in range(3):
        seen = np.flatnonzero(np.asarray(problem.present)[:, column])
        part = covariance[np.ix_(seen, seen)]
        root = np.linalg.cholesky(part)
        y = root @ np.asarray(problem.observed, float)[seen, column]
        # The linear problem's expectation is whitened.
        mean = root @ (MATRIX[seen] @ z[1, :, column])
        for i in (0, 7, len(seen) - 1):
            rest = np.delete(np.arange(len(seen)), i)
            pull = np.linalg.solve(part[np.ix_(rest, rest)], part[rest, i])
            expected = stats.norm.logpdf(
                y[i],
                mean[i] + pull @ (y[rest] - mean[rest]),
                np.sqrt(part[i, i] - pull @ part[rest, i]),
            )
            np.testing.assert_allclose(found[1, seen[i], column], expected, rtol=1e-4)
    assert np.isnan(found[:, 4:9, 1]).all()


def test_loo_is_the_exact_density_of_each_observation_left_out(problem, posterior):
    found, words = loo(problem, posterior)
    y = np.asarray(problem.observed, float)[:, 0]
    exact_density = 0.0
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        covariance = np.linalg.inv(MATRIX[rest].T @ MATRIX[rest] + np.eye(2))
        mean = MATRIX[i] @ covariance @ MATRIX[rest].T @ y[rest]
        spread = np.sqrt(1.0 + MATRIX[i] @ covariance @ MATRIX[i])
        exact_density += stats.norm.logpdf(y[i], mean, spread)
    np.testing.assert_allclose(found["elpd"][0], exact_density, atol=0.1)
    np.testing.assert_allclose(found["p_loo"], 2.0, atol=1.0)
    assert found.attrs["unsure"] == 0
    assert "85 observations in 3 columns" in words


def test_an_outlier_is_named(problem, posterior):
    spoilt = replace(problem, observed=problem.observed.at[0, 0].set(25.0))
    z = exact(spoilt, key=jax.random.key(1), draws=500)[0]
    found, words = loo(spoilt, z)
    assert found["pareto_k"][0, 0] > 0.7
    assert "1 observations weigh too much" in words


def test_an_observation_that_hardly_weighs_is_none_that_decides():
    """Its weights have a heavy tail, as Cauchy's draws do, and are all the same to a percent."""
    problem = linear_problem([[1e-6], [1.0]], observed=np.array([[1.0], [3.0]], np.float32))
    z = np.clip(np.random.default_rng(0).standard_cauchy((1, 500, 1, 1)), -1e4, 1e4)
    density = pointwise(problem, z[0])[None, :, :, 0]
    made = az.from_dict(posterior={"z": z[..., 0]}, log_likelihood={"y": density})
    with pytest.warns(UserWarning, match="Estimated shape parameter"):
        k = np.asarray(az.loo(made, pointwise=True, reff=1.0)["pareto_k"])
    assert k.min() > 0.7
    found, words = loo(problem, z)
    assert np.isnan(found["pareto_k"][0, 0])
    assert found["pareto_k"][1, 0] == pytest.approx(k[1])
    assert "2 observations in 1 columns" in words
    assert "1 observations weigh too much" in words


def test_predictions_are_put_beside_the_posterior(problem, posterior):
    bare = az.from_dict(posterior={"a": posterior[:, :, 0]})
    with pytest.raises(InputError, match="no group unconstrained_posterior"):
        unconstrained(bare)
    dims = ("chain", "draw", "parameter", "column")
    bare.add_groups(unconstrained_posterior=xr.Dataset({"z": (dims, posterior)}))
    found = with_predictions(bare, problem, key=jax.random.key(0), draws=2000)
    assert "posterior_predictive" not in bare.groups()
    assert found["posterior_predictive"]["swvl1"].shape == (1, 2000, 30, 3)
    np.testing.assert_allclose(
        found["observed_data"]["swvl1"][:, 0], problem.observed[:, 0], rtol=1e-6
    )
    before, after = (
        found[group]["swvl1"].var(("chain", "draw")).mean()
        for group in ("prior_predictive", "posterior_predictive")
    )
    assert before > 1.5 * after
    assert bool(found["log_likelihood"]["swvl1"][..., 4:9, 1].isnull().all())
    assert az.loo(found.sel(column=0)).elpd_loo < 0
    with pytest.raises(InputError, match="does not name its observations"):
        with_predictions(bare, replace(problem, records=None), key=jax.random.key(0))
