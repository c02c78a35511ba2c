"""DBUQ's diffusion against a normal posterior, and what its published kernel does to it."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from calibration.amortised.diffusion import draws_by_diffusion
from calibration.amortised.simulations import Simulations, labelled

PARTICLES, CASES = 2000, 150
SLOPE = 1.5  # of the observation, in its errors, to the parameter


@pytest.fixture(scope="module")
def sample():
    """Of the prior, and noise: even quantiles, so that nothing is random."""

    def even(number):
        return stats.norm.ppf((np.arange(number) + 0.5) / number)[:, None].astype(np.float32)

    return even(PARTICLES), even(CASES)


def drawn(sample, observed, variance):
    """Draws given `observed` = SLOPE z + e, with a kernel of that variance."""
    z, noise = sample
    return draws(z, noise, -0.5 * (observed - SLOPE * z[:, 0]) ** 2 / variance)


def draws(z, noise, weights):
    """Of as many cases as there is noise, all with the same weights."""
    shape = (CASES, PARTICLES)
    found = draws_by_diffusion(
        jnp.asarray(noise),
        jnp.broadcast_to(jnp.asarray(z), (*shape, 1)),
        jnp.broadcast_to(jnp.asarray(weights), shape),
    )
    return np.asarray(found)[:, 0]


def exact(observed, variance=1.0):
    precision = 1.0 + SLOPE**2 / variance
    return SLOPE * observed / variance / precision, precision**-0.5


def test_with_the_likelihood_draws_are_of_the_posterior(sample):
    for observed in (-1.0, 0.0, 2.0):
        mean, spread = exact(observed)
        values = drawn(sample, observed, 1.0)
        # The map from noise to draw is known too: affine, and increasing.
        np.testing.assert_allclose(values, mean + spread * sample[1][:, 0], atol=0.25 * spread)
        assert abs(values.mean() - mean) < 0.15 * spread
        assert abs(values.std() / spread - 1.0) < 0.1


@pytest.mark.parametrize(("error", "ratio"), [(0.3, 2.46), (3.0, 0.745)])
def test_the_published_width_is_too_wide_or_narrow_and_the_likelihood_s_is_right(
    sample, error, ratio
):
    """The published kernel has the variance of normalised outputs, 1, whatever the error's."""
    z, noise = sample

    def spread_with(width):
        weights = -0.5 * ((0.4 - z[:, 0]) / width) ** 2
        return float(np.std(draws(z, noise, weights))) * np.sqrt(1.0 + error**-2)

    assert abs(spread_with(error) - 1.0) < 0.1
    assert abs(spread_with(1.0) / ratio - 1.0) < 0.1


def test_labels_leave_the_case_itself_out_and_use_its_own_column():
    generator = np.random.default_rng(0)
    z = generator.standard_normal((300, 1)).astype(np.float32)
    column = np.repeat([0, 1], 150)
    slope = np.where(column == 0, 3.0, -3.0)[:, None]
    expected = slope * z
    kept = np.ones_like(expected)
    kept[:10] = 0.0
    observed = (expected + generator.standard_normal(expected.shape)) * kept
    made = Simulations(z, observed, observed, expected, kept, column)
    noise = generator.standard_normal(z.shape).astype(np.float32)
    labels = labelled(made, noise, neighbours=100)
    precision = 1.0 + kept * slope**2
    standard = (labels - kept * slope * observed / precision) * np.sqrt(precision)
    assert abs(standard.mean()) < 0.2
    assert abs(standard.std() - 1.0) < 0.2
    # Nothing observed gives the prior.
    np.testing.assert_allclose(labels[:10], noise[:10], atol=0.5)
    # Where only the case's own parameter would do, it is another's.
    exact = 1e4 * z
    sharp = Simulations(z, exact, exact, exact, np.ones_like(exact), column)
    copies = labelled(sharp, noise, neighbours=100, smooth=False)
    assert (copies != z).all()
