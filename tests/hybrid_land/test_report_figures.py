"""The demonstration's figures draw what they are given."""

import numpy as np
import pandas as pd
import xarray as xr

from hybrid_land.figures import paper_style
from hybrid_land.report.figures import (
    assimilation_figure,
    calibration_figure,
    improvement_figure,
    response_figure,
    root_zone,
    slopes,
)


def run(shift: float) -> xr.Dataset:
    time = pd.date_range("2010-05-01", periods=40, freq="6h")
    values = np.full((40, 3), 0.2 + shift)
    return xr.Dataset(
        dict.fromkeys(("swvl1", "swvl2", "swvl3"), (("time", "column"), values)),
        coords={"time": time},
    ).assign(climate_index=("column", [0.0, 3.0, 9.0]))


def test_the_root_zone_weighs_layers_by_thickness() -> None:
    ds = run(0.0)
    ds["swvl3"] = ds.swvl3 + 0.1
    np.testing.assert_allclose(root_zone(ds), 0.2 + 0.1 * 0.72, rtol=1e-12)


def test_the_assimilation_is_drawn_with_its_columns_named() -> None:
    seen = run(0.0)[["swvl1"]].isel(time=slice(20))
    with paper_style():
        figure = assimilation_figure(
            truth=run(0.0),
            first_guess=run(0.1),
            analysis=run(0.01),
            observations=seen,
            columns=[0, 2],
        )
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == [
        "column 0, tropical wet",
        "column 2, boreal",
    ]
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    np.testing.assert_allclose(np.asarray(lines["first guess"].get_ydata(), float), 0.3)


def test_columns_stand_in_the_order_of_their_error() -> None:
    figure = improvement_figure(
        first_guess=np.array([0.3, 0.1]), analysis=np.array([0.01, 0.02]), labels=["wet", "dry"]
    )
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["dry", "wet"]


def test_a_posterior_and_its_true_values_are_drawn_in_order() -> None:
    draws = np.random.default_rng(0).normal([0.4, 0.2], 0.01, (200, 2))
    truth = np.asarray([0.41, 0.21])
    figure = calibration_figure(
        draws=draws, prior=draws, truth=truth, labels=["a", "b"], interval=0.9
    )
    (marks,) = figure.axes[0].get_lines()
    np.testing.assert_allclose(np.asarray(marks.get_xdata(), float), [0.21, 0.41])


def test_slopes_are_those_of_the_lines() -> None:
    x = np.linspace(0.2, 0.4, 9)[:, None] + np.zeros((1, 2))
    y = x * np.asarray([0.5, -0.1]) + 0.3
    np.testing.assert_allclose(slopes(x, y), [0.5, -0.1], rtol=1e-10)
    figure = response_figure(
        theta_cap=x,
        ecland={"swvl1": y},
        emulator={"swvl1": y},
        labels=["a", "b"],
        columns=[1],
    )
    assert len(figure.axes) == 2
