"""Long runs: passes follow on, drift and trend are found, bounds are watched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.long_run import long_run, passes_of, summary
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.variables import FORCING

STEPS = 1461


@jax.tree_util.register_static
class Drifting:
    """Layer 1 warms by `warming` K a decade; its water rises by `wetting` a step."""

    time_step = 21600.0
    prognostic = ("stl1", "swvl1")
    diagnostic = ("sshf",)
    required = (*prognostic, *FORCING, "lat", "lon")

    def __init__(self, warming: float = 0.0, wetting: float = 0.0) -> None:
        self.warming = warming
        self.wetting = wetting

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        after = {
            "stl1": state["stl1"] + self.warming / (10.0 * STEPS),
            "swvl1": state["swvl1"] + self.wetting,
        }
        return after, {"sshf": 0.0 * state["stl1"]}


@jax.tree_util.register_static
class Exploding(Drifting):
    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        hot = state["stl1"] + 0.1
        return {"stl1": jnp.where(hot > 320.0, jnp.nan, hot), "swvl1": state["swvl1"]}, {
            "sshf": 0.0 * hot
        }


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    """Two years of three columns."""
    ds = load_sample("ecland_sample").isel(column=slice(0, 3), time=slice(0, 2920)).load()
    ds["stl1"] = 280.0 + 0.0 * ds.stl1
    ds["stl1"][STEPS + 1 :] = 281.0
    return ds


def test_passes_follow_on(data: xr.Dataset) -> None:
    short = data.isel(time=slice(0, 101))
    first, second = passes_of(Drifting(warming=100.0), short, 2)
    np.testing.assert_array_equal(first["stl1"][-1], second["stl1"][0])
    assert float(second["stl1"][-1, 0]) - 280.0 == pytest.approx(200 * 100.0 / 14610.0, rel=0.01)


def test_a_drift_put_in_is_found(data: xr.Dataset) -> None:
    run = long_run(Drifting(warming=200.0), data, passes=3)
    found = summary(run)
    assert (found["years"], found["passes"], found["columns"]) == (6, 3, 3)
    row = found["variables"]["stl1"]
    assert row["trend"] == pytest.approx(200.0, rel=0.01)
    assert row["trend_first_pass"] == pytest.approx(200.0, rel=0.01)
    # Four years from the first pass to the third, two from the second.
    assert row["drift"] == pytest.approx(80.0, rel=0.01)
    assert row["drift_rms"] == pytest.approx(80.0, rel=0.01)
    assert row["drift_late_rms"] == pytest.approx(40.0, rel=0.01)
    assert found["water_budget"] is None


def test_eclands_own_trend_stands_beside(data: xr.Dataset) -> None:
    row = summary(long_run(Drifting(), data, passes=2))["variables"]["stl1"]
    assert row["trend_ecland"] == pytest.approx(10.0, rel=0.01)
    assert row["between_years"] == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert row["trend"] == row["drift"] == row["drift_late_rms"] == 0.0


def test_nothing_is_out_of_bounds_in_a_quiet_run(data: xr.Dataset) -> None:
    found = summary(long_run(Drifting(), data, passes=2))
    assert found["not_finite"] == found["out_of_bounds"] == 0


def test_water_above_what_the_layer_can_hold_is_counted(data: xr.Dataset) -> None:
    full = data["clim_theta_max"].to_numpy()
    start = data["swvl1"].to_numpy()[0]
    run = long_run(Drifting(wetting=1e-4), data, passes=1)
    steps = np.arange(1, 2920)[:, None]
    expected = int((start + 1e-4 * steps > full).sum())
    assert abs(run.counts["swvl1"]["out_of_bounds"] - expected) <= 10
    assert run.counts["swvl1"]["out_of_bounds"] > 100


def test_a_run_that_blows_up_is_counted_and_has_no_drift(data: xr.Dataset) -> None:
    found = summary(long_run(Exploding(), data, passes=1))
    # 40 K at 0.1 K a step.
    assert found["not_finite"] == pytest.approx((2919 - 400) * 3 * 2, rel=0.01)
    assert found["variables"]["stl1"]["trend"] is None


def test_less_than_a_year_is_refused(data: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"100 records, expected a year \(1461\)"):
        long_run(Drifting(), data.isel(time=slice(0, 100)))
