"""Hybrid models: their step, gradients, and what is on disk."""

import json
import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from assimilation.lorenz96 import Lorenz96, apart, no_weather, together
from assimilation.model_error import (
    ColumnNetwork,
    RingNetwork,
    load_hybrid,
    make_hybrid,
    make_pairs,
    save_hybrid,
    weights_in,
)
from assimilation.model_error.course import CubicLorenz96, cubic_term
from assimilation.model_error.hybrid import as_dtype, trainable
from assimilation.model_error.pairs import warn_if_few
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout

POINTS = 8
BASE = Lorenz96(points=POINTS)


def network(*, products=True, seed=0, filled=True):
    layers = ((3, 5),) if products else ((4, 5), (3, 3))
    net = RingNetwork(
        names=BASE.prognostic,
        layers=layers,
        products=products,
        mean=2.0,
        spread=3.0,
        scale=0.5,
        rngs=nnx.Rngs(seed),
    )
    if filled:
        draw = np.random.default_rng(seed)
        net.head.kernel[...] = jnp.asarray(0.3 * draw.normal(size=net.head.kernel[...].shape))
    return net


@pytest.fixture
def state():
    return apart(jnp.asarray(2.0 + np.random.default_rng(1).normal(size=(POINTS, 3)), jnp.float32))


@dataclass
class Off:
    """A model that is wrong by a constant on each variable."""

    model: Any
    by: dict[str, float]

    def __post_init__(self):
        self.time_step = self.model.time_step
        self.prognostic, self.diagnostic = self.model.prognostic, self.model.diagnostic

    def step(self, parameters, state, forcing):
        new, diagnostics = self.model.step(parameters, state, forcing)
        return {name: x + self.by[name] for name, x in new.items()}, diagnostics


def test_pairs_find_a_known_constant_error(state):
    weather = no_weather(12, 3)
    truth, _ = rollout(BASE, {}, state, weather)
    wrong = {name: 0.1 * k for k, name in enumerate(BASE.prognostic)}
    pairs = make_pairs(Off(BASE, wrong), {}, truth, weather)
    assert pairs.count == 11 * 3
    for name, by in wrong.items():
        np.testing.assert_allclose(pairs.targets[name], -by, atol=3e-6)
    np.testing.assert_allclose(pairs.spread()["x_3"], 0.3, atol=3e-6)
    rates = make_pairs(Off(BASE, wrong), {}, truth, weather, form="tendency", dt=0.05)
    np.testing.assert_allclose(rates.targets["x_2"], -0.2 / 0.05, rtol=1e-4)


def test_pairs_over_several_steps_and_without_what_is_missing(state):
    weather = no_weather(12, 3)
    truth, _ = rollout(BASE, {}, state, weather)
    some = {name: x[::3] for name, x in truth.items()}
    deviations = {name: jnp.full_like(x, 0.5) for name, x in some.items()}
    some["x_1"] = some["x_1"].at[2, 1].set(jnp.nan)
    pairs = make_pairs(BASE, {}, some, weather, records=jnp.arange(0, 12, 3), deviations=deviations)
    np.testing.assert_allclose(pairs.targets["x_4"], 0.0, atol=1e-5)
    expected = np.full((3, 3), 2.0)
    expected[1:, 1] = 0.0  # neither as a start nor as an end
    np.testing.assert_allclose(pairs.weights["x_4"], expected)
    with pytest.raises(InputError, match="not evenly spaced"):
        make_pairs(BASE, {}, some, weather, records=jnp.asarray([0, 3, 5, 9]))
    with pytest.raises(InputError, match="1 analysis in time, expected two"):
        make_pairs(BASE, {}, {n: x[:1] for n, x in truth.items()}, weather)


