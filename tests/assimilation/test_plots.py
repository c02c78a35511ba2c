"""Figures of an analysis: what they show is what the Dataset holds, and they say its units."""

import jax.numpy as jnp
import numpy as np
import pytest

from assimilation import diagnostic_plots as checks
from assimilation import plots, truth_plots
from assimilation.diagnose import diagnose
from assimilation.diagnostics import TaylorTest, chi_squared, whiteness
from assimilation.observations import Observations
from assimilation.verification import (
    rank_of_truth,
    spread_and_error,
    with_root_zone,
    withhold,
)
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER
from tests.assimilation.made_analysis import made


@pytest.fixture(scope="module")
def case():
    return made()


def observed_in(analysis):
    """The observations that a made analysis saw."""
    values = (analysis.swvl1_background + analysis.swvl1_innovation).to_numpy()
    seen = np.isfinite(values)
    return Observations(
        {"swvl1": jnp.asarray(np.nan_to_num(values))},
        {"swvl1": jnp.full(values.shape, 0.02)},
        {"swvl1": jnp.asarray(seen, float)},
    )


def test_increments_are_analysis_less_background(case):
    analysis, _ = case
    figure = plots.increments_figure(analysis, column=1)
    assert figure.axes[0].get_title() == "swvl1, 0 to 7 cm"
    assert len(figure.axes) == 5
    shown = figure.axes[2].lines[0].get_ydata()
    np.testing.assert_allclose(shown, (analysis.swvl3 - analysis.swvl3_background)[:, 1])
    assert "m³ m⁻³" in figure.get_supylabel()
    of_all = plots.increments_figure(analysis, names=["swvl1"]).axes[0].lines[0].get_ydata()
    median = (analysis.swvl1 - analysis.swvl1_background).median("column")
    np.testing.assert_allclose(of_all, median)


def test_windows_begin_where_the_analysis_says(case):
    edges = plots.window_edges(case[0])
    assert (edges == case[0].time[40::40].to_numpy()).all()


def test_before_and_after_hold_every_run_of_one_column(case):
    analysis, truth = case
    figure = plots.before_after_figure(analysis, truth=truth, column=2)
    top = {tuple(np.round(line.get_ydata(), 6)) for line in figure.axes[0].lines}
    for series in (analysis.swvl1_open_loop, analysis.swvl1, truth.swvl1):
        assert tuple(np.round(series[:, 2].to_numpy(), 6)) in top
    seen = np.isfinite(analysis.swvl1_innovation[:, 2].to_numpy())
    values = (analysis.swvl1_background + analysis.swvl1_innovation)[:, 2].to_numpy()[seen]
    assert tuple(np.round(values, 6)) in top
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:4] == ["open loop", "analysis ± 95%", "analysis", "truth"]
    bare = plots.before_after_figure(analysis, column=5).legends[0].get_texts()
    assert "truth" not in [text.get_text() for text in bare]


def test_the_typical_column_was_observed(case):
    analysis = case[0].copy(deep=True)
    found = plots.typical_column(analysis)
    assert found != 5
    analysis["observed"][:, found] = 0
    assert plots.typical_column(analysis) != found


def test_the_map_shows_signal_increments_and_change_of_error(case):
    analysis, truth = case
    figure = plots.columns_map(analysis, truth=truth, name="swvl1")
    maps = figure.axes[:3]
    shown = np.asarray(maps[2].collections[0].get_array())
    change = np.sqrt(((analysis.swvl1 - truth.swvl1) ** 2).mean("time")) - np.sqrt(
        ((analysis.swvl1_open_loop - truth.swvl1) ** 2).mean("time")
    )
    np.testing.assert_allclose(np.sort(shown), np.sort(change), rtol=1e-5)
    assert len(plots.columns_map(analysis).axes) == 4
    near = analysis.assign(lat=analysis.lat * 0 + 47.0, lon=analysis.lon * 0.01)
    low, high = plots.columns_map(near).axes[0].get_ylim()
    assert (low, high) == (37.0, 57.0)
    with pytest.raises(InputError, match="no lat and lon in the analysis, expected them"):
        plots.columns_map(analysis.drop_vars("lat"))


