"""Operators by name: depths against sums by hand, what they need, and their place in the tables."""

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import make_observations, read_observations
from assimilation.operators import (
    OBSERVABLES,
    OPERATORS,
    UNITS,
    Context,
    layer_mean,
    root_zone_soil_moisture,
    soil_water_index,
)
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError

STEP = 21600.0


@pytest.fixture
def series():
    """Four layers that differ, of six records and two columns."""
    generator = np.random.default_rng(0)
    return {
        f"swvl{k}": jnp.asarray(generator.uniform(0.1, 0.4, (6, 2)), jnp.float32)
        for k in (1, 2, 3, 4)
    }


@pytest.mark.parametrize(
    ("top", "bottom", "weights"),
    [
        (0.0, 0.05, (1.0, 0.0, 0.0, 0.0)),
        (0.0, 0.07, (1.0, 0.0, 0.0, 0.0)),
        (0.0, 0.10, (0.7, 0.3, 0.0, 0.0)),
        (0.0, 1.0, (0.07, 0.21, 0.72, 0.0)),
        (0.1, 0.2, (0.0, 1.0, 0.0, 0.0)),
        (0.18, 1.28, (0.0, 0.1 / 1.1, 0.72 / 1.1, 0.28 / 1.1)),
        (0.0, 2.89, (0.07 / 2.89, 0.21 / 2.89, 0.72 / 2.89, 1.89 / 2.89)),
    ],
)
def test_a_depth_weighs_layers_by_what_lies_within(series, top, bottom, weights):
    found = layer_mean(series, top=top, bottom=bottom)
    by_hand = sum(w * np.asarray(series[f"swvl{k + 1}"]) for k, w in enumerate(weights))
    np.testing.assert_allclose(found, by_hand, rtol=2e-6)


def test_root_zone_is_the_top_metre_and_needs_no_deeper_layer(series):
    by_hand = 0.07 * series["swvl1"] + 0.21 * series["swvl2"] + 0.72 * series["swvl3"]
    shallow = {name: values for name, values in series.items() if name != "swvl4"}
    np.testing.assert_allclose(root_zone_soil_moisture(shallow), by_hand, rtol=1e-6)
    by_name = OPERATORS["root_zone_soil_moisture"](series, Context(STEP))
    np.testing.assert_allclose(by_name, by_hand, rtol=1e-6)


@pytest.mark.parametrize(("top", "bottom"), [(0.0, 3.0), (0.2, 0.2), (0.3, 0.1), (-0.1, 0.1)])
def test_a_depth_outside_the_soil_is_refused(series, top, bottom):
    with pytest.raises(InputError, match=r"is not a layer of the model, expected .* <= 2\.89"):
        layer_mean(series, top=top, bottom=bottom)


def test_soil_water_index_takes_the_step_of_its_context(series):
    """A day's step forgets four times what a step of 6 hours does."""
    quick, slow = (
        np.asarray(OPERATORS["soil_water_index"](series, Context(step)))
        for step in (STEP, 4 * STEP)
    )
    np.testing.assert_allclose(quick, soil_water_index(series, time_step=STEP), rtol=1e-6)
    np.testing.assert_allclose(slow, soil_water_index(series, time_step=STEP, days=5.0), rtol=1e-5)
    assert np.abs(quick - slow)[1:].max() > 1e-4


def test_every_operator_has_its_unit_and_bounds():
    assert set(UNITS) == set(OPERATORS) == set(OBSERVABLES)
    assert UNITS["brightness_temperature_h"] == UNITS["brightness_temperature_v"] == "K"
    assert UNITS["soil_water_index"] == UNITS["root_zone_soil_moisture"] == "m3 m-3"
    for name, row in OBSERVABLES.items():
        assert row.name == name
        assert row.lower < row.upper
        assert row.long_name


def test_made_observations_of_all_derived_observables_are_read_back():
    truth = load_sample("ecland_sample").isel(time=slice(600, 640), column=slice(0, 24)).load()
    names = ("brightness_temperature_h", "brightness_temperature_v", "soil_water_index")
    made = make_observations(truth, errors=dict.fromkeys(names, 1e-6), every=4, seed=0)
    found = read_observations(made, truth)
    for name in names:
        assert float(found.mask[name].sum()) == 10 * 24
    h, v = (np.asarray(found.values[f"brightness_temperature_{p}"][::4]) for p in "hv")
    warm = np.asarray(truth.stl1[::4]) > 275.0
    assert h[warm].min() > 130.0
    assert v.max() < 330.0
    assert (h <= v + 0.1).all()
    assert (v < np.maximum(truth.stl1, truth.stl3)[::4] + 1e-3).all()


def test_a_brightness_temperature_in_other_units_is_refused():
    truth = load_sample("ecland_sample").isel(time=slice(0, 8), column=slice(0, 2)).load()
    made = make_observations(truth, errors={"brightness_temperature_h": 1.0}, every=4, seed=0)
    bad = made.copy(deep=True)
    bad.brightness_temperature_h.attrs["units"] = "mK"
    with pytest.raises(InputError, match="has units 'mK', expected 'K'"):
        read_observations(bad, truth)
    with pytest.raises(InputError, match=r"brightness_temperature_h is .* expected 50 to 340 K"):
        read_observations(
            made.assign(brightness_temperature_h=made.brightness_temperature_h * 1e3), truth
        )
