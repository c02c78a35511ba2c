"""Assimilation over windows: how they chain, what is kept of a failure, and the Analysis form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assimilation import Options, assimilate, make_observations, read_observations
from assimilation.operators import OPERATORS
from hybrid_land.columns import forcing_from, parameters_from
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_WATER
from tests.toy import LAYERS, Buckets


@jax.tree_util.register_static
class Land(Buckets):
    """The toy on ECLand's own forcing."""

    def step(self, parameters, state, forcing):
        return super().step(parameters, state, {"rain": 100.0 * forcing["met_rainf"]})


UNSEEN = 2  # the column that is never observed


@pytest.fixture(scope="module")
def twin():
    """Data, a truth, observations of its top layer and a first guess that is too dry."""
    model = Land()
    data = load_sample("ecland_sample").isel(time=slice(0, 50), column=slice(0, 3)).load()
    for name in LAYERS:
        data[name] = data[name].clip(0.2, 0.3)
    data["clim_theta_pwp"] = data.clim_theta_pwp * 0 + 0.1
    truth = simulate(model, data)
    made = make_observations(truth, errors={"swvl1": 0.005}, every=3, seed=0)
    made["swvl1"][:, UNSEEN] = np.nan
    guess = truth[list(LAYERS)].isel(time=0, drop=True) - 0.08
    return model, data, truth, read_observations(made, data), guess


@pytest.fixture(scope="module")
def cycled(twin):
    """Windows of 20, 20 and 10 records, and what was reported on the way."""
    model, data, truth, observations, guess = twin
    reports = []
    analysis = assimilate(
        model,
        data,
        observations,
        first_guess=guess,
        window_days=5.0,
        truth=truth,
        progress=lambda done, total: reports.append((done, total)),
    )
    return analysis, reports


def test_a_window_starts_from_the_last_one_s_analysis(twin, cycled):
    model, data = twin[:2]
    analysis = cycled[0]
    forcing = forcing_from(data)
    for last in (19, 39):
        state = {name: jnp.asarray(analysis[name].to_numpy()[last]) for name in LAYERS}
        now = {name: series[last] for name, series in forcing.items()}
        after, _ = model.step(parameters_from(data), state, now)
        for name in LAYERS:
            background = analysis[f"{name}_background"].to_numpy()[last + 1]
            np.testing.assert_allclose(background, after[name], rtol=2e-5)
            free = analysis[f"{name}_open_loop"].to_numpy()[last + 1]
            assert (np.abs(background - free)[:UNSEEN] > 1e-3).all()


def test_windows_begin_as_told_and_the_last_may_be_short(cycled):
    analysis, reports = cycled
    assert reports == [(1, 3), (2, 3), (3, 3)]
    assert analysis.sizes == {"time": 50, "column": 3, "window": 3}
    step = abs(analysis.swvl1 - analysis.swvl1_background).to_numpy()[:, 0]
    assert step[0] > 0.03
    for name in (*SOIL_WATER, "root_zone_soil_moisture"):
        for suffix in ("", "_background", "_open_loop", "_analysis_error"):
            assert np.isfinite(analysis[f"{name}{suffix}"]).all()


def test_without_correction_there_is_one_open_loop(twin, cycled):
    model, data, _, _, guess = twin
    free = simulate(model, data, initial=guess)
    for name in LAYERS:
        np.testing.assert_allclose(cycled[0][f"{name}_open_loop"], free[name], rtol=2e-5)
        first = cycled[0][f"{name}_background"][:20]
        np.testing.assert_allclose(first, free[name][:20], rtol=2e-5)


def test_a_column_without_observations_keeps_its_background(cycled):
    analysis = cycled[0].isel(column=UNSEEN)
    for name in LAYERS:
        np.testing.assert_allclose(analysis[name], analysis[f"{name}_background"], rtol=1e-5)
        np.testing.assert_allclose(analysis[name], analysis[f"{name}_open_loop"], rtol=2e-5)
    assert (analysis.cost_observation == 0).all()
    np.testing.assert_allclose(analysis.signal, 0.0, atol=1e-4)
    others = cycled[0].swvl1_analysis_error.isel(column=slice(0, UNSEEN))
    assert (analysis.swvl1_analysis_error[0] > 3 * others[0]).all()


