"""Brightness temperature: limits of energy, sizes of its sensitivities, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.brightness import CLASSES, brightness_temperature, optical_depth, tau_omega
from assimilation.operators import OPERATORS, Context
from hybrid_land.errors import InputError

SLANT = 1 / np.cos(np.radians(40.0))


def column(dtype=jnp.float32, **changed):
    """Parameters of one bare column of loam, or what is said of it."""
    given = {"cvl": 0.0, "cvh": 0.0, "veg_covl": 1.0, "veg_covh": 1.0, "tvl": 0.0, "tvh": 0.0}
    given |= {"clay": 0.18} | changed
    return {name: jnp.full(1, value, dtype) for name, value in given.items()}


def emitted(polarisation="h", *, swvl1=0.2, stl1=295.0, stl3=295.0, lai=2.0, soil=None, **options):
    """Brightness temperature of one column at one record."""
    soil = column() if soil is None else soil
    at = lambda value: jnp.reshape(jnp.asarray(value, soil["clay"].dtype), (1, 1))  # noqa: E731
    series = {"swvl1": at(swvl1), "stl1": at(stl1), "stl3": at(stl3)}
    forcing = {"lai_lv": at(lai), "lai_hv": at(lai)}
    found = brightness_temperature(series, soil, forcing, polarisation=polarisation, **options)
    return found[0, 0]


CROPS, GRASS, CONIFERS = (
    column(cvl=1.0, tvl=1.0),
    column(cvl=1.0, tvl=2.0),
    column(cvh=1.0, tvh=3.0),
)


def test_a_black_body_and_an_opaque_canopy_have_their_temperature():
    one = jnp.ones(1)
    black = tau_omega(280.0 * one, 280.0 * one, 0 * one, 0.4 * one, 0 * one, angle=40.0)
    np.testing.assert_allclose(black, 280.0, rtol=1e-6)
    opaque = tau_omega(280.0 * one, 290.0 * one, 0.6 * one, 50.0 * one, 0 * one, angle=40.0)
    np.testing.assert_allclose(opaque, 290.0, rtol=1e-6)
    scattering = tau_omega(280.0 * one, 290.0 * one, 0.6 * one, 50.0 * one, 0.1 * one, angle=40.0)
    np.testing.assert_allclose(scattering, 261.0, rtol=1e-6)
    bare = tau_omega(280.0 * one, 290.0 * one, 0.4 * one, 0 * one, 0 * one, angle=40.0)
    np.testing.assert_allclose(bare, 168.0, rtol=1e-6)


def test_a_canopy_damps_the_soil_twice():
    """dT_B / dr is -T g^2 without scattering and at one temperature: down and up again."""
    slope = jax.grad(
        lambda r, depth: tau_omega(
            jnp.full(1, 290.0), jnp.full(1, 290.0), r[None], depth[None], jnp.zeros(1), angle=40.0
        )[0]
    )
    for depth in (0.0, 0.1, 0.7):
        found = slope(jnp.asarray(0.3), jnp.asarray(depth))
        np.testing.assert_allclose(found, -290.0 * np.exp(-2 * depth * SLANT), rtol=1e-5)


def test_bare_soil_cools_by_two_to_three_kelvin_for_a_hundredth_of_water():
    """About 100 K from dry to wet, as radiometers over bare fields see."""
    water = np.linspace(0.05, 0.35, 7)
    found = np.asarray([float(emitted("h", swvl1=w)) for w in water])
    assert (np.diff(found) < 0).all()
    fall = (found[0] - found[-1]) / 30
    assert 2.0 < fall < 3.2
    steep = -float(jax.grad(lambda w: emitted("h", swvl1=w))(0.2)) / 100
    assert 2.0 < steep < 3.5


def test_plants_hide_the_soil_by_their_optical_depth():
    """Of the bare soil's slope crops of equal roughness leave exp(-2 tau / cos), at omega = 0."""

    def slope(soil, **options):
        return float(jax.grad(lambda w: emitted("h", swvl1=w, soil=soil, **options))(0.2))

    bare = slope(column())
    for lai in (0.5, 2.0, 4.0):
        kept = np.exp(-2 * 0.05 * lai * SLANT)
        np.testing.assert_allclose(slope(CROPS, lai=lai), bare * kept, rtol=1e-4)
    assert abs(slope(CONIFERS)) < 0.2 * abs(bare)
    # Half of the ground, half of the effect.
    half = slope(column(cvl=0.5, tvl=1.0), lai=4.0)
    np.testing.assert_allclose(half, 0.5 * (bare + slope(CROPS, lai=4.0)), rtol=1e-4)


def test_polarisations_meet_at_the_vertical_and_part_from_there():
    for soil in (column(), CROPS, GRASS, CONIFERS):
        for water in (0.05, 0.2, 0.4):
            h, v = (float(emitted(p, swvl1=water, soil=soil, angle=0.0)) for p in "hv")
            np.testing.assert_allclose(h, v, rtol=1e-6)
            for angle in (20.0, 40.0, 55.0):
                h, v = (float(emitted(p, swvl1=water, soil=soil, angle=angle)) for p in "hv")
                assert h < v < 295.0


