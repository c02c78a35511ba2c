"""NUTS on a model linear in field capacity, where the posterior is known on a fine grid."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from assimilation.observations import Observations
from assimilation.operators import on_records
from calibration.covariance import Errors, whitened
from calibration.experiment import problem_of
from calibration.nuts import nuts
from calibration.priors import field_capacity_range
from calibration.problem import Problem
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from tests.toy import Buckets, case

CHAINS, WARMUP, DRAWS, COLUMNS = 4, 100, 300, 4
BLIND = 3  # the column that nothing was observed in


ERRORS = Errors(representativeness={}, correlated={}, model={"swvl1": 0.005})


@pytest.fixture(scope="module")
def seen():
    """The toy, its inputs, and noisy observations of the top layer in all columns but one."""
    model, (parameters, state, forcing) = Buckets(), case(columns=COLUMNS, dtype="float32")
    truth = on_records(state, *rollout(model, parameters, state, forcing))["swvl1"]
    generator = np.random.default_rng(4)
    mask = generator.random(truth.shape) < 0.4
    mask[:, BLIND] = False
    noisy = truth + 0.02 * generator.standard_normal(truth.shape)
    observations = Observations(
        values={"swvl1": jnp.asarray(np.where(mask, noisy, 0.0), jnp.float32)},
        errors={"swvl1": jnp.where(mask, jnp.asarray([0.01, 0.02, 0.04, 0.02]), 1.0)},
        mask={"swvl1": jnp.asarray(mask, jnp.float32)},
    )
    return model, parameters, state, forcing, observations


@pytest.fixture(scope="module")
def problems(seen):
    """The inverse problem, by the parameters to estimate."""
    *given, observations = seen
    white = whitened(observations, time_step=Buckets.time_step, errors=ERRORS)
    return {
        names: problem_of(*given, white, names=names)
        for names in (("theta_cap",), ("theta_pwp", "theta_cap"))
    }


def sample(problem, *, seed=0, draws=DRAWS, **options):
    z, statistics = nuts(
        problem, chains=CHAINS, warmup=WARMUP, draws=draws, key=jax.random.key(seed), **options
    )
    values = problem.parameters(z.reshape(-1, len(problem.names), COLUMNS))
    return {n: x.reshape(CHAINS, draws, COLUMNS) for n, x in values.items()}, statistics


@pytest.fixture(scope="module")
def one(problems):
    return sample(problems["theta_cap",])


@pytest.fixture(scope="module")
def pair(problems):
    return sample(problems["theta_pwp", "theta_cap"])


def sizes(values):
    """Number of independent draws of each column, `[column]`."""
    return np.asarray([az.ess(values[..., k]) for k in range(COLUMNS)])


@pytest.fixture(scope="module")
def density(seen):
    """Logarithm of the likelihood by theta_cap + theta_pwp and column: a parabola, so exact.

    The covariance is written out here, and double precision would need another model.
    """
    model, parameters, state, forcing, observations = seen
    mask = np.asarray(observations.mask["swvl1"]) > 0
    values, errors = (
        np.asarray(leaves["swvl1"], float) for leaves in (observations.values, observations.errors)
    )

    @jax.jit
    def at(theta_cap):
        given = parameters | {"theta_cap": theta_cap}
        return on_records(state, *rollout(model, given, state, forcing))["swvl1"]

    def misfit(expected, k):
        days = np.flatnonzero(mask[:, k]) / 4.0
        memory = 0.005**2 * np.exp(-np.abs(days[:, None] - days) / 30.0)
        covariance = memory + np.diag(errors[mask[:, k], k] ** 2)
        departure = (values[:, k] - expected[:, k])[mask[:, k]]
        return -0.5 * departure @ np.linalg.solve(covariance, departure)

    # Fitted to many points, which frees it of single precision's rounding.
    low, high = (np.asarray(bound) for bound in field_capacity_range(parameters))
    points = np.linspace(low, high, 41)
    runs = [np.asarray(at(jnp.asarray(row, jnp.float32)), float) for row in points]
    found = np.asarray([[misfit(run, k) for k in range(COLUMNS)] for run in runs])
    total = points + np.asarray(parameters["theta_pwp"])
    fits = [np.polyfit(total[:, k], found[:, k], 2) for k in range(COLUMNS)]
    return lambda total, k: np.polyval(fits[k], total) - found[:, k].max()


@pytest.fixture(scope="module")
def grid(seen, density):
    """Exact mean and spread of field capacity, `[column]`."""
    parameters = seen[1]
    low, high = (np.asarray(bound) for bound in field_capacity_range(parameters))
    points = np.linspace(low, high, 2001)
    wilting = np.asarray(parameters["theta_pwp"])
    weight = np.exp([density(points[:, k] + wilting[k], k) for k in range(COLUMNS)]).T
    return moments(points, weight)


@pytest.fixture(scope="module")
def plane(seen, density):
    """The same of the sum and the wilting point, drawn together."""
    given = {name: np.asarray(values) for name, values in seen[1].items()}
    wilting = given["theta_pwp"] * np.linspace(0.5, 1.5, 401)[:, None]
    full = np.broadcast_to(given["theta_max"], wilting.shape)
    low, high = field_capacity_range(
        {"theta_pwp": jnp.asarray(wilting), "theta_max": jnp.asarray(full)}
    )
    # Midpoints of equal shares of the prior, which is uniform given the wilting point.
    share = (np.arange(801) + 0.5)[:, None, None] / 801
    total = wilting + np.asarray(low) + share * np.asarray(high - low)
    weight = np.stack([np.exp(density(total[..., k], k)) for k in range(COLUMNS)], axis=-1)
    return moments(total, weight), moments(np.broadcast_to(wilting, total.shape), weight)


def moments(points, weight):
    """Weighted mean and standard deviation over all axes but the last."""
    axes = tuple(range(weight.ndim - 1))
    weight = weight / weight.sum(axis=axes)
    mean = (weight * points).sum(axis=axes)
    return mean, np.sqrt((weight * (points - mean) ** 2).sum(axis=axes))


def assert_moments(drawn, exact):
    """Mean and spread of draws are the exact ones within four Monte Carlo errors."""
    mean, spread = exact
    size = sizes(drawn)
    assert (size > 100).all()
    error = (drawn.mean(axis=(0, 1)) - mean) / (spread / np.sqrt(size))
    assert np.abs(error).max() < 4.0
    # The error of a normal's sample spread is the spread over the root of twice the number.
    ratio = (drawn.std(axis=(0, 1)) / spread - 1.0) * np.sqrt(2 * size)
    assert np.abs(ratio).max() < 4.0


def test_shapes(one, pair):
    for drawn, statistics in (one, pair):
        shapes = {leaf.shape for leaf in (*drawn.values(), *statistics.values())}
        assert shapes == {(CHAINS, DRAWS, COLUMNS)}
    assert set(one[0]) == {"theta_cap"}
    assert set(pair[0]) == {"theta_cap", "theta_pwp"}


def test_mean_and_spread_are_those_of_the_exact_posterior(one, grid):
    assert_moments(one[0]["theta_cap"], grid)
    # The observations say something: the test would hold for the prior otherwise.
    assert (grid[1][:BLIND] < 0.5 * grid[1][BLIND]).all()


def test_chains_agree_and_do_not_diverge(one, pair):
    for drawn, statistics in (one, pair):
        assert statistics["diverging"].sum() == 0
        for values in drawn.values():
            assert max(az.rhat(values[..., k]) for k in range(COLUMNS)) < 1.05
    assert 0.6 < one[1]["acceptance_rate"].mean() < 0.98


def test_a_column_without_observations_returns_the_prior(one, seen):
    low, high = (float(x[BLIND]) for x in field_capacity_range(seen[1]))
    drawn = one[0]["theta_cap"][..., BLIND]
    assert low <= drawn.min() < drawn.max() <= high
    size = az.ess(drawn)
    width = high - low
    assert abs(drawn.mean() - (low + high) / 2) < 4 * width / np.sqrt(12 * size)
    thinned = drawn.ravel()[:: int(np.ceil(drawn.size / size))]
    assert stats.kstest(thinned, stats.uniform(low, width).cdf).pvalue > 1e-3


def test_of_two_parameters_that_act_by_their_sum_the_sum_is_found(pair, plane):
    """The toy feels theta_cap + theta_pwp alone: the difference stays as wide as priors allow."""
    capacity, wilting = pair[0]["theta_cap"], pair[0]["theta_pwp"]
    assert_moments(capacity + wilting, plane[0])
    assert_moments(wilting, plane[1])
    assert (capacity > wilting).all()
    spread = (capacity + wilting).std(axis=(0, 1))
    assert (capacity - wilting).std(axis=(0, 1))[0] > 2 * spread[0]


def test_the_seed_decides(problems, one):
    reports = []
    problem = problems["theta_cap",]
    again = sample(problem, draws=25, progress=lambda *at: reports.append(at))[0]["theta_cap"]
    assert again.shape == (CHAINS, 25, COLUMNS)
    np.testing.assert_array_equal(again, one[0]["theta_cap"][:, :25])
    assert reports == [*((18 * i, 125) for i in range(1, 7)), (125, 125)]
    other = sample(problem, draws=25, seed=4)[0]["theta_cap"]
    assert not np.isclose(again, other).any()


def made(expected):
    """Sixteen columns that observe zero, with the prior N(0, 1)."""
    nothing = jnp.zeros((1, 16))
    return Problem(
        names=("theta_cap",),
        columns=nothing,
        observed=nothing,
        present=nothing,
        log_scale=nothing[0],
        expected=expected,
        physical=lambda z, columns: {"theta_cap": z[0]},
    )


def test_two_step_sizes_draw_a_standard_normal():
    """Which of them is taken must not go with the transition's own random numbers."""
    problem = made(lambda z, columns: 0.0 * z)
    z, statistics = nuts(problem, key=jax.random.key(1), warmup=40, draws=500)
    assert len(np.unique(statistics["step_size"])) == 2
    # 32,000 draws, half as many independent ones: four errors of their spread.
    assert abs(z.std() - 1.0) < 0.02
    assert abs(z.mean()) < 0.02


