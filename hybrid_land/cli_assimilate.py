"""The command line's part for assimilation: observations into a model, window by window."""

from collections.abc import Mapping
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

BACKGROUNDS = ("given", "climatology", "model", "nmc")
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
    method: Annotated[str, typer.Option(help="4dvar, weak-4dvar, 4denvar or sekf.")] = "4dvar",
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
            help="B: given (standard deviations), climatology (DATA's), model (its own errors) or "
            "nmc (differences of its forecasts of 1 and 2 days from DATA's states)."
        ),
    ] = "given",
    background_error: Annotated[
        str, typer.Option(help="Standard deviations for B given: swvl1=0.05,swvl2=0.04.")
    ] = "",
    background_scale: Annotated[
        float, typer.Option(help="Of the standard deviations of any other B.")
    ] = 1.0,
    model_error: Annotated[
        str, typer.Option(help="For weak-4dvar, standard deviations a day: swvl1=0.004.")
    ] = "",
    parts: Annotated[int, typer.Option(help="For weak-4dvar, sub-windows.")] = 3,
    bias: Annotated[
        str, typer.Option(help="Estimate observations' bias, prior deviation: swvl1=0.03.")
    ] = "",
    minimiser: Annotated[
        str,
        typer.Option(help="levenberg-marquardt, gauss-newton, bfgs, l-bfgs or incremental."),
    ] = "levenberg-marquardt",
    members: Annotated[int, typer.Option(help="For 4denvar, of the ensemble.")] = 12,
    restart: Annotated[
        Path | None, typer.Option(help="Folder that keeps each window, to go on from.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Chi squared, Desroziers and innovations, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Correct a model's state (and field capacity) by observations; write the analysis."""
    from assimilation import Options, assimilate, read_observations
    from hybrid_land.cli import answer, listed, open_data, progress_of
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data import save
    from hybrid_land.data.files import require_writable
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.models.store import load_model

    require_writable(out)
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    observations = read_observations(obs, forcing)
    names = listed(control, option="--control")
    chosen: dict[str, Any] = {
        "control": names,
        "background_error": numbers_of(background_error, option="--background-error"),
        "parts": parts,
        "bias": numbers_of(bias, option="--bias"),
        "minimiser": minimiser,
        "members": members,
    }
    if model_error:
        chosen["model_error"] = numbers_of(model_error, option="--model-error")
    if background != "given":
        chosen["root"] = _root(background, names, emulator, model, forcing, background_scale)
    analysis = assimilate(
        emulator,
        forcing,
        observations,
        first_guess=None if first_guess is None else read_first_guess(first_guess, forcing),
        method=method,
        window_days=window_days,
        shift_days=shift_days,
        options=Options(**chosen),
        truth=None if truth is None else open_data(str(truth), required=SOIL_WATER),
        restart=restart,
        progress=progress_of("window"),
    )
    if diagnose:
        analysis.attrs |= diagnosed(analysis, observations.errors)
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
    data: "xr.Dataset",
    scale: float,
) -> Any:
    from assimilation.covariance import climatological_root, covariance_root, nmc_root
    from hybrid_land.evaluation.error_covariance import load_errors

    if kind not in BACKGROUNDS:
        raise InputError(
            f"--background {kind!r} is not known, expected {', '.join(BACKGROUNDS)}; use one"
        )
    if kind == "climatology":
        return climatological_root(names, data, scale=scale)
    if kind == "model":
        lead = _MODEL_LEAD_DAYS * 86400.0 / model.time_step
        found = scale**2 * load_errors(model_name).covariance(lead, variables=names)
        return covariance_root(names, found, source="the covariance of the model's errors")
    return nmc_root(names, model, data, scale=scale)


def diagnosed(analysis: "xr.Dataset", errors: Mapping[str, Any]) -> dict[str, float | int]:
    """What the analysis says of its own errors, for its attributes.

    Args:
        analysis: in the Analysis form.
        errors: stated standard deviations by observable, one where nothing was observed.
    """
    import numpy as np

    from assimilation.diagnostics import chi_squared, desroziers, innovation_statistics

    found: dict[str, float | int] = {
        f"chi_squared_{key}": value for key, value in chi_squared(analysis).items()
    }
    for name, stated in errors.items():
        seen = np.isfinite(analysis[f"{name}_innovation"].to_numpy())
        if seen.any():
            error = float(np.asarray(stated)[seen].mean())
            found |= {
                f"{name}_{key}": value
                for key, value in (
                    desroziers(analysis, name, error=error) | innovation_statistics(analysis, name)
                ).items()
            }
    return found
