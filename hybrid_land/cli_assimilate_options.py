"""Options of `hybrid-land assimilate`: their form, and what of them a method takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hybrid_land.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from hybrid_land.interface import Model

BACKGROUNDS = ("given", "climatology", "model", "nmc", "ensemble")
_MODEL_LEAD_DAYS = 30.0  # how long a background has run free

Members = Annotated[
    int | None,
    typer.Option(help="Of the ensemble: 40 of a filter, 12 of 4denvar and hybrid-gain."),
]
Inflation = Annotated[
    float | None,
    typer.Option(help="Factor of an ensemble's perturbations: 1 of a filter, else 1.05 a window."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of an ensemble.")]
CycleDays = Annotated[
    float | None,
    typer.Option(help="Of a filter, from an analysis to the next; else the model's step."),
]
LagDays = Annotated[
    float | None, typer.Option(help="For enks (20) and ienks (5), how far back it corrects.")
]
Relaxation = Annotated[
    float | None, typer.Option(help="Of a filter, to the prior spread (RTPS), 0 to 1.")
]
LocalisationKm = Annotated[
    float | None,
    typer.Option(help="For letkf, the distance at which an observation counts for nothing."),
]
LocalisationDepthM = Annotated[
    float | None, typer.Option(help="For letkf, the same in depth, between the middles of layers.")
]
RainError = Annotated[
    float | None,
    typer.Option(help="Of a filter's precipitation: standard deviation of its factor; else 0.3."),
]
ForcingError = Annotated[
    str, typer.Option(help="Of a filter's forcing: shortwave=0.3,longwave=20,temperature=1.")
]
ForcingMemoryDays = Annotated[
    float | None, typer.Option(help="Of these errors; else each step has its own.")
]
ForcingKm = Annotated[
    float | None, typer.Option(help="Over which they are correlated; else each column has its own.")
]

Chosen = Mapping[str, Any]


def options_for(method: str, *, common: Chosen, variational: Chosen, ensemble: Chosen) -> Any:
    """The options of a method, from those of the command line.

    Args:
        method: by name.
        common: that every method takes.
        variational: that the others take, by option; what was not given is not there.
        ensemble: that ensemble filters and smoothers take, the same.

    Raises:
        InputError: for an option of the other kind of method.
    """
    from assimilation import FILTERS, FilterOptions, Options
    from assimilation.filters.forcing_errors import QUANTITIES, ForcingErrors

    kinds = {True: "an ensemble filter", False: "a variational method"}
    is_filter = method in FILTERS
    strange = variational if is_filter else ensemble
    for option in strange:
        raise InputError(
            f"{option} with --method {method}, expected {kinds[not is_filter]}; leave it out or "
            "choose another method"
        )
    if not is_filter:
        named = {_field(option): value for option, value in variational.items()}
        return Options(**common, **named)
    own = dict(ensemble)
    errors = dict(numbers_of(own.pop("--forcing-error", ""), option="--forcing-error"))
    for name in errors:
        if name not in QUANTITIES:
            raise InputError(
                f"--forcing-error {name!r} is not known, expected {', '.join(QUANTITIES)}; use one"
            )
    errors = {"precipitation": own.pop("--rain-error", 0.3)} | errors
    for option, name in (
        ("--forcing-memory-days", "memory_days"),
        ("--forcing-km", "correlation_km"),
    ):
        errors[name] = own.pop(option, 0.0)
    named = {_field(option): value for option, value in own.items()}
    return FilterOptions(**common, **named, forcing=ForcingErrors(**errors))


def given(**values: Any) -> dict[str, Any]:
    """Options by their name on the command line, those that were given."""
    return {
        f"--{name.replace('_', '-')}": value
        for name, value in values.items()
        if value is not None and value is not False and value != ""
    }


def _field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


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


def root_of(
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
