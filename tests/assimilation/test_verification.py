"""Ranks and skills that must tell a good analysis from one too sure, biased or useless."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assimilation.observations import Observations
from assimilation.verification import (
    RUNS,
    rank_of_truth,
    spread_and_error,
    with_root_zone,
    withheld_skill,
    withhold,
)
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER

DIMS = ("time", "column")


@pytest.fixture(scope="module")
def stated():
    """An analysis with an error of 0.02 that states it, and its truth."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(0.2, 0.4, (3000, 2))
    analysis = xr.Dataset(
        {
            "swvl1": (DIMS, truth + 0.02 * generator.standard_normal(truth.shape)),
            "swvl1_analysis_error": (DIMS, np.full(truth.shape, 0.02)),
        }
    )
    return analysis, xr.Dataset({"swvl1": (DIMS, truth)})


def test_ranks_are_equal_for_an_analysis_as_sure_as_it_says(stated):
    found = rank_of_truth(*stated, "swvl1", members=9)
    assert found.shares.shape == (10,)
    np.testing.assert_allclose(found.shares, 0.1, atol=0.02)
    assert found.bias == pytest.approx(0.0, abs=0.05)
    assert found.dispersion == pytest.approx(1.0, abs=0.03)
    assert found.count == 6000


def test_ranks_tell_an_analysis_that_is_too_sure_unsure_or_biased(stated):
    analysis, truth = stated
    sure = analysis.assign(swvl1_analysis_error=0.5 * analysis.swvl1_analysis_error)
    found = rank_of_truth(sure, truth, "swvl1", members=9)
    assert found.shares[0] > 0.2
    assert found.shares[-1] > 0.2
    assert found.dispersion == pytest.approx(2.0, rel=0.03)
    unsure = analysis.assign(swvl1_analysis_error=2.0 * analysis.swvl1_analysis_error)
    assert rank_of_truth(unsure, truth, "swvl1", members=9).shares[[0, -1]].max() < 0.02
    dry = analysis.assign(swvl1=analysis.swvl1 - 0.02)
    found = rank_of_truth(dry, truth, "swvl1", members=9)
    assert found.bias == pytest.approx(1.0, abs=0.05)
    assert found.shares[-1] > 0.3 > 0.05 > found.shares[0]


def test_the_stated_error_stands_against_the_error_where_it_is_small_and_large(stated):
    analysis, truth = stated
    width = np.random.default_rng(1).uniform(0.01, 0.03, truth.swvl1.shape)
    errors = (analysis.swvl1 - truth.swvl1) / 0.02 * width
    honest = analysis.assign(swvl1=truth.swvl1 + errors, swvl1_analysis_error=(DIMS, width))
    found = spread_and_error(honest, truth, "swvl1", parts=4)
    assert found.stated[0] < 0.013 < 0.027 < found.stated[-1]
    np.testing.assert_allclose(found.rmse, found.stated, rtol=0.05)
    assert found.ratio == pytest.approx(1.0, abs=0.03)
    # Of a normal distribution that is right the mean CRPS is its deviation over sqrt(pi).
    assert found.crps == pytest.approx(0.02 / np.sqrt(np.pi), rel=0.03)
    flat = spread_and_error(
        honest.assign(swvl1_analysis_error=analysis.swvl1_analysis_error), truth, "swvl1"
    )
    assert flat.crps > 1.01 * found.crps
    sure = honest.assign(swvl1_analysis_error=(DIMS, 0.5 * width))
    assert spread_and_error(sure, truth, "swvl1").ratio == pytest.approx(0.5, abs=0.02)
    gaps = truth.assign(swvl1=truth.swvl1.where(truth.time < 0))
    none = spread_and_error(honest, gaps, "swvl1")
    assert np.isnan(none.crps)
    assert np.isnan(none.ratio)


def test_missing_values_have_no_rank_and_missing_variables_are_named(stated):
    analysis, truth = stated
    gaps = truth.assign(swvl1=truth.swvl1.where(truth.time > 999))
    assert rank_of_truth(analysis, gaps, "swvl1").count == 4000
    with pytest.raises(InputError, match="the analysis has no swvl2_analysis_error, expected it"):
        rank_of_truth(analysis, truth, "swvl2")
    with pytest.raises(InputError, match="the truth has no swvl1"):
        rank_of_truth(analysis, truth[[]], "swvl1")


def test_the_root_zone_of_a_truth_is_its_top_metre():
    layers = {name: (DIMS, np.full((2, 1), 0.1 * (k + 1))) for k, name in enumerate(SOIL_WATER)}
    found = with_root_zone(xr.Dataset(layers)).root_zone_soil_moisture
    np.testing.assert_allclose(found, 0.07 * 0.1 + 0.21 * 0.2 + 0.72 * 0.3, rtol=1e-5)


@pytest.fixture(scope="module")
def observations():
    generator = np.random.default_rng(1)
    mask = jnp.asarray(generator.uniform(size=(400, 5)) < 0.5, float)
    values = jnp.asarray(generator.uniform(0.2, 0.4, (400, 5)))
    return Observations({"swvl1": values}, {"swvl1": 0.0 * values + 0.02}, {"swvl1": mask})


def test_withholding_shares_the_observations_out(observations):
    kept, left = withhold(observations, 0.2, seed=3)
    a, b = np.asarray(kept.mask["swvl1"]), np.asarray(left.mask["swvl1"])
    assert (a + b == np.asarray(observations.mask["swvl1"])).all()
    assert b.sum() / (a + b).sum() == pytest.approx(0.2, abs=0.03)
    again = np.asarray(withhold(observations, 0.2, seed=3)[1].mask["swvl1"])
    assert (again == b).all()
    assert (np.asarray(withhold(observations, 0.2, seed=4)[1].mask["swvl1"]) != b).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_that_is_none_is_named(observations, share):
    with pytest.raises(InputError, match="to withhold, expected one between 0 and 1"):
        withhold(observations, share)


def test_skill_is_measured_where_observations_were_withheld(observations):
    _, left = withhold(observations, 0.3)
    values, seen = np.asarray(left.values["swvl1"]), np.asarray(left.mask["swvl1"]) > 0
    noise = np.random.default_rng(2).standard_normal(values.shape)
    spoilt = np.where(seen, 0.0, 9.0)
    analysis = xr.Dataset(
        {
            "swvl1_open_loop": (DIMS, values + 0.04 * noise + spoilt),
            "swvl1_background": (DIMS, values + 0.02 * noise + spoilt),
            "swvl1": (DIMS, values + 0.01 + spoilt),
        }
    )
    found = withheld_skill(analysis, left, "swvl1")
    assert list(found) == list(RUNS)
    assert found["open_loop"]["count"] == seen.sum()
    assert found["open_loop"]["rmse"] == pytest.approx(0.04, rel=0.1)
    assert found["open_loop"]["skill"] == 0.0
    assert found["background"]["skill"] == pytest.approx(0.75, abs=0.01)
    assert found["analysis"]["bias"] == pytest.approx(0.01, rel=1e-4)
    assert found["analysis"]["ubrmse"] == pytest.approx(0.0, abs=1e-6)
    assert found["analysis"]["correlation"] > 0.999 > found["open_loop"]["correlation"]


def test_skill_without_observations_or_series_is_named(observations):
    _, left = withhold(observations, 0.3)
    with pytest.raises(InputError, match="no observation of swvl2 was withheld"):
        withheld_skill(xr.Dataset(), left, "swvl2")
    with pytest.raises(InputError, match="no swvl1_open_loop in the analysis"):
        withheld_skill(xr.Dataset(), left, "swvl1")
