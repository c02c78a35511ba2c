"""Analyses as weights on the members: formulas, limits, rotations, the finite-size filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from assimilation.filters.analyses import (
    analyse,
    anomalies,
    decomposed,
    denkf,
    enkf_n,
    enkf_n_to_turn,
    etkf,
    etkf_to_turn,
    rotation,
    scaled,
    transformed,
)

KEY = jax.random.key(0)


@pytest.fixture
def small(float64):
    """12 members of 5 variables in 2 columns, three observations of them."""
    generator = np.random.default_rng(1)
    ensemble = jnp.asarray(generator.normal(size=(12, 5, 2)))
    H = generator.normal(size=(3, 5))
    predicted = jnp.einsum("ov,mvc->moc", H, ensemble)
    values = jnp.asarray(generator.normal(size=(3, 2)))
    errors = jnp.asarray([[0.3, 0.5], [0.4, 0.2], [1.0, 0.7]])
    return ensemble, H, predicted, values, errors


@pytest.mark.parametrize("observations", [3, 20], ids=["few", "many"])
def test_decomposition_is_of_the_members_product(float64, observations):
    S = jnp.asarray(np.random.default_rng(2).normal(size=(8, observations)))
    values, vectors = decomposed(S)
    np.testing.assert_allclose((vectors * values[None]) @ vectors.T, S @ S.T, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-12)


def test_decomposition_leaves_out_what_is_none(float64):
    S = jnp.asarray(np.random.default_rng(2).normal(size=(8, 3))).at[:, 1].set(0.0)
    values, vectors = decomposed(S)
    assert int((values > 0).sum()) == 2
    np.testing.assert_array_equal(np.linalg.norm(vectors, axis=0)[np.asarray(values) == 0], 0.0)


def test_a_masked_observation_is_as_none(small):
    ensemble, _, predicted, values, errors = small
    mask = jnp.ones_like(values).at[1].set(0.0)
    wild = values.at[1].set(jnp.nan)
    one = analyse(KEY, ensemble, predicted, wild, errors.at[1].set(0.0), mask)
    keep = jnp.asarray([0, 2])
    other = analyse(KEY, ensemble, predicted[:, keep], values[keep], errors[keep], jnp.ones((2, 2)))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_deterministic_filter_is_sakov_and_okes(small):
    ensemble, H, predicted, values, errors = small
    found = analyse(KEY, ensemble, predicted, values, errors, jnp.ones((3, 2)), weights=denkf)
    for c in range(2):
        E = np.asarray(ensemble[..., c])
        m, A = E.mean(axis=0), E - E.mean(axis=0)
        P = A.T @ A / 11
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + np.diag(np.asarray(errors[:, c]) ** 2))
        expected = m + K @ (np.asarray(values[:, c]) - H @ m) + A - 0.5 * A @ (K @ H).T
        np.testing.assert_allclose(found[..., c], expected, rtol=1e-8)


def test_finite_size_factor_is_the_minimum_of_its_cost(small):
    _, _, predicted, values, errors = small
    N = predicted.shape[0]
    S, d = scaled(predicted, values + 3.0, errors, jnp.ones((3, 2)))
    for c in range(2):
        one, there = np.asarray(S[..., c]), np.asarray(d[:, c])
        _, s, right = np.linalg.svd(one, full_matrices=False)
        b = right @ there
        said = (np.sum(1.0 / (1.0 + s**2)) + N - 3) / N
        e, k = (N + 1) / N, N / (N - 1)
        correction = np.sqrt((e / k) ** said)
        e, k = e / correction, k * correction

        def cost(x, b=b, s=s, e=e, k=k):
            return np.sum(b**2 / (1 + np.exp(x) * s**2)) / (N - 1) + e * np.exp(-x) + k * x

        best = scipy.optimize.minimize_scalar(cost, bounds=(-2, 6), method="bounded").x
        factor = np.exp(0.5 * best)
        D = enkf_n(KEY, S[..., c], d[:, c])
        expected = factor * np.asarray(etkf(KEY, factor * S[..., c], d[:, c]))
        expected = expected + (factor - 1.0) * np.eye(N)
        np.testing.assert_allclose(D, expected, atol=1e-4)
        assert factor > 1.0


def test_finite_size_filter_inflates_with_the_departure(small):
    _, _, predicted, values, errors = small
    S, d = scaled(predicted, values, errors, jnp.ones((3, 2)))
    spread = [
        float(
            jnp.trace(
                (jnp.eye(12) + enkf_n(KEY, S[..., 0], size * d[:, 0])) @ S[..., 0] @ S[..., 0].T
            )
        )
        for size in (0.1, 3.0, 10.0)
    ]
    firm = enkf_n(KEY, S[..., 0], 10.0 * d[:, 0], certainty=1e4)
    assert spread[0] < spread[1] < spread[2]
    np.testing.assert_allclose(firm, etkf(KEY, S[..., 0], 10.0 * d[:, 0]), atol=0.05)


@pytest.mark.parametrize("observations", [3, 20], ids=["few", "many"])
def test_the_root_to_be_turned_is_another_root_of_the_same_analysis(float64, observations):
    generator = np.random.default_rng(3)
    S = anomalies(jnp.asarray(generator.normal(size=(12, observations))))
    d = jnp.asarray(generator.normal(size=observations))
    one, other = np.asarray(etkf(KEY, S, d)), np.asarray(etkf_to_turn(KEY, S, d))
    np.testing.assert_allclose(one.mean(axis=0), other.mean(axis=0), atol=1e-12)
    for D in (one, other):
        T = np.eye(12) + D - D.mean(axis=0)
        np.testing.assert_allclose(T.T @ T, np.linalg.inv(np.eye(12) + S @ S.T), atol=1e-12)
    assert (np.abs(one - other).max() > 0.1) == (observations == 20)
    none = etkf_to_turn(KEY, jnp.zeros_like(S), jnp.zeros_like(d))
    np.testing.assert_array_equal(none, 0.0)


@pytest.mark.parametrize("observations", [3, 20], ids=["few", "many"])
@pytest.mark.parametrize(
    ("spread", "departure"), [(0.05, 1.0), (1.0, 1.0), (0.3, 30.0), (5.0, 2.0)]
)
@pytest.mark.parametrize("members", [2, 12])
def test_the_finite_size_filter_to_be_turned_is_the_same_analysis(
    float64, members, observations, spread, departure
):
    generator = np.random.default_rng(4)
    S = spread * anomalies(jnp.asarray(generator.normal(size=(members, observations))))
    d = departure * jnp.asarray(generator.normal(size=observations))
    one = np.asarray(enkf_n(KEY, S, d, certainty=2.0))
    other = np.asarray(enkf_n_to_turn(KEY, S, d, certainty=2.0))
    np.testing.assert_allclose(one.mean(axis=0), other.mean(axis=0), atol=1e-10)
    covariances = [T.T @ T for T in (np.eye(members) + D - D.mean(axis=0) for D in (one, other))]
    np.testing.assert_allclose(*covariances, atol=1e-9)
    # The mean of the perturbations stays zero: all rows have one sum.
    np.testing.assert_allclose(other.sum(axis=1) - other.sum(axis=1)[0], 0.0, atol=1e-10)
    none = enkf_n_to_turn(KEY, jnp.zeros_like(S), jnp.zeros_like(d))
    np.testing.assert_array_equal(none, 0.0)


def test_rotations_keep_mean_and_covariance_and_are_random(small):
    ensemble = small[0]
    turn = rotation(KEY, 12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(turn.sum(axis=1), 1.0, atol=1e-12)
    turned = transformed(ensemble, jnp.broadcast_to(turn - jnp.eye(12), (2, 12, 12)))
    np.testing.assert_allclose(turned.mean(axis=0), ensemble.mean(axis=0), atol=1e-12)
    for c in range(2):
        np.testing.assert_allclose(
            np.cov(np.asarray(turned[..., c]).T), np.cov(np.asarray(ensemble[..., c]).T), atol=1e-12
        )
    assert np.abs(turned - ensemble).max() > 0.5
    assert np.abs(turn - rotation(jax.random.key(1), 12)).max() > 0.1
    many = jax.vmap(lambda key: rotation(key, 4))(jax.random.split(KEY, 400))
    mean = many.mean(axis=0)
    np.testing.assert_allclose(mean, 0.25, atol=0.15)  # of a uniform one only the mean is left


def test_members_that_are_the_same_have_no_anomalies():
    same = jnp.full((50, 1, 1), 0.3141592)
    np.testing.assert_array_equal(anomalies(same), 0.0)