def test_a_likelihood_that_is_rough_and_flat_is_crossed():
    """0.05 sin^2(1000 z) changes little of the density and makes slopes of fifty."""
    problem = made(lambda z, columns: 0.32 * jnp.sin(1000.0 * z))
    z, statistics = nuts(problem, key=jax.random.key(1), warmup=40, draws=500)
    assert statistics["diverging"].sum() == 0
    assert statistics["acceptance_rate"].mean() > 0.3
    assert abs(z.std() - 1.0) < 0.04
    assert abs(z.mean()) < 0.04


@pytest.fixture(scope="module")
def slow():
    """Five columns of which the last's density has two hills, seldom left, and cliffs beyond."""
    far = jnp.asarray([0.0, 0.0, 0.0, 0.0, 1.0])

    def expected(z, columns):
        return (columns["far"] * (2.0 * (z[0] ** 2 - 1.0) + 60.0 * (z[0] ** 2 > 6.0)))[None]

    nothing = jnp.zeros((1, 5))
    return Problem(
        names=("theta_cap",),
        columns={"far": far},
        observed=nothing,
        present=jnp.ones((1, 5)),
        log_scale=nothing[0],
        expected=expected,
        physical=lambda z, columns: {"theta_cap": z[0]},
    )


def run_slow(problem, **options):
    return nuts(problem, key=jax.random.key(3), chains=4, warmup=10, draws=100, **options)