def test_a_network_of_more_weights_than_analyses_is_warned_of():
    net = network()
    size = weights_in(net)
    assert size == 3 * 3 * 5 + 9 + 9 + 1
    with pytest.warns(UserWarning, match=f"{size - 1} analyses for a correction of {size} weights"):
        warn_if_few(size - 1, net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_few(size, net)


def test_the_course_s_network_has_its_number_of_weights():
    # The course counts four more: of a normalisation, which is not trained here.
    assert weights_in(RingNetwork(names=[f"x_{k}" for k in range(40)], rngs=nnx.Rngs(0))) == 4781


@pytest.mark.parametrize("form", ["resolvent", "tendency"])
def test_an_untrained_hybrid_is_its_model(state, form):
    hybrid = make_hybrid(BASE, network(filled=False), form=form)
    assert isinstance(hybrid, Model)
    new, _ = hybrid.step({}, state, {})
    expected, _ = BASE.step({}, state, {})
    np.testing.assert_allclose(together(new), together(expected), rtol=1e-6)


def test_a_correction_is_added_to_the_step_or_integrated(state):
    net = network()
    n = together(net({}, state, {}))
    plain = together(BASE.step({}, state, {})[0])
    after = together(make_hybrid(BASE, net).step({}, state, {})[0])
    np.testing.assert_allclose(after, plain + n, rtol=1e-5)
    # To first order in the step, the tendency's correction is the step's times dt.
    short = Lorenz96(points=POINTS, dt=1e-3)
    moved = together(make_hybrid(short, net, form="tendency").step({}, state, {})[0])
    gained = (moved - together(short.step({}, state, {})[0])) / 1e-3
    np.testing.assert_allclose(gained, n, atol=0.05)


def test_a_ring_network_is_the_same_at_each_point_and_sees_neighbours_only(state):
    for products in (True, False):
        net, x = network(products=products), together(state)
        out = net.of_points(x)
        np.testing.assert_allclose(net.of_points(jnp.roll(x, 3, 0)), jnp.roll(out, 3, 0), atol=1e-5)
        reach = 2 if products else 3
        changed = np.abs(np.asarray(net.of_points(x.at[0].add(1.0)) - out)).max(axis=1) > 1e-6
        near = {k % POINTS for k in range(-reach, reach + 1)}
        assert set(np.flatnonzero(changed)) == near


def test_products_can_be_the_truth_s_cubic_term(float64):
    """Each monomial of the cubic term is a product of three channels."""
    points = 8
    net = RingNetwork(
        names=[f"x_{k}" for k in range(points)], layers=((4, 7),), products=True, rngs=nnx.Rngs(0)
    )
    monomials = [((1, -1, 2), 1.0), ((1, -1, -2), -1.0), ((2, 0, 3), -1.0), ((2, 0, -1), 1.0)]
    kernel, head = np.zeros((12, 7)), np.zeros((1, 12))
    for channel, (places, sign) in enumerate(monomials):
        for group, place in enumerate(places):
            kernel[4 * group + channel, 3 + place] = 1.0
        head[0, 8 + channel] = sign
    net.layers[0].kernel[...] = jnp.asarray(kernel)
    net.head.kernel[...] = jnp.asarray(head)
    net = as_dtype(make_hybrid(Lorenz96(points=points), net), jnp.float64).correction
    x = jnp.asarray(np.random.default_rng(0).normal(size=(points, 2)))
    np.testing.assert_allclose(net.of_points(x), cubic_term(x), rtol=1e-10)


def test_the_truth_has_the_course_s_equation_and_is_stable(float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 2)))
    y, i = np.asarray(x), 5
    cubic = y[i + 1] * y[i - 1] * (y[i + 2] - y[i - 2])
    cubic -= y[i + 2] * y[i] * (y[i + 3] - y[i - 1])
    slope = (y[i + 1] - y[i - 2]) * y[i - 1] - 1.01 * y[i] + 8.5 + 0.025 * cubic
    after, _ = CubicLorenz96(dt=1e-5).step({}, apart(x), {})
    np.testing.assert_allclose((after["x_5"] - x[5]) / 1e-5, slope, rtol=1e-3)
    run, _ = rollout(CubicLorenz96(), {}, apart(3.0 + x), no_weather(300, 2))
    assert 2.0 < float(jnp.std(together(run))) < 5.0


