"""`calibrate` from a Dataset to InferenceData: what it uses, what it records, what it refuses."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from assimilation import make_observations, read_observations
from assimilation.observations import Observations
from assimilation.operators import on_records
from calibration import calibrate, summary
from calibration.covariance import Errors
from calibration.effective import density
from calibration.experiment import FirstState
from calibration.methods import METHODS
from calibration.priors import Prior
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.toy import LAYERS, Buckets


class Rained(Buckets):
    """The toy on the sample's precipitation."""

    required = (*LAYERS, "met_rainf")
    expected_error = (("swvl1", 0.004), ("swvl2", 0.002))

    def step(self, parameters, state, forcing):
        return super().step(parameters, state, {"rain": 100.0 * forcing["met_rainf"]})


@pytest.fixture(scope="module")
def data():
    """Ten days of two columns whose soil moisture is the toy's own."""
    data = load_sample("ecland_sample").isel(time=slice(0, 40), column=[3, 8]).load()
    data = data.assign_coords(column=[103, 108])
    state = state_from(data, variables=LAYERS)
    series = rollout(Rained(), parameters_from(data), state, forcing_from(data))
    truth = on_records(state, *series)
    return data.assign({name: (("time", "column"), np.asarray(truth[name])) for name in LAYERS})


@pytest.fixture(scope="module")
def observations(data):
    return read_observations(
        make_observations(data, errors={"swvl1": 0.002}, every=3, seed=0), data
    )


@pytest.fixture
def handed(monkeypatch):
    """What reaches the method, which is replaced by one that draws nothing."""
    found = {}

    def method(problem, *, key, progress, chains=4, draws=6):
        found.update(problem=problem, chains=chains, draws=draws)
        shape = (chains, draws, len(problem.names), problem.count)
        return np.zeros(shape), {"diverging": np.zeros((chains, draws, problem.count), bool)}

    monkeypatch.setitem(METHODS, "nuts", method)
    return found


def test_field_capacity_is_found(data, observations):
    told = []
    posterior = calibrate(
        Rained(),
        data,
        observations,
        chains=2,
        warmup=40,
        draws=40,
        progress=lambda *at: told.append(at),
    )
    drawn = posterior["posterior"]["theta_cap"]
    assert drawn.dims == ("chain", "draw", "column")
    assert drawn.shape == (2, 40, 2)
    standard = posterior["unconstrained_posterior"]["z"]
    assert standard.dims == ("chain", "draw", "parameter", "column")
    # Field capacity grows with its standard normal number.
    assert (np.argsort(standard[0, :, 0, 1]) == np.argsort(drawn[0, :, 1])).mean() > 0.9
    assert drawn.attrs["units"] == "m3 m-3"
    assert list(drawn["column"].to_numpy()) == [103, 108]
    np.testing.assert_array_equal(posterior["posterior"]["lat"], data["lat"])
    assert posterior["sample_stats"]["diverging"].dims == drawn.dims
    assert posterior["prior"]["theta_cap"].sizes["column"] == 2
    truth = data["clim_theta_cap"].to_numpy()
    mean, spread = (getattr(drawn, of)(("chain", "draw")).to_numpy() for of in ("mean", "std"))
    assert (np.abs(mean - truth) < 4 * spread).all()
    prior = posterior["prior"]["theta_cap"].std(("chain", "draw")).to_numpy()
    assert (spread < 0.7 * prior).all()
    assert told[-1] == (80, 80)


def test_checks_travel_with_the_posterior(data, observations, tmp_path):
    options = {"method": "laplace", "draws": 20, "checks": ("predictive", "identifiability")}
    posterior = calibrate(Rained(), data, observations, figures=tmp_path / "out", **options)
    found = json.loads(posterior["posterior"].attrs["checks"])
    assert list(found) == ["predictive", "identifiability"]
    assert found["predictive"]["posterior"]["coverage"][0] > 0.7
    assert (tmp_path / "out" / "check_predictive.png").is_file()
    with pytest.raises(InputError, match="check 'abc' is not known"):
        calibrate(Rained(), data, observations, checks=("abc",))


