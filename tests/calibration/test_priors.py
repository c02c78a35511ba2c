"""Priors: within what the column allows, in the right order, and what cannot be estimated."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from calibration.priors import (
    PRIORS,
    Prior,
    field_capacity_range,
    parameters_of,
    require_prior,
    require_sound,
)
from calibration.trained import beyond_training, trained_priors
from hybrid_land.errors import InputError

MANY = 4000
LOAM = {
    "theta_pwp": 0.15,
    "theta_cap": 0.33,
    "theta_sat": 0.43,
    "theta_max": 0.45,
    "ksat": 2e-6,
    "veg_rsminh": 250.0,
    "veg_rsminl": 80.0,
    "cvh": 0.3,
    "cvl": 0.4,
}


def draws(names, given=LOAM, priors=None):
    given = {name: jnp.full(MANY, value) for name, value in given.items()}
    z = jnp.asarray(np.random.default_rng(0).normal(size=(len(names), MANY)), jnp.float32)
    drawn = parameters_of(z, given, names=names, priors=priors)
    return {name: np.asarray(values, float) for name, values in drawn.items()}


def test_range_of_field_capacity_is_that_of_the_training_columns():
    low, high = field_capacity_range({name: jnp.asarray([value]) for name, value in LOAM.items()})
    np.testing.assert_allclose(low, 0.15 + 0.15 * 0.30, rtol=1e-6)
    np.testing.assert_allclose(high, 0.99 * 0.43, rtol=1e-6)


@pytest.mark.parametrize("saturation", [0.45, 0.2, 0.16, 0.15, 0.1])
def test_field_capacity_is_above_the_wilting_point_however_little_room(saturation):
    column = {name: jnp.asarray([value]) for name, value in LOAM.items()}
    full = jnp.asarray([saturation])
    low, high = field_capacity_range(column | {"theta_max": full, "theta_sat": full})
    assert float(low[0]) >= 0.15 + 0.02 - 1e-6
    assert float(high[0]) > float(low[0])


def test_field_capacity_alone_is_uniform_over_its_range():
    drawn = draws(("theta_cap",))["theta_cap"]
    assert stats.kstest(drawn, stats.uniform(0.195, 0.99 * 0.43 - 0.195).cdf).pvalue > 1e-3


def test_wilting_point_alone_stays_below_the_given_field_capacity():
    drawn = draws(("theta_pwp",))["theta_pwp"]
    assert stats.kstest(drawn, stats.uniform(0.075, 0.15).cdf).pvalue > 1e-3
    close = draws(("theta_pwp",), LOAM | {"theta_cap": 0.17})["theta_pwp"]
    assert stats.kstest(close, stats.uniform(0.075, 0.075).cdf).pvalue > 1e-3


def test_wilting_point_stays_above_the_residual_water():
    drawn = draws(("theta_pwp",), LOAM | {"theta_res": 0.12})["theta_pwp"]
    assert stats.kstest(drawn, stats.uniform(0.121, 0.225 - 0.121).cdf).pvalue > 1e-3


def test_drawn_together_they_are_in_order():
    """Field capacity's range moves with the wilting point that was drawn, in either order."""
    for names in (("theta_cap", "theta_pwp"), ("theta_pwp", "theta_cap")):
        drawn = draws(names, LOAM | {"theta_cap": 0.18})
        wilting, capacity = drawn["theta_pwp"], drawn["theta_cap"]
        assert (capacity >= wilting + 0.02 - 1e-6).all()
        assert (capacity < 0.43).all()
        low = wilting + 0.15 * (0.45 - wilting)
        share = (capacity - low) / (0.99 * 0.43 - low)
        assert stats.kstest(share, stats.uniform(0, 1).cdf).pvalue > 1e-3
        # The given field capacity does not bound a wilting point drawn with it.
        assert stats.kstest(wilting, stats.uniform(0.075, 0.15).cdf).pvalue > 1e-3


def test_each_parameter_takes_its_own_number():
    given = {name: jnp.full(2, value) for name, value in LOAM.items()}
    z = {"theta_cap": jnp.asarray([0.7, -0.3]), "theta_pwp": jnp.asarray([-1.0, 2.0])}
    drawn = [
        parameters_of(jnp.stack([z[name] for name in names]), given, names=names)
        for names in (("theta_cap", "theta_pwp"), ("theta_pwp", "theta_cap"))
    ]
    for name, values in drawn[0].items():
        np.testing.assert_array_equal(values, drawn[1][name])
    wilting = 0.075 + 0.15 * stats.norm.cdf([-1.0, 2.0])
    np.testing.assert_allclose(drawn[0]["theta_pwp"], wilting, rtol=1e-5)


@pytest.mark.parametrize("name", ["ksat", "veg_rsminh", "veg_rsminl"])
def test_others_are_lognormal_about_the_given_value(name):
    drawn = draws((name,))[name]
    expected = stats.lognorm(0.5, scale=LOAM[name])
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3


def test_only_what_is_named_is_drawn():
    assert list(draws(("ksat",))) == ["ksat"]


@pytest.mark.parametrize(
    ("names", "available", "words"),
    [
        ((), ("theta_cap",), "no parameter to estimate"),
        (("swvl1",), ("swvl1",), r"'swvl1' cannot be estimated, expected one of theta_pwp, .*"),
        (("theta_cap", "ksat"), ("theta_cap",), "ksat is not in the data, expected clim_ksat"),
        (("theta_cap", "theta_cap"), ("theta_cap",), "one is named twice; name each once"),
    ],
)
def test_what_cannot_be_estimated_is_said(names, available, words):
    with pytest.raises(InputError, match=words) as caught:
        require_prior(names, available)
    assert "\n" not in str(caught.value)


