"""Filters and smoothers under the driver, against the exact Kalman filter and smoother."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from assimilation.filters.forecast import forecast
from assimilation.filters.localisation import in_depth, over_columns
from assimilation.observations import Observations
from tests.assimilation.filters.linear import (
    COLUMNS,
    ERRORS,
    STEPS,
    kalman,
    linear_case,
    moments,
)
from tests.toy import LAYERS

KEY = jax.random.key(0)


@pytest.fixture
def case(float64):
    return linear_case()


def run(case, **options):
    return run_filter(*case.given, scheme=Scheme(**options), key=KEY)


def found_by(run, kind, column):
    """Means and standard deviations `[2, cycle, variable]` that a run found of a column."""
    return np.stack([getattr(run, f"{kind}_{what}")[..., column] for what in ("mean", "spread")])


def difference(one, other):
    """Largest difference between two runs, relative to the other."""
    pairs = [
        (getattr(one, name), getattr(other, name))
        for name in ("forecast_mean", "analysis_mean", "analysis_spread")
    ]
    return max(float(jnp.max(jnp.abs(a - b) / jnp.abs(b))) for a, b in pairs)


@pytest.mark.parametrize(
    "options",
    [
        {"keep_members": True},
        {"rotate": True, "keep_members": True},
        {"method": "letkf", "localisation": in_depth(LAYERS, tuple(ERRORS)), "keep_members": True},
        {"method": "ienks", "lag": 1, "iterations": 2, "keep_members": True},
    ],
    ids=["etkf", "rotated", "letkf", "ienks"],
)
def test_mean_and_covariance_are_those_of_the_kalman_filter(case, options):
    found = run(case, **options)
    for c in range(COLUMNS):
        forecasts, analyses, _ = kalman(case, c)
        np.testing.assert_allclose(found_by(found, "forecast", c), moments(forecasts), rtol=1e-6)
        np.testing.assert_allclose(found_by(found, "analysis", c), moments(analyses), rtol=1e-6)
        for k in range(STEPS):
            exact = analyses[k][1]
            np.testing.assert_allclose(
                np.cov(np.asarray(found.members[k, :, :, c]).T), exact, atol=1e-6 * exact.max()
            )
    assert found.names == LAYERS
    assert found.records.tolist() == list(range(1, STEPS + 1))


def test_the_stochastic_filter_has_the_kalman_filters_limit(float64):
    case = linear_case(members=1000)
    found = run(case, method="enkf")
    for c in range(COLUMNS):
        _, analyses, _ = kalman(case, c)
        np.testing.assert_allclose(found_by(found, "analysis", c), moments(analyses), rtol=0.06)


def test_the_deterministic_filter_has_the_mean_and_keeps_a_little_more_spread(case):
    found = run(case, method="denkf")
    for c in range(COLUMNS):
        _, analyses, _ = kalman(case, c)
        np.testing.assert_allclose(found.analysis_mean[0, :, c], analyses[0][0], rtol=1e-6)
        P, after = np.cov(case.members[..., c].T), np.asarray(found.analysis_spread[0, :, c])
        assert np.all(after >= np.sqrt(np.diag(analyses[0][1])) - 1e-12)
        assert np.all(after <= np.sqrt(np.diag(P)))


@pytest.mark.parametrize("options", [{}, {"rotate": True}], ids=["etkf", "rotated"])
def test_the_smoother_is_rauch_tung_striebels(case, options):
    found = run(case, lag=STEPS, **options)
    for c in range(COLUMNS):
        _, _, smoothed = kalman(case, c)
        np.testing.assert_allclose(found_by(found, "smoother", c), moments(smoothed), rtol=1e-6)


def test_a_short_lag_sees_no_further(case):
    short, long = run(case, lag=2), run(case, lag=STEPS)
    np.testing.assert_allclose(short.smoother_mean[-3:], long.smoother_mean[-3:], rtol=1e-10)
    assert not np.allclose(short.smoother_mean[0], long.smoother_mean[0], rtol=1e-5)


@pytest.mark.parametrize("rotate", [False, True])
def test_the_iterative_smoother_is_the_smoother_where_all_is_linear(case, rotate):
    one = run(case, method="ienks", lag=3, iterations=3, rotate=rotate)
    other = run(case, lag=3)
    assert difference(one, other) < 1e-6
    np.testing.assert_allclose(one.smoother_mean, other.smoother_mean, rtol=1e-6)
    np.testing.assert_allclose(one.smoother_spread, other.smoother_spread, rtol=1e-5)
    np.testing.assert_allclose(one.residual, other.residual, rtol=1e-5)
    for name in LAYERS:
        means = one.ensemble[name].mean(axis=0), other.ensemble[name].mean(axis=0)
        np.testing.assert_allclose(*means, rtol=1e-6)


def test_one_localisation_that_tapers_nothing_is_none(case):
    depth = in_depth(LAYERS, tuple(ERRORS))
    apart = over_columns(depth, [0.0, 0.0], [0.0, 1.0], radius=1e9)
    # Both columns' observations count in both: as one column that saw them all.
    taper = jnp.asarray(np.eye(2)[np.asarray(apart.neighbours)[:, 0]])
    own = dataclasses.replace(
        apart, neighbours=jnp.asarray([[0, 1], [0, 1]], jnp.int32), taper=taper
    )
    assert difference(run(case, method="letkf", localisation=own), run(case)) < 1e-6


def test_nothing_observed_changes_nothing_to_the_last_bit(case):
    none = jax.tree.map(jnp.zeros_like, case.observations.mask)
    blank = dataclasses.replace(case.observations, mask=none)
    case = dataclasses.replace(case, observations=blank)
    for options in (
        {"inflation": 1.1},
        {"method": "enkf", "rtps": 0.5},
        {"method": "enkf-n"},
        {"method": "pf"},
        {"rotate": True, "adaptive": True},
        {"method": "letkf", "localisation": in_depth(LAYERS, tuple(ERRORS)), "inflation": 1.1},
    ):
        found = run(case, **options)
        np.testing.assert_array_equal(found.forecast_mean, found.analysis_mean, str(options))
        np.testing.assert_array_equal(found.forecast_spread, found.analysis_spread, str(options))
        assert np.isnan(found.innovation).all()


def test_only_columns_that_were_observed_change(case):
    mask = {n: m.at[:, 1].set(0.0) for n, m in case.observations.mask.items()}
    part = dataclasses.replace(case.observations, mask=mask)
    found = run(dataclasses.replace(case, observations=part), inflation=1.1, rotate=True)
    np.testing.assert_array_equal(found.forecast_mean[..., 1], found.analysis_mean[..., 1])
    assert np.abs(found.forecast_mean[..., 0] - found.analysis_mean[..., 0]).max() > 1e-3


def test_observations_within_a_cycle_count_at_their_own_time(case):
    # All of the first cycle's observations at its end are those of a smoother at its end.
    found = run(case, every=4)
    each = run(case)
    np.testing.assert_allclose(found.analysis_mean[0], each.analysis_mean[3], rtol=1e-6)
    np.testing.assert_allclose(found.analysis_spread[-1], each.analysis_spread[-1], rtol=1e-5)
    assert found.records.tolist() == [4, 8]
    assert found.observed == ("swvl1",) * 4 + ("swvl3",) * 4


def test_fluxes_are_those_of_the_steps_that_led_to_the_analysis(case):
    # slhf = -100 swvl1 at the step's start, a mean over the step for the table of variables.
    values = jnp.full((STEPS, COLUMNS), -30.0)
    flux = Observations(
        values={"slhf": values},
        errors={"slhf": jnp.full_like(values, 5.0)},
        mask={"slhf": jnp.ones_like(values)},
    )
    found = run(dataclasses.replace(case, observations=flux))
    before = np.concatenate([case.members[None].mean(axis=1), found.analysis_mean[:-1]])
    np.testing.assert_allclose(found.innovation[:, 0], -30.0 + 100.0 * before[:, 0], rtol=1e-6)


def test_a_function_is_an_operator(case):
    shape = (STEPS + 1, COLUMNS)
    total = Observations(
        values={"total": jnp.full(shape, 1.5)},
        errors={"total": jnp.full(shape, 1e-4)},
        mask={"total": jnp.ones(shape)},
    )
    found = run_filter(
        *(case.model, case.parameters, case.ensemble, case.forcing, total),
        scheme=Scheme(),
        key=KEY,
        operators={"total": lambda series, context: sum(series[n] for n in LAYERS)},
    )
    np.testing.assert_allclose(found.analysis_mean.sum(axis=1), 1.5, atol=1e-3)


def test_members_parameters_are_estimated_and_their_forcing_is_their_own(case):
    size = case.members.shape[0]
    wanted = 0.30 + 0.01 * np.random.default_rng(5).normal(size=(size, COLUMNS))
    ensemble = case.ensemble | {"theta_cap": jnp.asarray(wanted)}
    rain = jnp.repeat(case.forcing["rain"][:, None], size, axis=1)
    found = run_filter(
        *(case.model, case.parameters | {"theta_max": jnp.full(COLUMNS, 0.9)}, ensemble),
        *({"rain": rain}, case.observations),
        scheme=Scheme(variables=("swvl1", "theta_cap")),
        key=KEY,
    )
    assert found.names[:2] == ("swvl1", "theta_cap")
    np.testing.assert_allclose(found.forecast_mean[0, 1], wanted.mean(axis=0), rtol=1e-6)
    assert np.abs(found.analysis_mean[0, 1] - found.forecast_mean[0, 1]).max() > 1e-6
    np.testing.assert_array_equal(found.analysis_mean[0, 2:], found.forecast_mean[0, 2:])
    same = run_filter(
        *(case.model, case.parameters, ensemble, case.forcing, case.observations),
        scheme=Scheme(variables=("swvl1", "theta_cap")),
        key=KEY,
    )
    assert difference(found, same) < 1e-10


@partial(jax.tree_util.register_dataclass, data_fields=["leak"], meta_fields=["toy"])
@dataclasses.dataclass
class Leaking:
    """The toy with an array inside: what is lost of its first layer in a step."""

    leak: jax.Array
    toy: Any
    time_step = property(lambda self: self.toy.time_step)
    prognostic = property(lambda self: self.toy.prognostic)
    diagnostic = property(lambda self: self.toy.diagnostic)

    def step(self, parameters, state, forcing):
        new, diagnostics = self.toy.step(parameters, state, forcing)
        return new | {"swvl1": (1.0 - self.leak) * new["swvl1"]}, diagnostics


@pytest.mark.parametrize("leaks", [None, (0.0, 0.1)])
def test_other_numbers_are_not_compiled_anew(case, leaks):
    traces = []

    def top(series, context):
        traces.append(1)
        return series["swvl1"]

    def means(model, inflation):
        given = dataclasses.replace(case, model=model).given
        scheme = Scheme(inflation=inflation)
        return run_filter(*given, scheme=scheme, key=KEY, operators={"swvl1": top}).analysis_mean

    toys = [case.model] * 2
    if leaks is not None:
        toys = [Leaking(jnp.asarray(leak), case.model) for leak in leaks]
    first = means(toys[0], 1.01)
    before = len(traces)
    assert before > 0
    assert float(jnp.abs(means(toys[0], 1.02) - first).max()) > 1e-6
    other = means(toys[1], 1.01)
    assert len(traces) == before
    # A model of arrays is an argument of the program, not a part of it.
    assert np.array_equal(first, other) is (leaks is None)


def test_an_operator_remembers_the_last_cycle_of_a_window_alone(case):
    operators = (("sum", lambda series, context: jnp.cumsum(series["swvl1"], axis=0)),)

    def seen(members, first, last, window):
        weather = {n: x[first : last + 1] for n, x in case.forcing.items()}
        return forecast(case.model, case.parameters, members, weather, operators, window=window)

    ends, whole = seen(case.ensemble, 0, 6, 3)
    _, alone = seen(ends[1], 4, 6, 1)
    np.testing.assert_allclose(whole, alone, rtol=1e-12)
    assert whole.shape == (9, 2, COLUMNS)
