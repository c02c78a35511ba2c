"""The particle filter: its weights, its drawing, and the Kalman filter's mean in the limit."""

import jax
import jax.numpy as jnp
import numpy as np

from assimilation.filters import Scheme, run_filter
from assimilation.filters.particles import chosen, effective, likelihood, regularised, resampled
from tests.assimilation.filters.linear import COLUMNS, kalman, linear_case

KEY = jax.random.key(0)


def test_particles_converge_to_the_kalman_filter(float64):
    case = linear_case(members=4000)  # whose lines of descent last for a few cycles
    scheme = Scheme(method="pf", regularisation=0.3)
    run = run_filter(*case.given, scheme=scheme, key=KEY)
    for c in range(COLUMNS):
        _, analyses, _ = kalman(case, c)
        for k, (mean, P) in enumerate(analyses[:3]):
            deviation = np.sqrt(np.diag(P))
            apart = np.abs(np.asarray(run.analysis_mean[k, :, c]) - mean) / deviation
            assert apart.max() < 0.4, (k, c, apart)
            np.testing.assert_allclose(run.analysis_spread[k, :, c], deviation, rtol=0.3)


def test_weights_are_the_likelihood_and_their_number(float64):
    predicted = jnp.asarray([[[0.0]], [[1.0]], [[3.0]]])
    ones = jnp.ones((1, 1))
    weights = likelihood(predicted, 0.0 * ones, 2.0 * ones, ones)
    expected = np.exp([0.0, -0.125, -1.125])
    np.testing.assert_allclose(weights[:, 0], expected / expected.sum(), rtol=1e-12)
    assert float(effective(jnp.full((8, 1), 0.125))[0]) == 8.0


def test_a_member_is_drawn_in_proportion_to_its_weight(float64):
    generator = np.random.default_rng(3)
    predicted = jnp.asarray(generator.normal(size=(50, 1, 3)))
    ones = jnp.ones((1, 3)).at[0, 2].set(0.0)
    weights = np.asarray(likelihood(predicted, ones, ones, ones))
    source = np.asarray(resampled(KEY, predicted, ones, jnp.ones((1, 3)), ones))
    for c in range(2):
        drawn = np.bincount(source[:, c], minlength=50)
        assert np.all(np.abs(drawn - 50 * weights[:, c]) < 1.0)
    assert source[:, 2].tolist() == list(range(50))


def test_drawn_members_are_whole_and_noise_tells_copies_apart(float64):
    generator = np.random.default_rng(3)
    ensemble = jnp.asarray(generator.normal(size=(40, 2, 2)))
    source = jnp.asarray(generator.integers(0, 40, size=(40, 2)))
    drawn = chosen(ensemble, source=source)
    np.testing.assert_array_equal(drawn[7, :, 1], ensemble[int(source[7, 1]), :, 1])
    ones = jnp.ones((1, 2)).at[0, 1].set(0.0)
    apart = regularised(KEY, drawn, 0.5, ones)
    assert len(np.unique(np.asarray(apart[:, 0, 0]))) == 40
    np.testing.assert_array_equal(apart[..., 1], drawn[..., 1])


def test_noise_on_drawn_members_keeps_their_covariance(float64):
    generator = np.random.default_rng(4)
    mixed = np.array([[1.0, 0.8], [0.0, 0.6]]) @ generator.normal(size=(2, 20000))
    drawn = jnp.asarray(mixed.T[:, :, None])
    apart = np.asarray(regularised(KEY, drawn, 4.0, jnp.ones((1, 1))))[..., 0]
    assert np.abs(apart - np.asarray(drawn)[..., 0]).std() > 0.3
    np.testing.assert_allclose(np.cov(apart.T), np.cov(mixed), atol=0.04)
    np.testing.assert_allclose(apart.mean(axis=0), mixed.mean(axis=1), atol=0.02)
