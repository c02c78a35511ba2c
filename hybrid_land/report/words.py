"""Numbers of the demonstration in sentences, each with a verdict that follows from the number.

A verdict compares a number with what a reader would do without the method: a baseline, the first
guess, the prior, or ECLand's own answer. The limits stand beside each comparison.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_land.figures import pretty_units
from hybrid_land.report.builder import Finding, Verdict
from hybrid_land.variables import VARIABLES

ORACLES = ("climatology",)  # baselines that have seen the truth they are scored on


def graded(value: float, *, good: float, fair: float) -> Verdict:
    """`good` below the first limit, `fair` below the second, else `poor`. NaN is `poor`."""
    if value <= good:
        return "good"
    return "fair" if value <= fair else "poor"


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def number(value: float) -> str:
    """Three significant digits, without an exponent where it can be helped."""
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"


def beats(row: Mapping[str, Any], baseline: str) -> bool:
    """Whether a variable's RMSE is below a baseline's; a run that blew up (null) never is."""
    mine, other = row["rmse"], row["baselines"][baseline]["rmse"]
    return mine is not None and (other is None or mine < other)


def skill_findings(scores: Mapping[str, Any], prognostic: Sequence[str]) -> list[Finding]:
    """How the free run compares with each baseline, and whether its water budget closes.

    Args:
        scores: in the form of scores.json.
        prognostic: names whose scores count.
    """
    rows = {name: scores["variables"][name] for name in prognostic if name in scores["variables"]}
    findings = []
    for baseline in dict.fromkeys(key for row in rows.values() for key in row["baselines"]):
        compared = {name: row for name, row in rows.items() if baseline in row["baselines"]}
        lost = [name for name, row in compared.items() if not beats(row, baseline)]
        won = len(compared) - len(lost)
        oracle = baseline in ORACLES
        verdict = graded(len(lost) / len(compared), good=0.0, fair=0.5 if oracle else 0.2)
        title = f"{baseline} (an oracle)" if oracle else baseline
        text = f"The emulator beats {title} on {won} of {len(compared)} prognostic variables"
        text += f"; it loses on {listing(lost)}." if lost else "."
        findings.append(Finding(text, verdict))
    for name in ("swvl1", "swvl3"):
        if name in rows:
            findings.append(_variable_finding(name, rows[name]))
    residual = scores["water_budget"]["max_abs_mm_per_step"]
    findings.append(
        Finding(
            "The water budget of every column closes to "
            f"{number(residual)} mm in the worst step (rounding of single precision allows 0.01).",
            graded(residual, good=0.01, fair=0.1),
        )
    )
    return findings


def _variable_finding(name: str, row: Mapping[str, Any]) -> Finding:
    units = pretty_units(VARIABLES[name].units)
    if row["rmse"] is None:
        return Finding(f"The free run of {name} is not finite.", "poor")
    text = (
        f"{VARIABLES[name].long_name.capitalize()} ({name}) is off by {number(row['rmse'])} "
        f"{units} RMSE, with a bias of {number(row['bias'])}"
    )
    acc = row.get("acc")
    if acc is None:
        return Finding(text + ".")
    text += f"; its anomalies correlate with ECLand's at {acc:.2f}."
    return Finding(text, graded(1 - acc, good=0.1, fair=0.4))


def assimilation_findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Whether the unobserved root zone moved to the truth, and whether that lasts.

    Args:
        metrics: `root_zone_rmse` and `surface_rmse` with `first_guess` and `analysis`, m³ m⁻³;
            `forecast_rmse` the same after the window; `columns`, `columns_improved`;
            `covered`, the share of times and columns within two analysis errors.
    """
    root, forecast = metrics["root_zone_rmse"], metrics["forecast_rmse"]
    ratio = root["analysis"] / root["first_guess"]
    after = forecast["analysis"] / forecast["first_guess"]
    missed = metrics["columns"] - metrics["columns_improved"]
    return [
        Finding(
            f"In the root zone, which nobody observed, the error falls from "
            f"{root['first_guess']:.4f} to {root['analysis']:.4f} m³ m⁻³ "
            f"({100 * (1 - ratio):.0f}% less).",
            graded(ratio, good=0.7, fair=1.0),
        ),
        Finding(
            f"The root zone improves in {metrics['columns_improved']} of {metrics['columns']} "
            "columns.",
            graded(missed / metrics["columns"], good=0.1, fair=0.34),
        ),
        Finding(
            f"After the window, without further observations, the forecast's root zone is off by "
            f"{forecast['analysis']:.4f} m³ m⁻³ instead of {forecast['first_guess']:.4f}.",
            graded(after, good=0.8, fair=1.0),
        ),
        Finding(
            "ECLand's root zone lies within two analysis errors at "
            f"{100 * metrics['covered']:.0f}% of the times and columns of the window (95% for a "
            "Gaussian error that is stated right).",
            graded(abs(metrics["covered"] - 0.95), good=0.1, fair=0.25),
        ),
    ]


