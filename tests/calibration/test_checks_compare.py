"""Distances of posteriors, and what the data see of the parameters: exact cases."""

import jax
import numpy as np
import pytest

from calibration.checks.comparison import classifier_accuracy, compare, energy_distance
from calibration.checks.identifiability import combination, identifiability
from calibration.checks.plots import identifiability_figure
from calibration.problem import with_observations
from tests.calibration.linear import linear_problem, moments


@pytest.fixture(scope="module")
def normals():
    return np.random.default_rng(0).normal(size=(2, 500, 2))


def test_energy_distance_of_two_points_and_of_two_samples(normals):
    far = np.zeros((50, 1)), np.full((50, 1), 3.0)
    assert energy_distance(*far) == pytest.approx(6.0)
    assert abs(energy_distance(*normals)) < 0.02
    # No bias of small samples, which pairs of a draw with itself would make.
    few = np.random.default_rng(2).normal(size=(200, 2, 20, 2))
    assert abs(np.mean([energy_distance(*pair) for pair in few])) < 0.05
    # Of N(0, 1) and N(1, 1): 2 E|N(1, 2)| - 2 E|N(0, 2)|.
    one = np.random.default_rng(1).normal(size=(2, 2000, 1))
    assert energy_distance(one[0], one[1] + 1.0) == pytest.approx(0.5423, abs=0.06)


def test_a_classifier_tells_only_what_differs(normals):
    first, second = normals
    accuracy, p_value = classifier_accuracy(first, second)
    assert accuracy == pytest.approx(0.5, abs=0.05)
    assert p_value > 0.01
    accuracy, p_value = classifier_accuracy(first, second + 6.0)
    assert accuracy > 0.99
    assert p_value < 1e-20
    # Of one mean and one spread, but of another shape.
    ring = second / np.linalg.norm(second, axis=1, keepdims=True) * np.sqrt(2.0)
    assert classifier_accuracy(first, ring)[0] > 0.7


def test_two_posteriors_of_many_columns(normals):
    first, second = (x[:, :, None].repeat(3, axis=2) for x in normals)
    second = second.copy()
    second[:, :, 2] = 2.0 * second[:, :, 2] + 1.0
    found, words = compare(second, first, names=("laplace", "nuts"))
    assert (found["p_value"][:2] > 0.01).all()
    assert found["p_value"][2] < 1e-3
    np.testing.assert_allclose(found["ratio"][:, 2], 2.0, atol=0.2)
    np.testing.assert_allclose(found["shift"][:, 2], 1.0, atol=0.2)
    assert found["energy"][2] > 10 * abs(found["energy"][0])
    assert words.startswith("laplace beside nuts: a classifier is right in")
    assert "tells the two in 1 of 3 columns" in words


@pytest.fixture(scope="module")
def sum_only():
    """Two observations of a + b, 3 and 3, with errors of a third."""
    problem = linear_problem([[3.0, 3.0], [3.0, 3.0]])
    problem = with_observations(problem, np.full((2, 1), 9.0, np.float32))
    return problem, *identifiability(problem, key=jax.random.key(0), points=9)


def test_only_the_sum_is_seen(sum_only):
    problem, found, words = sum_only
    np.testing.assert_allclose(found["mode"], moments(problem)[0], atol=1e-3)
    np.testing.assert_allclose(found["eigenvalue"][:, 0], [36.0, 0.0], atol=1e-2)
    np.testing.assert_allclose(
        found["direction_of"][:, 0, 0], [np.sqrt(0.5), np.sqrt(0.5)], atol=1e-3
    )
    np.testing.assert_allclose(found["spread_left"][:, 0], [1 / np.sqrt(37.0), 1.0], atol=1e-3)
    assert combination(found, 0, 0) == "0.71 a + 0.71 b"
    assert "0.71 a + 0.71 b is seen (16% of the prior's spread is left)" in words
    assert "is not seen (100% of the prior's spread is left)" in words
    assert " - 0.71" in words


def test_the_profile_is_the_exact_parabola(sum_only):
    problem, found, _ = sum_only
    mode, covariance = moments(problem)
    for i in range(2):
        away = found["profile_z"][i, :, 0] - mode[i, 0]
        expected = 0.5 * away**2 / covariance[0, i, i]
        np.testing.assert_allclose(found["profile"][i, :, 0], expected, atol=0.02)
    assert found["profile_z"].max() <= 3.0
    np.testing.assert_allclose(found["profile_value"], found["profile_z"], rtol=1e-6)


def test_the_profile_of_what_nothing_sees_is_the_prior_s():
    problem = linear_problem([[5.0, 0.0]])
    found, words = identifiability(problem, key=jax.random.key(0), points=7)
    z = found["profile_z"][1, :, 0]
    np.testing.assert_allclose(found["profile"][1, :, 0], 0.5 * z**2, atol=1e-4)
    assert "1.00 b is not seen" in words
    assert float(np.ptp(found["profile_z"][0].to_numpy())) < 2.0


def test_many_columns_are_counted():
    matrix = np.zeros((1, 1, 4))
    matrix[..., :3] = 6.0
    found, words = identifiability(linear_problem(matrix), key=jax.random.key(0), points=5)
    assert found["profile"].shape == (1, 5, 4)
    np.testing.assert_allclose(found["spread_left"][0, 3], 1.0, atol=1e-5)
    assert "below 50% in 3 of 4 columns" in words
    # One parameter has one direction, so that its shares stand apart by column.
    shares = identifiability_figure(found).axes[-1]
    assert shares.get_xlabel() == "column"
    np.testing.assert_array_equal(shares.lines[0].get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(shares.lines[0].get_ydata(), found["spread_left"][0])


def test_shares_of_several_directions_are_joined_by_column(sum_only):
    shares = identifiability_figure(sum_only[1]).axes[-1]
    assert shares.get_xlabel() == "direction, best seen first"
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [1 / np.sqrt(37.0), 1.0], atol=1e-3)
