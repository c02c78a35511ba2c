"""Columns that share: the transfer function, its prior, and what a method finds of it."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.hierarchy import share
from calibration.laplace import laplace
from calibration.problem import log_posterior
from hybrid_land.errors import InputError
from tests.calibration.exact import along_a_covariate, linear

COLUMNS, SEEN = 12, 6


@pytest.fixture(scope="module")
def problem():
    return along_a_covariate(effects=0.1, columns=COLUMNS, seen=SEEN)


def test_every_column_s_number_is_the_transfer_function_and_its_own_effect(problem):
    one, x = problem
    shared = share(one, {"sand": x + 2.0, "constant": np.ones(COLUMNS)})
    assert shared.problem.names[:4] == (
        *("theta_cap_intercept", "theta_cap_slope_sand", "theta_cap_spread"),
        "theta_cap_effect_0",
    )
    z = np.random.default_rng(1).normal(size=(3, COLUMNS + 3, 1)).astype(np.float32)
    own = shared.by_column(z)
    spread = 0.3 * np.exp(0.7 * z[:, 2])
    expected = z[:, 0] + 0.5 * z[:, 1] * x / x.std() + spread * z[:, 3:, 0]
    np.testing.assert_allclose(own[:, 0, :], expected, rtol=1e-4, atol=1e-5)
    told = shared.problem.parameters(z)
    assert told["theta_cap_spread"] == pytest.approx(spread, rel=1e-5)
    assert told["theta_cap_slope_sand"] == pytest.approx(0.5 * z[:, 1], rel=1e-5)
    assert told["theta_cap_intercept"] == pytest.approx(z[:, 0], rel=1e-5)


def test_each_parameter_has_a_transfer_function_of_its_own():
    two, *_ = linear(parameters=2, columns=3)
    shared = share(two, {"sand": np.array([1.0, 2.0, 3.0]), "clay": np.array([0.0, 1.0, 0.0])})
    names = shared.problem.names
    z = np.random.default_rng(3).normal(size=(2, len(names), 1)).astype(np.float32)
    by_name = dict(zip(names, z[..., 0].T, strict=True))
    sand, clay = np.array([-1.0, 0.0, 1.0]) * 1.5**0.5, np.array([-1.0, 2.0, -1.0]) / 2**0.5
    own = shared.by_column(z)
    for i, name in enumerate(two.names):
        slopes = [by_name[f"{name}_slope_{x}"][:, None] for x in ("sand", "clay")]
        effects = np.stack([by_name[f"{name}_effect_{c}"] for c in range(3)], axis=1)
        spread = 0.3 * np.exp(0.7 * by_name[f"{name}_spread"])[:, None]
        function = by_name[f"{name}_intercept"][:, None] + 0.5 * (
            slopes[0] * sand + slopes[1] * clay
        )
        np.testing.assert_allclose(own[:, i], function + spread * effects, rtol=1e-4, atol=1e-5)
    expected = two.evaluate(own).reshape(2, -1)
    np.testing.assert_allclose(shared.problem.evaluate(z)[..., 0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(shared.problem.present[:, 0], np.ravel(two.present))


def test_the_density_is_the_sum_of_the_columns(problem):
    """In every lane, with columns' data of their own."""
    one, x = problem
    scale = jnp.linspace(-1.0, 2.0, COLUMNS)
    shared = share(replace(one, log_scale=scale), {"sand": x})
    z = np.random.default_rng(2).normal(size=(4, COLUMNS + 3)).astype(np.float32)
    density = jax.vmap(log_posterior(shared.problem), in_axes=(0, -1))
    lanes = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4, axis=-1), shared.problem.lanes)
    misfit = one.misfit(shared.by_column(z[..., None])).sum(axis=1)
    expected = float(scale.sum()) - misfit - 0.5 * (z**2).sum(axis=1)
    np.testing.assert_allclose(density(jnp.asarray(z), lanes), expected, rtol=1e-4)
    np.testing.assert_allclose(shared.problem.misfit(z[..., None])[:, 0], misfit, rtol=1e-4)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_slopes_along_what_is_shared_go_through_those_of_columns(float64, mode):
    """Right in both modes, and in one sweep for each parameter of a column, not of all together."""
    generator = np.random.default_rng(4)
    two, *_ = linear(parameters=2, columns=3)
    data = jnp.asarray(generator.normal(size=(6, 3)))

    def curve(z, data):
        return jnp.sin(z[0][None] * data) * z[1][None] ** 2

    made = replace(two, columns=data, observed=jnp.zeros((6, 3)), expected=curve)
    shared = share(made, {"sand": np.array([1.0, 2.0, 4.0])})
    lanes = jax.tree.map(lambda leaf: jnp.asarray(leaf), shared.problem.columns)
    z = jnp.asarray(generator.normal(size=(len(shared.problem.names), 1)))

    def seen(z):
        return shared.problem.expected(z, lanes)[:, 0]

    slopes = mode(seen)(z)[..., 0]
    for i in range(len(z)):
        way = jnp.zeros_like(z).at[i].set(1e-5)
        differences = (seen(z + way) - seen(z - way)) / 2e-5
        np.testing.assert_allclose(slopes[:, i], differences, atol=1e-8)
    program = str(jax.make_jaxpr(mode(seen))(z))
    assert re.findall(r"f64\[([\d,]*)\] = cos ", program) == ["6,3"]
    assert not re.findall(rf"f64\[{len(z)},6,3\] = mul ", program)


def test_the_slope_is_found_and_columns_gain_by_it(problem):
    one, x = problem
    pooled = share(one, {"sand": x + 2.0}, pooled=True)
    assert pooled.problem.names == ("theta_cap_intercept", "theta_cap_slope_sand")
    z, _ = laplace(pooled.problem, key=jax.random.key(0))
    # The exact posterior: z_c = a + 0.5 b x_c, seen SEEN times in each column.
    design = np.stack([np.ones(COLUMNS), 0.5 * x / x.std()], axis=1)
    precision = np.eye(2) + SEEN * design.T @ design
    mean = np.linalg.solve(precision, SEEN * design.T @ np.asarray(one.observed).mean(axis=0))
    np.testing.assert_allclose(z.mean(axis=(0, 1))[:, 0], mean, atol=0.05)
    own = pooled.by_column(z.reshape(-1, *z.shape[2:]))
    assert own.shape == (z.shape[0] * z.shape[1], 1, COLUMNS)
    alone = 1.0 / np.sqrt(1.0 + SEEN)
    assert (own[:, 0].std(axis=0) < 0.8 * alone).all()


def test_one_column_shares_with_none(problem):
    from calibration.problem import chosen_columns

    with pytest.raises(InputError, match="1 column, expected at least two"):
        share(chosen_columns(problem[0], np.array([0])))
    with pytest.raises(InputError, match="covariate sand is missing in column 1"):
        share(problem[0], {"sand": np.array([0.0, np.nan, *range(COLUMNS - 2)])})
