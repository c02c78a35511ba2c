"""History matching on linear models, where the plausible interval is known."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

from calibration.history import history, implausibility
from tests.calibration.linear import linear_problem

SLOPE = 10.0


def seen(values, **options):
    """One observation of `SLOPE * a` a column."""
    return linear_problem(
        [[SLOPE]], columns=len(values), observed=np.asarray([values], np.float32), **options
    )


def shifted(problem, by):
    """An emulator that is off by a constant."""
    return replace(problem, expected=lambda z, own: problem.expected(z, own) + by)


def test_what_is_kept_is_the_exact_interval():
    problem = seen([0.0, 8.0])
    z, statistics = history(problem, key=jax.random.key(0), draws=2000)
    assert z.shape == (1, 2000, 1, 2)
    for column, value in enumerate([0.0, 8.0]):
        low, high = (value - 3.0) / SLOPE, (value + 3.0) / SLOPE
        found = z[0, :, 0, column]
        assert low - 1e-5 < found.min() < low + 0.01
        assert high - 0.01 < found.max() < high + 1e-5
        share = stats.norm.cdf(high) - stats.norm.cdf(low)
        assert statistics["share_wave_3"][column] == pytest.approx(share, rel=0.02)
        # By the prior within: no value is likelier than by it.
        inside = stats.truncnorm(low, high)
        assert stats.kstest(found, inside.cdf).statistic < 0.06
    assert statistics["plausible"].all()
    assert (statistics["least_implausibility"] < 0.1).all()


def test_later_waves_look_closer():
    _, statistics = history(seen([0.0]), key=jax.random.key(0), points=40)
    share = stats.norm.cdf(0.3) - stats.norm.cdf(-0.3)
    errors = [abs(statistics[f"share_wave_{wave}"][0] - share) for wave in (1, 3)]
    assert errors[1] < 0.5 * errors[0] + 0.004


def test_the_spread_of_the_emulators_rules_out_less():
    problem = seen([0.0])
    members = [shifted(problem, by) for by in (-2.0, 0.0, 2.0)]
    z, _ = history(problem, key=jax.random.key(0), members=members, draws=2000)
    half = 3.0 * np.sqrt(1.0 + 4.0 * (1.0 + 1.0 / 3.0)) / SLOPE
    assert z.max() == pytest.approx(half, abs=0.02)
    assert z.min() == pytest.approx(-half, abs=0.02)


def test_no_plausible_value_is_said_and_the_nearest_is_given():
    present = np.ones((2, 1), np.float32)
    problem = linear_problem(
        [[SLOPE], [SLOPE]], present=present, observed=np.asarray([[-20.0], [20.0]], np.float32)
    )
    z, statistics = history(problem, key=jax.random.key(0), largest=1)
    assert not statistics["plausible"][0]
    assert statistics["share_wave_3"][0] == 0.0
    assert statistics["least_implausibility"][0] == pytest.approx(20.0, abs=0.1)
    np.testing.assert_allclose(z, 0.0, atol=0.05)
    # One more observation may be off where the second largest counts.
    assert history(problem, key=jax.random.key(0), largest=2)[1]["plausible"][0]


def test_implausibility_counts_what_was_observed_only():
    present = np.ones((4, 1), np.float32)
    present[1:] = 0.0
    problem = linear_problem([[1.0]] * 4, present=present)
    found = implausibility([problem], np.asarray([[[5.0]]]))
    np.testing.assert_allclose(found, [[5.0]], rtol=1e-6)


def test_two_parameters_of_which_the_sum_is_seen():
    problem = linear_problem([[SLOPE, SLOPE]], columns=2)
    z, statistics = history(problem, key=jax.random.key(0), points=1024)
    assert (np.abs(z.sum(axis=2)) < 0.3).all()
    assert z[:, :, 0].max() > 1.5
    share = 2 * stats.norm.cdf(0.3 / np.sqrt(2)) - 1
    np.testing.assert_allclose(statistics["share_wave_3"], share, rtol=0.2)
