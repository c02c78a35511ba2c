"""Functions of a model compiled once, whether the model is made of arrays or not."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from hybrid_land.compiled import apart, is_pytree, run_compiled, without_borders

TRACES = []


class Still:
    """A model of nothing."""

    time_step = 21600.0
    prognostic = ()
    diagnostic = ()

    def step(self, parameters, state, forcing):
        return state, {}


class Plain(Still):
    """A model that JAX knows nothing of."""

    def __init__(self, factor):
        self.factor = factor


@partial(jax.tree_util.register_dataclass, data_fields=["factor"], meta_fields=[])
@dataclass
class Arrays(Still):
    """A model made of arrays."""

    factor: jax.Array


def scaled(model, x, *, power):
    TRACES.append(power)
    return model.factor * x**power


@pytest.mark.parametrize(
    ("first", "other", "as_argument"),
    [(Arrays(jnp.asarray(2.0)), Arrays(jnp.asarray(3.0)), True), (Plain(2.0), Plain(3.0), False)],
)
def test_calls_alike_compile_once_and_each_model_answers_for_itself(first, other, as_argument):
    assert is_pytree(first) is as_argument
    TRACES.clear()
    x = jnp.asarray([1.0, 2.0])
    assert run_compiled(scaled, first, x, power=2).tolist() == [2.0, 8.0]
    assert run_compiled(scaled, first, x + 1.0, power=2).tolist() == [8.0, 18.0]
    assert len(TRACES) == 1
    # Arrays are arguments: another model of the same form is the same program.
    assert run_compiled(scaled, other, x, power=2).tolist() == [3.0, 12.0]
    assert len(TRACES) == (1 if as_argument else 2)
    assert run_compiled(scaled, first, x, power=3).tolist() == [2.0, 16.0]
    assert TRACES[-1] == 3


@apart
def squared_and_raised(x, *, by):
    return {"raised": jnp.clip(x * x, 0.0, 3.0) + by}


def between(x):
    """A piece between operations that XLA would fuse with it."""
    return squared_and_raised(2.0 * x, by=1.0)["raised"] * 0.5


@pytest.mark.parametrize(
    "of", [between, lambda x: jax.jvp(between, (x,), (x,)), jax.grad(lambda x: between(x).sum())]
)
def test_nothing_is_fused_across_the_border_of_a_piece_nor_of_its_derivative(of):
    x = jnp.linspace(-1.0, 1.0, 64)
    program = jax.jit(of).lower(x).compile().as_text()
    assert sum(" call(" in line for line in program.splitlines()) >= 1


def test_a_piece_of_few_columns_and_one_traced_without_borders_are_joined():
    def program(x):
        return jax.jit(lambda x: between(x)).lower(x).compile().as_text()

    assert " call(" in program(jnp.linspace(-1.0, 1.0, 32))
    assert " call(" not in program(jnp.linspace(-1.0, 1.0, 31))
    with without_borders():
        assert " call(" not in program(jnp.linspace(-1.0, 1.0, 32))
    assert " call(" in program(jnp.linspace(-1.0, 1.0, 32))


def test_a_piece_gives_what_its_function_gives_and_is_traced_once_a_setting():
    seen = []

    @apart
    def cubed(x, *, by):
        seen.append(by)
        return {"cubed": x**3 + by}

    x = jnp.linspace(-1.0, 1.0, 64)
    exact = x**3 + 1.0
    for _ in range(2):
        assert jnp.allclose(cubed(x, by=1.0)["cubed"], exact)
        assert jnp.allclose(jax.jit(lambda x: cubed(x, by=1.0)["cubed"])(x), exact)
    assert seen == [1.0]
    assert jnp.allclose(cubed(x, by=2.0)["cubed"], exact + 1.0)
    assert seen == [1.0, 2.0]
    of_one = jax.vmap(lambda x: cubed(x, by=1.0)["cubed"])
    assert jnp.allclose(of_one(x), exact)
    assert jnp.allclose(jax.grad(lambda x: of_one(x).sum())(x), 3.0 * x * x)
