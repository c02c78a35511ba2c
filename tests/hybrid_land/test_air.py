"""Humidity against its inverse, and the demand for vapour against ECLand's driest deserts."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.models import air, canopy, inputs
from hybrid_land.variables import CLIMATE_CLASSES

STEP = 21600.0


def test_dewpoint_is_the_inverse_of_saturation_humidity(float64):
    temperature = jnp.linspace(230.0, 310.0, 41)
    pressure = jnp.full(41, 9e4)
    humidity = air.saturation_humidity(temperature, pressure)
    np.testing.assert_allclose(air.dewpoint(humidity, pressure), temperature, atol=1e-6)
    np.testing.assert_allclose(  # WMO (2008), Guide No. 8: 6.112 hPa at 0, 23.37 hPa at 20 degrees
        air.saturation_humidity(jnp.array([273.16, 293.16]), jnp.full(2, 1e5)),
        [0.622 * 611.2 / (1e5 - 0.378 * 611.2), 0.622 * 2337.0 / (1e5 - 0.378 * 2337.0)],
        rtol=2e-3,
    )


def test_the_driest_deserts_evaporate_as_in_ecland(data_dir):
    """There nothing but ECLand's least conductance and the air's demand decides."""
    with xr.open_dataset(data_dir / "ecland" / "ecland_train.nc") as data:
        desert = data["climate_index"].values == CLIMATE_CLASSES.index("hot_desert")
        data = data.isel(column=desert, time=slice(0, 1460)).load()
    steps, columns = data.sizes["time"], data.sizes["column"]

    def tiled(leaf):
        return jnp.tile(leaf, steps)

    def joined(series):
        return series.reshape(steps * columns)

    parameters = {name: tiled(value) for name, value in parameters_from(data).items()}
    state = {
        name: joined(jnp.asarray(data[name].transpose("time", "column").values))
        for name in state_from(data)
    }
    forcing = {name: joined(series) for name, series in forcing_from(data).items()}
    land = inputs.survey(parameters, state, forcing, time_step=STEP)
    theirs = -data["e"].transpose("time", "column").values.reshape(-1)
    ours = np.asarray(land.demand * land.bare * canopy.bare_conductance(land.bare_stress))
    dry = np.asarray(
        (land.available.max(axis=0) <= 0)
        & (state["swvl1"] < 0.01)
        & (state["src"] < 1e-3)
        & (forcing["met_rainf"] == 0)
        & (forcing["met_swdown"] > 150.0)
    )
    assert np.corrcoef(theirs[dry], ours[dry])[0, 1] > 0.95
    theirs, ours = (
        np.where(dry, x, 0.0).reshape(steps, columns).sum(axis=0) for x in (theirs, ours)
    )
    often = dry.reshape(steps, columns).sum(axis=0) > 200
    assert often.sum() > 4
    ratio = theirs[often] / ours[often]
    np.testing.assert_allclose(np.median(ratio), 1.13, atol=0.03)
    assert np.all((ratio > 0.98) & (ratio < 1.23)), ratio
