"""Partial dependence and regression between columns, on columns whose answer is known."""

import numpy as np
import pytest

from hybrid_land.data.samples import load_sample
from hybrid_land.sensitivity.partial_dependence import (
    compare_partial_dependence,
    figure,
    partial_dependence,
    regression,
    table,
)
from hybrid_land.simulation import simulate
from tests.toy import LAYERS, Weathered


def test_a_regression_leaves_to_a_parameter_what_the_others_do_not_explain():
    generator = np.random.default_rng(0)
    other = generator.normal(size=(400, 2))
    x = 3.0 + other[:, 0] + 0.5 * generator.normal(size=400)
    y = 2.0 * x - 5.0 * other[:, 0] + other[:, 1] + 0.3 * generator.normal(size=400)
    slope, error = regression(x, y, other)
    assert slope == pytest.approx(2.0, abs=0.1)
    assert 0.01 < error < 0.1
    alone, _ = regression(x, y, np.zeros((400, 1)))
    assert alone < 0.0  # confounded


def test_partial_dependence_moves_one_parameter_alone():
    data = load_sample("ecland_sample").isel(time=slice(0, 200), column=slice(0, 5)).load()
    values = [0.25, 0.3, 0.35]
    found = partial_dependence(Weathered(), data, {"theta_cap": values}, targets=("swvl1",))
    curves = found["theta_cap"]["swvl1"]
    pwp = data.clim_theta_pwp.to_numpy()
    impossible = np.asarray(values)[:, None] < pwp + 0.0199
    assert (np.isnan(curves) | ~impossible).all()
    there = np.isfinite(curves).all(axis=0)
    assert there.any()
    # The resting value is half of theta_cap: the mean answers with the share already relaxed.
    share = 1.0 - np.mean(0.98 ** np.arange(1, 201))
    slope = (curves[2] - curves[0])[there] / 0.1
    np.testing.assert_allclose(slope, 0.5 * share, rtol=1e-3)


def test_a_model_compared_with_itself_has_one_regression():
    data = load_sample("ecland_sample").isel(time=slice(0, 120)).load()
    data = data.isel(column=np.tile(np.arange(24), 8))
    generator = np.random.default_rng(0)
    for name in ("clim_theta_cap", "clim_ksat"):
        data[name] = data[name] * generator.uniform(0.9, 1.2, data.sizes["column"])
    run = simulate(Weathered(), data)
    own = data.assign({name: run[name] for name in (*LAYERS, "slhf")})
    rows = compare_partial_dependence(
        Weathered(), [own], parameters=("theta_cap", "ksat"), targets=("swvl1",)
    )
    cap, ksat = rows
    share = 1.0 - np.mean(0.98 ** np.arange(1, 121))
    for key in ("regression", "ecland", "partial"):
        assert cap[key] == pytest.approx(0.5 * share, rel=0.1)
    assert cap["sign_right"]
    assert cap["heard"]
    assert abs(ksat["partial"]) < 1e-12
    assert not ksat["heard"]
    assert ksat["axis"] == "log10(ksat)"
    assert len(cap["values"]) == len(cap["curve"]) == 7
    assert "Weaker evidence" in table(rows)
    assert len(figure(rows).axes) == 2
