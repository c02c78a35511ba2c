"""Weak constraint, bias, ensemble and simplified Kalman filter against answers that are known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import Options, assimilate
from assimilation.control import CONTROL, ControlVector, block_root
from assimilation.covariance import background_root
from assimilation.ensemble import analysed_members, centred_draws, ensemble_root
from assimilation.forced import PREFIX, forced
from assimilation.observations import Observations
from assimilation.operators import on_records
from assimilation.window import make_window_analysis
from hybrid_land.columns import forcing_from, parameters_from
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.assimilation.test_cycling import twin as cycling_twin
from tests.toy import LAYERS, Buckets, case

twin = cycling_twin
STRONG = ControlVector(start=CONTROL)


@pytest.fixture
def toy(float64):
    """A linear model whose truth gains water, its observations and the perfect first state."""
    model = Buckets()
    parameters, state, forcing = case()
    gain = jnp.full_like(forcing["rain"], 0.004)
    wet = forcing | {f"{PREFIX}swvl1": gain}
    truth = on_records(state, *rollout(forced(model, ("swvl1",)), parameters, state, wet))
    noise = 0.002 * np.random.default_rng(3).standard_normal(truth["swvl1"].shape)
    seen = {"swvl1": truth["swvl1"] + noise}
    observations = Observations(
        values=seen,
        errors={"swvl1": jnp.full_like(seen["swvl1"], 0.002)},
        mask={"swvl1": jnp.ones_like(seen["swvl1"])},
    )
    return model, parameters, state, forcing, observations, truth


def test_no_error_added_is_the_model_itself(toy):
    model, parameters, state, forcing, _, _ = toy
    none = {f"{PREFIX}{name}": jnp.zeros_like(forcing["rain"]) for name in LAYERS}
    plain, _ = rollout(model, parameters, state, forcing)
    same, _ = rollout(forced(model, LAYERS), parameters, state, forcing | none)
    for name in LAYERS:
        np.testing.assert_allclose(same[name], plain[name], rtol=1e-12)


def test_the_weak_constraint_finds_the_model_s_error_and_the_strong_one_bends(toy):
    model, parameters, state, forcing, observations, truth = toy
    root = background_root(CONTROL, deviation=dict.fromkeys(CONTROL, 0.02))
    weak = ControlVector(start=CONTROL, model_error=("swvl1",), parts=2)
    wide = block_root([root, 0.01 * jnp.eye(2)])
    given = (parameters, state, forcing, observations)
    found = make_window_analysis(model, control=weak, tolerance=1e-8)(*given, wide)
    bent = make_window_analysis(model, control=STRONG, tolerance=1e-8)(*given, root)
    assert weak.labels[4:] == ("swvl1_error_1", "swvl1_error_2")
    # The true error lies within three of the stated deviations, which are small.
    errors, stated = np.asarray(found.control[4:]), np.asarray(found.control_error[4:])
    assert (np.abs(errors - 0.004) < 3.0 * stated).all()
    assert (stated < 0.002).all()
    assert (found.cost["observation"] < 0.5 * bent.cost["observation"]).all()
    assert float(found.cost["model_error"].min()) > 0.0
    for name in ("swvl2", "swvl4"):
        off = jnp.abs(found.series[name] - truth[name]).mean()
        assert off < 0.5 * jnp.abs(bent.series[name] - truth[name]).mean()
    # Jmin is half of chi squared with as many degrees of freedom as there are observations.
    chi = 2.0 * np.asarray(sum(found.cost.values())) / 40
    assert (np.abs(chi - 1.0) < 4.0 * np.sqrt(2.0 / 40)).all()


def test_a_bias_of_the_observations_is_told_from_the_state(toy):
    """The deep layers are known well, so that what is left over is the bias."""
    model, parameters, state, forcing, observations, _ = toy
    truth = on_records(state, *rollout(model, parameters, state, forcing))
    shifted = replace(observations, values={"swvl1": truth["swvl1"] + 0.05})
    control = ControlVector(start=CONTROL, bias=("swvl1",))
    root = background_root(CONTROL, deviation=dict.fromkeys(CONTROL, 0.005))
    found = make_window_analysis(model, control=control, tolerance=1e-8)(
        parameters, state, forcing, shifted, block_root([root, 0.1 * jnp.eye(1)])
    )
    np.testing.assert_allclose(found.control[4], 0.05, atol=0.004)
    assert float(jnp.abs(found.series["swvl1"] - truth["swvl1"]).max()) < 0.006


def test_an_ensemble_of_many_members_is_its_covariance(float64):
    root = background_root(CONTROL)
    members = centred_draws(jax.random.key(0), root, 4000, 2)
    np.testing.assert_allclose(members.mean(axis=0), 0.0, atol=1e-12)
    whole = ensemble_root(root, members, weight=0.7)
    covariance = jnp.einsum("iuc,juc->cij", whole, whole)
    np.testing.assert_allclose(covariance[1], root @ root.T, atol=4e-4)


def test_the_members_of_an_analysis_spread_as_it_says(float64):
    root = jnp.repeat(background_root(CONTROL)[..., None], 2, axis=2)
    half = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 9)))
    covariance = jnp.linalg.inv(jnp.eye(4)[None] + half @ jnp.moveaxis(half, 1, 2))
    members = analysed_members(jax.random.key(1), root, covariance, 8000)
    found = jnp.einsum("mic,mjc->cij", members, members) / 7999
    expected = jnp.einsum("iuc,cuv,jvc->cij", root, covariance, root)
    np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize("method", ["weak-4dvar", "4denvar", "hybrid-gain", "sekf"])
def test_each_method_brings_the_truth_nearer(twin, method):
    model, data, truth, observations, guess = twin
    analysis = assimilate(
        model,
        data,
        observations,
        first_guess=guess,
        method=method,
        window_days=6.25,
        truth=truth,
        options=Options(members=6, parts=2),
    )
    scores = analysis.attrs
    assert scores["not_converged"] == "none"
    assert scores["rmse_analysis_swvl1"] < 0.6 * scores["rmse_open_loop_swvl1"]
    assert "swvl1_innovation" in analysis
    if method == "weak-4dvar":
        assert analysis["swvl1_error_2"].dims == ("window", "column")


def test_overlapping_windows_start_where_they_are_told(twin):
    model, data, _, observations, guess = twin
    analysis = assimilate(
        model, data, observations, first_guess=guess, window_days=5.0, shift_days=2.5
    )
    assert analysis.sizes["window"] == 4
    assert analysis.sizes["time"] == 50
    assert np.isfinite(analysis["swvl1"]).all()
    # The second window begins on the first one's analysis at record 10.
    now = {name: jnp.asarray(analysis[name].to_numpy()[9]) for name in LAYERS}
    weather = {name: series[9] for name, series in forcing_from(data).items()}
    after, _ = model.step(parameters_from(data), now, weather)
    for name in LAYERS:
        before = analysis[f"{name}_background"].to_numpy()[10]
        np.testing.assert_allclose(before, after[name], rtol=2e-5)


def test_a_run_that_was_killed_goes_on_to_the_same_result(twin, tmp_path):
    model, data, _, observations, guess = twin
    folder = tmp_path / "windows"
    settings = {"first_guess": guess, "window_days": 6.25, "method": "4denvar"}
    options = Options(members=6)
    whole = assimilate(model, data, observations, options=options, **settings)

    def killed(done: int, _: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assimilate(
            model, data, observations, options=options, restart=folder, progress=killed, **settings
        )
    assert len(list(folder.iterdir())) == 1
    again = assimilate(model, data, observations, options=options, restart=folder, **settings)
    for name in whole.data_vars:
        np.testing.assert_array_equal(again[name], whole[name])
    with pytest.raises(InputError, match="run with other settings"):
        assimilate(
            model, data, observations, options=Options(members=5), restart=folder, **settings
        )


def test_hybrid_gain_lies_between_the_two_analyses(twin):
    model, data, _, observations, guess = twin
    wide = {name: 20.0 * error for name, error in observations.errors.items()}
    observations = replace(observations, errors=wide)
    found = {}
    for weight in (1e-6, 0.5, 1.0 - 1e-6):
        options = Options(members=3, ensemble_weight=weight)
        given = {"first_guess": guess, "window_days": 12.5, "options": options}
        found[weight] = assimilate(model, data, observations, method="hybrid-gain", **given)
    first = {"time": 0, "column": 0}
    ensemble, between, static = (found[w]["swvl1"].isel(first) for w in sorted(found, reverse=True))
    background = found[0.5]["swvl1_background"].isel(first)
    np.testing.assert_allclose(background, guess["swvl1"].isel(column=0), rtol=1e-5)
    assert abs(float(ensemble - background)) > 0.02
    assert abs(float(static - ensemble)) > 1e-3
    np.testing.assert_allclose(float(between), 0.5 * float(ensemble + static), atol=1e-4)


REFUSED = {
    "bias": (Options(bias={"swvl1": 0.02}), "4denvar with a bias of swvl1, expected none"),
    "propagated": (Options(propagate=True), "4denvar with a propagated background error"),
    "growth": (Options(growth={"swvl1": -1.0}), "growth of the error of swvl1 is -1"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_does_not_go_together_is_refused(twin, fault):
    model, data, _, observations, _ = twin
    options, message = REFUSED[fault]
    with pytest.raises(InputError, match=message):
        assimilate(model, data, observations, method="4denvar", options=options, window_days=5.0)
