"""The density of the observations against the dense covariance R + F F^T of SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from assimilation.observations import Observations
from assimilation.operators import Context
from calibration.likelihood import evidence_from, log_likelihood

STEP = 12 * 3600.0  # two records a day
RECORDS, COLUMNS = 2 * 75, 2  # two periods of 30 days and a half
ERROR = {"swvl1": 0.02, "stl1": 1.5}
MODEL_ERROR = {"swvl1": 0.03, "stl1": 0.8}


@pytest.fixture
def case(float64):
    """Two trajectories and observations of both observables, some of them missing."""
    generator = np.random.default_rng(2)
    shape = (RECORDS, COLUMNS)

    def trajectory():
        return {
            "swvl1": jnp.asarray(generator.uniform(0.2, 0.4, shape)),
            "stl1": jnp.asarray(generator.uniform(280.0, 290.0, shape)),
        }

    first, second = trajectory(), trajectory()
    mask = {name: generator.random(shape) < 0.15 for name in ERROR}
    observations = Observations(
        values={
            name: jnp.asarray(
                np.where(mask[name], first[name] + ERROR[name] * generator.normal(size=shape), 0)
            )
            for name in ERROR
        },
        errors={
            name: jnp.asarray(np.where(mask[name], ERROR[name] * (1 + generator.random(shape)), 1))
            for name in ERROR
        },
        mask={name: jnp.asarray(mask[name], float) for name in ERROR},
    )
    return first, second, observations


def only(observations, *names):
    pick = lambda leaves: {name: leaves[name] for name in names}  # noqa: E731
    return Observations(
        values=pick(observations.values),
        errors=pick(observations.errors),
        mask=pick(observations.mask),
    )


def full(observations):
    """The same with nothing missing."""
    return Observations(
        values=observations.values,
        errors=observations.errors,
        mask={name: jnp.ones((RECORDS, COLUMNS)) for name in observations.mask},
    )


def dense(series, observations, k, deviation, days=30.0):
    """SciPy's density of what was seen in column k; missing data are left out."""
    total = 0.0
    for name, values in observations.values.items():
        seen = np.flatnonzero(np.asarray(observations.mask[name][:, k]))
        period = np.floor(seen * STEP / 86400.0 / days)
        covariance = deviation.get(name, 0.0) ** 2 * (period[:, None] == period[None, :])
        covariance += np.diag(np.asarray(observations.errors[name])[seen, k] ** 2)
        total += stats.multivariate_normal.logpdf(
            np.asarray(values)[seen, k], np.asarray(series[name])[seen, k], covariance
        )
    return total


def density(series, observations, **options):
    options = {"time_step": STEP, "model_error": MODEL_ERROR} | options
    evidence = evidence_from(observations, **options)
    return np.asarray(jax.jit(log_likelihood)(series, evidence, Context(STEP)))


def test_full_data_have_the_dense_density(case):
    first, second, observations = case
    observations = full(observations)
    for series in (first, second):
        found = density(series, observations)
        assert found.shape == (COLUMNS,)
        for k in range(COLUMNS):
            expected = dense(series, observations, k, MODEL_ERROR)
            np.testing.assert_allclose(found[k], expected, rtol=1e-6)


def test_missing_data_add_a_constant(case):
    """And the constant is that of a standard normal at zero for each value missing."""
    first, second, observations = case
    found = density(first, observations), density(second, observations)
    seen = sum(np.asarray(mask).sum(axis=1) for mask in observations.mask.values()) > 0
    for k in range(COLUMNS):
        expected = [dense(s, observations, k, MODEL_ERROR) for s in (first, second)]
        np.testing.assert_allclose(found[0][k] - found[1][k], expected[0] - expected[1], rtol=1e-6)
        missing = sum(seen.sum() - float(m[:, k].sum()) for m in observations.mask.values())
        constant = -0.5 * np.log(2 * np.pi) * missing
        np.testing.assert_allclose(found[0][k], expected[0] + constant, rtol=1e-6)


def test_a_missing_value_is_never_read(case):
    first, _, observations = case
    gap = {name: np.asarray(mask) == 0 for name, mask in observations.mask.items()}
    other = Observations(
        values={n: jnp.where(gap[n], 1e3, v) for n, v in observations.values.items()},
        errors={n: jnp.where(gap[n], 1e-3, v) for n, v in observations.errors.items()},
        mask=observations.mask,
    )
    np.testing.assert_array_equal(density(first, other), density(first, observations))


def test_without_model_error_the_observations_are_independent(case):
    first, _, observations = case
    observations = full(observations)
    found = density(first, observations, model_error={})
    expected = sum(
        stats.norm.logpdf(observations.values[n], first[n], observations.errors[n]).sum(axis=0)
        for n in ERROR
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_model_error_keeps_its_value_over_30_days(case):
    first, _, observations = case
    evidence = evidence_from(full(observations), time_step=STEP, model_error=MODEL_ERROR)
    factor = np.asarray(evidence.factor["swvl1"])
    assert factor.shape == (RECORDS, 3, COLUMNS)
    assert (factor.sum(axis=0)[:, 0] / 0.03).round(3).tolist() == [60.0, 60.0, 30.0]
    found = density(first, full(observations), memory_days=10.0)
    expected = [dense(first, full(observations), k, MODEL_ERROR, days=10.0) for k in (0, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_observables_add(case):
    first, _, observations = case
    observations = full(observations)
    apart = [density(first, only(observations, name)) for name in ERROR]
    np.testing.assert_allclose(density(first, observations), sum(apart), rtol=1e-10)


def test_only_records_that_were_seen_are_kept(case):
    first, _, observations = case
    late = np.zeros((RECORDS, COLUMNS))
    late[[130, 140, 141], 0] = 1.0
    late[140, 1] = 1.0
    few = Observations(
        values={"swvl1": observations.values["swvl1"]},
        errors={"swvl1": observations.errors["swvl1"]},
        mask={"swvl1": jnp.asarray(late)},
    )
    evidence = evidence_from(few, time_step=STEP, model_error=MODEL_ERROR)
    assert np.asarray(evidence.record).tolist() == [[130.0, 130.0], [140.0, 140.0], [141.0, 141.0]]
    # One period is enough for what lies in the third.
    assert evidence.factor["swvl1"].shape == (3, 1, COLUMNS)
    missing = np.asarray([0.0, 2.0])
    expected = np.asarray([dense(first, few, k, MODEL_ERROR) for k in range(COLUMNS)])
    found = np.asarray(jax.jit(log_likelihood)(first, evidence, Context(STEP)))
    np.testing.assert_allclose(found, expected - 0.5 * np.log(2 * np.pi) * missing, rtol=1e-6)
