"""Bayesian optimisation and its surrogate's posterior, of functions and commands without gradient.

The answers are known: by linear algebra, or on a fine grid.
"""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from calibration.black_box import command_problem, function_problem
from calibration.problem import log_likelihood
from calibration.surrogate import bayesopt
from hybrid_land.errors import InputError
from tests.calibration.linear import linear_problem, moments

TIMES = np.linspace(0.0, 2.0, 12)
SCRIPT = """
import sys
from scipy.io import netcdf_file
rate, start, out = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if rate > 2:
    sys.exit("a rate above 2 is not for this model")
with netcdf_file(out, "w") as file:
    file.createDimension("time", 5)
    time = file.createVariable("time", "d", ("time",))
    time[:] = range(5)
    time.units = "days since 2010-01-01"
    file.createVariable("swvl1", "d", ("time",))[:] = [start - 0.01 * rate * t for t in range(5)]
"""


def decay(parameters):
    return parameters["start"] * np.exp(-parameters["rate"] * TIMES)


def decaying(**options):
    observed = decay({"start": 1.0, "rate": 0.8}) + 0.02 * np.sin(9.0 * TIMES)
    given = {
        "observed": observed,
        "errors": np.full(12, 0.05),
        "bounds": {"start": (0.5, 2.0), "rate": (0.0, 3.0)},
    }
    return function_problem(decay, **(given | options))


def test_the_optimum_and_the_posterior_of_linear_models_are_the_exact_ones():
    matrix = np.asarray([[[4.0, 1.0], [1.0, 4.0]], [[0.0, 3.0], [2.0, 0.0]]])
    problem = linear_problem(matrix, observed=np.asarray([[3.0, -2.0], [1.0, 2.0]], np.float32))
    told = []
    z, statistics = bayesopt(
        problem,
        key=jax.random.key(0),
        initial=6,
        evaluations=3,
        refinements=6,
        draws=250,
        progress=lambda *at: told.append(at),
    )
    assert z.shape == (4, 250, 2, 2)
    assert told[-1] == (15, 15)
    assert (statistics["runs"] == 15).all()
    mean, covariance = moments(problem)
    flat = z.reshape(-1, 2, 2)
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    np.testing.assert_allclose(flat.mean(axis=0), mean, atol=0.25 * spread.max())
    for column in range(2):
        found = np.cov(flat[..., column].T)
        np.testing.assert_allclose(found, covariance[column], atol=0.25 * covariance.max())
    best = np.stack([statistics["map_z_1"], statistics["map_z_2"]])
    assert (np.abs(best - mean) < 1.5 * spread).all()
    assert (statistics["surrogate_error"] < 0.5).all()


def test_a_function_s_posterior_is_that_of_the_grid():
    problem = decaying()
    z, statistics = bayesopt(
        problem, key=jax.random.key(1), initial=8, evaluations=4, refinements=8
    )
    found = {k: v.ravel() for k, v in problem.parameters(z.reshape(-1, 2, 1)).items()}
    start, rate = (x.ravel() for x in np.meshgrid(*[np.linspace(0, 3, 301)] * 2))
    inside = (start >= 0.5) & (start <= 2.0)
    grid = {"start": start[inside], "rate": rate[inside]}
    model = grid["start"] * np.exp(-grid["rate"] * TIMES[:, None])
    observed = decay({"start": 1.0, "rate": 0.8}) + 0.02 * np.sin(9.0 * TIMES)
    weight = np.exp(-0.5 * (((observed[:, None] - model) / 0.05) ** 2).sum(axis=0))
    weight /= weight.sum()
    for name, values in grid.items():
        mean = weight @ values
        spread = np.sqrt(weight @ (values - mean) ** 2)
        assert found[name].mean() == pytest.approx(mean, abs=0.3 * spread)
        assert found[name].std() == pytest.approx(spread, rel=0.2)
    assert statistics["surrogate_error"][0] < 1.0


def test_a_surrogate_that_is_wrong_says_so():
    """A step at z = 0.3, of which a few runs of a hypercube know nothing."""
    problem = linear_problem([[3.0]])
    stepped = replace(
        problem, expected=lambda z, own: 3.0 * z[0][None] + 20.0 * (jnp.sin(40.0 * z[0][None]))
    )
    options = {"initial": 4, "evaluations": 1, "refinements": 6, "draws": 40}
    _, statistics = bayesopt(stepped, key=jax.random.key(0), **options)
    assert statistics["surrogate_error"][0] > 3.0


