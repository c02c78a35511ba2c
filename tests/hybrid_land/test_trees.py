"""The tree baseline: it learns, steps like any model, stays in bounds, and travels."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.models.increments import clipped, reference
from hybrid_land.models.trees import TARGETS, TreeModel, load_trees, save_trees
from hybrid_land.simulation import simulate
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.split import STEPS_A_YEAR, split
from hybrid_land.training.trees import TreeSettings, train_trees
from hybrid_land.variables import FREEZING, PROGNOSTIC, SNOW_PRESENT, SOIL_WATER

SMALL = TreeSettings(rows=3000, rounds=12, depth=4, learning_rate=0.3, threads=1)


@pytest.fixture(scope="module")
def sample() -> xr.Dataset:
    return load_sample("ecland_sample").load()


@pytest.fixture(scope="module")
def trees(sample: xr.Dataset) -> TreeModel:
    kept, held = split(sample, TrainingConfig(validation_share=0.2))
    return train_trees([kept], [held], settings=SMALL)


@pytest.fixture(scope="module")
def unseen() -> xr.Dataset:
    return load_sample("unseen").isel(time=slice(0, 30)).load()


def first_step(model: TreeModel, ds: xr.Dataset) -> tuple[dict, dict]:
    forcing = {name: series[0] for name, series in forcing_from(ds, steps=slice(0, 1)).items()}
    return model.step(parameters_from(ds), state_from(ds), forcing)


def test_it_is_a_model(trees: TreeModel) -> None:
    assert isinstance(trees, Model)
    assert jax.tree.leaves(trees) == []


def test_one_step_beats_holding_the_state(trees: TreeModel, unseen: xr.Dataset) -> None:
    new, diagnostics = first_step(trees, unseen)
    for name in ("swvl1", "stl1", "stl2"):
        before, after = unseen[name][0].to_numpy(), unseen[name][1].to_numpy()
        held = np.sqrt(np.mean((after - before) ** 2))
        assert np.sqrt(np.mean((np.asarray(new[name]) - after) ** 2)) < 0.8 * held, name
    # Fluxes belong to the step itself, screen values to its end.
    spread = float(unseen["sshf"].std())
    error = np.asarray(diagnostics["sshf"]) - unseen["sshf"][0].to_numpy()
    assert np.sqrt(np.mean(error**2)) < 0.6 * spread
    error = np.asarray(diagnostics["t2m"]) - unseen["t2m"][1].to_numpy()
    assert np.sqrt(np.mean(error**2)) < 2.0


def test_the_one_rollout_runs_it(trees: TreeModel, unseen: xr.Dataset) -> None:
    run = simulate(trees, unseen)
    new, diagnostics = first_step(trees, unseen)
    np.testing.assert_allclose(run["stl1"][1], new["stl1"], rtol=1e-6)
    np.testing.assert_allclose(run["slhf"][0], diagnostics["slhf"], rtol=1e-5)
    for name in TARGETS:
        assert np.isfinite(run[name]).all(), name


def test_the_state_is_clipped_to_its_bounds(unseen: xr.Dataset) -> None:
    parameters = parameters_from(unseen)
    values = {name: jnp.full(12, -5.0) for name in TARGETS}
    new, diagnostics = clipped(values, parameters)
    for name in (*SOIL_WATER, "sd", "src", "snowc"):
        np.testing.assert_array_equal(new[name], 0.0)
    np.testing.assert_array_equal(diagnostics["sro"], 0.0)
    np.testing.assert_array_equal(diagnostics["e"], -5.0)
    np.testing.assert_allclose(new["tsn"], FREEZING)  # without snow
    full, _ = clipped({name: jnp.full(12, 9e9) for name in TARGETS}, parameters)
    np.testing.assert_array_equal(full["swvl3"], parameters["theta_max"])


def test_targets_are_differences_from_the_start_of_the_step(unseen: xr.Dataset) -> None:
    forcing = {name: series[0] for name, series in forcing_from(unseen).items()}
    state = state_from(unseen)
    base = reference(state, forcing)
    assert set(base) == {*PROGNOSTIC, "skt", "t2m", "d2m"}
    np.testing.assert_array_equal(base["swvl2"], state["swvl2"])
    assert float(jnp.max(base["d2m"] - forcing["met_tair"])) < 1.0


def test_columns_without_snow_train_too(sample: xr.Dataset) -> None:
    bare = sample.isel(column=np.flatnonzero((sample["sd"] < SNOW_PRESENT).all("time"))[:4])
    quick = TreeSettings(rows=300, rounds=1, depth=2, threads=1)
    found = train_trees([bare], [bare], settings=quick)
    assert np.isfinite(list(found.scales.values())).all()


def test_they_travel_as_xgboosts_own_files(
    trees: TreeModel, unseen: xr.Dataset, tmp_path: Path
) -> None:
    save_trees(trees, tmp_path / "trees", facts={"trained_on": ["ecland_sample.nc"]})
    names = {path.name for path in (tmp_path / "trees").iterdir()}
    assert names == {"model.json", *(f"{name}.ubj" for name in TARGETS)}
    described = json.loads((tmp_path / "trees" / "model.json").read_text())
    assert described["kind"] == "trees"
    assert described["trained_on"] == ["ecland_sample.nc"]
    again = load_trees(tmp_path / "trees")
    ours, theirs = first_step(trees, unseen), first_step(again, unseen)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_without_trees_is_refused(trees: TreeModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trees here .* expected model\.json"):
        load_trees(tmp_path)
    (tmp_path / "model.json").write_text('{"kind": "emulator", "form": 1}')
    with pytest.raises(InputError, match="kind 'emulator', expected 'trees'"):
        load_trees(tmp_path)
    save_trees(trees, tmp_path)
    (tmp_path / "stl1.ubj").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"stl1\.ubj: the trees cannot be read"):
        load_trees(tmp_path)


def test_every_target_needs_a_regressor(trees: TreeModel) -> None:
    some = {name: trees.boosters[name] for name in TARGETS if name != "asn"}
    with pytest.raises(ValueError, match="no regressor for asn"):
        TreeModel(some, scales=trees.scales, inputs=trees.inputs)


def test_the_split_withholds_places_and_the_last_year(sample: xr.Dataset) -> None:
    config = TrainingConfig(validation_share=0.25)
    longer = xr.concat([sample, sample.isel(time=slice(0, 40))], dim="time", data_vars="minimal")
    kept, held = split(longer, config)
    assert held.sizes["column"] == 6
    assert held.sizes["time"] == longer.sizes["time"]
    assert kept.sizes["column"] == 18
    assert kept.sizes["time"] == longer.sizes["time"] - STEPS_A_YEAR
    whole, _ = split(sample.isel(time=slice(0, 1000)), config)
    assert whole.sizes["time"] == 1000
    ours = set(zip(kept.lat.to_numpy(), kept.lon.to_numpy(), strict=True))
    assert ours.isdisjoint(zip(held.lat.to_numpy(), held.lon.to_numpy(), strict=True))
