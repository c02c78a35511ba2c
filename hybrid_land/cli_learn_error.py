"""The command line's part for a model's error: learnt from observations, left as a hybrid."""

import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hybrid_land import cli_assimilate_options as its
from hybrid_land.cli_ensemble import AsJson, DataPath
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER

if TYPE_CHECKING:
    from assimilation.model_error.land import LandRound

    Context = typer.Context
else:
    # What typer hands over: its own click's or click's, the base of its annotation either way.
    Context = typer.Context.__mro__[1]

learn_error_app = typer.Typer()

# What factors of parameters, which are learnt from free runs, have no use for.
_OF_THE_NETWORK = (
    *("hidden", "forecast_days", "updates", "rate", "members", "lag_days"),
    *("background_error", "growth", "rain_error"),
)


@learn_error_app.command("learn-error")
def learn_error_command(
    context: Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run directory, a hybrid, or a shipped name.")
    ],
    data: DataPath,
    obs: Annotated[
        Path, typer.Option("--obs", help="Observations: dims (time, column), <name>, <name>_error.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the hybrid, new or empty.")],
    truth: Annotated[
        Path | None, typer.Option(help="What the state was, for scores; nothing is learnt of it.")
    ] = None,
    first_guess: Annotated[
        Path | None, typer.Option(help="Prognostic variables on column; else DATA's first state.")
    ] = None,
    cycles: Annotated[int, typer.Option(min=1, help="Of the loop at most.")] = 3,
    held_out: Annotated[
        float, typer.Option(help="Share of the columns that nothing is learnt from.")
    ] = 0.2,
    parameters: Annotated[
        str,
        typer.Option(
            help="Correct these (theta_cap,theta_pwp) by factors, from free runs, without a "
            "network or a smoother."
        ),
    ] = "",
    hidden: Annotated[str, typer.Option(help="Widths of the correction's hidden layers.")] = "6",
    forecast_days: Annotated[
        float, typer.Option(help="Length of the forecasts it is learnt from.")
    ] = 5.0,
    updates: Annotated[int, typer.Option(min=1, help="Of the weights in a cycle.")] = 100,
    rate: Annotated[float, typer.Option(help="Of Adam; smaller where the cost rises.")] = 0.002,
    prior: Annotated[
        float | None,
        typer.Option(help="How large corrections may be: 0.3 of the network's scale, or 20%."),
    ] = None,
    members: Annotated[int, typer.Option(help="Of the smoother's ensemble.")] = 20,
    lag_days: Annotated[float, typer.Option(help="How far back the smoother corrects.")] = 10.0,
    background_error: Annotated[
        str, typer.Option(help="Standard deviations of the first guess: swvl1=0.02,stl1=0.5.")
    ] = "",
    growth: Annotated[
        str, typer.Option(help="What the model adds to its error a day: swvl1=0.002,stl1=0.4.")
    ] = "",
    rain_error: Annotated[
        float, typer.Option(help="Standard deviation of the members' factor of precipitation.")
    ] = 0.0,
    seed: its.Seed = 0,
    restart: Annotated[
        Path | None, typer.Option(help="Folder that keeps each cycle, to go on from.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a model's error from observations; leave a hybrid that every command takes."""
    from assimilation import read_observations
    from assimilation.filters.forcing_errors import ForcingErrors
    from assimilation.model_error.ensemble_of_weights import EnsembleOfWeights
    from assimilation.model_error.forecasts import Forecasts
    from assimilation.model_error.land import LandLoop, learn_land_error
    from hybrid_land.any_model import load_model
    from hybrid_land.cli import answer, open_data, tell
    from hybrid_land.columns import require_model_fits, time_step_of
    from hybrid_land.data.files import require_folder
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.learnt_report import report_of

    if parameters:
        for option in _OF_THE_NETWORK:
            source = context.get_parameter_source(option)
            if source is not None and source.name == "COMMANDLINE":
                raise InputError(
                    f"--{option.replace('_', '-')} with --parameters, expected it for a network "
                    "alone: factors are learnt from free runs; leave one of the two out"
                )
    require_folder(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: not empty, expected a new or empty folder; choose another")
    for option, value in (("--forecast-days", forecast_days), ("--rate", rate), ("--prior", prior)):
        if value is not None and not 0.0 < value < float("inf"):
            raise InputError(f"{option} is {value:g}, expected a number above 0; correct it")
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    observations = read_observations(obs, forcing)
    loop = LandLoop()
    own = its.numbers_of(background_error, option="--background-error")
    grown = its.numbers_of(growth, option="--growth")
    reanalysis: dict[str, Any] = {
        "background_error": {**loop.reanalysis.background_error, **own},
        "growth": {**loop.reanalysis.growth, **grown},
        "members": members,
        "lag_days": lag_days,
        "forcing": ForcingErrors(precipitation=rain_error),
    }
    loop = LandLoop(
        most=cycles,
        held_out=held_out,
        parameters=tuple(name.strip() for name in parameters.split(",") if name.strip()),
        ensemble=EnsembleOfWeights(prior=loop.ensemble.prior if prior is None else prior),
        hidden=_widths(hidden),
        reanalysis=replace(loop.reanalysis, **reanalysis),
        fit=Forecasts(
            steps=max(1, round(forecast_days * 86400.0 / time_step_of(forcing))),
            updates=updates,
            rate=rate,
            prior=loop.fit.prior if prior is None else prior,
        ),
        seed=seed,
    )
    guess = None if first_guess is None else read_first_guess(first_guess, forcing)
    actual = None if truth is None else open_data(str(truth), required=SOIL_WATER)
    if actual is not None and dict(actual.sizes) != dict(forcing.sizes):
        raise InputError(
            f"{truth}: {dict(actual.sizes)}, expected {dict(forcing.sizes)} as in {data}; cut it "
            "to the same times and columns"
        )

    def said(number: int, one: "LandRound") -> None:
        tell(f"cycle {number} of {cycles}  held-out score {one.score:.4f}")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        learnt = learn_land_error(
            emulator,
            forcing,
            observations,
            first_guess=guess,
            loop=loop,
            restart=restart,
            report=said,
        )
    for text in dict.fromkeys(str(one.message) for one in caught if "analyses" in str(one.message)):
        tell(f"hybrid-land: warning: {text}")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        result = report_of(
            learnt, forcing, partial, base=model, first_guess=guess, truth=actual, loop=loop
        )
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    answer(
        {"out": str(out), **result}, as_json=as_json, words=f"{out}\n{json.dumps(result, indent=1)}"
    )


def _widths(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise InputError(f"--hidden {text!r}, expected widths such as 6 or 16,8; correct it")
    return found
