"""Water is neither made nor lost, whatever is proposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.models import water


def wild_case(seed, count=2000):
    """Reservoirs, weather and proposals far beyond what a network would say, in float64."""
    key = iter(jax.random.split(jax.random.key(seed), 40))

    def uniform(low, high, layers=None):
        shape = (count,) if layers is None else (layers, count)
        return jax.random.uniform(next(key), shape, minval=low, maxval=high)

    capacity = uniform(20.0, 600.0, 4)
    before = water.Reservoirs(
        soil=capacity * uniform(0.0, 1.0, 4),
        snow=jnp.maximum(uniform(-50.0, 300.0), 0.0),
        skin=uniform(0.0, 1.0),
    )
    shares = jax.nn.softmax(jax.random.normal(next(key), (4, count)) * 3, axis=0)
    runoff = uniform(0.0, 1.0)
    down = jnp.concatenate([uniform(-80.0, 80.0, 3), uniform(0.0, 80.0, 1)])
    proposal = water.Proposal(
        interception=uniform(0.0, 1.0),
        skin_loss=uniform(0.0, 1.0),
        dew=uniform(0.0, 0.5),
        sublimation=uniform(-80.0, 5.0),
        melt=uniform(0.0, 200.0),
        infiltration=shares,
        uptake=uniform(-60.0, 20.0, 4),
    )
    rain = jnp.maximum(uniform(-50.0, 150.0), 0.0)
    snowfall = jnp.maximum(uniform(-50.0, 50.0), 0.0)
    weather = {"rain": rain, "snowfall": snowfall, "cover": uniform(0.0, 1.0)}
    moving = {"runoff": lambda surface: runoff, "flow": lambda soil: down}
    return before, proposal, weather, capacity, uniform(0.05, 1.0), moving


def held(reservoirs):
    return reservoirs.soil.sum(axis=0) + reservoirs.snow + reservoirs.skin


@pytest.mark.parametrize("seed", range(5))
def test_budget_closes_and_reservoirs_stay_in_bounds(float64, seed):
    before, proposal, weather, capacity, skin, moving = wild_case(seed)
    after, flux = water.balance(
        before, proposal, **weather, soil_capacity=capacity, skin_capacity=skin, **moving
    )
    residual = (
        weather["rain"]
        + weather["snowfall"]
        + flux.e
        - flux.sro
        - flux.ssro
        - (held(after) - held(before))
    )
    assert float(jnp.abs(residual).max()) < 1e-9
    for soil, full in zip(after.soil[1:], capacity[1:], strict=True):
        assert float(soil.min()) >= 0.0
        assert float((soil - full).max()) < 1e-9
    assert float(after.soil[0].min()) >= 0.0
    assert float((after.soil[0] - capacity[0]).max()) < 1e-9
    assert float(after.snow.min()) >= 0.0
    assert float(after.skin.min()) >= 0.0
    assert float((after.skin - skin).max()) < 1e-12
    assert float(flux.sro.min()) >= 0.0
    assert float(flux.ssro.min()) >= 0.0


def test_dry_ground_gives_no_vapour(float64):
    _, proposal, weather, capacity, skin, moving = wild_case(0, count=3)
    empty = water.Reservoirs(soil=jnp.zeros((4, 3)), snow=jnp.zeros(3), skin=jnp.zeros(3))
    still = {name: jnp.zeros(3) for name in weather}
    quiet = water.Proposal(
        **{
            **vars(proposal),
            "dew": jnp.zeros(3),
            "uptake": jnp.full((4, 3), -5.0),
        }
    )
    moving |= {"flow": lambda soil: jnp.zeros((4, 3))}
    after, flux = water.balance(
        empty, quiet, **still, soil_capacity=capacity, skin_capacity=skin, **moving
    )
    np.testing.assert_allclose(flux.e, 0.0, atol=1e-12)
    np.testing.assert_allclose(held(after), 0.0, atol=1e-12)


def test_a_dry_layer_takes_what_it_lacks_from_below(float64):
    """As in ECLand: evaporation from an empty first layer dries the second."""
    _, proposal, weather, _, _, moving = wild_case(0, count=3)
    soil = jnp.array([[0.0] * 3, [2.0] * 3, [50.0] * 3, [400.0] * 3])
    before = water.Reservoirs(soil=soil, snow=jnp.zeros(3), skin=jnp.zeros(3))
    still = {name: jnp.zeros(3) for name in weather}
    thirsty = water.Proposal(
        **{
            **vars(proposal),
            "dew": jnp.zeros(3),
            "uptake": jnp.zeros((4, 3)).at[0].set(-5.0),
        }
    )
    after, flux = water.balance(
        before,
        thirsty,
        **still,
        soil_capacity=jnp.full((4, 3), 600.0),
        skin_capacity=jnp.ones(3),
        runoff=moving["runoff"],
        flow=lambda soil: jnp.zeros((4, 3)),
    )
    np.testing.assert_allclose(flux.e, -5.0)
    np.testing.assert_allclose(after.soil[:, 0], [0.0, 0.0, 47.0, 400.0], atol=1e-12)


def test_what_a_full_layer_cannot_hold_runs_off(float64):
    """From the first at the surface, from the others below, as from ECLand's saturated layers."""
    _, proposal, weather, _, _, moving = wild_case(0, count=4)
    before = water.Reservoirs(
        soil=100.0 + jnp.diag(jnp.array([7.0, 5.0, 3.0, 2.0])),  # one overfull layer a column
        snow=jnp.zeros(4),
        skin=jnp.zeros(4),
    )
    still = {name: jnp.zeros(4) for name in weather}
    none = jnp.zeros((4, 4))
    quiet = water.Proposal(**{**vars(proposal), "dew": jnp.zeros(4), "uptake": none})
    after, flux = water.balance(
        before,
        quiet,
        **still,
        soil_capacity=jnp.full((4, 4), 100.0),
        skin_capacity=jnp.ones(4),
        runoff=moving["runoff"],
        flow=lambda soil: none,
    )
    np.testing.assert_allclose(after.soil, 100.0)
    np.testing.assert_allclose(flux.sro, [7.0, 0.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(flux.ssro, [0.0, 5.0, 3.0, 2.0], atol=1e-12)
