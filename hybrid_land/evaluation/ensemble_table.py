"""The scores of an ensemble as tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_land.evaluation.scoreboard import number

HEADLINE_DAYS = (1.0, 10.0, 90.0)


def ensemble_table(result: Mapping[str, Any]) -> str:
    """Markdown of an evaluation of an ensemble; raw and calibrated side by side.

    Args:
        result: the content of `ensemble.json`.
    """
    calibrated = result["calibration"] is not None
    shown = [i for i, days in enumerate(result["lead_days"]) if days in HEADLINE_DAYS]
    shown = shown or list(range(len(result["lead_days"])))
    parts = [
        f"# Ensemble {result['model']}",
        (
            f"{result['members']} members, {result['columns']} columns, {result['starts']} "
            "starts. Spread over skill is sqrt((K + 1) / K) spread / RMSE, 1 where the spread is "
            "the size of the error. CRPS of the members as they are; climatology is ECLand's own "
            "values near that day in the other years. Coverage of central intervals by Student's "
            "distribution. Rank deviation is 0 for a flat rank histogram."
        ),
    ]
    if calibrated:
        about = result["calibration"]
        parts.append(
            "Calibrated: members inflated about their mean and dressed with noise, by variable and "
            f"lead, fitted on {about.get('columns', '?')} columns withheld from training, none of "
            "them scored here."
        )
    parts.append(_sound(result))
    for i in shown:
        parts.append(f"## Lead of {result['lead_days'][i]:g} days")
        parts.append(_of_lead(result, i, calibrated=calibrated))
    return "\n\n".join(parts) + "\n"


def _sound(result: Mapping[str, Any]) -> str:
    header = [
        "prognostic variables with spread over skill in 0.8 to 1.25",
        *(f"{days:g} d" for days in result["lead_days"]),
    ]
    rows = [
        [kind, *("-" if x is None else f"{100 * x:.0f}%" for x in shares)]
        for kind, shares in result["sound"].items()
    ]
    return _markdown(header, rows)


def _of_lead(result: Mapping[str, Any], lead: int, *, calibrated: bool) -> str:
    kinds = ("raw", "calibrated") if calibrated else ("raw",)

    def both(title: str) -> list[str]:
        return [title, f"{title} calibrated"] if calibrated else [title]

    header = ["variable", "unit", "RMSE", *both("spread / skill"), *both("CRPS")]
    header += ["CRPS climatology", *both("50%"), *both("90%"), *both("rank deviation")]
    rows = []
    for name, content in result["variables"].items():
        row = content["leads"][lead]
        cells = [name, content["units"], number(row["raw"]["rmse"])]
        cells += [number(row[kind]["spread_over_skill"]) for kind in kinds]
        cells += [number(row[kind]["crps"]) for kind in kinds]
        cells.append(number(row["crps_climatology"]))
        for level in ("0.5", "0.9"):
            cells += [_percent(row[kind]["coverage"].get(level)) for kind in kinds]
        cells += [number((row[kind]["rank"] or {}).get("deviation")) for kind in kinds]
        rows.append(cells)
    return _markdown(header, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}%"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
