"""Square roots of B: given, of climatology, of the model's errors, and by the NMC method."""

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.covariance import (
    climatological_root,
    covariance_root,
    joined_root,
    nmc_root,
    spread_root,
)
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.simulation import simulate
from tests.assimilation.test_cycling import Land
from tests.toy import LAYERS

NAMES = ("swvl1", "stl1")


def test_a_given_covariance_is_its_root_squared():
    matrix = np.array([[0.0016, 0.01], [0.01, 4.0]])
    root = covariance_root(NAMES, matrix)
    np.testing.assert_allclose(root @ root.T, matrix, rtol=1e-6)


FAULTS = {
    "shape": (
        np.eye(3),
        r"has shape \(3, 3\), expected a row and a column for each",
    ),
    "symmetry": (np.array([[1.0, 0.5], [0.2, 1.0]]), "0.5 for swvl1 with stl1 and 0.2 the other"),
    "definite": (np.array([[1.0, 2.0], [2.0, 1.0]]), "not positive definite .least eigenvalue"),
    "nothing": (np.zeros((2, 2)), "not positive definite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_covariance_that_is_none_is_refused(fault):
    matrix, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        covariance_root(NAMES, matrix)


def test_climatology_is_the_spread_about_each_column_s_mean():
    data = load_sample("ecland_sample").isel(column=slice(0, 3)).load()
    root = climatological_root(("swvl1", "swvl2"), data, scale=0.5)
    anomaly = (data.swvl1 - data.swvl1.mean("time")).to_numpy()
    assert float((root @ root.T)[0, 0]) == pytest.approx(0.25 * anomaly.var(), rel=1e-3)
    with pytest.raises(InputError, match="climatological covariance of swvl1 is not positive"):
        climatological_root(("swvl1",), 0.0 * data)


def test_nmc_differences_are_those_of_the_two_forecasts():
    """A model right in all but one layer, which a forecast leaves by so much a step."""
    data = load_sample("ecland_sample").isel(time=slice(0, 40), column=slice(0, 4)).load()
    root = nmc_root(LAYERS, Land(), data, lead_days=(0.5, 1.0), most_starts=10)
    assert root.shape == (4, 4)
    # By hand, for one start: the older forecast minus the newer one, both for record 4.
    older = simulate(Land(), data.isel(time=slice(0, 5)))
    newer = simulate(Land(), data.isel(time=slice(2, 5)))
    by_hand = older.swvl2.to_numpy()[4] - newer.swvl2.to_numpy()[2]
    one = nmc_root(("swvl2",), Land(), data, lead_days=(0.5, 1.0), most_starts=1)
    assert float(one[0, 0]) == pytest.approx(float(np.std(by_hand, ddof=1)), rel=1e-4)
    with pytest.raises(InputError, match=r"forecasts of 120 steps .* expected 121 at least"):
        nmc_root(LAYERS, Land(), data, lead_days=(1.0, 30.0))
    with pytest.raises(InputError, match="expected two lengths"):
        nmc_root(LAYERS, Land(), data, lead_days=(1.0, 1.0))
    assert jnp.isfinite(root).all()


def test_spread_is_that_of_the_members_about_their_mean():
    data = load_sample("ecland_sample").isel(time=slice(0, 20), column=slice(0, 5)).load()
    members = [Land(rate=0.02), Land(rate=0.06)]
    root = spread_root(("swvl1", "swvl2"), members, data, lead_days=1.0, most_starts=1)
    ends = [simulate(member, data.isel(time=slice(0, 5))).isel(time=4) for member in members]
    apart = np.stack([ends[0][n].to_numpy() - ends[1][n].to_numpy() for n in ("swvl1", "swvl2")])
    # Two members lie half their difference from the mean: an unbiased variance of d^2 / 2.
    np.testing.assert_allclose(root @ root.T, apart @ apart.T / 2 / 5, rtol=1e-3)
    with pytest.raises(InputError, match="an ensemble of 1 models"):
        spread_root(("swvl1",), members[:1], data)


def test_groups_are_joined_in_the_control_vector_s_order():
    pair = jnp.asarray([[2.0, 0.0], [1.0, 3.0]])
    parts = {("swvl1", "swvl2"): pair, ("theta_cap",): jnp.asarray([[5.0]])}
    root = joined_root(("swvl1", "theta_cap", "swvl2"), parts)
    expected = [[4.0, 0.0, 2.0], [0.0, 25.0, 0.0], [2.0, 0.0, 10.0]]
    np.testing.assert_allclose(root @ root.T, expected)
