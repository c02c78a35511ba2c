"""Scores on window means: the first state, the means of a run, and what has to be guessed."""

import jax
import numpy as np
import pytest
import xarray as xr

from hybrid_land.data import validate
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation.window_means import (
    as_instants,
    as_window_means,
    first_state,
    run_after_spin_up,
    zero_shot_scores,
)
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models.store import load_model
from hybrid_land.simulation import simulate
from hybrid_land.variables import DIAGNOSTIC, FORCING, PROGNOSTIC

LACKING = ("swvl4", "stl4", "tsn", "asn", "src", "e", "t2m", "d2m", "sshf", "slhf")


@jax.tree_util.register_static
class Drying:
    """Soil dries by 0.001 a step in layer 4 alone; layer 1 takes the air's temperature."""

    time_step = 21600.0
    prognostic = PROGNOSTIC
    diagnostic = ("sshf",)
    required = (*PROGNOSTIC, *FORCING, "lat", "lon")

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        new = dict(state)
        new["swvl4"] = state["swvl4"] - 1e-4
        new["stl1"] = forcing["met_tair"]
        return new, {"sshf": 0.0 * state["stl1"]}


@pytest.fixture(scope="module")
def archive() -> xr.Dataset:
    """Two years in the form of the archive: means over each step, and without what it lacks."""
    sample = load_sample("ecland_sample").isel(column=slice(0, 3)).load()
    means = as_window_means(sample)
    return means.drop_vars([name for name in LACKING if name in means])


def test_instantaneous_values_become_means_and_fluxes_stay() -> None:
    sample = load_sample("unseen").isel(time=slice(0, 9)).load()
    means = as_window_means(sample)
    assert means.sizes["time"] == 8
    np.testing.assert_allclose(
        means["stl1"], 0.5 * (sample.stl1.to_numpy()[:-1] + sample.stl1.to_numpy()[1:]), rtol=1e-6
    )
    np.testing.assert_array_equal(means["slhf"], sample.slhf.to_numpy()[:-1])
    assert means["swvl1"].attrs["units"] == "m3 m-3"


def test_the_first_state_is_between_two_means_and_guesses_the_rest(archive: xr.Dataset) -> None:
    state = first_state(archive, 1500)
    assert set(state.data_vars) == set(PROGNOSTIC)
    around = archive["swvl1"].to_numpy()[1499:1501].astype(float)
    np.testing.assert_allclose(state["swvl1"], around.mean(axis=0))
    np.testing.assert_array_equal(state["swvl4"], state["swvl3"])
    np.testing.assert_allclose(
        state["stl4"], archive["stl3"].to_numpy()[:1501].astype(float).mean(axis=0)
    )
    assert (state["tsn"] <= 273.16).all()
    assert (state["src"] == 0.0).all()


def test_what_cannot_be_guessed_is_named(archive: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"missing variable swvl2; expected .* at least"):
        first_state(archive.drop_vars("swvl2"), 0)


def test_the_unknown_state_comes_from_the_spin_up_and_the_known_from_the_data(
    archive: xr.Dataset,
) -> None:
    short = archive.isel(time=slice(0, 101))
    run = run_after_spin_up(Drying(), short, 60)
    assert run.sizes["time"] == 40
    dried = short["swvl3"].to_numpy()[0].astype(float) - 60 * 1e-4 - 0.5e-4
    np.testing.assert_allclose(run["swvl4"][0], dried, atol=2e-6)
    known = first_state(short, 60)["swvl1"]
    np.testing.assert_allclose(run["swvl1"][0], known, rtol=1e-6)


def test_scores_stand_beside_persistence_and_an_earlier_climatology(archive: xr.Dataset) -> None:
    short = archive.isel(time=slice(0, 1700))
    start = short["time"].to_numpy()[1600]
    found = zero_shot_scores({"a": Drying(), "b": Drying()}, short, start=start)
    assert found["steps"] == 1700 - 1600 - 2
    row = found["variables"]["swvl1"]
    assert list(row["baselines"]) == ["b", "persistence", "climatology"]
    assert row["rmse"] == row["baselines"]["b"]["rmse"]
    # Held soil water is persistence of the first mean but for the half step to the label.
    assert row["rmse"] == pytest.approx(row["baselines"]["persistence"]["rmse"], rel=0.2)
    assert "swvl4" not in found["variables"]


def test_a_start_without_a_year_before_it_is_refused(archive: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"100 records before .*, expected a year"):
        zero_shot_scores({"a": Drying()}, archive, start=archive["time"].to_numpy()[100])


def test_instants_from_means_are_near_the_true_ones_and_the_rest_is_the_models() -> None:
    """Means of ECLand's record go in; what comes out is held against that record itself."""
    truth = load_sample("unseen").isel(time=slice(0, 241), column=slice(0, 4)).load()
    model = load_model("default")
    means = as_window_means(truth)
    stored = means.drop_vars([name for name in LACKING if name in means])
    found = as_instants(model, stored)
    run = simulate(model, truth.isel(time=slice(0, 240)))
    validate(found, source="instants")
    assert not any(bool(found[name].isnull().any()) for name in (*PROGNOSTIC, *DIAGNOSTIC))
    np.testing.assert_array_equal(found["sro"], stored["sro"])
    for name, share in (("swvl1", 0.8), ("swvl2", 0.8), ("stl2", 0.5)):
        actual = truth[name].isel(time=slice(0, 240))
        error = float(((found[name] - actual) ** 2).mean() ** 0.5)
        # The free run starts from the true state here, and is further off all the same.
        assert error < share * float(((run[name] - actual) ** 2).mean() ** 0.5), name
    again = as_window_means(found)
    for name in ("swvl3", "stl3"):
        missed = np.abs(again[name] - stored[name].isel(time=slice(0, -1))).mean()
        assert missed < 0.02 * float(stored[name].std()), name