@pytest.mark.parametrize("form", ["resolvent", "tendency"])
def test_gradient_through_the_hybrid_against_differences(float64, state, form):
    hybrid = as_dtype(make_hybrid(BASE, network(), form=form), jnp.float64)
    begin = {name: x.astype(jnp.float64) for name, x in state.items()}
    weights, rebuilt = trainable(hybrid)

    def energy(weights, begin):
        run, _ = rollout(rebuilt(weights), {}, begin, no_weather(5, 3))
        return jnp.sum(together(run)[:, -1] ** 2)

    slopes = jax.grad(energy, argnums=(0, 1))(weights, begin)
    draw = np.random.default_rng(4)
    way = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape)), (weights, begin))
    step = 1e-6  # the error is of the order of its square, rounding of 1e-16 over it

    def moved(sign):
        return energy(*jax.tree.map(lambda x, v: x + sign * step * v, (weights, begin), way))

    expected = (moved(1.0) - moved(-1.0)) / (2.0 * step)
    found = sum(
        jnp.sum(a * b) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize(("products", "form"), [(True, "tendency"), (False, "resolvent")])
def test_a_saved_hybrid_gives_the_same_numbers(tmp_path, state, products, form):
    hybrid = make_hybrid(BASE, network(products=products, seed=3), form=form)
    save_hybrid(hybrid, tmp_path / "hybrid", facts={"command": "none"})
    again = load_hybrid(tmp_path / "hybrid")
    assert again.base == BASE
    for one, other in zip(
        *(rollout(h, {}, state, no_weather(4, 3))[0].values() for h in (hybrid, again)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    found = json.loads((tmp_path / "hybrid" / "model.json").read_text())
    assert found["kind"] == "hybrid"
    assert found["command"] == "none"


def test_a_correction_of_columns_sees_forcing_and_parameters_and_is_kept(tmp_path):
    class Land(Off):
        """A model that is not known by its class."""

    base = Land(BASE, dict.fromkeys(BASE.prognostic, 0.0))
    net = ColumnNetwork(
        inputs=("x_0", "rain", "depth"),
        names=("x_1",),
        mean=[0.0, 1.0, 2.0],
        spread=[1.0, 2.0, 4.0],
        scale=[0.5],
        rngs=nnx.Rngs(1),
    )
    net.head.kernel[...] = jnp.ones_like(net.head.kernel[...])
    hybrid = make_hybrid(base, net)
    state = apart(jnp.ones((POINTS, 2)))
    given = {"depth": jnp.asarray([2.0, 3.0])}, state, {"rain": jnp.asarray([0.0, 0.0])}
    new, _ = hybrid.step(*given)
    plain, _ = base.step(*given)
    changed = [n for n in new if not np.array_equal(new[n], plain[n])]
    assert changed == ["x_1"]
    assert float(new["x_1"][0]) != float(new["x_1"][1])
    save_hybrid(hybrid, tmp_path, base="land")
    with pytest.raises(InputError, match="corrects the model 'land', which was not given"):
        load_hybrid(tmp_path)
    again, _ = load_hybrid(tmp_path, base=base).step(*given)
    np.testing.assert_array_equal(again["x_1"], new["x_1"])


def test_what_cannot_be_a_hybrid_is_said(tmp_path):
    net = network()
    with pytest.raises(InputError, match="'both' of a correction, expected resolvent, tendency"):
        make_hybrid(BASE, net, form="both")
    with pytest.raises(InputError, match="Off has none; use the form resolvent"):
        make_hybrid(Off(BASE, {}), net, form="tendency")
    with pytest.raises(InputError, match="correction is of 'x_6', expected variables"):
        make_hybrid(Lorenz96(points=6), net)
    with pytest.raises(InputError, match="Off without a name"):
        save_hybrid(make_hybrid(Off(BASE, {}), net), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="no hybrid model can be read"):
        load_hybrid(tmp_path / "none")
    save_hybrid(make_hybrid(BASE, net), tmp_path / "a")
    save_hybrid(make_hybrid(BASE, network(products=False)), tmp_path / "b")
    (tmp_path / "a" / "weights.safetensors").replace(tmp_path / "b" / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights.safetensors: .* has shape"):
        load_hybrid(tmp_path / "b")
