"""Every minimiser finds the same minimum; a column that is not finite spoils no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.minimise import MINIMISERS, minimise


def residuals(v, data):
    """A curved valley in two controls with its prior; `[residual, column]`."""
    a, b = v
    return jnp.stack([a, b, 4.0 * (b - jnp.sin(a)) - data["shift"], 3.0 * (a - data["far"])])


@pytest.fixture
def columns(float64):
    return {"shift": jnp.asarray([0.0, 2.0, -1.0, 0.3]), "far": jnp.asarray([0.5, -0.4, 1.0, 0.0])}


@pytest.mark.parametrize("method", MINIMISERS)
def test_the_gradient_vanishes_at_the_minimum_of_every_column(columns, method):
    start = jnp.zeros((2, 4))
    options = {"tolerance": 1e-8, "amplitude": 1e-4, "max_iterations": 100}
    found, iterations = jax.jit(
        lambda data: minimise(residuals, start, data, method=method, **options)
    )(columns)
    slope = jax.grad(lambda v: jnp.sum(residuals(v, columns) ** 2))(found)
    np.testing.assert_allclose(slope, 0.0, atol=2e-3 if method == "secant" else 1e-5)
    assert (iterations >= 1).all()
    assert (iterations < 100).all()


@pytest.mark.parametrize("method", MINIMISERS)
def test_a_column_that_is_not_finite_leaves_the_others_as_they_are(columns, method):
    start = jnp.zeros((2, 4))
    broken = columns | {"shift": columns["shift"].at[1].set(jnp.nan)}
    options = {"method": method, "tolerance": 1e-8, "max_iterations": 15}
    found, _ = minimise(residuals, start, broken, **options)
    whole, _ = minimise(residuals, start, columns, **options)
    others = np.array([0, 2, 3])
    np.testing.assert_allclose(found[:, others], whole[:, others], atol=1e-5)


def test_one_secant_loop_on_a_linear_problem_is_its_solution(float64):
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    seen = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))

    def linear(v, data):
        return jnp.concatenate([v, data["seen"] - matrix @ v])

    found, _ = minimise(
        linear, jnp.zeros((3, 2)), {"seen": seen}, method="secant", max_iterations=1, amplitude=1.0
    )
    exact = np.linalg.solve(np.eye(3) + matrix.T @ matrix, matrix.T @ seen)
    np.testing.assert_allclose(found, exact, rtol=1e-10)
