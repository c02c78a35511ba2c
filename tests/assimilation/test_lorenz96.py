"""Lorenz-96: its equations, its `step`, and variational analyses of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.control import ControlVector
from assimilation.lorenz96 import (
    Lorenz96,
    apart,
    lorenz96_step,
    names,
    no_weather,
    tendency,
    together,
)
from assimilation.minimise import small_hessian
from assimilation.observations import Observations
from assimilation.propagation import tangent_root, transform
from assimilation.variational import Problem
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout

POINTS = 8


@pytest.fixture
def state(float64):
    """Three replicas on the attractor of a small ring."""
    x = 8.0 + jnp.asarray(np.random.default_rng(0).normal(size=(POINTS, 3)))
    return jax.lax.fori_loop(0, 200, lambda _, y: lorenz96_step(y), x)


def test_rest_at_the_forcing_and_energy(state):
    np.testing.assert_allclose(tendency(jnp.full((POINTS, 1), 8.0)), 0.0, atol=1e-12)
    work = jnp.sum(state * tendency(state, forcing=5.0), axis=0)
    # The quadratic terms neither make nor lose energy.
    np.testing.assert_allclose(work, jnp.sum(5.0 * state - state**2, axis=0), rtol=1e-10)


def test_every_point_moves_by_lorenz_equation(state):
    for ring in (state, state[:4]):
        ahead, behind, further = (np.roll(ring, shift, axis=0) for shift in (-1, 1, 2))
        expected = (ahead - further) * behind - ring + 8.0
        np.testing.assert_allclose(tendency(ring), expected, rtol=1e-12)


def test_runge_kutta_is_of_order_four(state):
    def after(steps):
        return jax.lax.fori_loop(0, steps, lambda _, y: lorenz96_step(y, dt=0.2 / steps), state)

    exact = after(2048)
    errors = [float(jnp.abs(after(steps) - exact).max()) for steps in (8, 16, 32)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(orders, 4.0, atol=0.3)


def test_model_steps_each_column_by_itself_with_its_own_forcing(state):
    model = Lorenz96(points=POINTS)
    assert isinstance(model, Model)
    assert model.time_step == pytest.approx(6 * 3600.0)
    drive = jnp.asarray([8.0, 10.0, 6.0])
    states, _ = rollout(model, {"forcing": drive}, apart(state), no_weather(2, 3))
    for k in range(3):
        alone = state[:, k]
        for _ in range(2):
            alone = lorenz96_step(alone, forcing=float(drive[k]))
        np.testing.assert_allclose(together(states)[:, -1, k], alone, rtol=1e-12)


def test_tangent_against_differences(state):
    way = jnp.asarray(np.random.default_rng(1).normal(size=state.shape))
    _, tangent = jax.jvp(lorenz96_step, (state,), (way,))
    difference = (lorenz96_step(state + 1e-5 * way) - lorenz96_step(state - 1e-5 * way)) / 2e-5
    np.testing.assert_allclose(tangent, difference, atol=1e-8)


def problem_of(state, root, values, records):
    """All points observed with standard deviation 1 at the last of the records."""
    seen = jnp.zeros((records, 3)).at[-1].set(1.0)
    rows = {n: seen * values[k][None] for k, n in enumerate(names(POINTS))}
    return Problem(
        model=Lorenz96(points=POINTS),
        parameters={},
        background=apart(state),
        forcing=no_weather(records, 3),
        observations=Observations(
            values=rows,
            errors=dict.fromkeys(rows, jnp.ones_like(seen)),
            mask=dict.fromkeys(rows, seen),
        ),
        root=root,
        control=ControlVector(start=names(POINTS)),
    )


def minimum(problem, **options):
    none = jnp.zeros(problem.root.shape[1:])
    return small_hessian(lambda v, _: problem.residuals(v), none, None, **options)


def test_cycled_analyses_with_a_carried_covariance_beat_the_observations(state):
    generator = np.random.default_rng(2)
    model, ahead = Lorenz96(points=POINTS), no_weather(4, 3)
    root = jnp.repeat(jnp.eye(POINTS)[..., None], 3, axis=2)
    truth, x = state, state + generator.normal(size=state.shape)

    @jax.jit
    def cycle(x, root, truth, noise):
        to = jax.lax.fori_loop(0, 4, lambda _, y: lorenz96_step(y), truth)
        problem = problem_of(x, root, to + noise, records=5)
        v, hessian, _ = minimum(problem, tolerance=0.01)
        best = x + jnp.einsum("pic,ic->pc", root, v)
        series, _ = problem.trajectory(v)
        analysed = jnp.einsum("pic,cij->pjc", root, transform(hessian))
        carried = tangent_root(model, names(POINTS), {}, apart(best), analysed, ahead)
        return together({n: series[n][-1] for n in names(POINTS)}), 1.1 * carried, to

    errors = []
    for _ in range(30):
        x, root, truth = cycle(x, root, truth, generator.normal(size=state.shape))
        errors.append(float(jnp.sqrt(jnp.mean((x - truth) ** 2))))
    assert np.mean(errors[10:]) < 0.6


def test_hessian_is_that_of_the_residuals_and_its_root_undoes_it(state):
    root = 0.5 * jnp.repeat(jnp.eye(POINTS)[..., None], 3, axis=2)
    problem = problem_of(state, root, state + 1.0, records=5)
    v, hessian, _ = minimum(problem, tolerance=1e-8)
    jacobian = jax.jacfwd(problem.residuals)(v)
    for k in range(3):
        own = jacobian[:, k, :, k]
        np.testing.assert_allclose(hessian[k], own.T @ own, rtol=1e-6, atol=1e-8)
    root_of_inverse = transform(hessian)
    whole = jnp.einsum("cij,cjk,ckl->cil", root_of_inverse, hessian, root_of_inverse)
    np.testing.assert_allclose(whole, np.broadcast_to(np.eye(POINTS), whole.shape), atol=1e-8)


def test_columns_in_turn_are_as_all_at_once(state):
    generator = np.random.default_rng(6)
    data = {"seen": jnp.asarray(generator.normal(size=(2, 7)))}

    def residuals(v, data):
        return jnp.concatenate([v, 3.0 * (data["seen"] - v - 0.1 * v**2)])

    none = jnp.zeros((2, 7))
    whole = small_hessian(residuals, none, data, tolerance=1e-6)
    parts = small_hessian(residuals, none, data, tolerance=1e-6, batch=3)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    slope = jax.grad(lambda v: jnp.sum(residuals(v, data) ** 2))(parts[0])
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)
    assert len(set(np.asarray(parts[2]).tolist())) > 1


def test_transform_of_members_keeps_their_mean_and_sees_only_their_part(state):
    generator = np.random.default_rng(3)
    draws = jnp.asarray(generator.normal(size=(POINTS, 5, 3)))
    own = (draws - draws.mean(axis=1, keepdims=True)) / 2.0
    alone = problem_of(state, own, state, records=5)
    _, hessian, _ = minimum(alone, max_iterations=0)
    analysed = jnp.einsum("pic,cij->pjc", own, transform(hessian))
    np.testing.assert_allclose(analysed.mean(axis=1), 0.0, atol=1e-10)
    static = jnp.repeat(jnp.eye(POINTS)[..., None], 3, axis=2)
    both = problem_of(state, jnp.concatenate([static, own], axis=1), state, records=5)
    _, joint, _ = minimum(both, max_iterations=0)
    np.testing.assert_allclose(transform(joint, members=5), transform(hessian), atol=1e-8)


def test_tangent_root_is_the_tangent_of_the_rollout(state):
    model, ahead = Lorenz96(points=POINTS), no_weather(3, 3)
    root = jnp.asarray(np.random.default_rng(4).normal(size=(POINTS, 2, 3)))
    carried = tangent_root(model, names(POINTS), {}, apart(state), root, ahead)

    def end(x):
        return together({n: s[-1] for n, s in rollout(model, {}, apart(x), ahead)[0].items()})

    for j in range(2):
        difference = (end(state + 1e-5 * root[:, j]) - end(state - 1e-5 * root[:, j])) / 2e-5
        np.testing.assert_allclose(carried[:, j], difference, atol=1e-6)
