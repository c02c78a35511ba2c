"""The command line's part for ensembles: to assemble one, and to run and score it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hybrid_land.models.ensemble import Ensemble


def ensemble(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Model directories, one a member.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the ensemble; made if absent.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Stack trained models of one architecture as an ensemble, which rollout and evaluate take."""
    from hybrid_land.cli import answer
    from hybrid_land.data.files import require_folder
    from hybrid_land.models.ensemble import assemble

    require_folder(out)
    made = assemble(runs, out)
    result = {"out": str(out), "members": made.size, "member_names": [Path(r).name for r in runs]}
    answer(result, as_json=as_json, words=f"{out}: ensemble of {made.size} members")


def is_ensemble(model: str) -> bool:
    """Whether MODEL is an ensemble's directory.

    Raises:
        InputError: if there is no model.
    """
    from hybrid_land.models.ensemble import is_ensemble as of_directory

    return of_directory(model)


def rollout_ensemble(
    model: str, data: str, out: Path, *, first_guess: Path | None, as_json: bool
) -> None:
    """Run every member freely over DATA and write the result with its dimension `member`."""
    from hybrid_land.cli import answer
    from hybrid_land.data import save
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.ensemble_run import simulate_ensemble

    members, forcing = _opened(model, data)
    initial = read_first_guess(first_guess, forcing) if first_guess is not None else None
    run = simulate_ensemble(members, forcing, initial=initial)
    run.attrs["title"] = f"Free run of the ensemble {Path(model).name}"
    save(run, out)
    sizes = {"columns": run.sizes["column"], "steps": run.sizes["time"], "members": members.size}
    words = f"{out}: " + ", ".join(f"{size} {name}" for name, size in sizes.items())
    answer({"out": str(out), **sizes}, as_json=as_json, words=words)


def evaluate_ensemble(
    model: str, data: str, out: Path, *, others: dict[str, Any], as_json: bool
) -> None:
    """Score the mean of the free runs as a model is scored, and the forecasts as an ensemble's.

    The mean stands in `scores.json` and `scoreboard.md` with the first member beside it;
    `ensemble.json`, `ensemble.md` and their figures say whether the spread can be trusted, as it
    is and, where the ensemble has a calibration, calibrated.
    """
    from hybrid_land.cli import answer, tell
    from hybrid_land.columns import time_step_of
    from hybrid_land.data.files import make_folder
    from hybrid_land.ensemble_run import simulate_ensemble
    from hybrid_land.evaluation.ensemble import evaluate_ensemble as score_ensemble
    from hybrid_land.evaluation.ensemble_forecasts import LEAD_DAYS
    from hybrid_land.evaluation.evaluate import evaluate as score
    from hybrid_land.evaluation.inflation import load_calibration

    members, truth = _opened(model, data)
    calibration = load_calibration(model, members=members.size)
    name = Path(model).name
    folder = make_folder(out)
    tell(f"rolling out the {members.size} members of {name}")
    mean = simulate_ensemble(members, truth).mean("member", keep_attrs=True)
    result = score(
        mean,
        truth,
        out=folder,
        others={"first member": members.member(0), **others},
        name=f"{name} (mean)",
        report=tell,
    )
    words = (folder / "scoreboard.md").read_text()
    room = (truth.sizes["time"] - 1) * time_step_of(truth) / 86400.0
    leads = [days for days in LEAD_DAYS if days <= room]
    if leads:
        result["ensemble"] = score_ensemble(
            members,
            truth,
            calibration=calibration,
            out=folder,
            name=name,
            lead_days=leads,
            report=tell,
        )
        words += "\n" + (folder / "ensemble.md").read_text()
    answer(result, as_json=as_json, words=words)


def _opened(model: str, data: str) -> "tuple[Ensemble, Any]":
    from hybrid_land.cli import open_data
    from hybrid_land.columns import require_model_fits
    from hybrid_land.models.ensemble import load_ensemble

    members = load_ensemble(model)
    forcing = open_data(data)
    require_model_fits(members.member(0), forcing, source=data)
    return members, forcing
