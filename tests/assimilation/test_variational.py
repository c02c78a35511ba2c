"""4D-Var on a linear model, where the answer is known; its gradient; what happens when it fails."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.control import CONTROL, ControlVector, to_bounded, to_free
from assimilation.covariance import background_root
from assimilation.observations import Observations
from assimilation.operators import on_records, root_zone_soil_moisture
from assimilation.variational import Problem
from assimilation.window import make_window_analysis
from hybrid_land.rollout import rollout

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parents[1] / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


STRONG = ControlVector(start=CONTROL)


@pytest.fixture
def twin(float64):
    """A truth, its noisy observations of the top layer, and a wrong background."""
    model = toy.Buckets()
    parameters, state, forcing = toy.case()
    truth = on_records(state, *rollout(model, parameters, state, forcing))
    generator = np.random.default_rng(5)
    shape = truth["swvl1"].shape
    mask = jnp.asarray(generator.random(shape) < 0.3, float)
    values = truth["swvl1"] + 0.01 * generator.standard_normal(shape)
    observations = Observations(
        values={"swvl1": mask * values},
        errors={"swvl1": jnp.full(shape, 0.01)},
        mask={"swvl1": mask},
    )
    root = background_root(CONTROL, deviation=dict.fromkeys(CONTROL, 0.03))
    wrong = np.asarray(root) @ generator.standard_normal((4, shape[1]))
    background = {name: state[name] + wrong[k] for k, name in enumerate(CONTROL)}
    return model, parameters, background, forcing, observations, root, truth


def one_column(twin, k):
    model, parameters, background, forcing, observations, root, _ = twin
    cut = lambda tree, axis: jax.tree.map(lambda x: jnp.take(x, jnp.array([k]), axis), tree)  # noqa: E731
    return Problem(
        model=model,
        parameters=cut(parameters, 0),
        background=cut(background, 0),
        forcing=cut(forcing, 1),
        observations=cut(observations, 1),
        root=root[:, :, None],
        control=STRONG,
    )


def test_gradient_of_the_cost_against_finite_differences(twin):
    problem = one_column(twin, 0)
    v = jnp.asarray([[0.3], [-0.2], [0.5], [0.1]])
    gradient = jax.grad(lambda v: problem.cost(v)[0])(v)[:, 0]
    for k in range(4):
        way = jnp.zeros((4, 1)).at[k].set(1e-5)
        difference = (problem.cost(v + way) - problem.cost(v - way))[0] / 2e-5
        np.testing.assert_allclose(gradient[k], difference, rtol=1e-6)


def test_terms_add_up_and_background_term_is_zero_at_the_background(twin):
    problem = one_column(twin, 1)
    v = jnp.asarray([[0.3], [-0.2], [0.5], [0.1]])
    terms = problem.terms(v)
    assert float(sum(terms.values())[0]) == pytest.approx(float(problem.cost(v)[0]))
    assert float(problem.terms(jnp.zeros((4, 1)))["background"][0]) == 0.0
    np.testing.assert_allclose(terms["background"][0], 0.5 * jnp.vdot(v, v))


def test_linear_gaussian_analysis_is_the_kalman_solution(twin):
    """x_a = x_b + B G^T (G B G^T + R)^-1 (y - G x_b), and A = B - K G B."""
    model, parameters, background, forcing, observations, root, _ = twin
    analyse = make_window_analysis(model, control=STRONG, error_of=("swvl3",), tolerance=1e-9)
    found = analyse(parameters, background, forcing, observations, root)
    covariance = np.asarray(root @ root.T)
    for k in range(3):
        problem = one_column(twin, k)

        def predicted(x, problem=problem):
            state = {name: x[i][None] for i, name in enumerate(CONTROL)}
            states, diagnostics = rollout(model, problem.parameters, state, problem.forcing)
            return on_records(state, states, diagnostics)["swvl1"][:, 0]

        seen = np.asarray(observations.mask["swvl1"][:, k]) > 0
        x = jnp.stack([background[name][k] for name in CONTROL])
        operator = np.asarray(jax.jacfwd(predicted)(x))[seen]
        innovation = np.asarray(observations.values["swvl1"][:, k] - predicted(x))[seen]
        spread = operator @ covariance @ operator.T + 1e-4 * np.eye(seen.sum())
        gain = covariance @ operator.T @ np.linalg.inv(spread)
        np.testing.assert_allclose(found.control[:, k], x + gain @ innovation, atol=1e-6)
        error = covariance - gain @ operator @ covariance
        np.testing.assert_allclose(found.control_error[:, k], np.sqrt(np.diag(error)), rtol=1e-5)
        signal = np.trace(np.linalg.solve(covariance, gain @ operator @ covariance))
        np.testing.assert_allclose(found.signal[k], signal, rtol=1e-5)
    assert bool(found.converged.all())
    assert float(found.gradient_norm.max()) < 1e-4


def test_root_zone_moves_to_the_truth(twin):
    model, parameters, background, forcing, observations, root, truth = twin
    found = make_window_analysis(model, control=STRONG)(
        parameters, background, forcing, observations, root
    )
    first = on_records(background, *rollout(model, parameters, background, forcing))
    root_zone = root_zone_soil_moisture
    before = np.sqrt(np.mean((root_zone(first) - root_zone(truth)) ** 2))
    after = np.sqrt(np.mean((root_zone(found.series) - root_zone(truth)) ** 2))
    assert after < 0.5 * before


def test_field_capacity_in_the_control_vector_is_found(twin):
    model, parameters, background, forcing, _, _, truth = twin
    control = (*CONTROL, "theta_cap")
    root = background_root(control, deviation=dict.fromkeys(CONTROL, 0.03))
    wrong = parameters | {"theta_cap": parameters["theta_cap"] + 0.08}
    dense = Observations(
        values={"swvl1": truth["swvl1"]},
        errors={"swvl1": jnp.full_like(truth["swvl1"], 0.002)},
        mask={"swvl1": jnp.ones_like(truth["swvl1"])},
    )
    found = make_window_analysis(model, control=ControlVector(start=control))(
        wrong, background, forcing, dense, root
    )
    error = np.abs(found.control[4] - parameters["theta_cap"])
    assert float(error.max()) < 0.02
    assert (found.control_error[4] < 0.02).all()


def test_a_column_whose_model_is_not_finite_is_reported(twin):
    model, parameters, background, forcing, observations, root, _ = twin
    broken = {"rain": forcing["rain"].at[3, 1].set(jnp.nan)}
    found = make_window_analysis(model, control=STRONG)(
        parameters, background, broken, observations, root
    )
    assert list(np.asarray(found.converged)) == [True, False, True]


def test_bounds_hold_and_the_map_is_the_identity_inside(float64):
    lower, upper = jnp.zeros(5), jnp.full(5, 0.45)
    y = jnp.asarray([-0.3, 0.1, 0.2, 0.35, 0.9])
    x = to_bounded(y, lower, upper)
    assert float(x.min()) >= 0.0
    assert float(x.max()) <= 0.45
    np.testing.assert_allclose(x[1:4], y[1:4], atol=1e-8)
    inside = jnp.asarray([0.001, 0.01, 0.2, 0.43, 0.449])
    np.testing.assert_allclose(
        to_bounded(to_free(inside, lower, upper), lower, upper), inside, atol=1e-6
    )
