"""Inflation and relaxation by their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters.analyses import scaled
from assimilation.filters.inflation import (
    adapted,
    additive,
    additive_of,
    multiplicative,
    rtpp,
    rtps,
    spread,
)


@pytest.fixture
def pair(float64):
    """A forecast and an analysis: 10 members, 3 variables, 2 columns."""
    generator = np.random.default_rng(4)
    before = jnp.asarray(generator.normal(size=(10, 3, 2)))
    return before, 1.0 + 0.4 * before + 0.1 * jnp.asarray(generator.normal(size=(10, 3, 2)))


def drift(one, other):
    """Largest difference between the means of two ensembles."""
    return float(jnp.abs(one.mean(axis=0) - other.mean(axis=0)).max())


def test_multiplicative_by_column(pair):
    _, after = pair
    wide = multiplicative(after, jnp.asarray([1.1, 2.0]))
    assert drift(wide, after) < 1e-12
    np.testing.assert_allclose(spread(wide) / spread(after), [[1.1, 2.0]] * 3, rtol=1e-12)
    np.testing.assert_allclose(spread(after), np.std(np.asarray(after), axis=0, ddof=1))


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_relaxation_to_prior_spread(pair, part):
    before, after = pair
    wide = rtps(before, after, part)
    assert drift(wide, after) < 1e-12
    expected = (1 - part) * spread(after) + part * spread(before)
    np.testing.assert_allclose(spread(wide), expected, rtol=1e-10)


def test_relaxation_of_no_spread_is_none(pair):
    before, after = pair
    flat = after.at[:, 1].set(0.25)
    np.testing.assert_array_equal(rtps(before, flat, 0.9)[:, 1], flat[:, 1])


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_relaxation_to_prior_perturbations(pair, part):
    before, after = pair
    wide = rtpp(before, after, part)
    apart = [np.asarray(x) - np.asarray(x).mean(axis=0) for x in (before, after, wide)]
    np.testing.assert_allclose(apart[2], part * apart[0] + (1 - part) * apart[1], atol=1e-12)
    assert drift(wide, after) < 1e-12


def test_additive_noise_has_its_deviation_and_no_mean(pair):
    before, _ = pair
    wide = jnp.repeat(before, 400, axis=0)
    noise = additive_of({"a": 0.5, "c": 0.0}, ("a", "b", "c"))
    found = additive(jax.random.key(0), wide, noise)
    assert drift(found, wide) < 1e-12
    np.testing.assert_allclose(spread(found - wide)[0], 0.5, rtol=0.06)
    np.testing.assert_array_equal(found[:, 1:], wide[:, 1:])


def test_adaptive_inflation_finds_the_factor_that_is_lacking(float64):
    generator = np.random.default_rng(5)
    lacking, factor, step = 2.0, jnp.ones(2), jax.jit(adapted)
    one = jnp.ones((30, 2))
    for _ in range(500):
        predicted = jnp.asarray(generator.normal(size=(20, 30, 2)))
        truth = np.sqrt(lacking) * generator.normal(size=(30, 2))
        values = jnp.asarray(truth + generator.normal(size=(30, 2)))
        mask = one.at[:, 1].set(0.0)
        S, d = scaled(predicted, values, one, mask)
        factor = step(factor, S, d, mask)
    assert float(factor[0]) == pytest.approx(lacking, rel=0.15)
    assert float(factor[1]) == 1.0
