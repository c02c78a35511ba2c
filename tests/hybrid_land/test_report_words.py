"""A verdict follows from its number: a bad number is called bad, in the sentence that holds it."""

import math
from typing import Any

import pytest

from hybrid_land.report.words import (
    assimilation_findings,
    calibration_findings,
    graded,
    listing,
    sensitivity_findings,
    skill_findings,
)


def scores(rmse: float, residual: float) -> dict[str, Any]:
    row = {"rmse": rmse, "bias": 0.0, "acc": 0.95, "baselines": {"persistence": {"rmse": 0.05}}}
    return {
        "variables": {"swvl1": row, "swvl3": row | {"rmse": 0.01}},
        "water_budget": {"max_abs_mm_per_step": residual},
    }


def test_a_lost_baseline_is_named_and_graded() -> None:
    good = skill_findings(scores(0.02, 1e-4), ("swvl1", "swvl3"))
    bad = skill_findings(scores(0.06, 0.5), ("swvl1", "swvl3"))
    assert (good[0].verdict, bad[0].verdict) == ("good", "poor")
    assert "2 of 2" in good[0].sentence
    assert "loses on swvl1" in bad[0].sentence
    assert (good[-1].verdict, bad[-1].verdict) == ("good", "poor")


def test_a_run_that_blew_up_beats_nothing() -> None:
    broken = scores(0.02, 1e-4)
    broken["variables"]["swvl3"] = broken["variables"]["swvl3"] | {"rmse": None, "acc": None}
    findings = skill_findings(broken, ("swvl1", "swvl3"))
    assert "loses on swvl3" in findings[0].sentence
    assert any("swvl3 is not finite" in finding.sentence for finding in findings)


def test_an_analysis_worse_than_the_first_guess_is_poor() -> None:
    metrics = {
        "root_zone_rmse": {"first_guess": 0.04, "analysis": 0.05},
        "surface_rmse": {"first_guess": 0.04, "analysis": 0.01},
        "forecast_rmse": {"first_guess": 0.04, "analysis": 0.02},
        "columns": 10,
        "columns_improved": 3,
        "covered": 0.2,
    }
    verdicts = [finding.verdict for finding in assimilation_findings(metrics)]
    assert verdicts == ["poor", "poor", "good", "poor"]


CALIBRATION = {
    "interval": 0.9,
    "inside": 9,
    "columns": 10,
    "rmse": 0.01,
    "prior_rmse": 0.05,
    "width_ratio": 0.3,
    "max_rhat": 1.0,
    "min_ess": 200.0,
    "divergences": 0,
    "checks": {
        "observations": 200,
        "covered": 0.92,
        "largest_k": 0.41,
        "unsure": 0,
        "spread_left": [0.1, 0.2, 0.3, 0.4],
    },
}


@pytest.mark.parametrize(("inside", "rhat", "expected"), [(9, 1.0, "good"), (2, 1.3, "poor")])
def test_calibration_is_graded_by_coverage_and_convergence(
    inside: int, rhat: float, expected: str
) -> None:
    findings = calibration_findings(CALIBRATION | {"inside": inside, "max_rhat": rhat})
    assert (findings[0].verdict, findings[3].verdict) == (expected, expected)
    assert f"{inside} of 10" in findings[0].sentence


@pytest.mark.parametrize(
    ("covered", "unsure", "expected"),
    [(0.92, 0, ["good", "good"]), (1.0, 2, ["fair", "fair"]), (0.6, 20, ["poor", "poor"])],
)
def test_a_posterior_is_graded_by_its_checks(
    covered: float, unsure: int, expected: list[str]
) -> None:
    checks = CALIBRATION["checks"] | {"covered": covered, "unsure": unsure}
    last = calibration_findings(CALIBRATION | {"checks": checks})[-3:-1]
    assert [finding.verdict for finding in last] == expected
    assert f"Of the 200 observations {100 * covered:.0f}% lie within" in last[0].sentence
    assert f"{unsure} of them decide the posterior" in last[1].sentence
    assert "largest Pareto's k is 0.41" in last[1].sentence


@pytest.mark.parametrize(
    ("left", "seen", "median", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 4, 25, "good"),
        ([0.1, 0.3, 0.5, 0.9], 2, 40, "fair"),
        ([0.6, 0.7, 0.99, 1.0], 0, 84, "poor"),
    ],
)
def test_a_posterior_is_graded_by_what_the_observations_see(
    left: list[float], seen: int, median: int, expected: str
) -> None:
    checks = CALIBRATION["checks"] | {"spread_left": left}
    last = calibration_findings(CALIBRATION | {"checks": checks})[-1]
    assert last.verdict == expected
    assert f"in {seen} of 4 columns" in last.sentence
    assert f"{median}% of it is left" in last.sentence


def test_an_answer_of_the_wrong_size_is_poor() -> None:
    row = {"ecland": 0.04, "emulator": -0.01, "correlation": 0.1, "error": 1.2}
    (finding,) = sensitivity_findings({"swvl3": row})
    assert finding.verdict == "poor"
    assert "120% of ECLand's answer" in finding.sentence


def test_not_a_number_is_never_good() -> None:
    assert graded(math.nan, good=1.0, fair=2.0) == "poor"


def test_lists_read_as_prose() -> None:
    assert [listing([]), listing(["a"]), listing(["a", "b", "c"])] == ["", "a", "a, b and c"]