def test_attributes_say_what_was_done(data, observations, handed):
    attributes = calibrate(Rained(), data, observations, draws=7, seed=5)["posterior"].attrs
    assert attributes["method"] == "nuts"
    assert attributes["draws"] == 7
    assert attributes["seed"] == 5
    assert attributes["observations"] == float(observations.count.sum()) > 0
    assert attributes["observables"] == "swvl1"
    assert attributes["model_error"] == "swvl1 0.004, memory 30 days"


def test_model_error_is_what_the_model_carries_unless_given(data, observations, handed):
    def spread(model, **options):
        """Of the first observation: W begins with one over it."""
        calibrate(model, data, observations, **options)
        matrix = handed["problem"].whitening_matrix()
        return 1.0 / float(matrix[0, 0, 0])

    assert spread(Rained()) == pytest.approx(np.hypot(0.002, 0.004))
    given = Errors(representativeness={"swvl1": 0.01}, correlated={}, model={"swvl1": 0.03})
    assert spread(Rained(), errors=given) == pytest.approx(np.sqrt(0.002**2 + 0.01**2 + 0.03**2))
    assert spread(Rained(), errors=Errors({}, {}, {})) == pytest.approx(0.002)
    silent = Buckets()
    silent.required = Rained.required
    assert spread(silent) == pytest.approx(0.002)


def test_the_first_state_and_the_records_up_to_the_last_observation_are_used(
    data, observations, handed
):
    early = Observations(
        values=observations.values,
        errors=observations.errors,
        mask={"swvl1": observations.mask["swvl1"].at[32:].set(0.0)},
    )
    calibrate(Rained(), data, early, parameters=("theta_pwp", "theta_cap"), chains=3, draws=11)
    last = int(np.flatnonzero(np.asarray(early.mask["swvl1"]).any(axis=1)).max())
    _, state, forcing, *_ = handed["problem"].columns
    assert forcing["met_rainf"].shape == (last + 1, 2)
    assert set(state) == set(LAYERS)
    np.testing.assert_allclose(state["swvl3"], data["swvl3"][0], rtol=1e-6)
    assert handed["problem"].names == ("theta_pwp", "theta_cap")
    assert (handed["chains"], handed["draws"]) == (3, 11)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "abc"}, "method 'abc' is not known, expected nuts.*; use that"),
        ({"members": 3}, "option 'members' is not one of nuts, expected chains, draws; leave it"),
        ({"parameters": ("porosity",)}, "'porosity' cannot be estimated"),
        ({"parameters": ("theta_cap", "theta_cap")}, "named twice"),
        ({"parameters": ()}, "no parameter to estimate"),
        ({"structure": "tree"}, "structure 'tree' is not known, expected column, pooled"),
        ({"covariates": ("theta_sat",)}, "expected none; choose hierarchical or pooled"),
        (
            {"structure": "pooled", "covariates": ("sand",)},
            "covariate 'sand' is not in the data, expected clim_sand",
        ),
        ({"priors": {"ksat": Prior("uniform", 1e-7, 1e-6)}}, "prior of 'ksat', expected one of"),
        (
            {"priors": {"theta_cap": Prior("uniform", 0.4, 0.2)}},
            "prior of theta_cap: uniform of 0.4 and 0.2, expected low and high, the lower first",
        ),
        ({"first_state": FirstState("spun-up")}, "40 records, expected a year"),
    ],
)
def test_what_cannot_be_done_is_said(data, observations, handed, change, words):
    with pytest.raises(InputError, match=words):
        calibrate(Rained(), data, observations, **change)
    assert handed == {}


def test_data_that_do_not_fit_are_refused(data, observations, handed):
    with pytest.raises(InputError, match="missing variable met_rainf"):
        calibrate(Rained(), data.drop_vars("met_rainf"), observations)
    with pytest.raises(InputError, match="clim_theta_cap; add it"):
        calibrate(Rained(), data.drop_vars("clim_theta_cap"), observations)
    nothing = Observations(
        values=observations.values,
        errors=observations.errors,
        mask={"swvl1": jnp.zeros_like(observations.mask["swvl1"])},
    )
    with pytest.raises(InputError, match="no observation, expected at least one"):
        calibrate(Rained(), data, nothing)
    assert handed == {}


