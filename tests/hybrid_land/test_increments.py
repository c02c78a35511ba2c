"""The baseline that knows no physics: an increment of each variable, clipped to its bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.models.emulator import create
from hybrid_land.models.increments import IncrementNetwork
from hybrid_land.models.store import describe_model, load_model, save_model


@pytest.fixture(scope="module")
def case():
    data = load_sample("ecland_sample").isel(time=slice(0, 4)).load()
    forcing = {name: series[0] for name, series in forcing_from(data).items()}
    parameters, state = parameters_from(data), state_from(data)
    model = create(parameters, state, forcing, kind=IncrementNetwork, key=jax.random.key(0))
    return model, parameters, state, forcing


def test_a_silent_network_changes_nothing(case):
    model, parameters, state, forcing = case
    kernel, model.head.kernel[...] = model.head.kernel[...], 0.0 * model.head.kernel[...]
    new, diagnostics = model.step(parameters, state, forcing)
    model.head.kernel[...] = kernel
    for name in ("swvl1", "swvl4", "stl1", "stl4", "sd", "src"):
        np.testing.assert_allclose(new[name], state[name], rtol=1e-6)
    np.testing.assert_allclose(diagnostics["t2m"], forcing["met_tair"])


def test_state_is_clipped_whatever_the_weights(case):
    model, parameters, state, forcing = case
    bias = model.head.bias[...]
    model.head.bias[...] = jnp.full_like(bias, -1e4)
    low, _ = model.step(parameters, state, forcing)
    model.head.bias[...] = jnp.full_like(bias, 1e4)
    high, _ = model.step(parameters, state, forcing)
    model.head.bias[...] = bias
    assert float(low["swvl1"].max()) == 0.0
    assert float(low["sd"].max()) == 0.0
    np.testing.assert_allclose(high["swvl1"], parameters["theta_max"])
    assert float(high["snowc"].max()) == 1.0


def test_it_is_saved_and_loaded_as_what_it_is(case, tmp_path):
    model, parameters, state, forcing = case
    save_model(model, tmp_path / "plain")
    assert describe_model(tmp_path / "plain")["kind"] == "increments"
    again = load_model(tmp_path / "plain")
    assert isinstance(again, IncrementNetwork)
    first, second = (m.step(parameters, state, forcing)[0] for m in (model, again))
    np.testing.assert_array_equal(first["swvl1"], second["swvl1"])
