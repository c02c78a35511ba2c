"""The command line's part for assimilation: observations into a model, window by window."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hybrid_land import cli_assimilate_options as its
from hybrid_land.cli_ensemble import AsJson, DataPath
from hybrid_land.errors import InputError
from hybrid_land.variables import SOIL_WATER

# Without a name its command stands beside those of the application it is added to.
assimilate_app = typer.Typer()


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
        str,
        typer.Option(
            help="4dvar, weak-4dvar, 4denvar, hybrid-gain or sekf; enkf, etkf, enkf-n, denkf, "
            "letkf, enks, ienks or pf."
        ),
    ] = "4dvar",
    truth: Annotated[Path | None, typer.Option(help="What the state was, for scores.")] = None,
    first_guess: Annotated[
        Path | None, typer.Option(help="Prognostic variables on column; else DATA's first state.")
    ] = None,
    window_days: Annotated[
        float, typer.Option(help="Length of a window; of a filter, of what --restart keeps.")
    ] = 30.0,
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
    ] = "large_ensemble",
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
    parts: Annotated[int | None, typer.Option(help="For weak-4dvar, sub-windows; else 3.")] = None,
    bias: Annotated[
        str, typer.Option(help="Estimate observations' bias, prior deviation: swvl1=0.03.")
    ] = "",
    minimiser: Annotated[
        str,
        typer.Option(
            help="levenberg-marquardt (default), gauss-newton, bfgs, l-bfgs, incremental or "
            "small-hessian."
        ),
    ] = "",
    members: its.Members = None,
    inflation: its.Inflation = None,
    seed: its.Seed = 0,
    cycle_days: its.CycleDays = None,
    lag_days: its.LagDays = None,
    relaxation: its.Relaxation = None,
    localisation_km: its.LocalisationKm = None,
    localisation_depth_m: its.LocalisationDepthM = None,
    rain_error: its.RainError = None,
    forcing_error: its.ForcingError = "",
    forcing_memory_days: its.ForcingMemoryDays = None,
    forcing_km: its.ForcingKm = None,
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
        bool,
        typer.Option("--innovations", help="Mean, spread, CRPS and memory of the innovations."),
    ] = False,
    rank: Annotated[
        bool,
        typer.Option(
            "--rank", help="Rank, coverage and CRPS of --truth, and stated error against error."
        ),
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
    from assimilation import FILTERS, assimilate, read_observations
    from assimilation.diagnose import DIAGNOSTICS, GRADIENT
    from assimilation.diagnose import diagnose as diagnosed
    from assimilation.gradients import window_problem
    from assimilation.verification import withhold as shared_out
    from hybrid_land.any_model import load_model
    from hybrid_land.cli import answer, listed, open_data, progress_of, tell
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data import save
    from hybrid_land.data.files import require_folder, require_writable
    from hybrid_land.data.first_guess import read_first_guess

    require_writable(out)
    if figures is not None:
        require_folder(figures)
    if rank and truth is None:
        raise InputError("--rank without --truth, expected the file of a truth; give it")
    flags = (taylor_test, adjoint_test, chi_squared, desroziers, innovations, rank)
    wanted = [name for name, on in zip(DIAGNOSTICS, flags, strict=True) if on]
    if diagnose:
        wanted = [name for name in DIAGNOSTICS if name != "rank" or truth is not None]
    if method in FILTERS:
        for name in set(wanted) & set(GRADIENT) if not diagnose else ():
            raise InputError(
                f"--{name} with --method {method}, expected a variational method: a filter has no "
                "gradient to test; leave it out"
            )
        wanted = [name for name in wanted if name not in GRADIENT]
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    observations = read_observations(obs, forcing, allow_none=True)
    withheld = None
    if withhold != 0.0:
        observations, withheld = shared_out(observations, withhold, seed=withhold_seed)
    names = listed(control, option="--control")
    deviations = its.numbers_of(background_error, option="--background-error")
    common: dict[str, Any] = {"control": names, "background_error": deviations, "seed": seed}
    for name, value in (("members", members), ("inflation", inflation)):
        if value is not None:
            common[name] = value
    if growth:
        common["growth"] = its.numbers_of(growth, option="--growth")
    if background != "given":
        common["root"] = its.root_of(
            background, names, emulator, model, ensemble, forcing, background_scale, deviations
        )
    variational = its.given(
        model_error=its.numbers_of(model_error, option="--model-error") or None,
        parts=parts,
        bias=its.numbers_of(bias, option="--bias") or None,
        minimiser=minimiser,
        propagate=propagate,
    )
    of_filter = its.given(
        cycle_days=cycle_days,
        lag_days=lag_days,
        relaxation=relaxation,
        localisation_km=localisation_km,
        localisation_depth_m=localisation_depth_m,
        rain_error=rain_error,
        forcing_error=forcing_error,
        forcing_memory_days=forcing_memory_days,
        forcing_km=forcing_km,
    )
    options = its.options_for(method, common=common, variational=variational, ensemble=of_filter)
    guess = None if first_guess is None else read_first_guess(first_guess, forcing)
    actual = None if truth is None else open_data(str(truth), required=SOIL_WATER)
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
        problem=None
        if method in FILTERS
        else partial(
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
