"""Functions of a model compiled once, whether the model is made of arrays or not."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from hybrid_land.compiled import is_pytree, run_compiled

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