def test_the_analysis_is_nearer_to_the_truth(twin, cycled):
    truth, analysis = twin[2], cycled[0]
    scores = analysis.attrs
    for name in ("swvl1", "swvl2", "root_zone_soil_moisture"):
        rmse = [scores[f"rmse_{w}_{name}"] for w in ("analysis", "background", "open_loop")]
        assert rmse[0] < rmse[1] < rmse[2]
    error = (analysis.swvl1 - truth.swvl1).to_numpy()
    assert scores["rmse_analysis_swvl1"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert np.abs(error[:, :UNSEEN]).max() < 0.015
    assert (analysis.cost_background + analysis.cost_observation <= analysis.cost_start).all()


def test_stated_errors_stand_beside_the_innovations(cycled):
    analysis = cycled[0]
    seen = np.isfinite(analysis.swvl1_innovation)
    assert int(seen.sum()) == int(analysis.observed.sum()) == 34
    for kind in ("observation", "background"):
        assert (np.isfinite(analysis[f"swvl1_{kind}_error"]) == seen).all()
    np.testing.assert_allclose(analysis.swvl1_observation_error.to_numpy()[seen], 0.005, rtol=1e-5)
    np.testing.assert_allclose(analysis.swvl1_background_error[0, :UNSEEN], 0.06, rtol=1e-3)
    assert "stated" in analysis.swvl1_background_error.attrs["long_name"]


def test_attributes_say_how_it_was_made(cycled):
    found = cycled[0].attrs
    assert found["method"] == "4dvar"
    assert (found["windows"], found["window_days"]) == (3, 5.0)
    assert found["control"] == ", ".join(SOIL_WATER)
    assert found["background_error"].startswith("swvl1 0.06")
    assert found["not_converged"] == "none"
    assert "notice" not in found
    assert found["observations"] == 34
    assert cycled[0].swvl1.attrs["units"] == "m3 m-3"
    assert cycled[0].swvl1_analysis_error.attrs["long_name"].startswith("volumetric soil water")


def test_round_trip(cycled, tmp_path):
    save(cycled[0], tmp_path / "analysis.nc")
    with xr.open_dataset(tmp_path / "analysis.nc") as again:
        assert set(again.data_vars) == set(cycled[0].data_vars)
        for name in again.data_vars:
            np.testing.assert_array_equal(again[name], cycled[0][name])
        assert dict(again.attrs) == cycled[0].attrs


def test_a_column_that_fails_is_named_and_spoils_no_other(twin, cycled):
    model, data, _, observations, guess = twin
    broken = data.copy(deep=True)
    broken["clim_theta_pwp"][1] = np.nan
    analysis = assimilate(model, broken, observations, first_guess=guess, window_days=5.0)
    assert (
        analysis.attrs["not_converged"] == "window 0 column 1; window 1 column 1; window 2 column 1"
    )
    assert not any(key.startswith("rmse") for key in analysis.attrs)
    for column in (0, 2):
        np.testing.assert_allclose(
            analysis.swvl3.isel(column=column), cycled[0].swvl3.isel(column=column), rtol=1e-4
        )


def test_field_capacity_is_corrected_with_the_state(twin):
    model, data, _, observations, _ = twin
    wrong = data.assign(clim_theta_cap=data.clim_theta_cap - 0.06)
    analysis = assimilate(
        model,
        wrong,
        observations,
        options=Options(control=(*SOIL_WATER, "theta_cap")),
        window_days=12.5,
    )
    before = abs(analysis.theta_cap_background - data.clim_theta_cap)
    after = abs(analysis.theta_cap - data.clim_theta_cap)
    assert analysis.theta_cap.dims == ("column",)
    assert (after[:UNSEEN] < before[:UNSEEN]).all()
    assert float(after[UNSEEN]) == pytest.approx(float(before[UNSEEN]), rel=1e-4)
    assert (analysis.theta_cap_analysis_error[:UNSEEN] < 0.05).all()
    assert float(analysis.theta_cap_analysis_error[UNSEEN]) == pytest.approx(0.05, rel=0.05)


FAULTS = {
    "method": ({"method": "kalman"}, "method 'kalman' is not known, expected 4dvar"),
    "control": (
        {"options": Options(control=("swvl1", "skt"))},
        "control variable 'skt' is not known, expected",
    ),
    "twice": ({"options": Options(control=("swvl1", "swvl1"))}, "'swvl1' is named twice"),
    "long": ({"window_days": 13.0}, r"window of 13 days is longer .* at most 12.5 days; shorten"),
    "short": ({"window_days": 0.1}, "window of 0.1 days is shorter .* expected at least 0.25"),
    "no number": ({"window_days": float("nan")}, "window of nan days is shorter"),
    "endless": ({"window_days": float("inf")}, "window of inf days is longer than the data"),
    "shift": ({"window_days": 5.0, "shift_days": 6.0}, "shift of 6 days, expected from one step"),
    "minimiser": ({"options": Options(minimiser="simplex")}, "minimiser 'simplex' is not known"),
    "bias": ({"options": Options(bias={"swvl": 0.1})}, "bias of 'swvl': not an observable"),
    "model error": (
        {"method": "weak-4dvar", "options": Options(model_error={"swvl1": -1.0})},
        "model error: standard deviation of swvl1 is -1, expected a positive",
    ),
    "members": ({"options": Options(members=1)}, "1 members with weight 0.5, expected at least 2"),
    "error": (
        {"options": Options(background_error={"swvl2": 0.0}), "window_days": 5.0},
        "deviation of swvl2 is 0, expected a positive",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(twin, fault):
    model, data, _, observations, _ = twin
    options, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        assimilate(model, data, observations, **options)


def test_a_first_guess_or_truth_that_does_not_fit_is_named(twin):
    model, data, truth, observations, guess = twin
    with pytest.raises(InputError, match="the first guess: missing variable swvl4"):
        assimilate(model, data, observations, first_guess=guess.drop_vars("swvl4"))
    with pytest.raises(InputError, match="the first guess has 1 columns, expected 3"):
        assimilate(model, data, observations, first_guess=guess.isel(column=[0]))
    with pytest.raises(InputError, match="the truth has 1 columns, expected 3"):
        assimilate(model, data, observations, truth=truth.isel(column=[0]))
    with pytest.raises(InputError, match="the truth has other times"):
        assimilate(model, data, observations, truth=truth.isel(time=slice(0, 9)))


def test_propagated_background_error_makes_windows_as_good_as_one(twin):
    # For a linear model without error, the Kalman filter: what windows give at their end is what
    # one window over all of them gives, and as sure.
    model, data, _, observations, guess = twin
    given = {"first_guess": guess, "method": "4dvar"}
    options = Options(propagate=True, growth={})
    perfect = Options(growth={})
    parts = assimilate(model, data, observations, window_days=2.5, options=options, **given)
    whole = assimilate(model, data, observations, window_days=12.5, options=perfect, **given)
    apart = assimilate(model, data, observations, window_days=2.5, options=perfect, **given)
    last = {"time": -1, "column": slice(0, UNSEEN)}
    for name in ("swvl1", "swvl3", "swvl3_analysis_error"):
        expected = whole[name].isel(last).to_numpy()
        np.testing.assert_allclose(parts[name].isel(last).to_numpy(), expected, rtol=2e-3)
        assert np.all(np.abs(apart[name].isel(last).to_numpy() - expected) > 0.01 * expected)


def test_propagated_background_error_grows_as_told(twin):
    model, data, _, observations, guess = twin
    errors = {}
    for growth in (0.0, 0.01):
        analysis = assimilate(
            model,
            data,
            observations,
            first_guess=guess,
            window_days=2.5,
            options=Options(propagate=True, growth={"swvl4": growth}),
        )
        errors[growth] = analysis["swvl4_analysis_error"].isel(column=0).to_numpy()
    # Little of layer 4 is seen at the surface, and a sixth of its error is forgotten in 2.5 days.
    grown = np.sqrt(errors[0.0][10] ** 2 + 2.5 * 0.01**2)
    np.testing.assert_allclose(errors[0.01][10], grown, rtol=0.1)
    assert grown > 1.1 * errors[0.0][10]
    np.testing.assert_allclose(errors[0.0][0], errors[0.01][0], rtol=1e-3)


def test_propagated_background_error_restarts_to_the_same(twin, tmp_path):
    model, data, _, observations, guess = twin
    given = {"first_guess": guess, "window_days": 5.0, "options": Options(propagate=True)}
    whole = assimilate(model, data, observations, restart=tmp_path, **given)
    for saved in sorted(tmp_path.iterdir())[1:]:
        saved.unlink()
    again = assimilate(model, data, observations, restart=tmp_path, **given)
    np.testing.assert_array_equal(again["swvl3"], whole["swvl3"])
    np.testing.assert_array_equal(again["swvl3_analysis_error"], whole["swvl3_analysis_error"])


def test_operators_see_the_parameters_of_their_own_run(twin, monkeypatch):
    model, data, _, observations, guess = twin
    monkeypatch.setitem(
        OPERATORS,
        "swvl2",
        lambda series, given: 0.0 * series["swvl2"] + given.parameters["theta_cap"][None],
    )
    analysis = assimilate(
        model,
        data,
        observations,
        first_guess=guess,
        window_days=6.25,
        options=Options(control=("swvl1", "swvl3", "theta_cap")),
    )
    given = data["clim_theta_cap"].to_numpy()
    first, last = {"time": 0}, {"time": -1}
    np.testing.assert_allclose(analysis["swvl2_open_loop"].isel(last), given, rtol=1e-6)
    np.testing.assert_allclose(analysis["swvl2_background"].isel(first), given, rtol=1e-6)
    found = analysis["theta_cap"].to_numpy()
    np.testing.assert_allclose(analysis["swvl2"].isel(last), found, rtol=1e-6)
    assert abs(found[0] - given[0]) > 1e-3
