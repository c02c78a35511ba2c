"""A function of one column, mapped: one call on all columns, right in value and gradient."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from hybrid_land.columnwise import columnwise
from hybrid_land.rollout import rollout
from tests.toy import Buckets, case

MODES = ("forward", "reverse")


def native(x, data):
    """Any smooth function of two numbers a column and of a series, `[column]`."""
    curve = jnp.sum(jnp.sin(x["a"][None, :] * data["series"]), axis=0)
    return curve + data["scale"] * x["a"] * x["b"] ** 3


@pytest.fixture
def columns():
    """Points and data of four columns, the column on the last axis."""
    generator = np.random.default_rng(0)
    x = {name: jnp.asarray(generator.normal(size=4), jnp.float32) for name in "ab"}
    series = jnp.asarray(generator.normal(size=(6, 4)), jnp.float32)
    return x, {"series": series, "scale": jnp.arange(1.0, 5.0)}


def column(tree, k):
    return jax.tree.map(lambda leaf: leaf[..., k], tree)


def sines(function, *arguments):
    """Shapes of the sines that are computed: one a call of `native`, `[record, column]`."""
    return re.findall(r"f32\[([\d,]*)\] = sin ", str(jax.make_jaxpr(function)(*arguments)))


@pytest.mark.parametrize("mode", MODES)
def test_one_column_at_a_time_equals_jax_grad_of_the_function(columns, mode):
    one = columnwise(native, mode=mode)
    slope = jax.grad(lambda x, data: native(x, data).sum())(*columns)
    for k in range(4):
        at, data = column(columns, k)
        value, found = jax.value_and_grad(one)(at, data)
        assert value.shape == ()
        np.testing.assert_allclose(one(at, data), native(*columns)[k], rtol=1e-6)
        np.testing.assert_allclose(value, native(*columns)[k], rtol=1e-6)
        for name in "ab":
            np.testing.assert_allclose(found[name], slope[name][k], rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_mapped_value_and_gradient_are_one_call_each_on_all_columns(columns, mode):
    one = columnwise(native, mode=mode)
    mapped = jax.vmap(one, in_axes=(-1, -1))
    assert sines(mapped, *columns) == ["6,4"]
    np.testing.assert_allclose(mapped(*columns), native(*columns), rtol=1e-6)
    both = jax.vmap(jax.value_and_grad(one), in_axes=(-1, -1))
    # One sweep forward for each leaf of x, or one in reverse; never a call on one column.
    assert sines(both, *columns) == ["6,4"] * (2 if mode == "forward" else 1)
    value, found = jax.jit(both)(*columns)
    slope = jax.grad(lambda x, data: native(x, data).sum())(*columns)
    np.testing.assert_allclose(value, native(*columns), rtol=1e-6)
    for name in "ab":
        np.testing.assert_allclose(found[name], slope[name], rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_mapped_twice_is_one_call_on_all_columns(columns, mode):
    """As for an ensemble in each column, which share the column's data."""
    one = columnwise(native, mode=mode)
    x, data = columns
    many = jax.tree.map(lambda leaf: leaf[None] + jnp.arange(3.0)[:, None], x)
    inner = jax.vmap(jax.value_and_grad(one), in_axes=(0, None))
    both = jax.vmap(inner, in_axes=(-1, -1))
    assert sines(both, many, data) == ["6,12"] * (2 if mode == "forward" else 1)
    value, slope = both(many, data)
    for member in range(3):
        own = jax.tree.map(lambda leaf, at=member: leaf[at], many)
        expected = jax.grad(lambda x: native(x, data).sum())(own)
        np.testing.assert_allclose(value[:, member], native(own, data), rtol=1e-5)
        for name in "ab":
            np.testing.assert_allclose(slope[name][:, member], expected[name], rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_forward_mode_of_the_mapped_function(columns, mode):
    one = jax.vmap(columnwise(native, mode=mode), in_axes=(-1, -1))
    x, data = columns
    way = {"a": jnp.full(4, 0.3), "b": jnp.arange(4.0)}
    found = jax.jvp(lambda at: one(at, data), (x,), (way,))
    expected = jax.jvp(lambda at: native(at, data), (x,), (way,))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_mapped_is_the_same_in_all_columns(columns, mode):
    one = columnwise(native, mode=mode)
    x, data = columns
    shared = column(data, 2)
    both = jax.vmap(jax.value_and_grad(one), in_axes=(-1, None))
    assert set(sines(both, x, shared)) == {"6,4"}
    value, slope = both(x, shared)
    wide = jax.tree.map(lambda leaf: jnp.repeat(leaf[..., None], 4, axis=-1), shared)
    expected = jax.grad(lambda x: native(x, wide).sum())(x)
    np.testing.assert_allclose(value, native(x, wide), rtol=1e-6)
    np.testing.assert_allclose(slope["b"], expected["b"], rtol=1e-5)
    # One leaf of x shared, the other not.
    axes = ({"a": None, "b": -1}, {"series": -1, "scale": None})
    mixed = {"a": x["a"][1], "b": x["b"]}, {"series": data["series"], "scale": data["scale"][0]}
    full = {"a": jnp.full(4, x["a"][1]), "b": x["b"]}, data | {"scale": jnp.full(4, 1.0)}
    np.testing.assert_allclose(jax.vmap(one, in_axes=axes)(*mixed), native(*full), rtol=1e-6)


def test_reverse_mode_takes_vectors(columns):
    """A control vector `[number, column]`, as the variational minimiser has."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)

    def quartic(v, data):
        return jnp.sum(data * v**4, axis=0)

    v = weights + 1.0
    value, slope = jax.vmap(
        jax.value_and_grad(columnwise(quartic, mode="reverse")), in_axes=-1, out_axes=(0, -1)
    )(v, weights)
    np.testing.assert_allclose(value, quartic(v, weights), rtol=1e-6)
    np.testing.assert_allclose(slope, 4 * weights * v**3, rtol=1e-5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Checked:
    """Data that hold nothing but arrays, as those whose annotations are checked."""

    weight: jax.Array

    def __post_init__(self):
        assert isinstance(self.weight, jax.Array)


def test_data_may_check_what_they_hold():
    one = columnwise(lambda x, data: x**2 * data.weight, mode="forward")
    found = jax.vmap(jax.grad(one))(jnp.arange(3.0), Checked(jnp.full(3, 0.5)))
    np.testing.assert_allclose(found, jnp.arange(3.0))


@pytest.mark.parametrize("mode", MODES)
def test_columns_of_a_loop_stop_on_their_own(columns, mode):
    """Descent in a while loop: each column takes as many steps as it needs alone."""
    one = columnwise(lambda x, data: (x - data) ** 2, mode=mode)
    targets = jnp.asarray([0.0, 0.1, 1.0, 30.0])

    def descend(target):
        def body(carry):
            x, steps = carry
            return x - 0.25 * jax.grad(one)(x, target), steps + 1

        return jax.lax.while_loop(lambda c: one(c[0], target) > 1e-4, body, (jnp.zeros(()), 0))

    found, steps = jax.jit(jax.vmap(descend))(targets)
    np.testing.assert_allclose(found, targets, atol=1e-2)
    # The distance halves each time: the least n with d / 2^n below 0.01.
    assert list(np.asarray(steps)) == [0, 4, 7, 12]


def test_a_minimiser_on_a_rollout_finds_each_columns_parameter(float64):
    model, (parameters, state, forcing) = Buckets(), case(steps=20)
    truth = rollout(model, parameters, state, forcing)[0]["swvl1"]

    def misfit(theta_cap, data):
        given, first, weather, seen = data
        states, _ = rollout(model, given | {"theta_cap": theta_cap}, first, weather)
        return 1e4 * jnp.sum((states["swvl1"] - seen) ** 2, axis=0)

    one = columnwise(misfit, mode="forward")

    def minimise(guess, data):
        solver = optx.BFGS(rtol=1e-10, atol=1e-10)
        return optx.minimise(one, solver, guess, args=data, max_steps=100).value

    data = (parameters, state, forcing, truth)
    found = jax.jit(jax.vmap(minimise, in_axes=-1))(jnp.full(3, 0.25), data)
    np.testing.assert_allclose(found, parameters["theta_cap"], atol=1e-6)