def masked(observations, where, values=None):
    kept = observations.mask["swvl1"] * jnp.asarray(where, jnp.float32)
    return Observations(
        values=observations.values if values is None else {"swvl1": values},
        errors=observations.errors,
        mask={"swvl1": kept},
    )


def test_too_little_to_learn_from_is_refused(data, observations, handed):
    few = np.ones(observations.mask["swvl1"].shape)
    few[24:, 1] = 0.0
    with pytest.raises(InputError, match="8 observations in column 1, expected at least 10"):
        calibrate(Rained(), data, masked(observations, few))
    flat = jnp.full_like(observations.values["swvl1"], 0.25)
    with pytest.raises(InputError, match=r"swvl1 is 0\.25 in all observations of column 0"):
        calibrate(Rained(), data, masked(observations, np.ones_like(few), flat))
    assert handed == {}
    few[:, 1] = 0.0
    # A column without any is left to its prior.
    calibrate(Rained(), data, masked(observations, few))
    assert handed["problem"].count == 2


def test_priors_are_the_trained_ranges_unless_given_and_beyond_them_is_said(
    data, observations, handed
):
    soil = data["clim_sotype"].to_numpy()
    ranges = {"theta_cap": {f"{soil[0]:.0f}": (0.2, 0.3), "0": (0.1, 0.5)}}

    def limits(**options):
        posterior = calibrate(Rained(), data, observations, ranges=ranges, **options)
        ends = handed["problem"].parameters(np.array([[[-8.0] * 2], [[8.0] * 2]]))["theta_cap"]
        return ends[:, 0], posterior["posterior"].attrs.get("notice", "")

    wilting = float(data["clim_theta_pwp"][0])
    ends, notice = limits()
    np.testing.assert_allclose(ends, [max(0.2, wilting + 0.02), 0.3], rtol=1e-4)
    assert notice == ""
    within, notice = limits(priors={"theta_cap": Prior("uniform", 0.21, 0.29)})
    np.testing.assert_allclose(within, [max(0.21, wilting + 0.02), 0.29], rtol=1e-4)
    assert notice == ""
    _, notice = limits(priors={"theta_cap": Prior("normal", 0.25, 0.05)})
    assert notice.startswith("prior of theta_cap reaches from 0.15 to 0.35, beyond what the model")


def test_columns_that_share_leave_what_they_share(data, observations, handed):
    posterior = calibrate(
        Rained(), data, observations, structure="hierarchical", covariates=("theta_sat",)
    )["posterior"]
    assert posterior["theta_cap"].dims == ("chain", "draw", "column")
    assert posterior["theta_cap_slope_theta_sat"].dims == ("chain", "draw")
    assert handed["problem"].count == 1
    assert handed["problem"].names[-1] == "theta_cap_effect_1"
    assert posterior.attrs["structure"] == "hierarchical"


def test_a_grid_of_each_column_finds_what_they_share(data, observations):
    """By chains over what they share alone, which may not mix, and the words know it."""
    posterior = calibrate(
        Rained(), data, observations, method="grid", structure="hierarchical", draws=60
    )
    drawn = posterior["posterior"]
    assert drawn["theta_cap"].shape == (4, 60, 2)
    assert drawn["theta_cap_spread"].dims == ("chain", "draw")
    truth = data["clim_theta_cap"].to_numpy()
    mean, spread = (
        getattr(drawn["theta_cap"], of)(("chain", "draw")).to_numpy() for of in ("mean", "std")
    )
    assert (np.abs(mean - truth) < 4 * spread).all()
    assert "chains" in summary(posterior)["words"].splitlines()[-1]
    alone = calibrate(Rained(), data, observations, method="grid", draws=60)
    assert "the draws are independent" in summary(alone)["words"]


def test_predictions_stand_beside_the_posterior(data, observations, handed):
    posterior = calibrate(Rained(), data, observations, predictions=6)
    assert posterior["posterior_predictive"]["swvl1"].sizes["column"] == 2
    assert {"prior_predictive", "observed_data", "log_likelihood"} <= set(posterior.groups())


