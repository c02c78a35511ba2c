"""The density of whitened observations against SciPy's with the covariance written out."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from assimilation.observations import Observations
from calibration.covariance import Errors, whitened
from hybrid_land.errors import InputError

STEP = 12 * 3600.0  # two records a day
RECORDS, COLUMNS = 2 * 75, 2
ERROR = {"swvl1": 0.02, "stl1": 1.5}
ERRORS = Errors(
    representativeness={"swvl1": 0.01},
    correlated={"stl1": 0.5},
    model={"swvl1": 0.03, "stl1": 0.8},
    memory_days=4.0,
    model_memory_days=20.0,
)
NONE = Errors(representativeness={}, correlated={}, model={})


@pytest.fixture
def case(float64):
    """A trajectory and observations of both observables, some of them missing."""
    generator = np.random.default_rng(2)
    shape = (RECORDS, COLUMNS)

    first = {
        "swvl1": jnp.asarray(generator.uniform(0.2, 0.4, shape)),
        "stl1": jnp.asarray(generator.uniform(280.0, 290.0, shape)),
    }
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
    return first, observations


def full(observations):
    """The same with nothing missing."""
    return Observations(
        values=observations.values,
        errors=observations.errors,
        mask={name: jnp.ones((RECORDS, COLUMNS)) for name in observations.mask},
    )


def dense(series, observations, k, errors):
    """SciPy's density of what was seen in column k; missing data are left out."""
    total = 0.0
    for name, values in observations.values.items():
        seen = np.flatnonzero(np.asarray(observations.mask[name][:, k]))
        apart = np.abs(seen[:, None] - seen[None, :]) * STEP / 86400.0
        covariance = errors.model.get(name, 0.0) ** 2 * np.exp(-apart / errors.model_memory_days)
        covariance += errors.correlated.get(name, 0.0) ** 2 * np.exp(-apart / errors.memory_days)
        own = np.asarray(observations.errors[name])[seen, k] ** 2
        covariance += np.diag(own + errors.representativeness.get(name, 0.0) ** 2)
        total += stats.multivariate_normal.logpdf(
            np.asarray(values)[seen, k], np.asarray(series[name])[seen, k], covariance
        )
    return total


def density(series, observations, errors=ERRORS):
    white = whitened(observations, time_step=STEP, errors=errors)
    expected = np.concatenate([np.asarray(series[n])[at] for n, at in white.records.items()])
    departures = white.observed - np.einsum("ijc,jc->ic", white.matrix, expected)
    return white.log_scale - 0.5 * (departures**2).sum(axis=0)


@pytest.mark.parametrize("errors", [ERRORS, NONE], ids=["correlated", "independent"])
@pytest.mark.parametrize("missing", [False, True])
def test_whitened_departures_have_the_dense_density(case, errors, missing):
    series, observations = case
    observations = observations if missing else full(observations)
    found = density(series, observations, errors)
    assert found.shape == (COLUMNS,)
    for k in range(COLUMNS):
        # The matrices are in single precision.
        expected = dense(series, observations, k, errors)
        np.testing.assert_allclose(found[k], expected, rtol=2e-5)


def test_a_missing_value_is_never_read(case):
    series, observations = case
    gap = {name: np.asarray(mask) == 0 for name, mask in observations.mask.items()}
    other = Observations(
        values={n: jnp.where(gap[n], 1e3, v) for n, v in observations.values.items()},
        errors={n: jnp.where(gap[n], 1e-3, v) for n, v in observations.errors.items()},
        mask=observations.mask,
    )
    np.testing.assert_array_equal(density(series, other), density(series, observations))


def test_what_a_column_lacks_is_zero(case):
    _, observations = case
    white = whitened(observations, time_step=STEP, errors=ERRORS)
    gap = white.present == 0
    assert 0 < gap.sum() < gap.size
    assert (white.observed[gap] == 0).all()
    assert (np.moveaxis(white.matrix, 1, 2)[gap] == 0).all()
    assert (np.moveaxis(white.matrix, 0, 2)[gap] == 0).all()


def test_only_records_that_were_seen_are_kept(case):
    series, observations = case
    late = np.zeros((RECORDS, COLUMNS))
    late[[130, 140, 141], 0] = 1.0
    late[140, 1] = 1.0
    few = Observations(
        values={"swvl1": observations.values["swvl1"]},
        errors={"swvl1": observations.errors["swvl1"]},
        mask={"swvl1": jnp.asarray(late)},
    )
    white = whitened(few, time_step=STEP, errors=ERRORS)
    assert white.records["swvl1"].tolist() == [130, 140, 141]
    assert white.present.tolist() == [[1, 0], [1, 1], [1, 0]]
    expected = [dense(series, few, k, ERRORS) for k in range(COLUMNS)]
    np.testing.assert_allclose(density(series, few), expected, rtol=2e-5)


def test_covariances_beyond_the_memory_are_refused(case, monkeypatch):
    _, observations = case
    monkeypatch.setattr("calibration.covariance._MOST_ENTRIES", 10)
    with pytest.raises(InputError, match="thin the observations in time or take fewer columns"):
        whitened(observations, time_step=STEP, errors=ERRORS)
