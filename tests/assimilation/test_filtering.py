"""Ensemble methods on land: the Analysis form, pieces, smoothers, parameters, frozen soil."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assimilation import FilterOptions, Options, assimilate, make_observations, read_observations
from assimilation.filters import Scheme, run_filter
from assimilation.filters.forcing_errors import ForcingErrors
from assimilation.observations import Observations
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.models.emulator import create
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_TEMPERATURE, SOIL_WATER
from tests.toy import LAYERS, Weathered

UNSEEN = 2  # the column that is never observed
MODEL = Weathered(rate=0.005)
GIVEN = {"members": 12, "growth": {"swvl1": 0.001}, "forcing": ForcingErrors(precipitation=0.3)}


@pytest.fixture(scope="module")
def twin():
    """Data, a truth, observations of its top layer, and a first guess too dry."""
    data = load_sample("ecland_sample").isel(time=slice(0, 24), column=slice(0, 3)).load()
    for name in LAYERS:
        data[name] = data[name].clip(0.2, 0.3)
    data["clim_theta_pwp"] = data.clim_theta_pwp * 0 + 0.1
    truth = simulate(MODEL, data)
    made = make_observations(truth, errors={"swvl1": 0.005, "slhf": 5.0}, every=3, seed=0)
    made["slhf"] = made.slhf * np.nan  # to be looked at only
    made["swvl1"][:, UNSEEN] = np.nan
    guess = truth[list(LAYERS)].isel(time=0, drop=True) - 0.05
    return data, truth, read_observations(made, data), guess


def analysed(twin, method="etkf", *, window_days=2.0, **options):
    data, truth, observations, guess = twin
    own = {name: options.pop(name) for name in ("restart", "progress") if name in options}
    return assimilate(
        MODEL,
        data,
        observations,
        first_guess=guess,
        method=method,
        window_days=window_days,
        truth=truth,
        options=FilterOptions(**(GIVEN | options)),
        **own,
    )


@pytest.fixture(scope="module")
def filtered(twin, tmp_path_factory):
    """Three pieces of eight records, kept in a folder."""
    folder, reports = tmp_path_factory.mktemp("pieces"), []
    analysis = analysed(
        twin, restart=folder, progress=lambda done, total: reports.append((done, total))
    )
    return analysis, folder, reports


def test_the_form_is_that_of_an_analysis(filtered, tmp_path):
    analysis, _, reports = filtered
    assert reports == [(1, 3), (2, 3), (3, 3)]
    assert analysis.sizes == {"time": 24, "column": 3, "window": 3}
    for name in (*SOIL_WATER, "root_zone_soil_moisture"):
        for suffix in ("", "_background", "_open_loop", "_analysis_error"):
            assert np.isfinite(analysis[f"{name}{suffix}"]).all(), name + suffix
    assert analysis.swvl1_analysis_error.attrs["units"] == "m3 m-3"
    found = analysis.attrs
    assert (found["method"], found["members"], found["windows"]) == ("etkf", 12, 3)
    assert found["cycle_days"] == 0.25
    assert found["forcing_error"].startswith("precipitation 0.3;")
    assert found["background_error"].startswith("swvl1 0.06")
    assert "since the last analysis" in found["between_analyses"]
    save(analysis, tmp_path / "analysis.nc")
    with xr.open_dataset(tmp_path / "analysis.nc") as again:
        assert dict(again.attrs) == found


def test_observations_correct_where_and_when_they_are(twin, filtered):
    observations, analysis = twin[2], filtered[0]
    seen = np.asarray(observations.mask["swvl1"]) > 0
    seen[0] = False  # the first guess is not corrected
    apart = np.abs(analysis.swvl1 - analysis.swvl1_background).to_numpy() > 1e-6
    np.testing.assert_array_equal(apart, seen)
    for kind in ("innovation", "residual", "observation_error", "background_error"):
        np.testing.assert_array_equal(np.isfinite(analysis[f"swvl1_{kind}"]), seen)
    value = np.asarray(observations.values["swvl1"])
    for kind, run in (("innovation", "swvl1_background"), ("residual", "swvl1")):
        stated = analysis[f"swvl1_{kind}"].to_numpy()[seen]
        np.testing.assert_allclose(stated, (value - analysis[run].to_numpy())[seen], atol=2e-6)
    assert int(analysis.observed.sum()) == analysis.attrs["observations"] == seen.sum()
    spread, prior = (analysis[f"swvl1_{kind}_error"] for kind in ("analysis", "background"))
    assert (spread.to_numpy()[seen] < prior.to_numpy()[seen]).all()


def test_what_belongs_to_a_step_stands_at_the_step_s_start(filtered):
    analysis = filtered[0]
    night = analysis.slhf_open_loop.to_numpy() == 0
    assert 0.2 < night.mean() < 0.8
    for name in ("slhf", "slhf_background", "slhf_analysis_error"):
        np.testing.assert_array_equal(analysis[name].to_numpy() == 0, night)
    assert np.isnan(analysis.slhf_innovation).all()


def test_the_analysis_is_nearer_to_the_truth_and_says_how_near(twin, filtered):
    truth, analysis = twin[1], filtered[0]
    scores = analysis.attrs
    for name in ("swvl1", "swvl2", "root_zone_soil_moisture"):
        rmse = [scores[f"rmse_{w}_{name}"] for w in ("analysis", "background", "open_loop")]
        assert rmse[0] < rmse[1] < rmse[2]
    own = {"time": slice(12, None), "column": slice(0, UNSEEN)}
    error = np.abs(analysis.swvl1 - truth.swvl1).isel(own)
    assert float(error.max()) < 0.02
    assert (error < 4.0 * analysis.swvl1_analysis_error.isel(own)).all()


def test_a_column_without_observations_is_the_members_own_run(twin, filtered):
    analysis = filtered[0].isel(column=UNSEEN)
    np.testing.assert_array_equal(analysis.swvl3, analysis.swvl3_background)
    # Linear in the state, and the members' mean rain is the rain: their mean is the open loop but
    # for the mean of the first members, which bounds may move.
    np.testing.assert_allclose(analysis.swvl3, analysis.swvl3_open_loop, atol=2e-4)
    assert (analysis.signal == 0).all()


def test_a_run_that_was_killed_goes_on_to_the_same_result(twin, filtered):
    analysis, folder, _ = filtered
    saved = sorted(folder.iterdir())
    assert len(saved) == 3
    for path in saved[1:]:
        path.unlink()
    again = analysed(twin, restart=folder)
    for name in ("swvl1", "swvl3_analysis_error", "swvl1_innovation"):
        np.testing.assert_array_equal(again[name], analysis[name])
    with pytest.raises(InputError, match="of a run with other settings or data"):
        analysed(twin, restart=folder, members=13)


def test_a_smoother_knows_what_was_seen_later_and_of_no_pieces(twin, filtered):
    truth = twin[1]
    smoothed = analysed(twin, "enks", lag_days=3.0, window_days=6.0)
    pieces = analysed(twin, "enks", lag_days=3.0, window_days=3.0)
    assert smoothed.attrs["lag_days"] == 3.0
    own = {"time": slice(0, 3), "column": slice(0, UNSEEN)}
    error = {
        name: float(np.sqrt(np.square((run - truth)["swvl3"].isel(own)).mean()))
        for name, run in (("filter", filtered[0]), ("smoother", smoothed))
    }
    assert error["smoother"] < error["filter"]
    for name in (
        *("swvl1", "swvl3_analysis_error", "swvl3_background", "swvl1_residual"),
        *("root_zone_soil_moisture", "root_zone_soil_moisture_analysis_error"),
    ):
        np.testing.assert_allclose(pieces[name], smoothed[name], rtol=1e-4, atol=1e-6)
    last = {"time": -1}
    np.testing.assert_allclose(smoothed.swvl1[last], filtered[0].swvl1[last], rtol=1e-4)


def test_an_observation_counts_less_in_depth_and_below_the_scale_for_nothing(twin, filtered):
    # Middles of the layers: 0.035, 0.175, 0.64 and 1.945 m; the first analysis is at record 3.
    local = analysed(twin, "letkf", localisation_depth_m=1.0)
    assert local.attrs["localisation_depth_m"] == 1.0
    whole, local = (
        np.stack([np.abs(run[n] - run[f"{n}_background"])[3, :UNSEEN] for n in SOIL_WATER])
        for run in (filtered[0], local)
    )
    np.testing.assert_allclose(local[0], whole[0], rtol=1e-3)
    assert (local[1:3] < whole[1:3]).all()
    assert (local[2] > 0).all()
    assert (local[3] == 0).all()


def test_field_capacity_is_estimated_beside_the_state(twin):
    data = twin[0]
    fast = Weathered(rate=0.2)
    made = make_observations(simulate(fast, data), errors={"swvl1": 0.005}, every=3, seed=1)
    made["swvl1"][:, UNSEEN] = np.nan
    found = assimilate(
        fast,
        data.assign(clim_theta_cap=data.clim_theta_cap - 0.06),
        read_observations(made, data),
        method="etkf",
        options=FilterOptions(
            **(GIVEN | {"members": 30}), control=(*SOIL_WATER, "theta_cap"), cycle_days=0.75
        ),
    )
    assert found.theta_cap.dims == ("column",)
    assert found.attrs["cycle_days"] == 0.75
    np.testing.assert_allclose(found.theta_cap_background, data.clim_theta_cap - 0.06, rtol=1e-5)
    error = np.abs(found.theta_cap - data.clim_theta_cap)
    assert (error < 0.03)[:UNSEEN].all()
    assert (found.theta_cap_analysis_error < 0.03)[:UNSEEN].all()
    assert float(error[UNSEEN]) == pytest.approx(0.06, abs=0.005)
    assert float(found.theta_cap_analysis_error[UNSEEN]) == pytest.approx(0.05, rel=0.2)


FAULTS = {
    "method": ("kalman", {}, "method 'kalman' is not known, expected 4dvar"),
    "members": ("etkf", {"members": 1}, "the ensemble has 1 member, expected at least 2"),
    "inflation": ("etkf", {"inflation": -1.0}, "inflation is -1, expected a number above 0"),
    "relaxation": ("etkf", {"relaxation": 1.5}, "relaxation is 1.5, expected a number from 0 to 1"),
    "collapsed": (
        "etkf",
        {"root": jnp.zeros((4, 4))},
        "all 12 members are the same in swvl1, swvl2, swvl3, expected a spread",
    ),
    "error": ("etkf", {"background_error": {"swvl2": 0.0}}, "deviation of swvl2 is 0, expected a"),
    "control": ("etkf", {"control": ("swvl1", "skt")}, "control variable 'skt' is not known"),
    "reach": ("letkf", {}, "letkf without a localisation, expected the distance in km"),
    "reach of none": (
        "letkf",
        {"localisation_km": 1.0},
        "radius of 1 km reaches no column from any other",
    ),
    "reach elsewhere": ("etkf", {"localisation_km": 9.0}, "etkf with a localisation of 9 km"),
    "depth": (
        "letkf",
        {"localisation_depth_m": -1.0},
        "the localisation radius is -1 m of depth, expected a positive number",
    ),
    "depth elsewhere": (
        "enks",
        {"localisation_depth_m": 1.0},
        "enks with a localisation of 1 m of depth, expected one with letkf only",
    ),
    "lag": ("etkf", {"lag_days": 9.0}, "etkf with a lag of 9 days, expected one with enks"),
    "no lag": ("enks", {"lag_days": 0.0}, "lag of 0 days, expected at least a cycle of 0.25 days"),
    "cycle": ("etkf", {"cycle_days": 7.0}, "cycle of 7 days, expected from a step of 0.25 days"),
    "rain": (
        "etkf",
        {"forcing": ForcingErrors(precipitation=-0.3)},
        "error of the forcing: precipitation is -0.3, expected zero or more",
    ),
    "growth": ("etkf", {"growth": {"skt": 1.0}}, "growth of the error of 'skt', which is no"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(twin, fault):
    method, options, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        analysed(twin, method, **options)


def test_a_radius_that_reaches_too_many_columns_is_named(twin):
    data, _, observations, guess = twin
    many = np.zeros(201, int)
    wide = Observations(
        *({n: x[:, many] for n, x in leaves.items()} for leaves in vars(observations).values())
    )
    with pytest.raises(InputError, match="reaches 201 columns from column 0, expected at most 200"):
        assimilate(
            MODEL,
            data.isel(column=many),
            wide,
            first_guess=guess.isel(column=many),
            method="letkf",
            options=FilterOptions(**GIVEN, localisation_km=100.0),
        )


def test_options_of_the_other_kind_are_refused(twin):
    data, _, observations, _ = twin
    with pytest.raises(InputError, match="etkf with Options, expected FilterOptions"):
        assimilate(MODEL, data, observations, method="etkf", options=Options())
    with pytest.raises(InputError, match="etkf with a shift of 1 days, expected none"):
        assimilate(MODEL, data, observations, method="etkf", shift_days=1.0)
    with pytest.raises(InputError, match="window of -1 days, expected at least a step"):
        assimilate(MODEL, data, observations, method="etkf", window_days=-1.0)


@pytest.fixture(scope="module")
def emulated():
    """A small network's members over six records: two columns of frozen soil, two of thawed."""
    data = load_sample("ecland_sample").isel(time=slice(0, 6), column=slice(0, 4)).load()
    for name in SOIL_TEMPERATURE:
        data[name][:] = 285.0
        data[name][:, :2] = 262.0
    parameters, state, forcing = parameters_from(data), state_from(data), forcing_from(data)
    first = {name: series[0] for name, series in forcing.items()}
    model = create(parameters, state, first, hidden=(8,), key=jax.random.key(0))
    draws = 0.03 * jax.random.normal(jax.random.key(1), (8, 4, 4))
    members = {n: jnp.repeat(x[None], 8, axis=0) for n, x in state.items()}
    for k, name in enumerate(SOIL_WATER):
        members[name] = jnp.clip(members[name] + draws[:, k], 0.0, parameters["theta_max"][None])
    shape = (7, 4)
    mask = jnp.ones(shape).at[:, 3].set(0.0)  # the last column is not observed
    seen = Observations(
        {"swvl1": jnp.full(shape, 0.9)}, {"swvl1": jnp.full(shape, 0.02)}, {"swvl1": mask}
    )

    def run(observed, scheme):
        part = Observations(seen.values, seen.errors, {"swvl1": observed * mask})
        return run_filter(
            *(model, parameters, members, forcing, part),
            scheme=scheme,
            key=jax.random.key(2),
            shown=SOIL_WATER,
        )

    scheme = Scheme(every=6, variables=SOIL_WATER, keep_members=True)
    return parameters, run(1.0, scheme), run(0.0, scheme), run