def test_a_posterior_is_wider_by_the_error_and_keeps_the_effective_values(data, observations):
    options = {"method": "grid", "draws": 1000}
    with_error = Errors(model={"swvl1": 0.005}, parameters={"theta_cap": 0.2})
    bare = calibrate(
        Rained(), data, observations, errors=replace(with_error, parameters={}), **options
    )
    wide = calibrate(Rained(), data, observations, errors=with_error, **options)
    assert wide["posterior"].attrs["parameter_error"] == "theta_cap 0.2 of its range"
    found, without = summary(wide), summary(bare)
    *columns, counted = found["words"].splitlines()[:3]
    for name, of_chain in {"own_mean": "mean", "rhat": "rhat", "ess": "ess"}.items():
        assert found["theta_cap"][name] == without["theta_cap"][of_chain]
    assert found["theta_cap"]["own_mean"] != found["theta_cap"]["mean"]
    for line, own in zip(columns, found["theta_cap"]["own_mean"], strict=True):
        assert line.endswith(f"]; the model's own {own:.3g}")
    assert counted == (
        "counted: the model's own, with which it does best, is off by theta_cap 0.2 of its range"
    )
    assert "counted" not in without["words"]
    assert "own" not in without["words"]
    np.testing.assert_array_equal(
        wide["unconstrained_posterior"]["theta_cap"], bare["posterior"]["theta_cap"]
    )
    np.testing.assert_array_equal(
        wide["unconstrained_posterior"]["z"], bare["unconstrained_posterior"]["z"]
    )
    u = ndtr(bare["unconstrained_posterior"]["z"].to_numpy()[:, :, 0]).reshape(-1, 2)
    at = (np.arange(500) + 0.5) / 500
    kernel = np.asarray(density(at[:, None], at[None], np.asarray(0.2)))
    drawn, before = (
        one["posterior"]["theta_cap"].to_numpy().reshape(-1, 2) for one in (wide, bare)
    )
    for column in range(2):
        # Field capacity is linear in u: the prior is uniform.
        scale, start = np.polyfit(u[:, column], before[:, column], 1)
        weight = np.histogram(u[:, column], bins=np.linspace(0, 1, 501))[0] @ kernel
        mean = np.sum(weight * at) / weight.sum()
        spread = np.sqrt(np.sum(weight * (at - mean) ** 2) / weight.sum())
        assert abs(drawn[:, column].mean() - (start + scale * mean)) < 0.06 * scale * spread
        np.testing.assert_allclose(drawn[:, column].std(), scale * spread, rtol=0.05)
        assert drawn[:, column].std() > 1.2 * before[:, column].std()


def test_a_shared_posterior_holds_both(data, observations):
    posterior = calibrate(
        Rained(),
        data,
        observations,
        method="grid",
        structure="hierarchical",
        draws=300,
        errors=Errors(model={"swvl1": 0.005}, parameters={"theta_cap": 0.2}),
    )
    z = posterior["unconstrained_posterior"]["z"]
    assert z.sizes == {"chain": 4, "draw": 300, "parameter": 1, "column": 2}
    assert "effective" not in posterior["sample_stats"]
    drawn = posterior["posterior"]["theta_cap"].to_numpy()
    own = posterior["unconstrained_posterior"]["theta_cap"].to_numpy()
    assert (np.argsort(own, axis=None) == np.argsort(z.to_numpy()[:, :, 0], axis=None)).mean() > 0.9
    order = np.argsort(z.to_numpy()[:, :, 0].reshape(-1, 2), axis=0)
    along = np.take_along_axis(drawn.reshape(-1, 2), order, axis=0)
    # The effective value does not fix the true one, but goes with it.
    assert (np.diff(along, axis=0) < 0.0).any(axis=0).all()
    assert (along[-400:].mean(axis=0) > along[:400].mean(axis=0)).all()


def test_a_problem_has_a_spread_only_where_a_parameter_has_an_error(data, observations, handed):
    calibrate(Rained(), data, observations)
    assert handed["problem"].spread is None
    errors = Errors(model={"swvl1": 0.005}, parameters={"theta_cap": 0.2})
    calibrate(Rained(), data, observations, errors=errors)
    np.testing.assert_allclose(handed["problem"].spread, 0.2, rtol=1e-6)
    assert handed["problem"].spread.shape == (1, 2)
