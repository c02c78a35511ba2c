"""Calibration: parameters of each column from observations, with their uncertainty."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import jax
import numpy as np
import xarray as xr

from assimilation.observations import Observations
from calibration.checks import Posterior, require_checks, run_checks
from calibration.checks.predictive import unconstrained, with_predictions
from calibration.covariance import Errors
from calibration.effective import true_values
from calibration.experiment import FirstState, land_problem
from calibration.hierarchy import Shared, share
from calibration.methods import METHODS, SHARED
from calibration.posterior import make_posterior
from calibration.priors import Prior
from calibration.problem import Problem
from calibration.trained import Ranges, beyond_training, trained_priors
from hybrid_land.errors import InputError
from hybrid_land.figures import place
from hybrid_land.interface import Model

STRUCTURES = ("column", "pooled", "hierarchical")
_CLASSES = ("sotype", "tvh", "tvl")


def calibrate(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    method: str = "nuts",
    errors: Errors | None = None,
    priors: Mapping[str, Prior] | None = None,
    ranges: Ranges | None = None,
    first_state: FirstState | None = None,
    structure: str = "column",
    covariates: Sequence[str] = (),
    predictions: int = 0,
    checks: Sequence[str] = (),
    figures: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> az.InferenceData:
    """Estimate parameters of each column from observations, with their uncertainty.

    The observations differ from the model by their own error and by the model's (see
    `calibration.covariance`); without the latter the emulator's errors would be read as
    information, and the intervals would be too narrow (Kennedy and O'Hagan 2001).

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        observations: on the records of `data`, from `assimilation.read_observations`.
        parameters: names without `clim_`, such as `theta_cap`.
        method: a name in `METHODS`.
        errors: beside those that the observations carry; by default what the model carries of
            its own error from its validation, nothing if it carries none. The errors by lead and
            lag that lie beside a model's weights, and that of its theta_cap, which the command line
            takes, are `hybrid_land.any_model.own_errors(model, "default")`.
        priors: by parameter.
        ranges: that the model was trained on, by parameter and soil type: the priors of what
            `priors` leaves out, and what it is measured by; the command line's are
            `hybrid_land.any_model.trained_ranges(name)`. Without them `calibration.priors` says
            what is held possible.
        first_state: where the runs begin; by default the data's, taken as known.
        structure: `column`, each for itself; `hierarchical`, columns that share a transfer
            function and have effects of their own; or `pooled`, without the effects.
        covariates: of the transfer function, parameters of the data such as `theta_sat`;
            `sotype` gives each soil type its own level.
        predictions: draws of the prior and posterior predictive groups; none by default.
        checks: of the posterior, names in `calibration.checks.CHECKS`.
        figures: folder for the figures of the checks; none are drawn without it.
        seed: of the random numbers.
        progress: called with the work done and in all.
        options: of the method.

    Returns:
        ArviZ InferenceData; parameters have dims `(chain, draw, column)`, what columns share
        `(chain, draw)`. The attribute `notice` warns of priors beyond `ranges`, and `checks` is
        what `calibration.checks.run_checks` found, as JSON.

    Raises:
        InputError: for an unknown method, option, structure, covariate, check or parameter, data
            that do not fit the model, or too few observations.
    """
    run = _method(method, options)
    _require_structure(structure, covariates, data)
    require_checks(checks, structure=structure)
    if errors is None:
        errors = Errors(model=dict(getattr(model, "expected_error", ())))
    soil = data["clim_sotype"].to_numpy() if "clim_sotype" in data else None
    known = trained_priors(parameters, ranges or {}, soil, columns=data.sizes["column"])
    problem = land_problem(
        model,
        data,
        observations,
        parameters=parameters,
        errors=errors,
        priors=known | dict(priors or {}),
        first_state=first_state,
    )
    facts = {
        "method": method,
        "seed": seed,
        **{
            name: value
            for name, value in options.items()
            if name != "restart" and isinstance(value, str | int | float)
        },
        "observations": int(problem.present.sum()),
        "observables": ", ".join(observations.values),
        "model_error": ", ".join(map(errors.described, observations.values)),
        "parameter_error": ", ".join(
            f"{name} {share:g} of its range"
            for name, share in errors.parameters.items()
            if name in parameters
        ),
        "first_state": (first_state or FirstState()).described(),
        "structure": structure,
    }
    notice = beyond_training(priors or {}, ranges or {}, soil)
    if notice:
        facts["notice"] = "; ".join(notice)
    shared = None
    if structure != "column":
        shared = share(problem, _covariates(data, covariates), pooled=structure == "pooled")
        if method in SHARED:
            run = _of_shared(method, shared, options)
    posterior = posterior_of(
        problem, run, data=data, facts=facts, seed=seed, shared=shared, progress=progress
    )
    if predictions:
        key = jax.random.fold_in(jax.random.key(seed), 1)
        posterior = with_predictions(posterior, problem, key=key, draws=predictions)
    if checks:
        checked = Posterior(
            problem,
            unconstrained(posterior),
            # Simulated experiments leave no chains to go on with.
            _method(method, {name: value for name, value in options.items() if name != "restart"}),
            jax.random.fold_in(jax.random.key(seed), 2),
            labels=[place(data, i) for i in range(problem.count)],
            times=data["time"].to_numpy(),
        )
        found = run_checks(checked, checks, figures=None if figures is None else Path(figures))
        posterior["posterior"].attrs["checks"] = json.dumps(found)
    return posterior


def _require_structure(structure: str, covariates: Sequence[str], data: xr.Dataset) -> None:
    if structure not in STRUCTURES:
        raise InputError(
            f"structure {structure!r} is not known, expected {', '.join(STRUCTURES)}; use one"
        )
    if covariates and structure == "column":
        raise InputError(
            f"covariates {', '.join(covariates)} of columns that share nothing, expected none; "
            "choose hierarchical or pooled"
        )
    for name in covariates:
        if f"clim_{name}" not in data or data[f"clim_{name}"].dims != ("column",):
            raise InputError(
                f"covariate {name!r} is not in the data, expected clim_{name} on column; add it"
            )


def _covariates(data: xr.Dataset, names: Sequence[str]) -> dict[str, np.ndarray]:
    """By name; a class becomes one number a class but the first, 1 where a column is of it."""
    found = {}
    for name in names:
        values = data[f"clim_{name}"].to_numpy().astype(np.float64)
        if name in _CLASSES:
            for kind in np.unique(values)[1:]:
                found[f"{name}{kind:.0f}"] = (values == kind).astype(np.float64)
        else:
            found[name] = values
    return found


def posterior_of(
    problem: Problem,
    run: Callable[..., Any],
    *,
    data: xr.Dataset,
    facts: Mapping[str, Any],
    seed: int,
    shared: Shared | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> az.InferenceData:
    """Run a method on a problem, and put its draws and the prior's into InferenceData.

    The posterior is of the true values. Draws of the effective ones, with which the model does best
    and is to be run (`calibration.effective`), are its group `unconstrained_posterior`, by name
    and, from which `calibration.checks` begins, as standard normal parameters `z`.

    Args:
        problem: of all columns.
        run: a method, called with the problem, `key` and `progress`.
        data: whose columns they are.
        facts: attributes of the posterior.
        seed: of the random numbers.
        shared: what the columns of `problem` share; the method then runs on that.
        progress: called with the work done and in all.
    """
    of_method, of_prior = jax.random.split(jax.random.key(seed))
    solved = problem if shared is None else shared.problem
    z, statistics = run(solved, key=of_method, progress=progress)
    effective = statistics.pop("effective", None)
    draws = z.shape[0] * z.shape[1]
    flat = z.reshape(draws, *z.shape[2:])
    before = np.asarray(jax.random.normal(of_prior, flat.shape))
    common: dict[str, np.ndarray] = {}
    if shared is not None:
        common = {
            name: values.reshape(z.shape[:2])
            for name, values in shared.problem.parameters(flat).items()
        }
        flat, before = shared.by_column(flat), shared.by_column(before)
        z = flat.reshape(*z.shape[:2], *flat.shape[1:])
        # Of the one column that is solved for, which is none of the data's.
        statistics = {name: values[..., 0] for name, values in statistics.items()}
    count = z.shape[3]
    if effective is not None:  # the method told the two apart
        z = effective
    elif problem.spread is not None:
        of_error = jax.random.fold_in(jax.random.key(seed), 3)
        flat = true_values(flat, problem.spread, key=of_error)
    values = problem.parameters(flat)
    prior = problem.parameters(before)
    chains = {name: x.reshape(z.shape[0], z.shape[1], count) for name, x in values.items()}
    posterior = make_posterior(chains | common, statistics, prior, data, facts=facts)
    own = problem.parameters(z.reshape(draws, *z.shape[2:]))
    standard = xr.Dataset(
        {"z": (("chain", "draw", "parameter", "column"), z)}
        | {
            name: (("chain", "draw", "column"), x.reshape(*z.shape[:2], count))
            for name, x in own.items()
        },
        coords={"parameter": list(problem.names)},
    )
    posterior.add_groups(unconstrained_posterior=standard)
    return posterior


def _method(name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    if name not in METHODS:
        raise InputError(f"method {name!r} is not known, expected {', '.join(METHODS)}; use that")
    method = METHODS[name]
    known = [key for key in inspect.signature(method).parameters if key not in _GIVEN]
    for option in options:
        if option not in known:
            raise InputError(
                f"option {option!r} is not one of {name}, expected {', '.join(known)}; leave it out"
            )
    return lambda problem, **given: method(problem, **given, **options)


def _of_shared(name: str, shared: Shared, options: Mapping[str, Any]) -> Callable[..., Any]:
    """A method that knows the columns of what it is given as one problem."""
    return lambda problem, **given: SHARED[name](shared, **given, **options)


_GIVEN = ("problem", "key", "progress")
