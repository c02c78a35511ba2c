"""First question: does the emulator, left alone, follow ECLand on columns that it never saw?"""

from pathlib import Path
from typing import Any

import xarray as xr

from hybrid_land.data import save
from hybrid_land.demo.part import Part, Say
from hybrid_land.evaluation.evaluate import evaluate
from hybrid_land.figures import pretty_units
from hybrid_land.interface import Model
from hybrid_land.report import Finding, Headline, Picture, Section, Table
from hybrid_land.report.words import beats, number, skill_findings
from hybrid_land.simulation import simulate


def free_run(model: Model, ecland: xr.Dataset, *, out: Path, say: Say) -> Part:
    """Roll the model out over all of `ecland` from its first state, and score it.

    Args:
        model: the emulator.
        ecland: columns that the model was not trained on.
        out: folder for `rollout.nc`, `scores.json`, `scoreboard.md` and the figures.
        say: told what goes on.
    """
    say("rolling out")
    run = simulate(model, ecland)
    save(run, out / "rollout.nc")
    scores = evaluate(model, ecland, out=out, name="emulator", most_starts=6, report=say)
    findings = skill_findings(scores, model.prognostic)
    beaten = sum(beats(scores["variables"][name], "persistence") for name in model.prognostic)
    days = scores["steps"] * model.time_step / 86400.0
    return Part(
        metrics=scores,
        section=Section(
            key="free-run",
            title="A free run on columns the emulator never saw",
            question="Left alone with the weather, does the emulator stay with ECLand?",
            method=(
                f"The emulator started from ECLand's first state and ran {scores['steps']:,} steps "
                f"({days:.0f} days) on {scores['columns']} columns, one of each climate class, "
                "that were in none of its training files and in a year after them. It was never "
                "corrected. Two baselines stand beside it: persistence holds the first state; "
                "climatology is ECLand's own mean of the very same columns and year by day and "
                "hour, an oracle that no forecast could have."
            ),
            findings=findings,
            pictures=[
                Picture(
                    out / "time_series.png",
                    "Daily means over the whole free run in four of the columns (ECLand black, "
                    "emulator blue); for each climate class the column with its median error.",
                    "Free run against ECLand",
                ),
                Picture(
                    out / "error_growth.png",
                    f"RMSE against lead time, over {scores['error_growth']['starts']} starts in "
                    "the year. Where the emulator stays below both baselines it has skill.",
                    "Growth of the error with lead time",
                ),
                Picture(
                    out / "scatter.png",
                    "Every record of every column; the dashed line is perfect agreement and "
                    "colour counts records.",
                    "Emulator against ECLand",
                ),
            ],
            table=score_table(scores),
        ),
        headline=Headline(
            f"{beaten} of {len(model.prognostic)}",
            "prognostic variables of a free year in which the emulator beats persistence",
            findings[_position(findings, "persistence")].verdict,
            "free-run",
        ),
    )


def _position(findings: list[Finding], word: str) -> int:
    return next(i for i, finding in enumerate(findings) if word in finding.sentence)


def score_table(scores: dict[str, Any]) -> Table:
    """RMSE of the model and its baselines, with bias and anomaly correlation."""
    baselines = list(scores["baselines"])
    rows, best = [], []
    for name, row in scores["variables"].items():
        errors = [row["rmse"], *(row["baselines"][key]["rmse"] for key in baselines)]
        known = [value for value in errors if value is not None]
        rows.append(
            [
                name,
                pretty_units(row["units"]),
                *(_cell(value) for value in errors),
                _cell(row["bias"]),
                "-" if row["acc"] is None else f"{row['acc']:.2f}",
            ]
        )
        best.append([2 + errors.index(min(known))] if known else [])
    return Table(
        "Root mean square error over all columns and times (bold: lowest), bias of the emulator, "
        "and the correlation of its anomalies from ECLand's climatology.",
        ["variable", "unit", "emulator", *baselines, "bias", "anomaly corr."],
        rows,
        best,
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else number(value)