def test_frozen_soil_water_is_left_alone(emulated):
    _, run, free, _ = emulated
    members, before = np.asarray(run.members)[0], np.asarray(free.members)[0]
    frozen = [run.names.index(n) for n in SOIL_TEMPERATURE]
    assert (before[:, frozen[1:], :2] < 273.16).all()
    water = [run.names.index(n) for n in SOIL_WATER]
    # Below the first layer, whose temperature a step of the weather may change.
    np.testing.assert_array_equal(members[:, water[1:], :2], before[:, water[1:], :2])
    assert (np.abs(members - before)[:, water, 2] > 1e-4).all()


def test_a_smoother_leaves_frozen_soil_water_of_the_past_alone(emulated):
    *_, again = emulated
    runs = [again(observed, Scheme(variables=SOIL_WATER, lag=3)) for observed in (1.0, 0.0)]
    smoothed, unseen = (np.asarray(run.smoother_mean) for run in runs)
    np.testing.assert_array_equal(smoothed[:, 1:, :2], unseen[:, 1:, :2])
    assert (np.abs(smoothed - unseen)[:, :, 2] > 1e-4).all()
    for name in SOIL_WATER[1:]:  # as written to the Analysis form
        seen, blank = (np.asarray(run.shown[name].smoother_mean) for run in runs)
        np.testing.assert_array_equal(seen[:, :2], blank[:, :2])


def test_bounds_hold_and_do_not_move_members_that_no_observation_touched(emulated):
    parameters, run, free, _ = emulated
    members, before = np.asarray(run.members)[0], np.asarray(free.members)[0]
    most = np.asarray(parameters["theta_max"])
    for name in SOIL_WATER:
        values = members[:, run.names.index(name)]
        assert (values >= 0).all()
        assert (values <= most + 1e-6).all()
    assert (
        members[:, run.names.index("swvl1"), 2].mean()
        > before[:, run.names.index("swvl1"), 2].mean()
    )
    np.testing.assert_array_equal(members[:, :, 3], before[:, :, 3])