def calibration_findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Whether the intervals hold the true values, say more than the prior, and can be believed.

    Args:
        metrics: `interval` (its probability), `inside` and `columns`, `rmse` and `prior_rmse`,
            `width_ratio` (posterior to prior standard deviation), `max_rhat`, `min_ess`,
            `divergences`; `checks`: `observations`, `covered` (their share within the predictions
            of that probability), `largest_k` (Pareto's, of PSIS-LOO), `unsure` (observations
            whose k is too large) and `spread_left` (share of the prior's spread that a column's
            observations leave, by the curvature at the best value).
    """
    share, wanted = metrics["inside"] / metrics["columns"], metrics["interval"]
    checks = metrics["checks"]
    off = abs(checks["covered"] - wanted)
    left = np.array(checks["spread_left"])
    seen = int((left < 0.5).sum())
    return [
        Finding(
            f"The {100 * wanted:.0f}% interval holds the true theta_cap in {metrics['inside']} of "
            f"{metrics['columns']} columns ({100 * wanted:.0f}% expected).",
            graded(abs(share - wanted), good=0.15, fair=0.35),
        ),
        Finding(
            f"The posterior mean is off by {metrics['rmse']:.3f} m³ m⁻³; the prior alone is off by "
            f"{metrics['prior_rmse']:.3f}.",
            graded(metrics["rmse"] / metrics["prior_rmse"], good=0.6, fair=1.0),
        ),
        Finding(
            f"The observations shrink the uncertainty to {100 * metrics['width_ratio']:.0f}% of "
            "the prior's.",
            graded(metrics["width_ratio"], good=0.6, fair=0.95),
        ),
        Finding(
            f"The chains agree: largest R-hat {metrics['max_rhat']:.3f}, smallest effective sample "
            f"{metrics['min_ess']:.0f}, {metrics['divergences']} divergent transitions."
            if metrics["max_rhat"] <= 1.05
            else f"The chains do not agree yet: largest R-hat {metrics['max_rhat']:.3f}.",
            graded(metrics["max_rhat"], good=1.02, fair=1.05),
        ),
        Finding(
            f"Of the {checks['observations']} observations {100 * checks['covered']:.0f}% lie "
            f"within the posterior's {100 * wanted:.0f}% predictive intervals.",
            graded(off, good=0.05, fair=0.15),
        ),
        Finding(
            f"With each observation left out in turn (PSIS-LOO), {checks['unsure']} of them decide "
            f"the posterior by themselves; the largest Pareto's k is {checks['largest_k']:.2f}.",
            graded(checks["unsure"] / checks["observations"], good=0.0, fair=0.02),
        ),
        Finding(
            f"By the curvature at the best value the observations identify theta_cap (less than "
            f"half of the prior's spread left) in {seen} of {len(left)} columns; in the median "
            f"column {100 * np.median(left):.0f}% of it is left.",
            graded(1.0 - seen / len(left), good=0.25, fair=0.6),
        ),
    ]


def sensitivity_findings(metrics: Mapping[str, Mapping[str, float]]) -> list[Finding]:
    """How the emulator's answer to theta_cap compares with ECLand's own.

    Args:
        metrics: by variable, `ecland` and `emulator` (mean slope over columns), `correlation` over
            columns and `error` (RMS difference over RMS of ECLand's slopes).
    """
    findings = []
    for name, row in metrics.items():
        units = pretty_units(VARIABLES[name].units)
        findings.append(
            Finding(
                f"Mean answer of {name} per unit of scale of theta_cap: ECLand "
                f"{number(row['ecland'])} {units}, emulator {number(row['emulator'])}; over "
                f"columns the two correlate at {row['correlation']:.2f} and differ by "
                f"{100 * row['error']:.0f}% of ECLand's answer.",
                graded(row["error"], good=0.3, fair=0.7),
            )
        )
    return findings
