"""Soil at L-band: permittivity by its equations in complex numbers, Fresnel, frost, texture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.soil_emission import (
    CLAY,
    clay_fraction,
    effective_temperature,
    permittivity,
    rough_reflectivity,
    smooth_reflectivity,
    with_frost,
)
from hybrid_land.errors import InputError


def mironov(water, clay, frequency=1.4e9):
    """Eqs. 11 to 25 of Mironov et al. (2009) for one soil, clay in percent, by complex numbers."""
    percent = 100.0 * clay

    def root(static, relaxation, conductivity):
        turn = 2 * np.pi * frequency
        debye = 4.9 + (static - 4.9) / (1 - 1j * turn * relaxation)
        return np.sqrt(debye + 1j * conductivity / (turn * 8.854e-12))

    dry = (
        1.634 - 0.539e-2 * percent + 0.2748e-4 * percent**2 + 1j * (0.03952 - 0.04038e-2 * percent)
    )
    bound = root(
        79.8 - 85.4e-2 * percent + 32.7e-4 * percent**2,
        1.062e-11 + 3.45e-12 * 1e-2 * percent,
        0.3112 + 0.467e-2 * percent,
    )
    free = root(100.0, 8.5e-12, 0.3631 + 1.217e-2 * percent)
    limit = 0.02863 + 0.30673e-2 * percent
    index = dry + (bound - 1) * min(water, limit)
    return (index + (free - 1) * max(water - limit, 0.0)) ** 2


@pytest.mark.parametrize("clay", [0.02, 0.18, 0.35, 0.6])
def test_permittivity_follows_its_equations(float64, clay):
    water = np.linspace(0.0, 0.5, 21)
    found = permittivity(jnp.asarray(water), jnp.full(21, clay))
    expected = [mironov(w, clay) for w in water]
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-10)


def test_permittivity_has_the_sizes_that_are_measured():
    """Dry soil 2 to 4, at 0.4 of water 20 to 35, more with water, less with clay where moist."""
    water = jnp.linspace(0.0, 0.45, 46)
    found = {clay: permittivity(water, jnp.full(46, clay)) for clay in (0.05, 0.2, 0.5)}
    for values in found.values():
        assert values.dtype == jnp.complex64
        real, imaginary = np.asarray(values.real), np.asarray(values.imag)
        assert 2.0 < real[0] < 4.0
        assert 18.0 < real[40] < 35.0
        assert (np.diff(real) > 0).all()
        assert (np.diff(imaginary) > 0).all()
        assert (imaginary < 0.35 * real).all()
    assert (found[0.5].real[10:] < found[0.05].real[10:]).all()


@pytest.mark.parametrize("polarisation", ["h", "v"])
def test_reflectivity_at_the_vertical_and_of_nothing(polarisation):
    medium = jnp.asarray([4.0, 16.0, 20.0 + 3.0j], jnp.complex64)
    found = smooth_reflectivity(medium, angle=0.0, polarisation=polarisation)
    root = np.sqrt(np.asarray(medium))
    np.testing.assert_allclose(found, np.abs((1 - root) / (1 + root)) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found[:2], [1 / 9, 9 / 25], rtol=1e-6)
    air = smooth_reflectivity(jnp.ones(1, jnp.complex64), angle=40.0, polarisation=polarisation)
    np.testing.assert_allclose(air, 0.0, atol=1e-12)


def test_brewster_s_angle_and_the_order_of_polarisations():
    medium = jnp.asarray([9.0 + 0j])
    brewster = float(np.degrees(np.arctan(3.0)))
    assert float(smooth_reflectivity(medium, angle=brewster, polarisation="v")[0]) < 1e-10
    for angle in (10.0, 40.0, 60.0):
        h, v = (smooth_reflectivity(medium, angle=angle, polarisation=p)[0] for p in ("h", "v"))
        assert float(v) < float(h) < 1.0


def test_roughness_takes_from_the_reflectivity():
    smooth, n = jnp.asarray([0.4]), jnp.asarray([2.0])
    cosine = np.cos(np.radians(40.0))
    found = rough_reflectivity(smooth, jnp.asarray([0.5]), n, angle=40.0)
    np.testing.assert_allclose(found, 0.4 * np.exp(-0.5 * cosine**2), rtol=1e-6)
    found = rough_reflectivity(smooth, jnp.asarray([0.5]), -n, angle=40.0)
    np.testing.assert_allclose(found, 0.4 * np.exp(-0.5 / cosine**2), rtol=1e-6)
    flat = rough_reflectivity(smooth, jnp.asarray([0.0]), n, angle=40.0)
    np.testing.assert_allclose(flat, smooth)


def test_frost_has_two_ends_a_middle_and_a_slope(float64):
    thawed = jnp.full(5, 20.0 + 2.0j)
    found = with_frost(thawed, jnp.asarray([260.0, 272.16, 273.16, 274.16, 300.0]))
    expected = [5 + 0.5j, 5 + 0.5j, 12.5 + 1.25j, 20 + 2j, 20 + 2j]
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-10)
    real = lambda t: with_frost(thawed[:1], t[None]).real[0]  # noqa: E731
    slope = jax.grad(real)(jnp.asarray(273.3))
    difference = (real(jnp.asarray(273.3 + 1e-5)) - real(jnp.asarray(273.3 - 1e-5))) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


def test_effective_temperature_lies_between_and_sinks_where_dry():
    surface, deep = jnp.full(4, 300.0), jnp.full(4, 290.0)
    found = effective_temperature(surface, deep, jnp.asarray([0.0, 0.075, 0.3, 0.5]))
    np.testing.assert_allclose(
        found, 290 + 10 * np.asarray([(0.01 / 0.3) ** 0.3, 0.25**0.3, 1.0, 1.0]), rtol=1e-6
    )
    # Completely dry soil has a slope, and it is no infinity.
    slope = jax.grad(lambda w: effective_temperature(surface, deep, w).sum())(jnp.zeros(4))
    assert np.isfinite(np.asarray(slope)).all()


def test_clay_is_given_or_of_the_class_or_of_the_nearest():
    own = {"clay": jnp.asarray([0.3, 0.4])}
    np.testing.assert_allclose(clay_fraction(own | {"sotype": jnp.ones(2)}), [0.3, 0.4])
    kinds = jnp.asarray([1.0, 2, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(clay_fraction({"sotype": kinds}), CLAY)
    capacity = {"theta_max": jnp.asarray([0.403, 0.439, 0.43, 0.52, 0.614, 0.766])}
    np.testing.assert_allclose(clay_fraction(capacity), CLAY[:6])
    near = {"theta_cap": jnp.asarray([0.26, 0.43]), "theta_pwp": jnp.asarray([0.07, 0.27])}
    np.testing.assert_allclose(clay_fraction(near), [CLAY[0], CLAY[3]])
    with pytest.raises(InputError, match=r"texture is not known: .* add clim_sotype to the data"):
        clay_fraction({"cvl": jnp.ones(2)})