def test_all_priors_can_be_asked_for():
    assert require_prior(tuple(PRIORS), tuple(LOAM)) is None
    assert set(draws(tuple(PRIORS))) == set(PRIORS)


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (Prior("uniform", 0.2, 0.3), stats.uniform(0.2, 0.1)),
        (Prior("uniform", 0.1, 0.3), stats.uniform(0.17, 0.13)),  # cut at the wilting point
        (Prior("normal", 0.3, 0.02), stats.norm(0.3, 0.02)),
        (Prior("normal", 0.2, 0.05), stats.truncnorm(-0.6, 4.514, 0.2, 0.05)),
        (Prior("lognormal", 0.3, 0.05), stats.lognorm(0.05, scale=0.3)),
        (Prior("loguniform", 0.2, 0.4), stats.loguniform(0.2, 0.4)),
    ],
)
def test_a_given_prior_is_cut_at_what_the_column_allows(prior, expected):
    drawn = draws(("theta_cap",), priors={"theta_cap": prior})["theta_cap"]
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["uniform", "normal", "lognormal", "loguniform"])
def test_order_holds_whatever_the_priors(kind):
    wide = {
        "theta_pwp": Prior(kind, 0.05, 0.6),
        "theta_cap": Prior(kind, 0.05, 0.7),
        "cvh": Prior(kind, 0.2, 0.9),
        "cvl": Prior(kind, 0.2, 0.9),
    }
    drawn = draws(tuple(wide), priors=wide)
    assert (drawn["theta_cap"] >= drawn["theta_pwp"] + 0.02 - 1e-6).all()
    assert (drawn["theta_cap"] <= 0.99 * 0.43 + 1e-6).all()
    assert (drawn["theta_pwp"] > 0.0).all()
    assert (drawn["cvh"] + drawn["cvl"] <= 1.0 + 1e-6).all()
    assert np.isfinite(np.concatenate(list(drawn.values()))).all()


@pytest.mark.parametrize(("name", "other"), [("cvh", 0.4), ("cvl", 0.3)])
def test_a_cover_leaves_room_for_the_given_other_one(name, other):
    drawn = draws((name,), priors={name: Prior("uniform", 0.2, 0.9)})[name]
    assert stats.kstest(drawn, stats.uniform(0.2, 0.8 - other).cdf).pvalue > 1e-3


def test_a_normal_prior_keeps_its_tails():
    far = jnp.asarray([-4.0, 4.0])
    drawn = Prior("normal", 0.3, 0.02).drawn(far, jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(drawn, [0.22, 0.38], atol=1e-4)


RANGES = {
    "theta_cap": {"1": (0.15, 0.35), "2": (0.25, 0.45)},
    "ksat": {"1": (1e-6, 1e-5), "2": (1e-7, 1e-6)},
    "veg_rsminl": {"1": (50.0, 150.0)},
}


def test_priors_by_soil_type_are_the_trained_ranges():
    soil = np.array([1.0, 2.0, 5.0])
    found = trained_priors(("theta_cap", "ksat", "cvl"), RANGES, soil, columns=3)
    assert set(found) == {"theta_cap", "ksat"}
    np.testing.assert_allclose(found["theta_cap"].first, [0.15, 0.25, 0.15])
    np.testing.assert_allclose(found["ksat"].second, [1e-5, 1e-6, 1e-5])
    assert (found["theta_cap"].kind, found["ksat"].kind) == ("uniform", "loguniform")
    assert (
        trained_priors(("veg_rsminl",), RANGES, soil, columns=3)["veg_rsminl"].kind == "loguniform"
    )
    every = trained_priors(("theta_cap",), RANGES, None, columns=2)["theta_cap"]
    np.testing.assert_allclose(every.second, [0.45, 0.45])


def test_a_prior_beyond_the_trained_range_is_named():
    soil = np.array([1.0, 2.0])
    within = {"theta_cap": Prior("uniform", 0.25, 0.35), "cvl": Prior("uniform", 0.0, 1.0)}
    assert beyond_training(within, RANGES, soil) == []
    (line,) = beyond_training({"theta_cap": Prior("lognormal", 0.3, 0.1)}, RANGES, soil)
    assert line.startswith("prior of theta_cap reaches from 0.246 to 0.366, beyond what the model")
    assert "in 2 columns (0.15 to 0.45 there)" in line


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (Prior("beta", 1.0, 2.0), "prior of ksat: 'beta' is not known, expected uniform, "),
        (Prior("uniform", 2.0, 1.0), "expected low and high, the lower first; correct it"),
        (Prior("normal", 2.0, 0.0), "expected mean and standard deviation, the latter positive"),
        (Prior("lognormal", -1.0, 0.5), "expected median and spread of the logarithm"),
        (Prior("loguniform", 0.0, 0.5), "loguniform of 0 and 0.5, expected low and high"),
        (Prior("uniform", 0.2, np.inf), "uniform of 0.2 and inf, expected low and high"),
        (Prior("normal", np.nan, 1.0), "normal of nan and 1, expected mean and standard"),
    ],
)
def test_a_prior_that_is_none_is_refused(prior, words):
    with pytest.raises(InputError, match=words):
        require_sound("ksat", prior)