def test_innovations_are_divided_by_what_was_stated(case):
    analysis, _ = case
    left, right, memory = checks.innovations_figure(analysis).axes
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    z = analysis.swvl1_innovation / np.hypot(0.03, 0.02)
    assert f"± {float(z.std()):.2f}" in texts[0]
    said = next(x for x in right.lines if x.get_label() == "as stated (median)").get_ydata()
    np.testing.assert_allclose(said, np.hypot(0.03, 0.02), rtol=1e-6)
    shown = [bar.get_height() for bar in memory.containers[0]]
    np.testing.assert_allclose(shown, whiteness(analysis, "swvl1"))


def test_chi_squared_says_the_number_of_the_diagnostic(case):
    figure = checks.chi_squared_figure(case[0])
    ratio = chi_squared(case[0])["ratio"]
    assert figure.axes[0].get_title() == f"all: {ratio:.2f}"
    assert len(figure.axes[1].lines[0].get_xdata()) == 5  # the unobserved column is left out


def test_desroziers_lies_on_the_line_for_right_errors(case):
    axes = checks.desroziers_figure(case[0]).axes[0]
    for text in axes.get_legend().get_texts():
        assert float(text.get_text().split()[-1]) == pytest.approx(1.0, abs=0.1)


def test_convergence_counts_failures(case):
    failed = case[0].assign(converged=case[0].converged.copy(data=np.eye(5, 6) < 0.5))
    assert checks.convergence_figure(failed).get_suptitle() == "5 of 30 minimisations failed"


def test_tests_of_the_gradient_say_their_result():
    lengths = 10.0 ** -np.arange(1.0, 9.0)
    test = TaylorTest(lengths, 3.0 * lengths**2, 2.0)
    axes = checks.taylor_figure(test).axes[0]
    assert "order 2.00" in axes.get_legend().get_texts()[2].get_text()
    assert axes.get_yscale() == "log"
    found = checks.adjoint_figure([(1.0, 1.0), (1.0, 1.0 + 1e-9)]).axes[0]
    assert "1.0e-09 apart" in found.get_title()


def test_ranks_coverage_and_withheld_observations_have_a_figure(case):
    analysis, truth = case
    whole = with_root_zone(truth)
    ranks = {name: rank_of_truth(analysis, whole, name, members=9) for name in SOIL_WATER}
    figure = truth_plots.rank_figure(ranks)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, 10 * ranks["swvl1"].shares)
    lines = truth_plots.coverage_figure(analysis, truth).axes[0].lines
    assert len(lines) == 6
    found = {name: spread_and_error(analysis, whole, name) for name in SOIL_WATER}
    axes = truth_plots.spread_figure(found).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found["swvl1"].rmse)
    assert f"ratio {found['swvl1'].ratio:.2f}" in axes.get_legend().get_texts()[0].get_text()
    _, left = withhold(observed_in(analysis), 0.3)
    axes = checks.withheld_figure(analysis, left).axes[0]
    assert "skill" in axes.get_legend().get_texts()[1].get_text()
    assert len(axes.lines[0].get_xdata()) == 5


def test_diagnose_refuses_what_it_cannot(case, tmp_path):
    with pytest.raises(InputError, match="diagnostic 'kurtosis', expected one of taylor-test"):
        diagnose(case[0], ["kurtosis"])
    with pytest.raises(InputError, match="a rank of the truth without a truth, expected one"):
        diagnose(case[0], ["rank"], folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    found = diagnose(case[0], ["rank", "desroziers"], truth=case[1])
    assert {"rank_bias_root_zone_soil_moisture", "swvl1_observation_factor"} <= set(found)
