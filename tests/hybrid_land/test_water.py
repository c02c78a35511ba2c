"""Water is neither made nor lost, whatever is proposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.models import water


def wild_case(seed, count=2000):
    """Reservoirs, weather and proposals far beyond what a network would say, in float64."""
    key = iter(jax.random.split(jax.random.key(seed), 40))

    def uniform(low, high):
        return jax.random.uniform(next(key), (count,), minval=low, maxval=high)

    capacity = tuple(uniform(20.0, 600.0) for _ in range(4))
    before = water.Reservoirs(
        soil=tuple(c * uniform(0.0, 1.0) for c in capacity),
        snow=jnp.maximum(uniform(-50.0, 300.0), 0.0),
        skin=uniform(0.0, 1.0),
    )
    shares = jax.nn.softmax(jax.random.normal(next(key), (5, count)) * 3, axis=0)
    proposal = water.Proposal(
        interception=uniform(0.0, 1.0),
        skin_loss=uniform(0.0, 1.0),
        dew=uniform(0.0, 0.5),
        sublimation=uniform(-80.0, 5.0),
        melt=uniform(0.0, 200.0),
        runoff=uniform(0.0, 1.0),
        infiltration=tuple(shares),
        uptake=tuple(uniform(-60.0, 20.0) for _ in range(4)),
        exchange=tuple(uniform(-80.0, 80.0) for _ in range(3)),
        drainage=uniform(0.0, 80.0),
    )
    rain = jnp.maximum(uniform(-50.0, 150.0), 0.0)
    snowfall = jnp.maximum(uniform(-50.0, 50.0), 0.0)
    weather = {"rain": rain, "snowfall": snowfall, "cover": uniform(0.0, 1.0)}
    return before, proposal, weather, capacity, uniform(0.05, 1.0)


def held(reservoirs):
    return sum(reservoirs.soil) + reservoirs.snow + reservoirs.skin


@pytest.mark.parametrize("seed", range(5))
def test_budget_closes_and_reservoirs_stay_in_bounds(float64, seed):
    before, proposal, weather, capacity, skin = wild_case(seed)
    after, flux = water.balance(
        before, proposal, **weather, soil_capacity=capacity, skin_capacity=skin
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
    _, proposal, weather, capacity, skin = wild_case(0, count=3)
    empty = water.Reservoirs(soil=(jnp.zeros(3),) * 4, snow=jnp.zeros(3), skin=jnp.zeros(3))
    still = {name: jnp.zeros(3) for name in weather}
    quiet = water.Proposal(
        **{
            **vars(proposal),
            "dew": jnp.zeros(3),
            "exchange": (jnp.zeros(3),) * 3,
            "drainage": jnp.zeros(3),
            "uptake": (jnp.full(3, -5.0),) * 4,
        }
    )
    after, flux = water.balance(empty, quiet, **still, soil_capacity=capacity, skin_capacity=skin)
    np.testing.assert_allclose(flux.e, 0.0, atol=1e-12)
    np.testing.assert_allclose(held(after), 0.0, atol=1e-12)
