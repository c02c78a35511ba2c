"""The figure of one-at-a-time curves: the same columns all along, and panels one can read."""

import numpy as np
import xarray as xr

from hybrid_land.sensitivity.curves import curves_figure

SCALES = np.array([0.8, 1.0, 1.1, 1.2])
SLOPES = np.array([1.0, 2.0, 6.0])


def made(missing, targets=("swvl1",)):
    """Straight lines of three columns; `missing` pairs of scale and column that cannot be."""
    curve = np.outer(SCALES, SLOPES)[:, None]
    for scale, column in missing:
        curve[scale == SCALES, 0, column] = np.nan
    result = xr.Dataset(coords={"scale": SCALES, "parameter": ["theta_cap"]})
    for name in targets:
        result[name] = (("scale", "parameter", "column"), curve, {"units": "m3 m-3"})
        result[f"{name}_gradient"] = (("parameter", "column"), SLOPES[None])
    return result


def drawn(missing):
    """Scales, mean of the runs and its derivative, as drawn."""
    runs, derivative = curves_figure(made(missing)).axes[0].lines
    return runs.get_xdata(), runs.get_ydata(), derivative.get_ydata()


def test_a_column_that_drops_out_bends_no_curve():
    for missing, columns in (([], [0, 1, 2]), ([(1.2, 2)], [0, 1])):
        scale, runs, derivative = drawn(missing)
        np.testing.assert_allclose(scale, SCALES)
        np.testing.assert_allclose(runs, SLOPES[columns].mean() * (SCALES - 1.0))
        np.testing.assert_allclose(derivative, runs)


def test_a_scale_that_most_columns_cannot_take_is_left_out():
    scale, runs, _ = drawn([(1.2, 1), (1.2, 2)])
    np.testing.assert_allclose(scale, [0.8, 1.0, 1.1])
    np.testing.assert_allclose(runs, 3.0 * (scale - 1.0))
    # Where no column takes all scales, those that the fewest take go first.
    scale, runs, _ = drawn([(0.8, 0), (1.1, 1), (1.2, 2)])
    assert 1.0 in scale
    assert np.isfinite(runs).all()


def test_eight_targets_stand_in_two_rows():
    targets = ("swvl1", "swvl2", "swvl3", "swvl4", "slhf", "e", "sro")
    figure = curves_figure(made([], targets))
    boxes = [axes.get_subplotspec() for axes in figure.axes]
    assert max(box.colspan.start for box in boxes) == 3
    assert max(box.rowspan.start for box in boxes) == 1
    assert [axes.axison for axes in figure.axes] == [True] * 7 + [False]
