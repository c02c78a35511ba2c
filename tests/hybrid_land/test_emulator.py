"""The emulator is physical whatever its weights, and its gradient is that of its values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.evaluation.budget import water_budget
from hybrid_land.models import inputs
from hybrid_land.models.emulator import create
from hybrid_land.models.ensemble import Ensemble, load_any
from hybrid_land.models.layer import activation
from hybrid_land.models.store import load_model, shipped_models
from hybrid_land.rollout import rollout
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_TEMPERATURE, SOIL_WATER


@pytest.fixture(scope="module")
def data():
    return load_sample("ecland_sample").isel(time=slice(0, 480)).load()


@pytest.fixture(scope="module")
def wild(data):
    """An emulator with large random weights in its last layer."""
    forcing = {name: series[0] for name, series in forcing_from(data).items()}
    model = create(parameters_from(data), state_from(data), forcing, key=jax.random.key(3))
    kernel = model.head.kernel[...]
    model.head.kernel[...] = 3.0 * jax.random.normal(jax.random.key(4), kernel.shape)
    return model


def test_state_stays_physical_and_water_closes_with_random_weights(wild, data):
    run = simulate(wild, data)
    for name in SOIL_WATER:
        assert float(run[name].min()) >= 0.0
        assert float((run[name] - data.clim_theta_max).max()) < 1e-6
    assert float(run.sd.min()) >= 0.0
    assert float(run.src.min()) >= 0.0
    assert 0.0 <= float(run.snowc.min()) <= float(run.snowc.max()) <= 1.0
    assert 0.5 <= float(run.asn.min()) <= float(run.asn.max()) <= 0.85 + 1e-6
    assert 50.0 <= float(run.rsn.min()) <= float(run.rsn.max()) <= 500.0 + 1e-3
    assert float(run.tsn.max()) <= 273.16 + 1e-3
    # Thousands of kg m-2 of snow pile up under these weights; rounding grows with the store.
    assert water_budget(run)["max_abs_mm_per_step"] < 5e-3


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_close_water_to_rounding(name, data):
    shipped = load_any(name)
    model = shipped.member(1) if isinstance(shipped, Ensemble) else shipped
    run = simulate(model, data)
    budget = water_budget(run)
    assert budget["max_abs_mm_per_step"] < 1e-3
    assert abs(budget["mean_mm_per_year"]) < 0.1


def test_latent_heat_is_that_of_the_evaporated_water(data):
    run = simulate(load_model("default"), data)
    warm = run.where((run.sd == 0) & (np.abs(run.e) > 0.2))
    ratio = (warm.slhf * 21600.0 / warm.e).to_numpy()
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 2.5008e6, rtol=0.01)


def test_gradient_agrees_with_finite_differences(float64, data):
    """Field capacity, the first state and rain, over 40 steps; the full test is a benchmark."""
    model = load_model("default", dtype=jnp.float64)
    small = data.isel(column=[2, 5, 9], time=slice(0, 40))
    as64 = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)  # noqa: E731
    parameters, state = as64(parameters_from(small)), as64(state_from(small))
    forcing = as64(forcing_from(small))

    @jax.jit
    def outcome(way):
        states, _ = rollout(
            model,
            parameters | {"theta_cap": parameters["theta_cap"] + way[0]},
            state | {"stl1": state["stl1"] + way[1], "swvl2": state["swvl2"] + way[2]},
            forcing | {"met_swdown": forcing["met_swdown"] * (1.0 + way[3])},
        )
        return sum(states[n].mean() for n in SOIL_WATER) + states["stl2"].mean()

    zero = jnp.zeros(4)
    exact = jax.grad(outcome)(zero)
    for k, h in enumerate((1e-6, 1e-4, 1e-6, 1e-6)):
        way = jnp.zeros(4).at[k].set(h)
        difference = (outcome(way) - outcome(-way)) / (2 * h)
        np.testing.assert_allclose(exact[k], difference, rtol=1e-6, atol=1e-10)


def test_solar_features_know_local_time_not_utc():
    """The same sun: 6 hours later in UTC and a quarter turn to the west."""
    from hybrid_land.columns import solar_features

    here = solar_features(
        np.array(["2010-06-21T12"], "M8[ns]"), np.array([40.0]), np.array([0.0]), 0.0
    )
    west = solar_features(
        np.array(["2010-06-21T18"], "M8[ns]"), np.array([40.0]), np.array([-90.0]), 0.0
    )
    for name in ("solar_time_sin", "solar_time_cos"):
        np.testing.assert_allclose(here[name], west[name], atol=1e-6)
    np.testing.assert_allclose(here["solar_zenith_end"], west["solar_zenith_end"], atol=1e-3)
    # At the summer solstice's noon the sun stands 23.4 degrees from the equator's zenith.
    np.testing.assert_allclose(
        here["solar_zenith_end"], np.cos(np.deg2rad(40.0 - 23.44)), atol=2e-3
    )


def test_season_changes_sign_between_hemispheres():
    from hybrid_land.columns import solar_features

    time = np.array(["2010-06-21T12"], "M8[ns]")
    both = solar_features(time, np.array([50.0, -50.0]), np.zeros(2), 21600.0)
    np.testing.assert_allclose(both["season"][0, 0], -both["season"][0, 1], rtol=1e-6)
    assert both["season"][0, 0] > 0.2


def test_field_capacity_acts_on_uptake_and_not_on_a_saturated_soil(data):
    """Above field capacity there is no stress, so a little more or less of it changes nothing
    but the heat capacity and the water that can freeze. (Warm soil: ice is not available.)"""
    parameters = parameters_from(data)
    state = state_from(data) | dict.fromkeys(SOIL_WATER, parameters["theta_max"])
    state |= dict.fromkeys(SOIL_TEMPERATURE, jnp.full_like(state["stl1"], 290.0))
    forcing = {name: series[0] for name, series in forcing_from(data).items()}
    rows = []
    for scale in (0.85, 0.9):  # below theta_max in every column
        moved = parameters | {"theta_cap": scale * parameters["theta_cap"]}
        land = inputs.survey(moved, state, forcing, time_step=21600.0)
        found = inputs.features(land, moved, state, forcing, time_step=21600.0)
        rows.append(dict(zip(found.names, found.rows, strict=True)))
    changed = {n for n in rows[0] if not np.allclose(rows[0][n], rows[1][n])}
    assert changed == {"heat_capacity", "freezable"}


def test_weights_are_a_pytree_that_jit_and_grad_take(data):
    model = load_model("default")
    definition, weights, rest = nnx.split(model, nnx.Param, ...)
    parameters, state = parameters_from(data), state_from(data)
    forcing = {name: series[:2] for name, series in forcing_from(data).items()}

    def outcome(weights):
        states, _ = rollout(nnx.merge(definition, weights, rest), parameters, state, forcing)
        return sum(states[name].mean() for name in SOIL_TEMPERATURE)

    slopes = jax.tree.leaves(jax.jit(jax.grad(outcome))(weights))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in slopes)
    assert any(float(jnp.abs(leaf).max()) > 0 for leaf in slopes)


def test_the_activation_s_slope_is_that_of_its_formula(float64):
    x = jnp.concatenate([jnp.linspace(-40.0, 40.0, 401), jnp.array([0.0, 1e-12, 1e9])])
    values, slopes = jax.jvp(activation, (x,), (jnp.ones_like(x),))
    plain = jax.vmap(jax.grad(lambda x: 0.5 * x * (1.0 + x / jnp.sqrt(x * x + 4.0))))
    np.testing.assert_allclose(slopes, plain(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(activation))(x), rtol=0.0)
    np.testing.assert_array_equal(values, activation(x))
