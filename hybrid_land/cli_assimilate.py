"""The command line's part for assimilation: observations into a model, window by window."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hybrid_land.cli_ensemble import AsJson, DataPath
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER

if TYPE_CHECKING:
    import xarray as xr

    from hybrid_land.interface import Model

# Without a name its command stands beside those of the application it is added to.
assimilate_app = typer.Typer()

BACKGROUNDS = ("given", "climatology", "model", "nmc", "ensemble")
_MODEL_LEAD_DAYS = 30.0  # how long a background has run free


@assimilate_app.command("assimilate")
def assimilate_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run directory, or a shipped model's name.")
    ],
    data: DataPath,
    obs: Annotated[
        Path, typer.Option("--obs", help="Observations: dims (time, column), <name>, <name>_error.")
    ],
    out: Annotated[Path, typer.Option("--out", help="NetCDF file to write.")],
    method: Annotated[
        str, typer.Option(help="4dvar, weak-4dvar, 4denvar, hybrid-gain or sekf.")
    ] = "4dvar",
    truth: Annotated[Path | None, typer.Option(help="What the state was, for scores.")] = None,
    first_guess: Annotated[
        Path | None, typer.Option(help="Prognostic variables on column; else DATA's first state.")
    ] = None,
    window_days: Annotated[float, typer.Option(help="Length of a window.")] = 30.0,
    shift_days: Annotated[
        float | None, typer.Option(help="From a window's start to the next; else its length.")
    ] = None,
    control: Annotated[
        str, typer.Option(help="Control variables: prognostic names, and theta_cap.")
    ] = "swvl1,swvl2,swvl3,swvl4",
    background: Annotated[
        str,
        typer.Option(
            help="B: given (standard deviations), climatology (DATA's), model (its own errors), "
            "nmc (differences of its forecasts of 1 and 2 days from DATA's states) or ensemble "
            "(spread of --ensemble's forecasts of 10 days from them)."
        ),
    ] = "given",
    background_error: Annotated[
        str, typer.Option(help="Standard deviations for B given: swvl1=0.05,swvl2=0.04.")
    ] = "",
    background_scale: Annotated[
        float, typer.Option(help="Of the standard deviations of any other B.")
    ] = 1.0,
    ensemble: Annotated[
        str, typer.Option(help="For --background ensemble: a directory or a shipped one's name.")
    ] = "default_ensemble",
    propagate: Annotated[
        bool,
        typer.Option("--propagate", help="B of a window from the last one's analysis error."),
    ] = False,
    growth: Annotated[
        str,
        typer.Option(help="What the model's own error adds to the stated one a day: swvl1=0.003."),
    ] = "",
    model_error: Annotated[
        str, typer.Option(help="For weak-4dvar, standard deviations a day: swvl1=0.004.")
    ] = "",
    parts: Annotated[int, typer.Option(help="For weak-4dvar, sub-windows.")] = 3,
    bias: Annotated[
        str, typer.Option(help="Estimate observations' bias, prior deviation: swvl1=0.03.")
    ] = "",
    minimiser: Annotated[
        str,
        typer.Option(
            help="levenberg-marquardt, gauss-newton, bfgs, l-bfgs, incremental or small-hessian."
        ),
    ] = "levenberg-marquardt",
    members: Annotated[
        int, typer.Option(help="For 4denvar and hybrid-gain, of the ensemble.")
    ] = 12,
    restart: Annotated[
        Path | None, typer.Option(help="Folder that keeps each window, to go on from.")
    ] = None,
    withhold: Annotated[
        float, typer.Option(help="Share of the observations to verify with instead, such as 0.2.")
    ] = 0.0,
    withhold_seed: Annotated[int, typer.Option(min=0, help="Of what is withheld.")] = 0,
    taylor_test: Annotated[
        bool, typer.Option("--taylor-test", help="Is the cost's gradient right? Order 2 if so.")
    ] = False,
    adjoint_test: Annotated[
        bool, typer.Option("--adjoint-test", help="Do tangent and adjoint agree?")
    ] = False,
    chi_squared: Annotated[
        bool, typer.Option("--chi-squared", help="Is the cost at the minimum what B and R promise?")
    ] = False,
    desroziers: Annotated[
        bool, typer.Option("--desroziers", help="Factors for B and R from the departures.")
    ] = False,
    innovations: Annotated[
        bool, typer.Option("--innovations", help="Mean, spread and memory of the innovations.")
    ] = False,
    rank: Annotated[
        bool, typer.Option("--rank", help="Rank and coverage of --truth in the analysis.")
    ] = False,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="All of these that what is given allows.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for a figure of each, of increments and a map.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Correct a model's state (and field capacity) by observations; write the analysis."""
    from assimilation import Options, assimilate, read_observations
    from assimilation.diagnose import DIAGNOSTICS
    from assimilation.diagnose import diagnose as diagnosed
    from assimilation.gradients import window_problem
    from assimilation.verification import withhold as shared_out
    from hybrid_land.cli import answer, listed, open_data, progress_of, tell
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data import save
    from hybrid_land.data.files import require_folder, require_writable
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.models.store import load_model

    require_writable(out)
    if figures is not None:
        require_folder(figures)
    if rank and truth is None:
        raise InputError("--rank without --truth, expected the file of a truth; give it")
    flags = (taylor_test, adjoint_test, chi_squared, desroziers, innovations, rank)
    wanted = [name for name, on in zip(DIAGNOSTICS, flags, strict=True) if on]
    if diagnose:
        wanted = [name for name in DIAGNOSTICS if name != "rank" or truth is not None]
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    observations = read_observations(obs, forcing, allow_none=True)
    withheld = None
    if withhold != 0.0:
        observations, withheld = shared_out(observations, withhold, seed=withhold_seed)
    names = listed(control, option="--control")
    chosen: dict[str, Any] = {
        "control": names,
        "background_error": numbers_of(background_error, option="--background-error"),
        "parts": parts,
        "bias": numbers_of(bias, option="--bias"),
        "minimiser": minimiser,
        "members": members,
        "propagate": propagate,
    }
    if growth:
        chosen["growth"] = numbers_of(growth, option="--growth")
    if model_error:
        chosen["model_error"] = numbers_of(model_error, option="--model-error")
    if background != "given":
        chosen["root"] = _root(
            background,
            names,
            emulator,
            model,
            ensemble,
            forcing,
            background_scale,
            chosen["background_error"],
        )
    guess = None if first_guess is None else read_first_guess(first_guess, forcing)
    actual = None if truth is None else open_data(str(truth), required=SOIL_WATER)
    options = Options(**chosen)
    analysis = assimilate(
        emulator,
        forcing,
        observations,
        first_guess=guess,
        method=method,
        window_days=window_days,
        shift_days=shift_days,
        options=options,
        truth=actual,
        restart=restart,
        progress=progress_of("window"),
    )
    analysis.attrs |= diagnosed(
        analysis,
        wanted,
        problem=partial(
            window_problem,
            emulator,
            forcing,
            observations,
            first_guess=guess,
            method=method,
            window_days=window_days,
            options=options,
        ),
        truth=actual,
        withheld=withheld,
        folder=figures,
    )
    if "notice" in analysis.attrs:
        tell(f"{obs}: {analysis.attrs['notice']}")
    save(analysis, out)
    words = "\n".join(f"{key}: {value}" for key, value in analysis.attrs.items())
    answer({"out": str(out), **analysis.attrs}, as_json=as_json, words=f"{out}\n{words}")


