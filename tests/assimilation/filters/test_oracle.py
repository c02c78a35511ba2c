"""Our filters and smoothers against those of cuthbert, where all is linear and Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from tests.assimilation.filters.linear import (
    COLUMNS,
    ERRORS,
    STEPS,
    linear_case,
    observed_rows,
    transitions,
)
from tests.toy import LAYERS

pytest.importorskip("cuthbert", reason="cuthbert is not installed; `make setup` installs it")

from cuthbert import filter as filtered
from cuthbert import smoother as smoothed
from cuthbert.gaussian import kalman


def of_cuthbert(case, column):
    """Means and standard deviations `[cycle, variable]` of its Kalman filter and smoother."""
    m, P = case.members[..., column].mean(axis=0), np.cov(case.members[..., column].T)
    maps, shifts = transitions(case, column)
    steps = jnp.asarray(maps), jnp.asarray(shifts), jnp.asarray(observed_rows(case, column))
    H = jnp.asarray(np.eye(len(LAYERS))[[LAYERS.index(name) for name in ERRORS]])
    R = jnp.diag(jnp.asarray(list(ERRORS.values())))

    def moves(given):
        return given[0], given[1], jnp.zeros((len(LAYERS), len(LAYERS)))

    def sees(given):
        return H, jnp.zeros(len(ERRORS)), R, given[2]

    built = kalman.build_filter(jnp.asarray(m), jnp.linalg.cholesky(jnp.asarray(P)), moves, sees)
    states = filtered(built, steps, built.init_prepare())
    later = smoothed(kalman.build_smoother(moves), states)
    return [
        (np.asarray(x.mean)[1:], np.sqrt(np.sum(np.asarray(x.chol_cov)[1:] ** 2, axis=-1)))
        for x in (states, later)
    ]


def test_filter_and_smoother_are_those_of_a_library_where_an_observation_is_missing(float64):
    case = linear_case()
    run = run_filter(*case.given, scheme=Scheme(lag=STEPS), key=jax.random.key(0))
    for column in range(COLUMNS):
        (mean, spread), (later, wide) = of_cuthbert(case, column)
        np.testing.assert_allclose(run.analysis_mean[..., column], mean, rtol=1e-6)
        np.testing.assert_allclose(run.analysis_spread[..., column], spread, rtol=1e-5)
        np.testing.assert_allclose(run.smoother_mean[..., column], later, rtol=1e-6)
        np.testing.assert_allclose(run.smoother_spread[..., column], wide, rtol=1e-5)
