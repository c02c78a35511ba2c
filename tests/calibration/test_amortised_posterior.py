"""Amortised posteriors of linear problems, where the posterior is known; kept and read again."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from calibration.amortised import AmortisedPosterior, load_amortised, save_amortised, train
from calibration.amortised.features import make_probes
from calibration.amortised.posterior import features_of
from calibration.amortised.simulations import joined, simulate
from calibration.amortised.training import dbuq, flow
from hybrid_land.errors import InputError
from tests.calibration.exact import bounded, moments, share_of
from tests.calibration.linear import linear_problem
from tests.calibration.linear import moments as exact_moments

KEY = jax.random.key(7)
SIZES = {"flow": {"layers": 1, "width": 24, "knots": 4}, "dbuq": {"layers": 2, "width": 32}}


def columns(number, *, seed):
    """Linear problems of one parameter with 6 observations, of which some columns have few."""
    generator = np.random.default_rng(seed)
    maps = generator.standard_normal((6, 1, number)) * generator.uniform(0.2, 2.0, number)
    present = (generator.random((6, number)) < generator.uniform(0.3, 1.5, number)).astype(float)
    present[:, -1] = 0.0
    z = generator.standard_normal(number)
    observed = maps[:, 0] * z + generator.standard_normal((6, number))
    return linear_problem(maps, observed=observed, present=present)


@pytest.fixture(scope="module")
def learnt():
    """By kind, trained on 40 columns."""
    problem = columns(40, seed=0)
    return {
        kind: train(problem, key=KEY, kind=kind, simulations=100, updates=600, **SIZES[kind])
        for kind in SIZES
    }


@pytest.mark.parametrize("kind", SIZES)
def test_a_column_never_seen_has_its_exact_posterior(learnt, kind):
    problem = columns(30, seed=1)
    method = {"flow": flow, "dbuq": dbuq}[kind]
    z, statistics = method(problem, key=KEY, trained=learnt[kind], chains=2, draws=500)
    assert z.shape == (2, 500, 1, 30)
    mean, spread = moments(z)
    exact_mean, covariance = exact_moments(problem)
    exact_spread = np.sqrt(covariance[:, 0, 0])
    assert np.abs((mean[0] - exact_mean[0]) / exact_spread).mean() < 0.2
    ratio = np.sqrt(spread[:, 0, 0]) / exact_spread
    assert abs(np.median(ratio) - 1.0) < 0.12
    assert (np.abs(ratio - 1.0) < 0.5).all()
    assert (statistics["unlike_training"] < 1.5).all()
    # Nothing was observed in the last column.
    assert abs(mean[0, -1]) < 0.2
    assert abs(ratio[-1] - 1.0) < 0.2


def test_draws_weighed_by_the_posterior_are_exact(learnt):
    problem = columns(5, seed=2)
    z, statistics = flow(problem, key=KEY, trained=learnt["flow"], chains=1, draws=800, weigh=1600)
    mean, spread = moments(z)
    exact_mean, covariance = exact_moments(problem)
    exact_spread = np.sqrt(covariance[:, 0, 0])
    np.testing.assert_allclose(mean[0], exact_mean[0], atol=0.15 * exact_spread.max())
    np.testing.assert_allclose(np.sqrt(spread[:, 0, 0]), exact_spread, rtol=0.1)
    assert statistics["pareto_k"].shape == (5,)
    assert (statistics["ess"] > 800).all()


def test_weights_mend_a_flow_where_it_has_something_near(learnt):
    """A posterior that leans on a bound, which no column of training did."""
    problem, mean, spread = bounded()
    problem = replace(problem, names=("a",))
    z, statistics = flow(problem, key=KEY, trained=learnt["flow"], chains=1, draws=1000, weigh=1600)
    found = share_of(problem, z[0])
    assert abs(found[0][1] - mean[1]) < 0.25 * spread[1]
    assert abs(found[1][1] / spread[1] - 1.0) < 0.25
    # Where it has little, the statistic says so.
    assert statistics["ess"][0] < statistics["ess"][1] < 1000


def test_without_probes_the_observations_are_the_features():
    problem = columns(4, seed=3)
    np.testing.assert_array_equal(features_of(problem, None), np.asarray(problem.observed).T)
    made = simulate(problem, key=KEY, count=50, probes=0)
    np.testing.assert_array_equal(made.features, made.observed)
    # Then all cases are each other's particles.
    assert (made.column == 0).all()
    seen = made.kept > 0
    assert abs((made.observed - made.expected)[seen].std() - 1.0) < 0.1
    assert (made.observed[~seen] == 0.0).all()
    together = joined([made, simulate(problem, key=KEY, count=10, probes=0)])
    assert together.z.shape == (240, 1)
    assert set(together.column) == {0, 1}


@pytest.mark.parametrize("kind", SIZES)
def test_kept_and_read_again_it_draws_the_same(learnt, kind, tmp_path):
    problem = columns(3, seed=3)
    save_amortised(learnt[kind], tmp_path / "posterior")
    again = load_amortised(tmp_path / "posterior")
    assert again.settings == learnt[kind].settings
    features = learnt[kind].features(problem)
    np.testing.assert_array_equal(again.features(problem), features)
    first, second = (each.sample(features, KEY, draws=50) for each in (learnt[kind], again))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (50, 1, 3)
    assert len(np.unique(first)) == first.size
    assert sorted(path.name for path in (tmp_path / "posterior").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


def test_what_cannot_be_used_is_said(learnt, tmp_path):
    posterior: AmortisedPosterior = learnt["dbuq"]
    problem = columns(3, seed=3)
    with pytest.raises(InputError, match="posterior of a, expected one of p; train it"):
        posterior.features(linear_problem(np.ones((6, 1)), names=("p",)))
    with pytest.raises(InputError, match="no density"):
        posterior.sample_and_density(posterior.features(problem), KEY, draws=2)
    with pytest.raises(InputError, match="no amortised posterior can be read"):
        load_amortised(tmp_path)
    save_amortised(posterior, tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["settings"]["width"] = 5
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="the arrays are not those"):
        load_amortised(tmp_path)


def test_probes_interpolate_what_is_smooth():
    for size in (1, 2):
        probes = make_probes(size, 9 if size == 1 else 24)
        np.testing.assert_allclose(probes.weights.sum(axis=1), 1.0, atol=1e-8)
        curve = lambda z: np.tanh(0.8 * z).sum(axis=1)  # noqa: E731
        error = probes.weights @ curve(probes.at) - curve(probes.points)
        assert np.sqrt((error**2).mean()) < 0.1
        np.testing.assert_allclose(probes.points.mean(axis=0), 0.0, atol=0.01)
        np.testing.assert_allclose(probes.points.std(axis=0), 1.0, atol=0.02)
