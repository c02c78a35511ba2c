"""Checks that simulate experiments: right posteriors pass, and wrong ones fail and say how."""

from functools import partial

import jax
import numpy as np
import pytest

from calibration.checks.coverage import coverage, expected_coverage
from calibration.checks.ranks import ranks
from calibration.checks.trials import LIKELIHOOD, Trials, run_trials, thinned, uniformity
from tests.calibration.linear import exact, linear_problem

TRIALS = 400


def trials_of(*, likelihood=False, **options):
    problem = linear_problem([[2.0, 1.0], [0.5, -1.0], [1.0, 1.0]], columns=7)
    return run_trials(
        problem,
        partial(exact, **options),
        key=jax.random.key(0),
        trials=TRIALS,
        likelihood=likelihood,
    )


@pytest.fixture(scope="module")
def right():
    return trials_of(likelihood=True)


@pytest.fixture(scope="module")
def narrow():
    return trials_of(width=0.6)


def prior(problem, *, key, progress=None):
    """A method that does not look at the observations."""
    return np.asarray(jax.random.normal(key, (1, 100, len(problem.names), problem.count))), {}


def test_a_right_posterior_has_uniform_ranks(right):
    found, words = ranks(right)
    assert right.truth.shape == (3, TRIALS)
    assert right.draws.shape == (63, 3, TRIALS)
    assert list(found["quantity"].to_numpy()) == ["a", "b", LIKELIHOOD]
    assert found["inside"].all()
    assert (found["chi_squared"] > 0.01).all()
    assert (found["kolmogorov"] > 0.01).all()
    assert words.startswith("ranks of 400 simulated experiments: a uniform")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0.6}, "too narrow"),
        ({"width": 1.7}, "too wide"),
        ({"shift": 0.6}, "lie too high"),
        ({"shift": -0.6}, "lie too low"),
    ],
)
def test_a_wrong_posterior_is_found_and_its_fault_said(options, words):
    found, said = ranks(trials_of(**options))
    assert not found["inside"].any()
    assert (found["kolmogorov"] < 1e-3).all()
    assert said.count(words) == 2


def test_the_rank_of_the_likelihood_shows_that_the_observations_were_not_used():
    problem = linear_problem([[2.0]], columns=TRIALS)
    found, words = ranks(run_trials(problem, prior, key=jax.random.key(2)))
    assert found["inside"].sel(quantity="a")
    assert not found["inside"].sel(quantity=LIKELIHOOD)
    assert "use less of the observations" in words


def test_ranks_of_ties_are_spread():
    """A parameter that is always the same is uniform, by breaking ties at random."""
    same = Trials(("a",), 1, np.zeros((1, 500)), np.zeros((63, 1, 500)))
    assert ranks(same)[0]["inside"].all()


def test_coverage_of_right_and_of_narrow_intervals(right, narrow):
    found, words = coverage(right)
    assert found["coverage"].dims == ("quantity", "level")
    assert list(found["quantity"].to_numpy()) == ["a", "b"]
    assert (found["low"] < found["level"]).all()
    assert (found["level"] < found["high"]).all()
    assert "chance" not in words
    found, words = coverage(narrow)
    # 90% of a normal of 0.6 the width: within 0.6 * 1.645 standard deviations.
    np.testing.assert_allclose(found["coverage"].sel(level=0.9), 0.676, atol=0.06)
    assert (found["high"] < found["level"]).all()
    assert words.count("more than chance explains") == 2


def test_expected_coverage_of_right_and_of_narrow_posteriors(right, narrow):
    found, words = expected_coverage(right)
    assert found.attrs["inside"] == 1
    assert found.attrs["kolmogorov"] > 0.01
    np.testing.assert_allclose(found["coverage"], found["level"], atol=0.08)
    assert "as it should be" in words
    found, words = expected_coverage(narrow)
    assert found.attrs["inside"] == 0
    assert found.attrs["kolmogorov"] < 1e-3
    assert "outside the 95% band" in words


def test_a_band_holds_what_it_says():
    generator = np.random.default_rng(0)
    inside = [uniformity(generator.random(100)).inside for _ in range(40)]
    assert sum(inside) >= 33
    assert not uniformity(generator.random(100) ** 2).inside


def test_draws_kept_are_spread_over_the_chains():
    z = np.arange(40.0).reshape(4, 10, 1, 1)
    assert thinned(z, 4)[:, 0, 0].tolist() == [0, 13, 26, 39]
    assert thinned(z, 99).shape == (40, 1, 1)
