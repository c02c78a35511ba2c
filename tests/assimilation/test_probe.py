"""A probe's reading: layers by its depth, in assimilation's tables under its name."""

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import make_observations, read_observations
from assimilation.operators import OBSERVABLES, OPERATORS, UNITS, Context
from assimilation.probe import PROBE_DEPTHS, at_depth, probe_weights
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError


@pytest.mark.parametrize(
    ("depth", "weights"),
    [
        (0.0, (1, 0, 0, 0)),
        (0.035, (1, 0, 0, 0)),
        (0.05, (0.125 / 0.14, 0.015 / 0.14, 0, 0)),
        (0.15, (0.025 / 0.14, 0.115 / 0.14, 0, 0)),
        (0.175, (0, 1, 0, 0)),
        (1.0, (0, 0, 0.945 / 1.305, 0.36 / 1.305)),
        (2.5, (0, 0, 0, 1)),
    ],
)
def test_a_depth_lies_between_the_middles_of_layers(depth, weights):
    np.testing.assert_allclose(probe_weights(depth), weights, atol=1e-12)


def test_a_profile_that_is_linear_in_depth_is_read_as_it_is():
    middles = (0.035, 0.175, 0.64, 1.945)
    series = {f"stl{k + 1}": jnp.full((3, 2), 290.0 - 4.0 * z) for k, z in enumerate(middles)}
    for depth in (0.05, 0.1, 0.5, 1.0, 1.9):
        found = at_depth(series, depth=depth, quantity="soil_temperature")
        np.testing.assert_allclose(found, 290.0 - 4.0 * depth, rtol=1e-6)


@pytest.mark.parametrize("depth", [-0.01, 3.0])
def test_a_depth_outside_the_soil_is_refused(depth):
    with pytest.raises(InputError, match=r"a probe at .* m, expected 0 to 2\.89 m"):
        at_depth({}, depth=depth)


def test_another_quantity_is_refused():
    with pytest.raises(InputError, match="a probe of 'swvl1', expected soil_moisture or"):
        at_depth({}, depth=0.1, quantity="swvl1")


def test_probes_are_observables_with_units_and_are_read_from_a_file():
    truth = load_sample("ecland_sample").isel(time=slice(0, 8), column=slice(0, 3)).load()
    for depth in PROBE_DEPTHS:
        assert UNITS[f"soil_moisture_{depth}cm"] == "m3 m-3"
        assert UNITS[f"soil_temperature_{depth}cm"] == "K"
    assert OBSERVABLES["soil_moisture_15cm"].long_name == "soil moisture at 15 cm"
    names = {"soil_moisture_15cm": 1e-6, "soil_temperature_50cm": 1e-4}
    found = read_observations(make_observations(truth, errors=names, every=2, seed=0), truth)
    series = {n: jnp.asarray(truth[n].to_numpy()) for n in ("swvl1", "swvl2", "stl2", "stl3")}
    for name in names:
        exact = OPERATORS[name](series, Context(21600.0))[::2]
        np.testing.assert_allclose(found.values[name][::2], exact, rtol=2e-5)
