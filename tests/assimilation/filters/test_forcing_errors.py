"""Ensembles of forcing: their statistics are what is told, and their mean is the forcing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters.forcing_errors import ForcingErrors, perturbed_forcing
from hybrid_land.errors import InputError
from hybrid_land.humidity import saturation_humidity

STEP = 21600.0
MEMBERS = 200


def weather(records=60, columns=3):
    generator = np.random.default_rng(0)
    shape = (records, columns)
    rain = generator.exponential(1e-4, shape) * (generator.uniform(size=shape) < 0.5)
    leaves = {
        "met_rainf": rain,
        "met_snowf": np.zeros(shape),
        "met_swdown": np.maximum(generator.normal(200.0, 200.0, shape), 0.0),
        "met_lwdown": generator.normal(300.0, 30.0, shape),
        "met_tair": generator.normal(285.0, 8.0, shape),
        "met_qair": generator.uniform(1e-3, 6e-3, shape),
        "met_psurf": np.full(shape, 1e5),
        "season": generator.normal(size=shape),
    }
    return {name: jnp.asarray(x, jnp.float32) for name, x in leaves.items()}


def made(errors, forcing=None, key=0, **options):
    return perturbed_forcing(
        jax.random.key(key),
        forcing or weather(),
        errors=errors,
        members=options.pop("members", MEMBERS),
        time_step=STEP,
        **options,
    )


ALL = ForcingErrors(precipitation=0.5, shortwave=0.3, longwave=20.0, temperature=1.5)


@pytest.fixture(scope="module")
def drawn():
    given = weather()
    whole, _ = made(ALL, given)
    return given, {name: np.asarray(x, np.float64) for name, x in whole.items()}


def _standard(given, whole, leaf):
    """z of each quantity, back from the forcing, where there is some."""
    before = np.asarray(given[leaf], np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = whole[leaf] - before
        z = np.log(whole[leaf] / before) if leaf in ("met_rainf", "met_swdown") else apart
        z = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    return z


def test_the_mean_of_the_members_is_the_forcing(drawn):
    given, whole = drawn
    for leaf in ("met_rainf", "met_snowf", "met_swdown", "met_lwdown", "met_tair"):
        assert whole[leaf].shape == (60, MEMBERS, 3)
        np.testing.assert_allclose(whole[leaf].mean(axis=1), given[leaf], rtol=2e-6)
    for leaf in ("met_psurf", "season"):
        assert whole[leaf].shape == (60, 3)


def test_errors_are_as_large_as_told(drawn):
    given, whole = drawn
    for leaf, relative in (("met_rainf", 0.5), ("met_swdown", 0.3)):
        some = np.asarray(given[leaf]) > 0
        factor = whole[leaf].std(axis=1)[some] / np.asarray(given[leaf])[some]
        assert np.sqrt(np.mean(factor**2)) == pytest.approx(relative, rel=0.05)
        assert np.all(whole[leaf] >= 0)
        assert np.all(np.moveaxis(whole[leaf], 1, -1)[~some] == 0)
    for leaf, error in (("met_lwdown", 20.0), ("met_tair", 1.5)):
        assert whole[leaf].std(axis=1).mean() == pytest.approx(error, rel=0.02)


def test_quantities_are_correlated_as_in_the_table(drawn):
    given, whole = drawn
    some = (np.asarray(given["met_rainf"]) > 0) & (np.asarray(given["met_swdown"]) > 0)
    z = {
        leaf: np.moveaxis(_standard(given, whole, leaf), 1, -1)[some].ravel()
        for leaf in ("met_rainf", "met_swdown", "met_lwdown", "met_tair")
    }
    for one, other, expected in (
        ("met_rainf", "met_swdown", -0.8),
        ("met_rainf", "met_lwdown", 0.5),
        ("met_swdown", "met_lwdown", -0.5),
        ("met_rainf", "met_tair", 0.0),
    ):
        assert np.corrcoef(z[one], z[other])[0, 1] == pytest.approx(expected, abs=0.04)


def test_humidity_stays_below_saturation(drawn):
    given, whole = drawn
    warm = jnp.asarray(whole["met_tair"].ravel())
    most = saturation_humidity(warm, jnp.full(warm.shape, 1e5)).reshape(whole["met_tair"].shape)
    sound = np.asarray(given["met_qair"]) <= np.asarray(
        saturation_humidity(given["met_tair"].ravel(), given["met_psurf"].ravel())
    ).reshape(60, 3)
    over = np.moveaxis(whole["met_qair"] > np.asarray(most) * (1 + 1e-5), 1, -1)
    assert not over[sound].any()
    held = np.moveaxis(whole["met_qair"], 1, -1) < np.asarray(given["met_qair"])[..., None] * 0.999
    assert held.any()
    far = np.asarray(given["met_qair"] / most.min(axis=1)) < 0.99
    assert not held[far].any()


def test_memory_and_neighbourhood_are_as_told():
    rain = {"met_rainf": jnp.full((80, 3), 1e-4)}
    place = {"latitude": np.array([0.0, 0.0, 0.0]), "longitude": np.array([0.0, 0.5, 90.0])}
    errors = ForcingErrors(precipitation=0.3, memory_days=2.0, correlation_km=100.0)
    whole, _ = made(errors, rain, **place)
    z = np.log(np.asarray(whole["met_rainf"], np.float64))
    z = z - z.mean(axis=1, keepdims=True)
    together = np.corrcoef(z[:-4].ravel(), z[4:].ravel())[0, 1]
    assert together == pytest.approx(np.exp(-0.5), abs=0.03)
    near, far = (np.corrcoef(z[..., 0].ravel(), z[..., k].ravel())[0, 1] for k in (1, 2))
    assert near == pytest.approx(np.exp(-55.6 / 100.0), abs=0.04)
    assert far == pytest.approx(0.0, abs=0.04)
    free, _ = made(ForcingErrors(precipitation=0.3), rain)
    z = np.log(np.asarray(free["met_rainf"], np.float64))
    assert np.corrcoef(z[:-1, :, 0].ravel(), z[1:, :, 0].ravel())[0, 1] == pytest.approx(
        0, abs=0.03
    )


def test_a_series_in_pieces_is_that_in_one():
    errors = ForcingErrors(precipitation=0.3, longwave=10.0, memory_days=1.0)
    given = weather(20)
    whole, _ = made(errors, given, members=5)
    first, last = made(errors, {n: x[:8] for n, x in given.items()}, members=5)
    rest, _ = made(errors, {n: x[8:] for n, x in given.items()}, members=5, begin=8, last=last)
    for leaf in ("met_rainf", "met_lwdown"):
        joined = np.concatenate([first[leaf], rest[leaf]])
        np.testing.assert_allclose(joined, whole[leaf], rtol=1e-5)


def test_where_nothing_is_uncertain_the_forcing_is_given_back():
    given = weather(4)
    whole, last = made(ForcingErrors(), given)
    assert whole == given
    assert last == {}


FAULTS = {
    "negative": (ForcingErrors(longwave=-1.0), {}, "longwave is -1, expected zero or more"),
    "no number": (
        ForcingErrors(precipitation=float("nan")),
        {},
        "precipitation is nan, expected zero or more",
    ),
    "one member": (ALL, {"members": 1}, "1 member of an uncertain forcing, expected at least 2"),
    "no place": (ForcingErrors(shortwave=0.1, correlation_km=50.0), {}, "have no lat and lon"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    errors, options, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        made(errors, weather(4), **options)
