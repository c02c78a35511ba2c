"""The scan over time: against a loop, checkpointed, in pieces of columns, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.chunks import in_chunks
from hybrid_land.rollout import rollout


class Leaky:
    """x(t + 1) = a x(t) + f(t), y = x(t)^2: a model whose gradient is known by hand."""

    time_step = 1.0
    prognostic = ("x",)
    diagnostic = ("y",)

    def step(self, parameters, state, forcing):
        return {"x": parameters["a"] * state["x"] + forcing["f"]}, {"y": state["x"] ** 2}


@pytest.fixture
def case():
    generator = np.random.default_rng(0)
    forcing = {"f": jnp.asarray(generator.normal(size=(23, 5)))}
    return {"a": jnp.linspace(0.5, 0.9, 5)}, {"x": jnp.ones(5)}, forcing


def test_equals_a_loop(case):
    parameters, state, forcing = case
    states, diagnostics = rollout(Leaky(), parameters, state, forcing)
    x = np.ones(5)
    for i in range(23):
        np.testing.assert_allclose(diagnostics["y"][i], x**2, rtol=1e-5)
        x = np.asarray(parameters["a"]) * x + np.asarray(forcing["f"][i])
        np.testing.assert_allclose(states["x"][i], x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("segments", [1, 4, 5, 23])
def test_checkpointing_changes_neither_value_nor_gradient(case, segments):
    parameters, state, forcing = case

    def outcome(parameters, segments):
        states, _ = rollout(Leaky(), parameters, state, forcing, checkpoint_segments=segments)
        return jnp.sum(states["x"] ** 2), states["x"]

    plain, grown = (
        jax.value_and_grad(lambda p, s=s: outcome(p, s)[0])(parameters) for s in (None, segments)
    )
    np.testing.assert_allclose(plain[0], grown[0], rtol=1e-6)
    np.testing.assert_allclose(plain[1]["a"], grown[1]["a"], rtol=1e-5)
    assert outcome(parameters, segments)[1].shape == (23, 5)


def test_checkpointing_refuses_more_segments_than_steps(case):
    with pytest.raises(ValueError, match=r"checkpoint_segments is 24, expected 1 to .* 23"):
        rollout(Leaky(), *case, checkpoint_segments=24)


def test_gradient_of_a_linear_model_is_the_power_of_its_factor(float64):
    parameters = {"a": jnp.asarray([0.5, 0.9])}
    forcing = {"f": jnp.zeros((10, 2))}
    gradient = jax.grad(
        lambda state: rollout(Leaky(), parameters, state, forcing)[0]["x"][-1].sum()
    )({"x": jnp.ones(2)})
    np.testing.assert_allclose(gradient["x"], parameters["a"] ** 10, rtol=1e-12)


class Mixing:
    """x(t + 1) = tanh(K x(t)) on two variables: its slope needs K x(t)."""

    time_step = 1.0
    prognostic = ("x", "y")
    diagnostic = ()

    def step(self, parameters, state, forcing):
        x, y = jnp.tanh(jnp.asarray([[0.5, -0.3], [0.2, 0.8]]) @ jnp.stack(list(state.values())))
        return {"x": x, "y": y}, {}


def test_products_that_are_not_kept_are_computed_again_to_the_same_gradient(case):
    state = {"x": jnp.linspace(0.1, 1.0, 5), "y": jnp.linspace(-1.0, 0.4, 5)}

    def slope(keep):
        def last(state):
            return rollout(Mixing(), {}, state, case[2], keep_products=keep)[0]["x"][-1].sum()

        return jax.grad(last)

    kept, again = (
        str(jax.make_jaxpr(slope(keep))(state)).count("dot_general") for keep in (True, False)
    )
    assert again == kept + 1
    found, expected = slope(False)(state), slope(True)(state)
    assert float(jnp.abs(expected["y"]).min()) > 0.0
    np.testing.assert_allclose(found["x"], expected["x"], rtol=1e-6)
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-6)


@pytest.mark.parametrize("chunk", [2, 5, 8])
def test_columns_in_chunks_give_the_same_numbers(case, chunk):
    parameters, state, forcing = case

    def run(parameters, state, forcing):
        return rollout(Leaky(), parameters, state, forcing)

    whole = run(parameters, state, forcing)
    pieces = in_chunks(run, chunk=chunk, axes=(0, 0, 1))(parameters, state, forcing)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, pieces)


def test_pieces_are_as_few_as_the_chunk_allows_and_of_one_size():
    sizes = []

    def run(x):
        sizes.append(x.shape[-1])
        return 2.0 * x

    for columns, size in ((120, 120), (128, 128), (129, 80), (150, 80), (432, 112), (1024, 128)):
        doubled = in_chunks(run, chunk=128, axes=(-1,))(jnp.arange(columns, dtype=jnp.float32))
        np.testing.assert_array_equal(doubled, 2.0 * np.arange(columns))
        assert set(sizes) == {size}
        sizes.clear()
