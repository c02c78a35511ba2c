"""Sobol indices against models whose indices are known, and the ranges that parameters get."""

import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.errors import InputError
from hybrid_land.sensitivity.problem import Problem
from hybrid_land.sensitivity.ranges import in_order, ranges_of
from hybrid_land.sensitivity.sobol import indices


class Ishigami:
    """One step of y = sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1 (Ishigami and Homma 1990)."""

    time_step = 21600.0
    prognostic = ("w",)
    diagnostic = ("y", "flat")

    def step(self, parameters, state, forcing):
        one = jnp.sin(parameters["x1"])
        y = one + 7.0 * jnp.sin(parameters["x2"]) ** 2 + 0.1 * parameters["x3"] ** 4 * one
        return state, {"y": y * forcing["f"], "flat": 0.0 * y + 3.0}


def ishigami(columns=2):
    zero = jnp.zeros(columns)
    return Problem(
        Ishigami(),
        {"x1": zero, "x2": zero, "x3": zero},
        {"w": zero},
        {"f": jnp.ones((1, columns))},
        ("x1", "x2", "x3"),
        ("y", "flat"),
    )


def test_the_indices_of_ishigami_s_function():
    end = np.full(2, np.pi)
    found = indices(ishigami(), dict.fromkeys(("x1", "x2", "x3"), (-end, end)), samples=1024)
    # Variances a^2/8 + b pi^4/5 + b^2 pi^8/18 + 1/2 with a = 7, b = 0.1 (Sobol and Levitan 1999).
    first, total = [0.3139, 0.4424, 0.0], [0.5576, 0.4424, 0.2437]
    y = found["y"]
    for column in range(3):  # two columns and their mean
        np.testing.assert_allclose(y.first[:, column], first, atol=0.05)
        np.testing.assert_allclose(y.total[:, column], total, atol=0.05)
    assert (y.first_confidence < 0.12).all()
    assert (y.first_confidence > 0).all()
    assert y.deviation[0] == pytest.approx(np.sqrt(13.845), rel=0.02)
    assert np.isnan(found["flat"].first).all()


def test_what_is_flat_or_impossible_in_one_column_is_so_in_no_other():
    low, high = np.array([-np.pi, 2.0]), np.array([np.pi, 1.0])
    ranges = dict.fromkeys(("x1", "x2", "x3"), (low, high))
    y = indices(ishigami(), ranges, samples=64)["y"]
    assert np.isfinite(y.total[:, 0]).all()
    assert np.isnan(y.total[:, 1]).all()
    np.testing.assert_allclose(y.total[:, 2], y.total[:, 0])


def soils():
    return {
        "theta_res": jnp.asarray([0.01, 0.05, 0.02]),
        "theta_pwp": jnp.asarray([0.15, 0.28, 0.06]),
        "theta_cap": jnp.asarray([0.35, 0.32, 0.24]),
        "theta_sat": jnp.asarray([0.44, 0.36, 0.40]),
        "cvh": jnp.asarray([0.5, 0.9, 0.0]),
        "cvl": jnp.asarray([0.5, 0.1, 0.9]),
        "vg_l": jnp.asarray([-2.0, 0.5, 1.0]),
    }


def test_every_combination_within_the_ranges_is_a_soil():
    names = ["theta_pwp", "theta_cap", "theta_sat", "cvh", "cvl", "vg_l"]
    found = ranges_of(soils(), names)
    for low, high in found.values():
        assert (low <= high).all()
    assert (found["theta_pwp"][1] + 0.02 <= found["theta_cap"][0] + 1e-12).all()
    assert (found["theta_cap"][1] + 0.005 <= found["theta_sat"][0] + 1e-12).all()
    assert (found["cvh"][1] + found["cvl"][1] <= 1 + 1e-6).all()
    np.testing.assert_allclose(found["vg_l"][0][0], -2.4, rtol=1e-6)
    # Where there is room the range is what was asked for.
    np.testing.assert_allclose(found["theta_pwp"][0][0], 0.12, rtol=1e-6)
    np.testing.assert_allclose(found["theta_pwp"][1][0], 0.18, rtol=1e-6)


def test_a_range_is_cut_at_the_parameters_that_stay():
    low, high = ranges_of(soils(), ["theta_cap"], given={"theta_cap": (0.1, 0.5)})["theta_cap"]
    np.testing.assert_allclose(low, [0.17, 0.30, 0.10], rtol=1e-6)
    np.testing.assert_allclose(high, [0.435, 0.355, 0.395], rtol=1e-6)
    assert in_order("theta_cap", low + 1e-6, soils()).all()
    assert not in_order("theta_cap", low - 1e-3, soils())[:2].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"theta_cap": (0.9, 0.95)}, "no column has a possible value"),
        ({"theta_cap": (0.4, 0.3)}, "expected the lower end first"),
        ({"cvl": (0.1, 0.2)}, "range of 'cvl', expected one of the parameters varied"),
    ],
)
def test_a_bad_range_gets_one_line(given, words):
    with pytest.raises(InputError, match=words) as raised:
        ranges_of(soils(), ["theta_cap"], given=given)
    assert "\n" not in str(raised.value)
