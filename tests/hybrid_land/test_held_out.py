"""Scores over a withheld year: what counts, what the baselines may know, the two runs."""

import jax
import numpy as np
import pytest
import xarray as xr

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.held_out import held_out_year_scores
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.variables import FORCING


@jax.tree_util.register_static
class Creeping:
    """Layer 1 warms by 0.01 K a step."""

    time_step = 21600.0
    prognostic = ("stl1",)
    diagnostic = ("sshf",)
    required = ("stl1", *FORCING, "lat", "lon")

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        return {"stl1": state["stl1"] + 0.01}, {"sshf": 0.0 * state["stl1"]}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    """Two hundred days of three columns whose layer 1 creeps as the model does, by half."""
    ds = load_sample("ecland_sample").isel(column=slice(0, 3), time=slice(0, 800)).load()
    ds["stl1"] = 280.0 + 0.005 * xr.DataArray(np.arange(800.0), dims="time") + 0.0 * ds.stl1
    return ds


def test_the_runs_are_from_the_first_record_and_from_the_years_start(truth: xr.Dataset) -> None:
    found = held_out_year_scores(Creeping(), truth, steps=300)
    assert (found["columns"], found["steps"], found["model_steps"]) == (3, 299, 799)
    row = found["variables"]["stl1"]
    # Behind by half a step's creep for each step since the run's start.
    assert row["bias"] == pytest.approx(0.005 * np.arange(501, 800).mean(), rel=1e-2)
    late = row["baselines"]["from_start_of_year"]["bias"]
    assert late == pytest.approx(0.005 * np.arange(1, 300).mean(), rel=1e-2)
    held = row["baselines"]["persistence"]["bias"]
    assert held == pytest.approx(-0.005 * np.arange(1, 300).mean(), rel=1e-2)


def test_the_climatology_knows_only_the_records_before(truth: xr.Dataset) -> None:
    changed = truth.copy()
    changed["stl1"] = truth.stl1.where(xr.DataArray(np.arange(800) < 500, dims="time"), 320.0)
    found = held_out_year_scores(Creeping(), changed, steps=300)
    usual = found["variables"]["stl1"]["baselines"]["climatology"]
    assert usual["bias"] < -36.0
    assert usual["acc"] is None


def test_the_given_state_does_not_count(truth: xr.Dataset) -> None:
    found = held_out_year_scores(Creeping(), truth, steps=2)
    assert found["steps"] == 1
    row = found["variables"]["stl1"]["baselines"]["from_start_of_year"]
    assert row["rmse"] == pytest.approx(0.005, rel=2e-2)


def test_a_short_record_is_refused(truth: xr.Dataset) -> None:
    with pytest.raises(InputError, match="800 records, expected 1000 at least to hold 500 out"):
        held_out_year_scores(Creeping(), truth, steps=500)