def test_all_vegetation_types_keep_the_order_and_the_temperature():
    kinds = np.arange(len(CLASSES), dtype=float)
    found = {p: [] for p in "hv"}
    for kind in kinds:
        for p in "hv":
            found[p].append(float(emitted(p, soil=column(cvl=1.0, tvl=kind), lai=3.0)))
    h, v = np.asarray(found["h"]), np.asarray(found["v"])
    assert (h <= v).all()
    assert (v < 295.0).all()
    bare = {0, 8, 12, 14, 15, 20}
    assert np.flatnonzero(h == h[0]).tolist() == sorted(bare)
    # Forests are the brightest, crops the darkest that grow.
    assert h[[3, 5, 6]].min() > h[[1, 2, 7]].max()


def test_optical_depth_is_that_of_the_class():
    nadir = {1.0: 0.05 * 3, 2.0: 0.0375 * 3 + 0.05, 3.0: 0.69, 5.0: 0.7, 6.0: 0.7, 8.0: 0.0}
    for kind, depth in nadir.items():
        found = optical_depth(jnp.asarray([kind]), jnp.asarray([3.0]), angle=0.0, polarisation="v")
        np.testing.assert_allclose(found, depth, rtol=1e-6)
    # tt_v = 2 in crops: cos^2 + 2 sin^2.
    found = optical_depth(jnp.ones(1), jnp.ones(1), angle=40.0, polarisation="v")
    np.testing.assert_allclose(found, 0.05 * (1 + np.sin(np.radians(40.0)) ** 2), rtol=1e-6)


def test_roughness_may_be_given_for_all_ground():
    smooth, rough = (float(emitted("h", soil=GRASS, roughness=h)) for h in (0.0, 0.16))
    own = float(emitted("h", soil=GRASS))
    assert smooth < rough < own


def test_frozen_ground_is_brighter_than_wet_ground():
    wet, frozen = (float(emitted("h", swvl1=0.35, stl1=t, stl3=274.0)) for t in (275.0, 270.0))
    assert frozen > wet + 30.0


def test_the_canopy_s_temperature_is_the_one_named():
    base = {"swvl1": 0.2, "stl1": 295.0, "stl3": 295.0}
    series = {name: jnp.full((1, 1), value) for name, value in (base | {"skt": 305.0}).items()}
    forcing = {"lai_lv": jnp.full((1, 1), 2.0), "lai_hv": jnp.full((1, 1), 2.0)}
    cool, warm = (
        brightness_temperature(series, CONIFERS, forcing, polarisation="h", canopy=name)[0, 0]
        for name in ("stl1", "skt")
    )
    assert 3.0 < float(warm - cool) < 10.0


@pytest.mark.parametrize("polarisation", ["h", "v"])
@pytest.mark.parametrize("kind", ["bare", "mixed", "freezing"])
def test_gradient_against_finite_differences(float64, polarisation, kind):
    covers = {} if kind == "bare" else {"cvl": 0.5, "tvl": 2.0, "cvh": 0.3, "tvh": 5.0}
    soil = column(float, **covers)
    stl1 = 273.5 if kind == "freezing" else 296.0
    x = jnp.asarray([0.23, stl1, 285.0, 2.3, 0.21])

    def value(x):
        given = soil | {"clay": x[4][None]}
        return emitted(polarisation, swvl1=x[0], stl1=x[1], stl3=x[2], lai=x[3], soil=given)

    gradient = jax.jit(jax.grad(value))(x)
    forward = jax.jit(jax.jacfwd(value))(x)
    for k in range(5):
        step = 1e-5 * max(1.0, abs(float(x[k])) / 10)
        way = jnp.zeros(5).at[k].set(step)
        difference = (value(x + way) - value(x - way)) / (2 * step)
        np.testing.assert_allclose(gradient[k], difference, rtol=2e-6, atol=1e-8)
        np.testing.assert_allclose(forward[k], gradient[k], rtol=1e-10, atol=1e-12)
    assert gradient[0] < 0
    assert (abs(float(gradient[3])) > 0.1) == (kind != "bare")


def test_single_precision_agrees_and_dry_ground_has_finite_slopes():
    water = jnp.linspace(0.0, 0.5, 26)[:, None]
    at = lambda value: jnp.full_like(water, value)  # noqa: E731
    context = Context(21600.0, column(cvl=0.4, tvl=2.0), {"lai_lv": at(1.0), "lai_hv": at(1.0)})

    def total(water):
        series = {"swvl1": water, "stl1": at(300.0), "stl3": at(290.0)}
        return OPERATORS["brightness_temperature_h"](series, context).sum()

    value, slope = jax.jit(jax.value_and_grad(total))(water)
    assert slope.dtype == jnp.float32
    assert np.isfinite(np.asarray(slope)).all()
    with jax.enable_x64(True):
        double = [
            float(
                emitted(
                    "h",
                    swvl1=float(w),
                    stl1=300.0,
                    stl3=290.0,
                    lai=1.0,
                    soil=column(float, cvl=0.4, tvl=2.0),
                )
            )
            for w in np.asarray(water)[:, 0]
        ]
    np.testing.assert_allclose(float(value), sum(double), rtol=1e-5)


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="the set of parameters lacks cvl, tvh, expected cvl, "):
        emitted(soil={n: v for n, v in column().items() if n not in ("cvl", "tvh")})
    with pytest.raises(InputError, match="the model's series lacks skt"):
        emitted(canopy="skt")
    with pytest.raises(InputError, match="angle of incidence is 95 degrees, expected 0 to 70"):
        emitted(angle=95.0)
