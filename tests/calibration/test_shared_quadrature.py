"""What columns share from tables of their likelihoods, against posteriors known without."""

import jax
import numpy as np
import pytest
from scipy import stats

from calibration.hierarchy import share
from calibration.methods import METHODS
from calibration.shared_quadrature import shared_grid
from hybrid_land.errors import InputError
from tests.calibration.exact import along_a_covariate, linear

COLUMNS, SEEN = 12, 6


@pytest.fixture(scope="module")
def problem():
    return along_a_covariate(effects=0.5, columns=COLUMNS, seen=SEEN)


def test_a_transfer_function_alone_is_found(problem):
    one, x = problem
    shared = share(one, {"sand": x}, pooled=True)
    z, statistics = shared_grid(shared, key=jax.random.key(0), draws=500)
    assert z.shape == (4, 500, 2, 1)
    design = np.stack([np.ones(COLUMNS), 0.5 * x / x.std()], axis=1)
    precision = np.eye(2) + SEEN * design.T @ design
    mean = np.linalg.solve(precision, SEEN * design.T @ np.asarray(one.observed).mean(axis=0))
    spread = np.sqrt(np.diag(np.linalg.inv(precision)))
    found = z.reshape(-1, 2)
    assert (np.abs(found.mean(axis=0) - mean) < 0.15 * spread).all()
    np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.1)
    assert statistics["converged"].all()


def test_effects_are_found_with_their_spread(problem):
    """By integration over the two shared numbers; each column's z is normal given these."""
    one, _ = problem
    shared = share(one, {})
    z, statistics = shared_grid(shared, key=jax.random.key(1), draws=700)
    assert z.shape == (4, 700, 2 + COLUMNS, 1)
    seen, error = np.asarray(one.observed).mean(axis=0), 1.0 / SEEN
    a, s = np.meshgrid(np.linspace(-3, 3, 241), np.linspace(-4, 4, 241), indexing="ij")
    spread = 0.3 * np.exp(0.7 * s)
    at = (a[..., None], np.sqrt(error + spread[..., None] ** 2))
    log = stats.norm.logpdf(seen, *at).sum(axis=-1) - 0.5 * (a**2 + s**2)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    means = [(weight * x).sum() for x in (a, s)]
    widths = [np.sqrt((weight * (x - m) ** 2).sum()) for x, m in zip((a, s), means, strict=True)]
    found = z[..., 0].reshape(-1, 2 + COLUMNS)
    np.testing.assert_allclose(found[:, :2].mean(axis=0), means, atol=0.15 * min(widths))
    np.testing.assert_allclose(found[:, :2].std(axis=0), widths, rtol=0.1)
    gain = spread[..., None] ** 2 / (spread[..., None] ** 2 + error)
    own = (weight[..., None] * (a[..., None] + gain * (seen - a[..., None]))).sum(axis=(0, 1))
    second = (a[..., None] + gain * (seen - a[..., None])) ** 2 + gain * error
    width = np.sqrt((weight[..., None] * second).sum(axis=(0, 1)) - own**2)
    drawn = shared.by_column(found[..., None])[:, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), own, atol=0.15 * width.min())
    np.testing.assert_allclose(drawn.std(axis=0), width, rtol=0.1)
    assert statistics["converged"].all()
    assert statistics["diverging"].shape == (4, 700, 1)


def test_the_model_runs_once_for_all_that_is_shared(problem, monkeypatch):
    one, x = problem
    calls = []
    misfit = type(one).misfit
    monkeypatch.setattr(
        type(one), "misfit", lambda self, z, **at: calls.append(z.shape) or misfit(self, z, **at)
    )
    shared_grid(share(one, {"sand": x}), key=jax.random.key(0), points=10, draws=10)
    assert calls == [(10, 1, COLUMNS)] * 2


def test_what_it_cannot_do_is_said(problem):
    two, *_ = linear(parameters=2)
    with pytest.raises(InputError, match="columns that share 2 parameters, expected one for"):
        shared_grid(share(two, {}), key=jax.random.key(0))
    with pytest.raises(InputError, match="15 parameters, expected one or two for method grid"):
        METHODS["grid"](share(problem[0], {"sand": problem[1]}).problem, key=jax.random.key(0))