def test_errors_may_be_correlated(float64):
    covariance = 0.05**2 * np.exp(-np.abs(TIMES[:, None] - TIMES))
    problem = decaying(errors=covariance)
    z = np.zeros((1, 2, 1))
    values = problem.parameters(z)
    apart = decaying().in_units(decaying().evaluate(z))[0, :, 0] - np.asarray(
        problem.in_units(np.asarray(problem.observed)[None])[0, :, 0]
    )
    expected = 0.5 * apart @ np.linalg.solve(covariance, apart)
    assert values["start"][0, 0] == pytest.approx(1.25)
    np.testing.assert_allclose(problem.misfit(z)[0, 0], expected, rtol=1e-4)
    # Side by side the same.
    twice = replace(problem, workers=3).evaluate(np.repeat(z, 5, axis=0))
    np.testing.assert_array_equal(twice, np.repeat(problem.evaluate(z), 5, axis=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": {"rate": (2.0, 1.0)}}, "bounds of rate are 2 to 1, expected the lower first"),
        ({"bounds": {}}, "no parameter to estimate"),
        ({"errors": np.ones(3)}, "expected one for each of 12 observations"),
        ({"errors": -np.eye(12)}, "the errors are no covariance"),
    ],
)
def test_what_makes_no_problem_is_said(options, words):
    with pytest.raises(InputError, match=words):
        decaying(**options)


def test_what_a_function_must_not_give_is_said():
    z = np.zeros((1, 2, 1))
    with pytest.raises(InputError, match=r"shape \(3,\) for rate=1.5, start=1.25, expected 12"):
        replace(decaying(), run=lambda given: np.zeros(3)).evaluate(z)
    with pytest.raises(InputError, match="not finite for rate"):
        replace(decaying(), run=lambda given: np.full(12, np.nan)).evaluate(z)
    problem = decaying()
    with pytest.raises(InputError, match="a black box cannot be differentiated"):
        jax.vmap(log_likelihood(problem), in_axes=(0, -1))(jnp.zeros((1, 2)), problem.lanes)


@pytest.fixture
def seen():
    """Observations at noon, on days of which the second has none."""
    days = np.datetime64("2010-01-01T12", "ns") + np.arange(4) * np.timedelta64(1, "D")
    values = np.asarray([[0.3], [np.nan], [0.28], [0.27]])
    return xr.Dataset(
        {"swvl1": (("time", "column"), values), "swvl1_error": ((), 0.01)}, coords={"time": days}
    )


@pytest.fixture
def command(tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT)
    return f"{sys.executable} {tmp_path / 'model.py'} {{rate}} {{start}} {{out}}"


BOUNDS = {"rate": (0.0, 4.0), "start": (0.2, 0.4)}


def test_a_command_is_run_and_its_file_read(command, seen):
    problem = command_problem(command, seen, bounds=BOUNDS, seconds=60.0)
    z = np.asarray([[[-0.5], [0.0]]])
    rate = problem.parameters(z)["rate"][0, 0]
    expected = 0.3 - 0.01 * rate * np.asarray([0, 2, 3])
    np.testing.assert_allclose(problem.in_units(problem.evaluate(z))[0, :, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        problem.in_units(np.asarray(problem.observed)[None])[0, :, 0], [0.3, 0.28, 0.27], rtol=1e-6
    )
    np.testing.assert_allclose(problem.root, 100.0 * np.eye(3), atol=1e-9)
    with pytest.raises(InputError, match=r"ended with status 1 \(a rate above 2"):
        problem.evaluate(-z)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model {rate} {out}", "places for out, rate, expected out, rate, start in braces"),
        ("no-such-model {rate} {start} {out}", "no-such-model: cannot be run"),
        ("true {rate} {start} {out}", "true: wrote no file"),
        ("sleep 5 {rate} {start} {out}", "sleep: "),
    ],
)
def test_a_command_that_does_not_do_is_refused(seen, text, words):
    with pytest.raises(InputError, match=words):
        command_problem(text, seen, bounds=BOUNDS, seconds=2.0).evaluate(np.zeros((1, 2, 1)))


def test_observations_of_a_command_are_checked(command, seen):
    with pytest.raises(InputError, match="no swvl1_error beside swvl1"):
        command_problem(command, seen.drop_vars("swvl1_error"), bounds=BOUNDS)
    with pytest.raises(InputError, match="no observation, expected one at least"):
        command_problem(command, seen * np.nan, bounds=BOUNDS)
    two = seen.isel(column=[0, 0])
    with pytest.raises(InputError, match="has 2 columns, expected one"):
        command_problem(command, two, bounds=BOUNDS)
