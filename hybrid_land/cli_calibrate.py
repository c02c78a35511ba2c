"""The command line's part for calibration: parameters of each column from observations."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hybrid_land.cli_ensemble import AsJson, DataPath
from hybrid_land.errors import InputError

calibrate_app = typer.Typer()
UNFIT = 3  # exit status when the result is written but is no posterior


@calibrate_app.command("calibrate")
def calibrate_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run directory, a hybrid, or a shipped name.")
    ],
    data: DataPath,
    obs: Annotated[
        Path, typer.Option("--obs", help="Observations: dims (time, column), <name>, <name>_error.")
    ],
    out: Annotated[Path, typer.Option("--out", help="NetCDF file to write.")],
    parameters: Annotated[
        str, typer.Option(help="Of theta_cap,theta_pwp,veg_rsminh,veg_rsminl,ksat,cvh,cvl.")
    ] = "theta_cap",
    method: Annotated[
        str,
        typer.Option(
            help="nuts; grid, of one or two parameters; laplace or svi; smc or metropolis; "
            "eki or eks; flow or dbuq, learnt from simulations; history; bayesopt."
        ),
    ] = "nuts",
    prior: Annotated[
        str,
        typer.Option(
            help="theta_cap=uniform:0.2:0.4,ksat=lognormal:1e-6:0.5, also normal:MEAN:SD and "
            "loguniform; else what MODEL was trained on, by soil type."
        ),
    ] = "",
    structure: Annotated[
        str,
        typer.Option(help="column, each for itself; pooled; or hierarchical, effects of columns."),
    ] = "column",
    covariates: Annotated[
        str, typer.Option(help="Of what columns share: theta_sat,ksat, or sotype for levels.")
    ] = "",
    discrepancy: Annotated[
        str,
        typer.Option(
            help="The model's own error: model (of its validation, by lead and lag), none, or "
            "standard deviations, swvl1=0.01."
        ),
    ] = "model",
    discrepancy_factor: Annotated[
        float, typer.Option(help="On the standard deviation of the model's.")
    ] = 1.0,
    parameter_error: Annotated[
        str,
        typer.Option(
            help="Of the value with which MODEL does best about the true one: model (of its "
            "validation), none, or shares of the range, theta_cap=0.1."
        ),
    ] = "model",
    representativeness: Annotated[
        str, typer.Option(help="Error of a point for its column, independent: swvl1=0.02.")
    ] = "",
    ar1: Annotated[
        str, typer.Option(help="Error of the observations that lasts: swvl1=0.01.")
    ] = "",
    ar1_days: Annotated[float, typer.Option(help="In which that falls to 1/e.")] = 10.0,
    first_state: Annotated[
        str, typer.Option(help="data, spun-up:YEARS or sampled:SPREAD (of its soil water).")
    ] = "data",
    chains: Annotated[int | None, typer.Option(min=1, help="Of each column; else 4.")] = None,
    warmup: Annotated[
        int | None, typer.Option(min=10, help="Draws of warm-up; of nuts 200.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=10, help="Kept of each chain; of nuts 300.")
    ] = None,
    options: Annotated[
        str, typer.Option(help="More of a method's: target_acceptance=0.9,max_tree_depth=8.")
    ] = "",
    predictions: Annotated[
        int, typer.Option(min=0, help="Draws of what would have been observed; 0 for none.")
    ] = 100,
    checks: Annotated[
        str,
        typer.Option(
            help="Of the posterior: predictive, loo, identifiability; comparison with laplace; "
            "sbc, coverage, tarp by 200 simulated experiments or more."
        ),
    ] = "",
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures of the checks.")
    ] = None,
    restart: Annotated[
        Path | None, typer.Option(help="Folder that keeps the chains, to go on from.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate parameters of each column from observations, with intervals; write the posterior.

    Exit status 3 if the chains did not mix or the method did not converge in a column: the result
    is written, and marked unfit.
    """
    from assimilation import read_observations
    from calibration import calibrate, save_posterior, summary
    from hybrid_land.any_model import load_model, trained_ranges
    from hybrid_land.cli import answer, listed, open_data, progress_of, tell
    from hybrid_land.cli_assimilate_options import numbers_of
    from hybrid_land.cli_calibrate_options import (
        errors_of,
        options_for,
        read_first_state,
        read_priors,
    )
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data.files import require_folder, require_writable
    from hybrid_land.devices import use_cores

    use_cores()
    require_writable(out)
    if restart is not None:
        require_folder(restart)
    if figures is not None:
        require_folder(figures)
    names = listed(parameters)
    wanted = listed(checks, option="--checks") if checks else ()
    if figures is not None and not wanted:
        raise InputError("--figures without --checks, expected the checks to draw; name some")
    begin = read_first_state(first_state)
    priors = read_priors(prior)
    of_method = options_for(
        method, options, restart=restart, chains=chains, warmup=warmup, draws=draws
    )
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    observations = read_observations(obs, forcing)
    posterior = calibrate(
        emulator,
        forcing,
        observations,
        parameters=names,
        method=method,
        errors=errors_of(
            emulator,
            model,
            discrepancy=discrepancy,
            factor=discrepancy_factor,
            parameter_error=parameter_error,
            representativeness=numbers_of(representativeness, option="--representativeness"),
            ar1=numbers_of(ar1, option="--ar1"),
            ar1_days=ar1_days,
        ),
        priors=priors,
        ranges=trained_ranges(model),
        first_state=begin,
        structure=structure,
        covariates=listed(covariates, option="--covariates") if covariates else (),
        predictions=predictions,
        checks=wanted,
        figures=figures,
        seed=seed,
        progress=progress_of("draw"),
        **of_method,
    )
    result = summary(posterior)
    if wanted:
        result["checks"] = json.loads(posterior["posterior"].attrs["checks"])
        said = [f"{name}: {found['words']}" for name, found in result["checks"].items()]
        result["words"] = "\n".join([result["words"], *said])
    if result["unfit"]:
        posterior["posterior"].attrs["unfit"] = result["unfit"]
    if notice := posterior["posterior"].attrs.get("notice"):
        tell(f"hybrid-land: warning: {notice}")
    save_posterior(posterior, out)
    answer({"out": str(out), **result}, as_json=as_json, words=f"{out}\n{result['words']}")
    if result["unfit"]:
        tell(f"hybrid-land: {out} is unfit for use: {result['unfit']}; {result['remedy']}")
        raise typer.Exit(UNFIT)
