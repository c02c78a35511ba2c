"""A model whose tangents go one after another: the same numbers, from one linearisation a step."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.columnwise import forward_slopes
from hybrid_land.data.samples import load_sample
from hybrid_land.models.store import load_model
from hybrid_land.rollout import rollout
from hybrid_land.tangents import in_turn
from tests.toy import Buckets, case


class Shadowed:
    """A step through `sin`, whose calls can be counted, on columns."""

    time_step = 1.0
    prognostic = ("x",)
    diagnostic = ("y",)

    def step(self, parameters, state, forcing):
        x = jnp.sin(parameters["a"] * state["x"]) + forcing["f"]
        return {"x": x}, {"y": x**2}


SHADOWED = (
    {"a": jnp.array([0.5, 0.7, 0.9])},
    {"x": jnp.array([1.0, 2.0, 3.0])},
    {"f": jnp.linspace(0.0, 1.0, 18).reshape(6, 3)},
)


def along_parameter_and_state(model, parameters, state, forcing):
    """Slopes of a run of `Shadowed` along its parameter and its first state."""

    def run(v, data):
        given, first, weather = data
        states, diagnostics = rollout(
            model, {"a": given["a"] + v[0]}, {"x": first["x"] + v[1]}, weather
        )
        return states["x"], diagnostics["y"]

    return forward_slopes(run, jnp.zeros((2, 3)), (parameters, state, forcing))


def test_values_and_tangents_are_the_model_s():
    plain = along_parameter_and_state(Shadowed(), *SHADOWED)
    turned = along_parameter_and_state(in_turn(Shadowed()), *SHADOWED)
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(turned), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_step_is_linearised_for_all_tangents_and_applied_to_one_at_a_time():
    shapes = {}
    for name, model in (("plain", Shadowed()), ("in turn", in_turn(Shadowed()))):
        program = str(jax.make_jaxpr(lambda m=model: along_parameter_and_state(m, *SHADOWED))())
        shapes[name] = set(re.findall(r"f32\[([\d,]*)\] = mul ", program))
        assert re.findall(r"f32\[([\d,]*)\] = cos ", program) == ["3"]
    # Two tangents of three columns at once, or each alone.
    assert "2,3" in shapes["plain"]
    assert "2,3" not in shapes["in turn"]


@pytest.mark.parametrize("mapped", [(0, 0), (0, None), (None, 0)])
def test_tangents_mapped_with_the_state_or_beside_another_are_the_model_s(mapped):
    """A member of its own for each tangent, whose linearisation none can share; or a fixed one."""
    members = jnp.array([[1.0, 2.0, 3.0], [0.5, 0.1, 2.0]])
    ways = jnp.array([[1.0, 0.0, -1.0], [0.3, 2.0, 1.0]])

    def slopes(model):
        def along(x, way):
            def run(a, x):
                return rollout(model, {"a": a}, {"x": x}, SHADOWED[2])[0]["x"]

            return jax.jvp(run, (SHADOWED[0]["a"], x), (jnp.ones(3), way))[1]

        given = [
            each if axis == 0 else each[1]
            for each, axis in zip((members, ways), mapped, strict=True)
        ]
        return jax.vmap(along, in_axes=mapped)(*given)

    found, expected = slopes(in_turn(Shadowed())), slopes(Shadowed())
    assert found.shape == (2, 6, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_reverse_mode_is_refused():
    parameters, state, forcing = case()

    def total(state):
        return sum(
            x.sum() for x in rollout(in_turn(Buckets()), parameters, state, forcing)[0].values()
        )

    with pytest.raises(NotImplementedError, match="custom_vmap"):
        jax.grad(total)(state)


def test_the_emulator_s_slopes_in_pieces_of_columns_are_those_of_the_whole():
    data = load_sample("ecland_sample").isel(time=slice(0, 12)).load()
    model = load_model("small")
    given = (parameters_from(data), state_from(data, variables=model.prognostic))
    many = jax.tree.map(lambda leaf: jnp.tile(leaf, 7)[:150], given)  # more than one piece
    weather = jax.tree.map(lambda leaf: jnp.tile(leaf, (1, 7))[:, :150], forcing_from(data))

    def run(model):
        def moved(v, data):
            (parameters, state), forcing = data
            state = state | {"swvl1": state["swvl1"] + v[0], "swvl2": state["swvl2"] + v[1]}
            return rollout(model, parameters, state, forcing)[0]["swvl1"]

        return moved

    where = 0.02 * jax.random.normal(jax.random.key(0), (2, 150))
    value, slopes = jax.jit(lambda: forward_slopes(run(in_turn(model)), where, (many, weather)))()
    value_one, ways = run(model)(where, (many, weather)), jnp.eye(2)[:, :, None]
    expected = [
        jax.jit(
            lambda way=way: jax.jvp(
                lambda v: run(model)(v, (many, weather)),
                (where,),
                (jnp.broadcast_to(way, (2, 150)),),
            )[1]
        )()
        for way in ways
    ]
    np.testing.assert_allclose(value, value_one, atol=1e-5)
    np.testing.assert_allclose(slopes, jnp.stack(expected), atol=1e-4)
    assert float(jnp.abs(slopes[0]).max()) > 0.5  # else nothing was tested
