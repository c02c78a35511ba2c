"""Tapers: Gaspari and Cohn's function, rings, depths, neighbours; the local filter's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from assimilation.filters.letkf import local_weights, locally_transformed
from assimilation.filters.localisation import gaspari_cohn, in_depth, on_ring, over_columns
from hybrid_land.errors import InputError
from tests.assimilation.filters.linear import ERRORS, linear_case
from tests.toy import LAYERS


def test_gaspari_cohn_at_known_places():
    # 4.10 at z = 0, 1/2, 1, 3/2 and 2 by hand: 1, 0.684896, 5/24, 0.0164931, 0.
    found = gaspari_cohn(np.array([0.0, 0.25, 0.5, 0.75, 1.0, 3.0]))
    np.testing.assert_allclose(found, [1.0, 263 / 384, 5 / 24, 19 / 1152, 0.0, 0.0], atol=1e-9)
    rising = gaspari_cohn(np.linspace(0, 1.2, 200))
    assert np.all(np.diff(rising) <= 1e-12)


def test_gaspari_cohn_is_a_covariance_on_a_line_and_on_a_ring():
    place = np.arange(60)
    apart = np.abs(place[:, None] - place[None])
    for distance in (apart, np.minimum(apart, 60 - apart)):
        assert np.linalg.eigvalsh(gaspari_cohn(distance / 20.0)).min() > -1e-8


def test_ring_goes_round_and_groups_points():
    local = on_ring(8, radius=3.0)
    within = np.asarray(local.within)[np.asarray(local.group)]
    np.testing.assert_allclose(within, within.T)
    np.testing.assert_allclose(within[0], gaspari_cohn(np.array([0, 1, 2, 3, 4, 3, 2, 1]) / 3.0))
    some = on_ring(8, radius=3.0, observed=[0, 4])
    assert np.asarray(some.within).shape[1] == 2
    with pytest.raises(InputError, match=r"radius of 1 points leaves point 2 without"):
        on_ring(8, radius=1.0, observed=[0, 1])


def test_depth_tapers_between_layers_and_surface():
    local = in_depth(("swvl1", "swvl2", "swvl4", "stl1"), ("swvl1", "skt"), scale=2.0)
    within = np.asarray(local.within)[np.asarray(local.group)]
    np.testing.assert_allclose(within[0], gaspari_cohn(np.array([0.0, 0.035]) / 2.0), rtol=1e-6)
    np.testing.assert_allclose(within[1], gaspari_cohn(np.array([0.14, 0.175]) / 2.0), rtol=1e-6)
    np.testing.assert_array_equal(within[3], within[0])
    assert within[2, 0] < 0.1
    assert len(np.asarray(in_depth(LAYERS, ("swvl1",)).within)) == 1
    with pytest.raises(InputError, match=r"0.1 m of depth leaves .* expected at least 0.14 m"):
        in_depth(("swvl2", "swvl3"), ("skt", "swvl1"), scale=0.1)


def test_neighbours_by_great_circles():
    depth = in_depth(LAYERS, ("swvl1",))
    lat, lon = [0.0, 0.0, 0.0, 80.0], [179.5, -179.5, 100.0, 0.0]
    local = over_columns(depth, lat, lon, radius=300.0)
    assert local.neighbours is not None
    assert local.taper is not None
    one = dict(zip(np.asarray(local.neighbours[0]), np.asarray(local.taper[0]), strict=True))
    assert one[0] == pytest.approx(1.0)
    assert one[1] == pytest.approx(float(gaspari_cohn(6371.0 * np.radians(1.0) / 300.0)), rel=1e-4)
    assert np.asarray(local.taper[2]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("radius", "most", "text"),
    [
        (10.0, 200, "reaches no column from any other, expected at least one; widen it"),
        (5000.0, 3, r"reaches 6 columns from column \d, expected at most 3; narrow it"),
        (-1.0, 200, "localisation radius is -1 km, expected a positive number"),
    ],
)
def test_radius_that_cannot_be(radius, most, text):
    depth = in_depth(LAYERS, ("swvl1",))
    with pytest.raises(InputError, match=text):
        over_columns(depth, np.zeros(6), np.arange(6.0), radius=radius, most=most)


def test_each_column_sees_its_neighbours_by_their_taper(float64):
    generator = np.random.default_rng(8)
    ensemble = jnp.asarray(generator.normal(size=(7, 2, 3)))
    predicted = ensemble[:, :1]
    values, errors = jnp.asarray(generator.normal(size=(1, 3))), jnp.full((1, 3), 0.5)
    local = over_columns(
        in_depth(("swvl1", "swvl2"), ("swvl1",)), [0, 0, 0], [0, 1, 9], radius=250.0
    )
    D = local_weights(predicted, values, errors, jnp.ones((1, 3)), localisation=local)
    found = locally_transformed(ensemble, D=D, localisation=local)
    taper = float(gaspari_cohn(6371.0 * np.radians(1.0) / 250))
    A = np.asarray(ensemble) - np.asarray(ensemble.mean(axis=0))
    for column, seen in ((0, (0, 1)), (1, (1, 0)), (2, (2,))):
        Y = A[:, 0, list(seen)]
        precision = np.array([1.0, taper][: len(seen)]) / 0.25
        d = np.asarray(values[0] - predicted.mean(axis=0)[0])[list(seen)]
        cov = np.linalg.inv(6 * np.eye(7) + (Y * precision) @ Y.T)
        w = cov @ (Y * precision) @ d
        expected = np.asarray(ensemble.mean(axis=0))[:, column] + A[..., column].T @ w
        np.testing.assert_allclose(found[..., column].mean(axis=0), expected, rtol=1e-4)


def test_many_columns_go_in_pieces(float64, monkeypatch):
    from assimilation.filters import letkf

    generator = np.random.default_rng(9)
    predicted = jnp.asarray(generator.normal(size=(5, 1, 7)))
    local = over_columns(
        in_depth(("swvl1",), ("swvl1",)), np.zeros(7), np.arange(7.0), radius=300.0
    )
    given = predicted, jnp.zeros((1, 7)), jnp.ones((1, 7)), jnp.ones((1, 7))
    whole = local_weights(*given, localisation=local)
    monkeypatch.setattr(letkf, "_AT_ONCE", 3)
    np.testing.assert_allclose(local_weights(*given, localisation=local), whole, atol=1e-12)


def test_observation_of_a_neighbour_alone_moves_a_column(float64):
    case = linear_case()
    mask = {n: m.at[:, 1].set(0.0) for n, m in case.observations.mask.items()}
    case = dataclasses.replace(case, observations=dataclasses.replace(case.observations, mask=mask))
    local = over_columns(in_depth(LAYERS, tuple(ERRORS)), [0.0, 0.0], [0.0, 1.0], radius=500.0)
    scheme = Scheme(method="letkf", localisation=local, inflation=1.05)
    run = run_filter(*case.given, scheme=scheme, key=jax.random.key(0))
    assert np.abs(run.analysis_mean[..., 1] - run.forecast_mean[..., 1]).max() > 1e-4


def test_observations_go_by_name_whatever_their_order(float64):
    case = linear_case()
    local = in_depth(LAYERS, tuple(ERRORS), scale=1.0)
    scheme = Scheme(method="letkf", localisation=local)
    run = run_filter(*case.given, scheme=scheme, key=jax.random.key(0))
    turned = [
        dict(reversed(x.items()))
        for x in (case.observations.values, case.observations.errors, case.observations.mask)
    ]
    case = dataclasses.replace(case, observations=type(case.observations)(*turned))
    other = run_filter(*case.given, scheme=scheme, key=jax.random.key(0))
    np.testing.assert_array_equal(run.analysis_mean, other.analysis_mean)
    strange = Scheme(method="letkf", localisation=in_depth(LAYERS, ("swvl1", "skt")))
    with pytest.raises(InputError, match=r"observables are swvl3, swvl1, expected those of the"):
        run_filter(*case.given, scheme=strange, key=jax.random.key(0))