def numbers_of(text: str, *, option: str) -> dict[str, float]:
    """`name=number` pairs separated by commas.

    Raises:
        InputError: for what is no such pair.
    """
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise InputError(
                f"{option} {pair!r}, expected name=number such as swvl1=0.05; correct it"
            ) from error
    return found


def _root(
    kind: str,
    names: tuple[str, ...],
    model: "Model",
    model_name: str,
    ensemble: str,
    data: "xr.Dataset",
    scale: float,
    errors: Mapping[str, float],
) -> Any:
    """U of the prognostic variables by what is asked for; parameters have deviations, given."""
    from assimilation.covariance import (
        background_root,
        climatological_root,
        covariance_root,
        joined_root,
        nmc_root,
        spread_root,
    )
    from hybrid_land.evaluation.error_covariance import load_errors
    from hybrid_land.models.ensemble import load_ensemble

    if kind not in BACKGROUNDS:
        raise InputError(
            f"--background {kind!r} is not known, expected {', '.join(BACKGROUNDS)}; use one"
        )
    of_state = tuple(name for name in names if name in model.prognostic)
    of_parameters = tuple(name for name in names if name not in model.prognostic)
    if not of_state:
        raise InputError(
            f"--background {kind} for {', '.join(names)}, expected a prognostic variable in "
            "--control; use --background given"
        )
    if kind == "climatology":
        root = climatological_root(of_state, data, scale=scale)
    elif kind == "model":
        lead = _MODEL_LEAD_DAYS * 86400.0 / model.time_step
        found = scale**2 * load_errors(model_name).covariance(lead, variables=of_state)
        root = covariance_root(of_state, found, source="the covariance of the model's errors")
    elif kind == "ensemble":
        models = load_ensemble(ensemble)
        members = [models.member(k) for k in range(models.size)]
        root = spread_root(of_state, members, data, scale=scale)
    else:
        root = nmc_root(of_state, model, data, scale=scale)
    given = background_root(of_parameters, deviation=errors)
    return joined_root(names, {of_state: root, of_parameters: given})
