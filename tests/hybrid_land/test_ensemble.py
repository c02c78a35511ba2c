"""An ensemble is its members, no more and no less: on disk, in a step, in a run, perturbed."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.ensemble_run import fold_columns, simulate_ensemble
from hybrid_land.errors import InputError
from hybrid_land.evaluation.budget import water_budget
from hybrid_land.interface import Model
from hybrid_land.models.emulator import create
from hybrid_land.models.ensemble import (
    Ensemble,
    assemble,
    fold,
    is_ensemble,
    load_ensemble,
    save_ensemble,
    stack,
    unfold,
)
from hybrid_land.models.perturbation import Perturbation, shift_within
from hybrid_land.models.store import describe_model, load_model, save_model
from hybrid_land.noise import noise_series
from hybrid_land.rollout import rollout
from hybrid_land.simulation import simulate

STEPS, PIECE, COLUMNS, MEMBERS = 24, 12, 5, 3


@pytest.fixture(scope="module")
def data():
    """Six days of five columns, two of them with snow."""
    sample = load_sample("ecland_sample").isel(time=slice(0, STEPS)).load()
    snowy = np.argsort(-sample["sd"].isel(time=0).to_numpy())[:2]
    others = [i for i in range(sample.sizes["column"]) if i not in snowy][: COLUMNS - 2]
    return sample.isel(column=[*snowy, *others])


def emulator(data, seed, hidden=(8,)):
    first = {name: series[0] for name, series in forcing_from(data).items()}
    key = jax.random.key(seed)
    return create(parameters_from(data), state_from(data), first, hidden=hidden, key=key)


@pytest.fixture(scope="module")
def members(data):
    return [emulator(data, seed) for seed in range(MEMBERS)]


@pytest.fixture(scope="module")
def ensemble(members):
    return stack(members)


@pytest.fixture(scope="module")
def run(ensemble, data):
    return simulate_ensemble(ensemble, data, steps_at_once=PIECE)


def test_each_member_runs_as_it_does_alone(members, run, data):
    """The ensemble in two pieces, the single model in one."""
    names = (*members[0].prognostic, *members[0].diagnostic)
    for i, member in enumerate(members):
        alone = simulate(member, data)
        for name in names:
            theirs = alone[name].to_numpy()
            close = 1e-4 * float(np.abs(theirs).max())
            np.testing.assert_allclose(
                run[name].isel(member=i), theirs, rtol=0, atol=close, err_msg=name
            )
    # Members differ by far more than that tolerance.
    assert float(run["stl1"].std("member").isel(time=-1).min()) > 0.01


def test_a_run_has_the_data_s_form_with_members_in_front(run, data):
    assert run["swvl1"].dims == ("member", "time", "column")
    assert run["swvl1"].attrs["units"] == "m3 m-3"
    assert run["met_tair"].dims == ("time", "column")
    np.testing.assert_array_equal(run["time"], data["time"])
    given = data["stl2"].isel(time=0)
    np.testing.assert_array_equal(run["stl2"].isel(time=0), np.tile(given, (MEMBERS, 1)))


def test_members_may_start_apart(ensemble, run, data):
    start = data.isel(time=0)
    shift = xr.DataArray([0.0, 2.0, 4.0], dims="member")
    warmer = start.assign(stl3=start["stl3"] + shift)
    apart = simulate_ensemble(ensemble, data, initial=warmer, steps_at_once=PIECE)
    gap = (apart["stl3"] - run["stl3"]).mean("column").to_numpy()  # [member, time]
    np.testing.assert_allclose(gap[:, 0], [0.0, 2.0, 4.0], atol=1e-4)
    assert abs(gap[0]).max() == 0.0
    assert gap[1:, 1].min() > 1.0  # a step later the third layer still knows


def test_the_step_satisfies_the_interface_on_folded_columns(ensemble, run, data):
    assert isinstance(ensemble, Model)
    folded = jax.tree.map(
        partial(fold, size=MEMBERS), (parameters_from(data), state_from(data), forcing_from(data))
    )
    states, diagnostics = jax.jit(rollout)(ensemble, *folded)
    for name, series in (states | {"e": diagnostics["e"]}).items():
        ours = unfold(series, MEMBERS)
        theirs = run[name].to_numpy()
        if name != "e":
            ours, theirs = ours[:, :-1], theirs[:, 1:]
        close = 1e-4 * float(np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=close, err_msg=name)


def test_simulate_takes_folded_data_and_refuses_plain_ones(ensemble, run, data):
    folded = simulate(ensemble, fold_columns(data, MEMBERS))
    second = folded["swvl1"].to_numpy()[:, folded["member"].to_numpy() == 1]
    np.testing.assert_allclose(second, run["swvl1"].isel(member=1), rtol=2e-5)
    with pytest.raises(InputError, match="missing variable member"):
        simulate(ensemble, data)


def test_rows_that_cut_a_column_s_members_are_refused(ensemble, data):
    arguments = fold((parameters_from(data), state_from(data)), MEMBERS)
    cut = jax.tree.map(lambda x: x[:-1], arguments)
    with pytest.raises(ValueError, match="14 rows for 3 members, expected a multiple"):
        ensemble.step(*cut, {})


def test_one_program_whatever_the_number_of_members(members, data):
    """No loop over members: as many operations for six as for two."""

    def operations(size):
        some = stack([members[i % MEMBERS] for i in range(size)])
        first = {name: series[0] for name, series in forcing_from(data).items()}
        arguments = fold((parameters_from(data), state_from(data), first), size)
        return str(jax.make_jaxpr(lambda e, *a: e.step(*a))(some, *arguments)).count(" = ")

    assert operations(2) == operations(6)


def test_gradients_reach_every_member_and_only_its_own_rows(ensemble, data):
    first = {name: series[0] for name, series in forcing_from(data).items()}
    parameters, state, forcing = fold((parameters_from(data), state_from(data), first), MEMBERS)

    @jax.jit
    @jax.grad
    def slope_of(stl2):
        new, _ = ensemble.step(parameters, state | {"stl2": stl2}, forcing)
        return jnp.sum(unfold(new["stl2"], MEMBERS)[1])

    slope = unfold(slope_of(state["stl2"]), MEMBERS)
    assert float(jnp.abs(slope[1]).min()) > 0.1
    assert float(jnp.abs(slope[jnp.array([0, 2])]).max()) == 0.0


def test_round_trip_is_exact(ensemble, members, tmp_path):
    save_ensemble(ensemble, tmp_path / "e", facts={"trained_on": ["x.nc"]})
    assert is_ensemble(tmp_path / "e")
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]
    again = load_ensemble(tmp_path / "e")
    assert again.size == MEMBERS
    for one, other in zip(jax.tree.leaves(ensemble), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    alone = jax.tree.leaves(again.member(2))
    for one, other in zip(alone, jax.tree.leaves(members[2]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_directories_make_an_ensemble_that_remembers_them(members, tmp_path):
    for i, member in enumerate(members):
        rmse = {"swvl1": 0.01 * (i + 1)}
        facts = {"trained_on": ["x.nc"], "config": {"seed": i}, "validation_rmse": rmse}
        save_model(member, tmp_path / f"run{i}", facts=facts)
    made = assemble([tmp_path / f"run{i}" for i in range(MEMBERS)], tmp_path / "e")
    assert isinstance(made, Ensemble)
    description = describe_model(tmp_path / "e")
    assert description["members"] == MEMBERS
    assert description["trained_on"] == ["x.nc"]
    assert [m["config"]["seed"] for m in description["member_facts"]] == [0, 1, 2]
    mean = np.sqrt(np.mean([1e-4, 4e-4, 9e-4]))
    assert dict(load_ensemble(tmp_path / "e").members.expected_error)["swvl1"] == pytest.approx(
        mean
    )


def test_faults_of_members_are_named(members, data, tmp_path):
    with pytest.raises(InputError, match="ensemble of 1 models has no spread, expected at least 2"):
        stack(members[:1])
    with pytest.raises(InputError, match="member 1: hidden differ from those of member 0"):
        stack([members[0], emulator(data, 9, hidden=(6,))])
    for name in ("a", "b"):
        save_model(members[0], tmp_path / name)
    with pytest.raises(InputError, match="a: named twice, expected each member once"):
        assemble([tmp_path / "a", tmp_path / "b", tmp_path / "a"], tmp_path / "e")
    with pytest.raises(InputError, match="a: is a member's own directory, expected another"):
        assemble([tmp_path / "a", tmp_path / "b"], tmp_path / "a")
    with pytest.raises(InputError, match="kind 'emulator', expected an ensemble; assemble one"):
        load_ensemble(tmp_path / "a")


def test_faults_of_an_ensemble_are_named(ensemble, tmp_path):
    save_ensemble(ensemble, tmp_path)
    with pytest.raises(InputError, match="an ensemble of 3 members, expected one emulator"):
        load_model(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    for wrong, message in ((4, "has shape .*expected"), ("many", "members is 'many', expected")):
        (tmp_path / "model.json").write_text(json.dumps(description | {"members": wrong}))
        with pytest.raises(InputError, match=message):
            load_ensemble(tmp_path)


SPREAD = {"swvl1": 0.02, "swvl4": 0.02, "stl1": [0.0, 0.5, 1.0], "sd": 2.0}


def with_noise(ensemble, data, spread, *, key, memory_days=1.0):
    given = Perturbation(spread, memory_days=memory_days)
    return simulate_ensemble(
        ensemble, data, perturbation=given, key=jax.random.key(key), steps_at_once=PIECE
    )


@pytest.fixture(scope="module")
def perturbed(ensemble, data):
    return with_noise(ensemble, data, SPREAD, key=1)


def test_no_spread_changes_nothing(ensemble, run, data):
    still, other = (
        with_noise(ensemble, data, dict.fromkeys(SPREAD, 0.0), key=key) for key in (1, 2)
    )
    for name in ensemble.prognostic:
        # The same program whatever the noise; the run without is another, which rounds otherwise.
        np.testing.assert_array_equal(still[name], other[name], err_msg=name)
        np.testing.assert_allclose(still[name], run[name], rtol=1e-6, atol=5e-6, err_msg=name)
    assert float(abs(still["water_added"]).max()) == 0.0


def test_the_key_decides_the_perturbations(ensemble, perturbed, data):
    same = with_noise(ensemble, data, SPREAD, key=1)
    np.testing.assert_array_equal(same["swvl1"], perturbed["swvl1"])
    other = with_noise(ensemble, data, SPREAD, key=2)
    assert float(abs(other["swvl1"] - perturbed["swvl1"]).max()) > 0.01
    with pytest.raises(ValueError, match="give a key"):
        simulate_ensemble(ensemble, data, perturbation=Perturbation(SPREAD))


def test_the_spread_is_what_was_asked_for(perturbed, run):
    """After one step nothing else has had the time to differ."""
    change = (perturbed["stl1"] - run["stl1"]).isel(time=1)
    assert float(abs(change.isel(member=0)).max()) < 1e-4
    assert 0.2 < float(change.isel(member=slice(1, 3)).std()) < 2.0


def test_perturbed_states_stay_within_their_bounds(ensemble, perturbed, data):
    strong = {"swvl1": 1.0, "swvl4": 1.0, "stl1": 10.0, "sd": 500.0}
    for ds in (perturbed, with_noise(ensemble, data, strong, key=3)):
        for name in ("swvl1", "swvl2", "swvl3", "swvl4"):
            assert float(ds[name].min()) >= 0.0
            assert float((ds[name] - data["clim_theta_max"]).max()) <= 1e-6
        assert float(ds["sd"].min()) >= 0.0
        assert 0.0 <= float(ds["snowc"].min()) <= float(ds["snowc"].max()) <= 1.0
        assert bool(np.isfinite(ds[list(ensemble.prognostic)]).to_array().all())


def test_the_water_budget_closes_with_what_was_added(perturbed):
    for i in range(MEMBERS):
        one = perturbed.isel(member=i)
        assert water_budget(one)["max_abs_mm_per_step"] > 0.1
        # What is added enters the budget as negative evaporation would.
        closed = one.assign(e=one["e"] + one["water_added"])
        assert water_budget(closed)["max_abs_mm_per_step"] < 1e-3


def test_a_shift_keeps_to_the_bounds_and_adds_freely_far_from_them():
    x = jnp.array([0.0, 1e-7, 0.2, 0.4, 0.40001])
    far = shift_within(jnp.array([100.0]), jnp.array([0.5]), 0.0, 200.0)
    assert float(far[0]) == pytest.approx(0.5, abs=1e-4)
    for shift in (-9.0, 0.0, 9.0):
        y = np.asarray(x + shift_within(x, jnp.full(5, shift), 0.0, 0.4))
        assert y.min() >= 0.0
        assert y[:4].max() <= np.float32(0.4)
        assert y[0] == 0.0
        assert y[4] == np.float32(0.40001)  # a state beyond the bound is left where it is


def test_noise_has_unit_variance_and_its_memory():
    def draw(**span):
        key = jax.random.key(0)
        return noise_series(key, ("swvl1",), (20,), correlation=0.8, **span)["noise_swvl1"]

    noise = draw(begin=0, steps=2000)
    assert noise.shape == (2000, 20)
    later = draw(begin=1500, steps=500, last={"noise_swvl1": noise[1499]})
    np.testing.assert_allclose(later, noise[1500:], atol=1e-5)  # in pieces as in one
    assert np.std(noise) == pytest.approx(1.0, abs=0.03)
    assert np.std(noise[0]) == pytest.approx(1.0, abs=0.4)
    assert np.mean(noise[1:] * noise[:-1]) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("spread", "memory", "message"),
    [
        ({"skt": 1.0}, 0.0, "'skt' cannot be perturbed, expected one of swvl1"),
        ({"stl1": -1.0}, 0.0, "spread of stl1 is -1, expected 0 or more"),
        ({"stl1": [1.0, 2.0]}, 0.0, "2 spreads of stl1, expected one or 3"),
        ({"stl1": 1.0}, -1.0, "memory is -1 days, expected 0 or more"),
    ],
)
def test_faults_of_a_perturbation_are_named(spread, memory, message):
    with pytest.raises(InputError, match=message):
        Perturbation(spread, memory_days=memory).spreads(3)


def test_faults_of_a_first_state_are_named(ensemble, data):
    start = data.isel(time=0)
    with pytest.raises(InputError, match="first state has 4 columns, expected 5"):
        simulate_ensemble(ensemble, data, initial=start.isel(column=slice(0, 4)))
    two = start.assign(stl3=start["stl3"].expand_dims(member=2))
    with pytest.raises(InputError, match="first state has 2 members, expected 3"):
        simulate_ensemble(ensemble, data, initial=two)
