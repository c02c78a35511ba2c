"""The soil's physics is ECLand's: checked against ECLand's own output and against conservation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hybrid_land.columns import parameters_from
from hybrid_land.data.samples import load_sample
from hybrid_land.models import soil
from hybrid_land.variables import CLIMATE_CLASSES, LAYER_THICKNESS, SOIL_TEMPERATURE, SOIL_WATER

STEP = 21600.0


@pytest.fixture
def wild(float64):
    """Soils, temperatures and water far apart from layer to layer."""
    count = 3000
    key = iter(jax.random.split(jax.random.key(0), 30))

    def uniform(low, high, shape=(count,)):
        return jax.random.uniform(next(key), shape, minval=low, maxval=high)

    parameters = {
        "theta_sat": uniform(0.4, 0.75),
        "theta_max": uniform(0.4, 0.75),
        "theta_cap": uniform(0.2, 0.39),
        "theta_pwp": uniform(0.05, 0.19),
        "theta_res": jnp.full(count, 0.01),
        "vg_alpha": uniform(0.8, 4.0),
        "vg_n": uniform(1.1, 1.4),
        "vg_l": uniform(-2.3, 2.5),
        "ksat": uniform(2e-7, 7e-6),
        "sdor": uniform(0.0, 800.0),
        "cvh": uniform(0.0, 0.5),
        "cvl": uniform(0.0, 0.5),
        "veg_covh": uniform(0.5, 1.0),
        "veg_covl": uniform(0.3, 1.0),
    }
    swvl = uniform(0.02, 0.6, (4, count))
    temperature = uniform(270.0, 277.0, (4, count))
    return parameters, swvl, temperature, uniform(-6e7, 6e7, (4, count))


@pytest.fixture(scope="module")
def ecland():
    """Pairs of states of ECLand a step apart, columns and times in one axis."""
    data = load_sample("ecland_sample").load()
    data = data.transpose("time", "column", ...)
    steps = data.sizes["time"] - 1
    fixed = {name: jnp.tile(value, steps) for name, value in parameters_from(data).items()}

    def both(names):
        values = jnp.stack([jnp.asarray(data[name].to_numpy()) for name in names])
        return values[:, :-1].reshape(4, -1), values[:, 1:].reshape(4, -1)

    drained = data["ssro"].to_numpy()[:-1].reshape(-1)
    return fixed, both(SOIL_WATER), both(SOIL_TEMPERATURE), drained


def layered(parameters):
    return {name: value[None] for name, value in parameters.items()}


def ones(like, count):
    return jnp.ones_like(like[:count])


def test_heat_that_warms_and_thaws_adds_up(wild):
    parameters, before, heat = layered(wild[0]), wild[2], wild[3]
    after = soil.warmed(before, heat, parameters)
    capacity, freezing = soil.heat_capacity(parameters), soil.freezing_heat(parameters)
    thawed = soil.liquid_share(after) - soil.liquid_share(before)
    residual = (capacity * (after - before) + freezing * thawed - heat) / capacity
    assert float(jnp.abs(residual).max()) < 1e-5  # K
    assert float(jnp.abs(thawed).max()) > 0.9


def test_a_tridiagonal_system_is_solved_and_so_is_its_change(float64):
    """Against a dense solver, and against the derivatives of a dense solver."""
    keys = jax.random.split(jax.random.key(3), 8)
    shapes = ((3, 5), (4, 5), (3, 5), (4, 5))
    given = tuple(jax.random.normal(k, s) for k, s in zip(keys[:4], shapes, strict=True))
    given = (given[0], given[1] + 6.0, given[2], given[3])
    change = tuple(jax.random.normal(k, s) for k, s in zip(keys[4:], shapes, strict=True))

    def dense(lower, diagonal, upper, right):
        def of_column(low, middle, up, b):
            matrix = jnp.diag(low, -1) + jnp.diag(middle) + jnp.diag(up, 1)
            return jnp.linalg.solve(matrix, b)

        return jax.vmap(of_column, in_axes=1, out_axes=1)(lower, diagonal, upper, right)

    for ours, theirs in zip(
        jax.jvp(soil._tridiagonal, given, change), jax.jvp(dense, given, change), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    pulled = jax.vjp(soil._tridiagonal, *given)[1](change[3])
    for ours, theirs in zip(pulled, jax.vjp(dense, *given)[1](change[3]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_gradient_of_warming_is_that_of_its_values(wild):
    parameters, before, heat = layered(wild[0]), wild[2], wild[3]
    exact = jax.jvp(lambda q: soil.warmed(before, q, parameters), (heat,), (jnp.ones_like(heat),))[
        1
    ]
    h = 100.0
    up, down = (soil.warmed(before, heat + s * h, parameters) for s in (1, -1))
    error = jnp.abs(exact * 2 * h / (up - down) - 1.0)
    assert float(jnp.quantile(error, 0.99)) < 1e-5


def test_water_flows_without_loss_and_no_layer_goes_below_zero(wild):
    parameters, swvl, temperature, _ = wild
    liquid = soil.liquid_share(temperature)
    down = soil.flow(
        swvl, liquid, parameters, faster=ones(swvl, 4), wetter=ones(swvl, 3), time_step=STEP
    )
    depth = 1000.0 * np.array(LAYER_THICKNESS)[:, None]
    after = swvl + (jnp.concatenate([jnp.zeros_like(down[:1]), down[:3]]) - down) / depth
    assert float(after.min()) > 0.0
    assert float(down[3].min()) >= 0.0
    # Nothing passes where both layers are wholly frozen.
    shut = jnp.all(liquid[:2] < 1e-8, axis=0)
    assert bool(shut.any())
    assert float(jnp.abs(jnp.where(shut, down[0], 0.0)).max()) < 1e-6


def test_flow_solves_its_own_equations(wild):
    """The implicit step against a dense solver's."""
    parameters, swvl, temperature, _ = wild
    liquid = soil.liquid_share(temperature)
    down = soil.flow(
        swvl, liquid, parameters, faster=ones(swvl, 4), wetter=ones(swvl, 3), time_step=STEP
    )
    flow = np.asarray(down) / 1000.0
    depth = np.array(LAYER_THICKNESS)[:, None]
    after = np.asarray(swvl) + (np.concatenate([0 * flow[:1], flow[:3]]) - flow) / depth
    wetter = jnp.concatenate([jnp.maximum(swvl[:-1], swvl[1:]), swvl[-1:]])
    wetter = jnp.minimum(wetter, parameters["theta_max"][None])
    conductivity, diffusivity = soil.conductivity_and_diffusivity(wetter, layered(parameters))
    passing = jnp.concatenate([jnp.maximum(liquid[:-1], liquid[1:]), liquid[-1:]])
    gravity = np.asarray(passing * conductivity) * after / np.asarray(swvl) * STEP
    distance = 0.5 * (depth[:-1] + depth[1:])
    suction = np.asarray(passing * diffusivity)[:3] * (after[:-1] - after[1:]) / distance * STEP
    np.testing.assert_allclose(flow[:3], gravity[:3] + suction, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(flow[3], gravity[3], rtol=1e-6, atol=1e-12)


def test_deep_drainage_is_ecland_s(ecland):
    """Where it is more than a trace and layer 4 is at rest, free drainage is K(theta_4)."""
    parameters, (swvl, after), (temperature, _), drained = ecland
    liquid = soil.liquid_share(temperature)
    down = soil.flow(
        swvl, liquid, parameters, faster=ones(swvl, 4), wetter=ones(swvl, 3), time_step=STEP
    )
    calm = (np.abs(np.asarray(after[3] - swvl[3])) < 1e-4) & (drained > 1e-3)
    ours = np.asarray(down[3])
    ratio = ours[calm] / drained[calm]
    assert calm.sum() > 1000
    np.testing.assert_allclose(np.median(ratio), 1.0, atol=0.005)
    assert np.quantile(np.abs(ratio - 1.0), 0.9) < 0.02
    freezing = calm & (np.asarray(liquid[3]) < 0.95)
    assert freezing.sum() > 50
    assert np.quantile(np.abs(ours[freezing] / drained[freezing] - 1.0), 0.8) < 0.1


def test_water_flows_into_frozen_ground_as_in_ecland(data_dir):
    """From a thawing layer 3 into a frozen layer 4: the conductance is the thawed layer's."""
    data = xr.open_dataset(data_dir / "ecland" / "ecland_train.nc")
    cold = data["climate_index"].values == CLIMATE_CLASSES.index("tundra")
    data = data.isel(column=cold, time=slice(0, 1461)).load()
    swvl, temperature = (
        np.stack([data[name].transpose("time", "column").values for name in names])
        for names in (SOIL_WATER, SOIL_TEMPERATURE)
    )
    fixed = {name: jnp.tile(v, swvl.shape[1] - 1) for name, v in parameters_from(data).items()}
    start = jnp.asarray(swvl[:, :-1].reshape(4, -1))
    liquid = soil.liquid_share(jnp.asarray(temperature[:, :-1].reshape(4, -1)))
    down = soil.flow(
        start, liquid, fixed, faster=ones(start, 4), wetter=ones(start, 3), time_step=STEP
    )
    ours = np.asarray(down[2])
    drained = data["ssro"].transpose("time", "column").values[1:].reshape(-1)
    theirs = 1000.0 * LAYER_THICKNESS[3] * (swvl[3, 1:] - swvl[3, :-1]).reshape(-1) + drained
    liquid, dry = np.asarray(liquid), np.asarray(start).max(axis=0) < 0.97 * fixed["theta_sat"]
    frozen = (liquid[3] < 0.01) & (liquid[2] > 0.02) & (np.abs(theirs) > 0.01) & dry
    assert frozen.sum() > 100
    assert np.corrcoef(ours[frozen], theirs[frozen])[0, 1] > 0.9
    np.testing.assert_allclose(np.median(ours[frozen] / theirs[frozen]), 1.0, atol=0.15)


def test_water_flows_into_a_saturated_layer_as_in_ecland(data_dir):
    """Into a layer 4 above saturation: Ks, less D of S = 0.999 times the gradient."""
    with xr.open_dataset(data_dir / "ecland" / "ecland_train.nc") as data:
        cold = data["climate_index"].values == CLIMATE_CLASSES.index("tundra")
        data = data.isel(column=cold).load()
    upper, lower, upper_heat, lower_heat, drained = (
        data[name].transpose("time", "column").values
        for name in ("swvl3", "swvl4", "stl3", "stl4", "ssro")
    )
    theirs = 1000.0 * LAYER_THICKNESS[3] * np.diff(lower, axis=0) + drained[1:]
    middle = [0.5 * (x[1:] + x[:-1]) for x in (upper, lower)]
    liquid = np.maximum(
        *(np.asarray(soil.liquid_share(jnp.asarray(x))) for x in (upper_heat, lower_heat))
    )
    liquid = 0.5 * (liquid[1:] + liquid[:-1])
    parameters = parameters_from(data)
    conductivity, diffusivity = map(
        np.asarray, soil.conductivity_and_diffusivity(jnp.asarray(middle[1]), layered(parameters))
    )
    gradient = (middle[0] - middle[1]) / (0.5 * sum(LAYER_THICKNESS[2:]))
    ours = 1000.0 * STEP * liquid * (conductivity + diffusivity * gradient)
    full = np.asarray(parameters["theta_sat"])
    wet = (np.minimum(lower[1:], lower[:-1]) > 1.0005 * full) & (middle[0] < 0.97 * full)
    wet &= liquid > 0.05
    assert wet.sum() > 200
    np.testing.assert_allclose(np.median(ours[wet] / theirs[wet]), 1.0, atol=0.05)
    assert np.corrcoef(ours[wet], theirs[wet])[0, 1] > 0.95


def test_conduction_explains_ecland_s_deep_temperature(ecland):
    parameters, (swvl, _), (before, after), _ = ecland
    heat = soil.conduction(
        before,
        0.5 * (before[0] + after[0]),
        swvl,
        soil.liquid_share(before),
        parameters,
        faster=ones(swvl, 3),
        time_step=STEP,
    )
    ours = soil.warmed(before[1:], heat, layered(parameters))
    for layer, least in ((3, 0.98), (4, 0.9)):
        seen = np.asarray(after[layer - 1] - before[layer - 1])
        explained = np.corrcoef(seen, np.asarray(ours[layer - 2] - before[layer - 1]))[0, 1]
        assert explained > least


def test_retention_is_ecland_s_at_field_capacity_and_wilting_point():
    """Suction 1.02 m at theta_cap and 153 m at theta_pwp for ECLand's medium soil."""
    medium = {
        "theta_sat": jnp.full(2, 0.439),
        "theta_res": jnp.full(2, 0.01),
        "vg_alpha": jnp.full(2, 3.14),
        "vg_n": jnp.full(2, 1.1804),
        "vg_l": jnp.full(2, -2.3421),
        "ksat": jnp.full(2, 1.16e-6),
    }
    swvl = jnp.asarray([0.346, 0.151])
    log_head, log_conductivity = soil.retention(swvl, medium)
    np.testing.assert_allclose(np.exp(log_head), [1.02, 153.0], rtol=0.03)
    assert float(log_conductivity[1]) < float(log_conductivity[0]) < 0.0
    conductivity, _ = soil.conductivity_and_diffusivity(swvl, medium)
    np.testing.assert_allclose(conductivity, 1.16e-6 * np.exp(log_conductivity), rtol=1e-3)


def test_runoff_grows_with_rain_wetness_and_rough_ground(wild):
    parameters, swvl, _, _ = wild
    thawed = jnp.ones_like(swvl)
    share = soil.runoff_share(jnp.full_like(swvl[0], 5.0), swvl, thawed, parameters)
    more = soil.runoff_share(jnp.full_like(swvl[0], 50.0), swvl, thawed, parameters)
    wetter = soil.runoff_share(jnp.full_like(swvl[0], 5.0), swvl + 0.05, thawed, parameters)
    rough = soil.runoff_share(
        jnp.full_like(swvl[0], 5.0), swvl, thawed, parameters | {"sdor": parameters["sdor"] + 300}
    )
    assert 0.0 <= float(share.min()) <= float(more.max()) <= 1.0
    for larger in (more, wetter, rough):
        assert float((larger - share).min()) > -1e-3
        assert float((larger - share).max()) > 0.05
