"""Members that fail are replaced; bounded variables stay in bounds; what is untouched stays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from assimilation.filters.members import failed, replaced, within
from hybrid_land.errors import InputError
from hybrid_land.variables import FREEZING
from tests.assimilation.filters.linear import linear_case
from tests.toy import LAYERS, Buckets

KEY = jax.random.key(0)


class Brittle(Buckets):
    """Buckets of which one that is too wet breaks."""

    def step(self, parameters, state, forcing):
        new, diagnostics = super().step(parameters, state, forcing)
        broken = state["swvl4"] > 1.0
        return {n: jnp.where(broken, jnp.nan, x) for n, x in new.items()}, diagnostics


def brittle(broken):
    case = linear_case()
    case.members[broken, 3, 1] = 2.0
    return dataclasses.replace(case, model=Brittle())


def test_failed_members_are_replaced_and_counted():
    case = brittle([2, 5])
    run = run_filter(*case.given, scheme=Scheme(keep_members=True), key=KEY)
    assert run.failures[0].tolist() == [0, 2]
    assert int(run.failures[1:].sum()) == 0
    assert np.isfinite(run.analysis_mean).all()
    assert np.isfinite(run.forecast_spread).all()
    # The other column is as if nothing had happened.
    sound = run_filter(*linear_case().given, scheme=Scheme(), key=KEY)
    np.testing.assert_allclose(run.analysis_mean[..., 0], sound.analysis_mean[..., 0], rtol=1e-5)


@pytest.mark.parametrize("method", ["etkf", "ienks"])
def test_all_failing_is_a_loud_error(method):
    case = brittle(list(range(9)))
    lag = 1 if method == "ienks" else 0
    with pytest.raises(InputError, match=r"all members failed \(not finite\) in cycle 0, column 1"):
        run_filter(*case.given, scheme=Scheme(method=method, lag=lag), key=KEY)


def test_an_iterative_window_goes_on_from_replaced_members():
    run = run_filter(*brittle([4]).given, scheme=Scheme(method="ienks", lag=2), key=KEY)
    assert run.failures[0].tolist() == [0, 1]
    assert np.isfinite(run.analysis_mean).all()
    assert np.isfinite(run.smoother_mean).all()


def test_an_ensemble_that_collapses_to_a_point_is_a_loud_error_where_it_is_observed():
    forgetful = dataclasses.replace(linear_case(), model=Buckets(rate=1.0, exchange=0.0))
    seen = forgetful.observations
    # At records 1 and 2 nothing is observed, and column 0 never.
    mask = {n: m.at[:3].set(0.0).at[:, 0].set(0.0) for n, m in seen.mask.items()}
    late = dataclasses.replace(forgetful, observations=dataclasses.replace(seen, mask=mask))
    said = (
        "the ensemble of column 1 collapsed to a point before the analysis of cycle 2, expected a "
        "spread; inflate, give the model an error of its own or more members"
    )
    with pytest.raises(InputError, match=f"^{said}$"):
        run_filter(*late.given, scheme=Scheme(), key=KEY)
    never = {n: jnp.zeros_like(m) for n, m in mask.items()}
    blank = dataclasses.replace(late, observations=dataclasses.replace(seen, mask=never))
    run = run_filter(*blank.given, scheme=Scheme(), key=KEY)
    assert float(run.forecast_spread.max()) < 1e-6


def test_copies_come_from_sound_members_of_the_column_with_little_noise(float64):
    generator = np.random.default_rng(6)
    ensemble = jnp.asarray(generator.normal(size=(6, 3, 2)))
    predicted = ensemble[:, :2]
    ensemble = ensemble.at[1, 2, 0].set(jnp.nan).at[3, 0, 0].set(jnp.inf)
    bad = failed(ensemble, predicted)
    assert bad[:, 0].tolist() == [False, True, False, True, False, False]
    assert not bad[:, 1].any()
    whole, seen = replaced(KEY, ensemble, predicted, bad, noise=0.0, noisy=2)
    np.testing.assert_array_equal(whole[1, :, 0], ensemble[0, :, 0])
    np.testing.assert_array_equal(whole[3, :, 0], ensemble[2, :, 0])
    np.testing.assert_array_equal(seen[3, :, 0], predicted[2, :, 0])
    moved, _ = replaced(KEY, ensemble, predicted, bad, noise=0.1, noisy=2)
    np.testing.assert_array_equal(moved[1, 2], whole[1, 2])  # the third variable has no noise
    assert 0 < np.abs(moved[1, :2, 0] - whole[1, :2, 0]).max() < 1.0
    np.testing.assert_array_equal(
        moved[jnp.asarray([0, 2, 4, 5])], ensemble[jnp.asarray([0, 2, 4, 5])]
    )


PARAMETERS = {"theta_max": jnp.asarray([0.45, 0.5]), "theta_pwp": jnp.asarray([0.1, 0.1])}


def test_soil_water_and_snow_stay_in_bounds_and_what_did_not_change_is_not_touched():
    before = jnp.stack([jnp.full((4, 2), x) for x in (0.449, 0.3, 0.001)], axis=1)
    names = ("swvl1", "swvl2", "sd")
    after = before + jnp.asarray([[0.5], [0.01], [-0.2]])[None]
    after = after.at[0].set(before[0]).at[1, 0].set(-1.0)
    found = within(names, before, after, PARAMETERS, {})
    np.testing.assert_array_equal(found[0], before[0])
    assert float(found[:, 0, 0].max()) <= 0.45
    assert float(found[:, 0, 1].max()) <= 0.5
    assert float(found[:, 0].min()) >= 0.0
    assert float(found[:, 2].min()) == 0.0
    np.testing.assert_allclose(found[1:, 1], 0.31, rtol=1e-5)  # far from bounds: as analysed


def test_frozen_soil_water_is_left_alone_in_the_members_that_are_frozen():
    before = jnp.full((3, 2, 2), 0.3)
    temperatures = {"stl1": jnp.asarray([[FREEZING - 1.0] * 2, [FREEZING + 1.0] * 2, [280.0] * 2])}
    found = within(("swvl1", "swvl2"), before, before + 0.05, PARAMETERS, temperatures)
    np.testing.assert_array_equal(found[0, 0], before[0, 0])
    np.testing.assert_allclose(found[1:, 0], 0.35, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0.35, rtol=1e-5)  # its layer's temperature is not known


def test_names_that_no_table_knows_have_no_bounds():
    before = jnp.zeros((3, 1, 2))
    np.testing.assert_array_equal(within(("x_0",), before, before - 5.0, {}, {}), -5.0)
    assert LAYERS[0] == "swvl1"
