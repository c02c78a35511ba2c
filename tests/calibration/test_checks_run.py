"""Checks by name, as the command runs them: numbers, words, figures, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from calibration.checks import CHECKS, Posterior, require_checks, run_checks
from calibration.methods import METHODS
from calibration.problem import simulated
from hybrid_land.errors import InputError
from tests.calibration.linear import exact, linear_problem


@pytest.fixture
def given():
    problem = simulated(linear_problem([[3.0, 3.0]] * 9, columns=2), jax.random.key(0))[1]
    z, _ = exact(problem, key=jax.random.key(1), draws=400)
    return Posterior(problem, z, exact, jax.random.key(2), against="exact")


def test_every_check_gives_numbers_words_and_a_figure(given, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "exact", exact)
    said = []
    found = run_checks(given, list(CHECKS), figures=tmp_path / "figures", say=said.append)
    assert said == list(found) == list(CHECKS)
    for name in CHECKS:
        assert (tmp_path / "figures" / f"check_{name}.png").stat().st_size > 5000, name
        assert len(found[name]["words"]) > 40, name
    assert json.loads(json.dumps(found)) == found
    assert found["sbc"]["a"]["inside"]
    assert found["tarp"]["inside"] == 1
    assert found["coverage"]["coverage"]["a"][2] == pytest.approx(0.9, abs=0.07)
    assert found["comparison"]["p_value"][0] > 0.01
    assert found["comparison"]["against"] == "exact"
    assert found["identifiability"]["spread_left"][0][0] == pytest.approx(1 / 163**0.5, abs=1e-3)
    assert found["predictive"]["prior"]["chi_squared"][0] > 5
    assert found["predictive"]["posterior"]["chi_squared"][0] < 3
    assert found["loo"]["unsure"] == 0


def test_what_is_not_asked_for_is_not_run(given, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the method was run")

    bare = Posterior(given.problem, given.z, never, given.key)
    assert list(run_checks(bare, ["predictive"])) == ["predictive"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_known_is_said(given, tmp_path):
    with pytest.raises(InputError, match="check 'rhat' is not known, expected predictive, loo"):
        run_checks(given, ["predictive", "rhat"], figures=tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="check tarp of columns that share parameters"):
        require_checks(["loo", "tarp"], structure="pooled")
    with pytest.raises(InputError, match="method 'exact' is not known"):
        run_checks(given, ["comparison"])


def test_predictions_are_drawn_at_their_times(given, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "calibration.checks.run.save_figure", lambda figure, _: drawn.append(figure)
    )
    times = np.datetime64("2015-03-01", "ns") + np.arange(0, 9 * 30, 30) * np.timedelta64(1, "D")
    for posterior in (given, replace(given, times=times)):
        run_checks(posterior, ["predictive"], figures=Path())
    last = [figure.axes[-1] for figure in drawn]
    at = [axes.lines[-1].get_xdata() for axes in last]
    assert at[0].tolist() == list(range(9))
    np.testing.assert_array_equal(at[1], times)
    for figure in drawn:
        figure.draw_without_rendering()
    labels = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in last]
    assert last[0].get_xlabel() == "record"
    assert last[1].get_xlabel() == ""
    assert {"May", "Jul"} < set(labels[1])
    assert last[1].xaxis.get_offset_text().get_text() == "2015"
    assert "8" in labels[0]
