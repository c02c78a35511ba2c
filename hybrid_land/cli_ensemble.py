"""The command line's part for ensembles: to assemble one, to run it, to score it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hybrid_land.models.ensemble import Ensemble

ensemble_app = typer.Typer(
    name="ensemble",
    help="Several emulators as one: assemble them, run them, score their spread.",
    no_args_is_help=True,
)

EnsembleName = Annotated[
    str, typer.Argument(metavar="ENSEMBLE", help="Directory that `ensemble assemble` wrote.")
]
DataPath = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="ECLand data in any form that is read, or sample:unseen and the like."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output.")
]


@ensemble_app.command("assemble")
def assemble_command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Model directories, one a member.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the ensemble; made if absent.")],
    as_json: AsJson = False,
) -> None:
    """Stack trained models of one architecture as an ensemble."""
    from hybrid_land.cli import answer
    from hybrid_land.data.files import require_folder
    from hybrid_land.models.ensemble import assemble

    require_folder(out)
    made = assemble(runs, out)
    result = {"out": str(out), "members": made.size, "member_names": [Path(r).name for r in runs]}
    answer(result, as_json=as_json, words=f"{out}: ensemble of {made.size} members")


@ensemble_app.command("rollout")
def rollout_command(
    ensemble: EnsembleName,
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="NetCDF file to write.")],
    first_guess: Annotated[
        Path | None, typer.Option(help="Another first state: prognostic variables on column.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run every member freely over DATA and write the result with its dimension `member`."""
    from hybrid_land.cli import answer
    from hybrid_land.data import save
    from hybrid_land.data.files import require_writable
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.ensemble_run import simulate_ensemble

    require_writable(out)
    members, forcing = _opened(ensemble, data)
    initial = read_first_guess(first_guess, forcing) if first_guess is not None else None
    run = simulate_ensemble(members, forcing, initial=initial)
    run.attrs["title"] = f"Free run of the ensemble {Path(ensemble).name}"
    save(run, out)
    sizes = {"columns": run.sizes["column"], "steps": run.sizes["time"], "members": members.size}
    words = f"{out}: " + ", ".join(f"{size} {name}" for name, size in sizes.items())
    answer({"out": str(out), **sizes}, as_json=as_json, words=words)


@ensemble_app.command("evaluate")
def evaluate_command(
    ensemble: EnsembleName,
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="Folder to write into; made if absent.")],
    as_json: AsJson = False,
) -> None:
    """Score the mean of the free runs as a model, and the forecasts by their spread.

    The mean stands in scores.json and scoreboard.md with the first member beside it; ensemble.json,
    ensemble.md and their figures say whether the spread can be trusted, as it is and, where the
    ensemble has a calibration.json, calibrated.
    """
    from hybrid_land.cli import answer, tell
    from hybrid_land.columns import time_step_of
    from hybrid_land.data.files import make_folder, require_folder
    from hybrid_land.ensemble_run import simulate_ensemble
    from hybrid_land.evaluation.ensemble import evaluate_ensemble
    from hybrid_land.evaluation.ensemble_forecasts import LEAD_DAYS
    from hybrid_land.evaluation.evaluate import evaluate
    from hybrid_land.evaluation.inflation import load_calibration

    require_folder(out)
    members, truth = _opened(ensemble, data)
    calibration = load_calibration(ensemble, members=members.size)
    name = Path(ensemble).name
    folder = make_folder(out)
    tell(f"rolling out the {members.size} members of {name}")
    result = evaluate(
        simulate_ensemble(members, truth).mean("member", keep_attrs=True),
        truth,
        out=folder,
        others={"first member": members.member(0)},
        name=f"{name} (mean)",
        report=tell,
    )
    words = (folder / "scoreboard.md").read_text()
    room = (truth.sizes["time"] - 1) * time_step_of(truth) / 86400.0
    leads = [days for days in LEAD_DAYS if days <= room]
    if leads:
        result["ensemble"] = evaluate_ensemble(
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


def _opened(name: str, data: str) -> "tuple[Ensemble, Any]":
    from hybrid_land.cli import open_data
    from hybrid_land.columns import require_model_fits
    from hybrid_land.models.ensemble import load_ensemble

    members = load_ensemble(name)
    forcing = open_data(data)
    require_model_fits(members.member(0), forcing, source=data)
    return members, forcing