def agreement(z):
    return np.array([az.rhat(z[:, :, 0, k]) for k in range(z.shape[-1])])


def test_only_chains_that_do_not_agree_are_made_longer(slow):
    short, _ = run_slow(slow)
    before = agreement(short) < 1.01
    assert list(before) == [True, True, False, True, False]
    ends = []
    z, statistics = run_slow(slow, longer=6, progress=lambda _, end: ends.append(end))
    assert max(ends) < 100 * 2**6 - 110  # they agreed before
    assert z.shape == short.shape
    assert statistics["diverging"].shape == (4, 100, 5)
    np.testing.assert_array_equal(z[..., before], short[..., before])
    assert (agreement(z) < 1.01).all()
    # Of 400 and more draws, the density's own share of draws between the hills.
    grid = np.linspace(-4.0, 4.0, 4001)
    density = np.exp(-0.5 * grid**2 - 2.0 * (grid**2 - 1.0) ** 2)
    between = density[np.abs(grid) < 0.5].sum() / density.sum()
    assert np.mean(np.abs(z[..., 4]) < 0.5) == pytest.approx(between, abs=0.05)


def test_of_longer_chains_the_last_of_so_many_draws_is_kept(slow):
    """One doubling: every second of the draws that the short chains have, then of those after."""
    short, few = run_slow(slow)
    z, many = run_slow(slow, longer=1)
    np.testing.assert_array_equal(z[:, :50, 0, 4], short[:, 1::2, 0, 4])
    assert few["diverging"][:, ::2, 4].any()
    np.testing.assert_array_equal(
        many["diverging"][:, :50, 4], few["diverging"][..., 4].reshape(4, 50, 2).any(axis=2)
    )


@pytest.mark.parametrize("options", [{"longer": -1}, {"longer": 2, "chains": 1}])
def test_one_chain_cannot_be_made_longer_until_it_agrees(slow, options):
    with pytest.raises(InputError, match="expected 0 or more, and two or more chains"):
        nuts(slow, key=jax.random.key(0), draws=20, **options)
