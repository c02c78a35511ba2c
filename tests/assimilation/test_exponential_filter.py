"""The exponential filter against its recursion, its closed forms and its own weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.exponential_filter import exponential_filter

STEP, DAYS = 21600.0, 10.0
KEPT = float(np.exp(-0.25 / DAYS))  # of a weight over a step


def recursion(values, mask):
    """Albergel et al. 2008 by a loop over one column: gain and time since the last value seen."""
    found, index, gain, last = [], 0.0, 1.0, None
    for record, (value, seen) in enumerate(zip(values, mask, strict=True)):
        if seen and last is None:
            index, gain, last = value, 1.0, record
        elif seen:
            decay = np.exp(-(record - last) * STEP / 86400.0 / DAYS)
            gain, last = gain / (gain + decay), record
            index = index + gain * (value - index)
        found.append(index)
    return np.asarray(found)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_scan_is_the_recursion(float64, share):
    generator = np.random.default_rng(1)
    values = generator.uniform(0.05, 0.45, (301, 3))
    mask = (generator.random(values.shape) < share).astype(float)
    found = exponential_filter(
        jnp.asarray(values), time_step=STEP, days=DAYS, mask=jnp.asarray(mask)
    )
    for k in range(3):
        np.testing.assert_allclose(found[:, k], recursion(values[:, k], mask[:, k]), rtol=1e-12)


def test_a_constant_stays_and_a_step_is_forgotten_with_time(float64):
    constant = exponential_filter(jnp.full((500, 1), 0.3), time_step=STEP, days=DAYS)
    np.testing.assert_allclose(constant, 0.3, rtol=1e-12)
    # After a long past of 0.1 the index nears 0.4 with exp(-t / T).
    values = jnp.where(jnp.arange(2000)[:, None] < 1500, 0.1, 0.4)
    after = np.asarray(exponential_filter(values, time_step=STEP, days=DAYS))[1500:, 0]
    np.testing.assert_allclose(after, 0.4 - 0.3 * KEPT ** np.arange(1, 501), rtol=1e-10)


def test_records_before_the_first_value_are_zero_and_a_masked_one_is_never_read():
    values = jnp.asarray([[9.0], [0.2], [9.0], [0.4]])
    mask = jnp.asarray([[0.0], [1.0], [0.0], [1.0]])
    found = np.asarray(exponential_filter(values, time_step=STEP, days=DAYS, mask=mask))[:, 0]
    last = (0.4 + 0.2 * KEPT**2) / (1 + KEPT**2)
    np.testing.assert_allclose(found, [0.0, 0.2, 0.2, last], rtol=1e-6)
    # Nothing seen at all has no slope either, and no division by zero.
    blind = jax.grad(
        lambda x: exponential_filter(x, time_step=STEP, days=DAYS, mask=0 * mask).sum()
    )(values)
    assert np.asarray(blind).tolist() == [[0.0]] * 4


def test_slopes_are_the_weights_forward_and_backward(float64):
    values = jnp.asarray(np.random.default_rng(2).uniform(0.1, 0.4, (40, 1)))
    last = lambda x: exponential_filter(x, time_step=STEP, days=DAYS)[-1, 0]  # noqa: E731
    weights = KEPT ** np.arange(39, -1, -1)
    weights /= weights.sum()
    np.testing.assert_allclose(jax.jit(jax.grad(last))(values)[:, 0], weights, rtol=1e-10)
    way = jnp.zeros_like(values).at[7, 0].set(1.0)
    slope = jax.jvp(last, (values,), (way,))[1]
    np.testing.assert_allclose(slope, weights[7], rtol=1e-10)
