"""A filter over many cycles: the one scan over cycles, compiled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation.filters import analyses, inflation
from assimilation.filters.forecast import Members, Operators, by_cycle, forecast, starts_step
from assimilation.filters.members import failed, replaced, within
from assimilation.filters.scheme import Scheme, check
from assimilation.observations import Observations
from assimilation.operators import Operator, operator_of
from hybrid_land.errors import InputError
from hybrid_land.interface import Model, Parameters


@dataclass(frozen=True)
class Run:
    """What a filter found, cycle by cycle.

    Attributes:
        names: variables, in the order of the arrays below: those analysed, then the rest.
        records: the record of the data at which each cycle ends.
        forecast_mean: of all variables before each analysis, `[cycle, variable, column]`.
        forecast_spread: standard deviation over the members.
        analysis_mean: after it.
        analysis_spread: the same.
        smoother_mean: of the variables analysed, with the observations of `Scheme.lag` more
            cycles (fewer at the end); nothing without a lag.
        smoother_spread: the same.
        innovation: observation minus mean of the predicted ones, `[cycle, observation, column]`,
            NaN where nothing was observed.
        predicted_spread: of the predicted observations, over the members.
        observed: the observable of each observation.
        factor: variance inflation of the forecasts, `[cycle, column]`; one unless adaptive.
        failures: members replaced in each cycle, `[cycle, column]`.
        ensemble: members after the last cycle, leaves `[member, column]`; can be run on.
        members: analysed members of each cycle, `[cycle, member, variable, column]`, if kept.
    """

    names: tuple[str, ...]
    records: np.ndarray
    forecast_mean: Float[Array, "cycle variable column"]
    forecast_spread: Float[Array, "cycle variable column"]
    analysis_mean: Float[Array, "cycle variable column"]
    analysis_spread: Float[Array, "cycle variable column"]
    smoother_mean: Float[Array, "cycle analysed column"] | None
    smoother_spread: Float[Array, "cycle analysed column"] | None
    innovation: Float[Array, "cycle observation column"]
    predicted_spread: Float[Array, "cycle observation column"]
    observed: tuple[str, ...]
    factor: Float[Array, "cycle column"]
    failures: Int[Array, "cycle column"]
    ensemble: Members
    members: Float[Array, "cycle member variable column"] | None


def run_filter(
    model: Model,
    parameters: Parameters,
    ensemble: Mapping[str, Float[Array, "member column"]],
    forcing: Mapping[str, Array],
    observations: Observations,
    *,
    scheme: Scheme,
    key: Array,
    operators: Mapping[str, Operator] | None = None,
) -> Run:
    """Filter observations into an ensemble, cycle after cycle.

    A cycle is a forecast of `scheme.every` steps and an analysis at its end, which sees all
    observations since the last one, each at its own time (4D-EnKF, Hunt et al. 2004). Cycle k
    takes the members from record k R to (k + 1) R; so the members given are at record 0, what is
    observed there is not used, and the last steps of the forcing that fill no cycle are left.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        ensemble: the members at the first record, leaves `[member, column]`: all prognostic
            variables, and parameters that differ between members.
        forcing: leaves `[record, column]`, or `[record, member, column]` for what is perturbed.
        observations: leaves `[record, column]` on the forcing's records (one more is allowed:
            the record at the last step's end).
        scheme: what to do.
        key: of everything random.
        operators: of the observables by name; `operators.OPERATORS` where not given, and an
            observable that the table does not know is a variable of the model.

    Raises:
        InputError: for an option, an ensemble or observations that cannot be (see `scheme.check`
            and `_check_inputs`), and if in some cycle all members of a column failed.
    """
    check(scheme)
    columns = _check_inputs(model, ensemble, forcing, observations, scheme)
    variables = scheme.variables or tuple(model.prognostic)
    names = (*variables, *(n for n in ensemble if n not in variables))
    steps = next(iter(forcing.values())).shape[0]
    cycles = steps // scheme.every
    used = tuple((n, (operators or {}).get(n) or operator_of(n)) for n in observations.values)
    early = [starts_step(name, tuple(model.diagnostic)) for name, _ in used]

    def rows(leaves: Mapping[str, Array]) -> Array:
        cut = partial(by_cycle, every=scheme.every, cycles=cycles)
        parts = [cut(leaves[n], shifted=not e) for (n, _), e in zip(used, early, strict=True)]
        return jnp.concatenate(parts, axis=1)

    seen = (rows(observations.values), rows(observations.errors), rows(observations.mask))
    whole = {name: jnp.asarray(ensemble[name]) for name in names}
    arrays = all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(model))
    fixed, moving = (None, model) if arrays else (model, None)
    last, found, past = _cycles(
        fixed, names, used, moving, dict(parameters), whole, dict(forcing), seen, scheme, key
    )
    _check_outcome(found, scheme)
    smoother: tuple[Any, Any] = (None, None)
    if past is not None:
        smoother = tuple(
            jnp.concatenate([x[scheme.lag :], y])[-cycles:]
            for x, y in zip((found["smoother_mean"], found["smoother_spread"]), past, strict=True)
        )
    return Run(
        names=names,
        records=np.arange(1, cycles + 1) * scheme.every,
        forecast_mean=found["forecast_mean"],
        forecast_spread=found["forecast_spread"],
        analysis_mean=found["analysis_mean"],
        analysis_spread=found["analysis_spread"],
        smoother_mean=smoother[0],
        smoother_spread=smoother[1],
        innovation=found["innovation"],
        predicted_spread=found["predicted_spread"],
        observed=tuple(n for n, _ in used for _ in range(scheme.every)),
        factor=jnp.broadcast_to(found["factor"], (cycles, columns)),
        failures=found["failures"],
        ensemble=last,
        members=found.get("members"),
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _cycles(
    fixed: Model | None,
    names: tuple[str, ...],
    operators: Operators,
    moving: Model | None,
    parameters: Parameters,
    ensemble: Members,
    forcing: dict[str, Array],
    seen: tuple[Array, Array, Array],
    scheme: Scheme,
    key: Array,
) -> tuple[Members, dict[str, Array], Any]:
    """The scan: members at the end, what each cycle found, and the smoother's last cycles."""
    model: Any = moving if fixed is None else fixed
    cycles, columns = seen[0].shape[0], seen[0].shape[-1]
    members = next(iter(ensemble.values())).shape[0]
    dtype = next(iter(ensemble.values())).dtype
    variables = scheme.variables or tuple(model.prognostic)
    stack = partial(_stacked, names=variables)

    def smooth(E: analyses.Ensemble, D: Array, turn: Array | None) -> analyses.Ensemble:
        """Members at an earlier time by a later analysis; they turn as the later ones do."""
        later = within(variables, E, analyses.transformed(E, D), parameters, {})
        return later if turn is None else analyses.transformed(later, turn)

    def cycle(carry: Any, given: Any) -> tuple[Any, dict[str, Array]]:
        before, factor, past = carry
        number, observed = given
        own = jax.random.fold_in(key, number)
        for_noise, for_analysis, for_rotation, for_failed = jax.random.split(own, 4)
        records = number * scheme.every + jnp.arange(scheme.every + 1)
        weather = {n: jnp.take(x, records, axis=0, mode="clip") for n, x in forcing.items()}
        ahead, predicted = forecast(model, parameters, before, weather, operators)
        bad = failed(ahead, predicted)
        ahead, predicted = jax.lax.cond(
            jnp.any(bad),
            lambda a, p: replaced(for_failed, a, p, bad, noise=scheme.replacement, noisy=variables),
            lambda a, p: (a, p),
            ahead,
            predicted,
        )
        raw = stack(ahead)
        prior = raw
        if scheme.additive is not None:
            deviations = inflation.additive_of(scheme.additive, variables).astype(dtype)
            prior = inflation.additive(for_noise, prior, deviations)
        if scheme.adaptive:
            S, d = analyses.scaled(predicted, *observed)
            factor = inflation.adapted(factor, S, d, observed[2])
            prior = inflation.multiplicative(prior, jnp.sqrt(factor))
            predicted = inflation.multiplicative(predicted, jnp.sqrt(factor))
        D = analyses.weights_of(for_analysis, predicted, *observed, weights=_weights(scheme))
        after = analyses.transformed(prior, D)
        after = _relaxed(scheme, prior, after, observed[2])
        turn = None
        if scheme.rotate:
            less = analyses.rotation(for_rotation, members).astype(dtype) - jnp.eye(members)
            any_seen = jnp.any(observed[2] > 0, axis=0)[:, None, None]
            turn = jnp.where(any_seen, jnp.broadcast_to(less, D.shape), 0.0)
            after = analyses.transformed(after, turn)
        temperatures = {n: x for n, x in ahead.items() if n.startswith("stl")}
        after = within(variables, raw, after, parameters, temperatures)
        analysed = ahead | {n: after[:, k] for k, n in enumerate(variables)}
        every = _stacked(ahead, names), _stacked(analysed, names)
        values, _, mask = observed
        found = {
            "forecast_mean": every[0].mean(axis=0),
            "forecast_spread": inflation.spread(every[0]),
            "analysis_mean": every[1].mean(axis=0),
            "analysis_spread": inflation.spread(every[1]),
            "innovation": jnp.where(mask > 0, values - predicted.mean(axis=0), jnp.nan),
            "predicted_spread": inflation.spread(predicted),
            "factor": factor,
            "failures": bad.sum(axis=0),
            "lost": jnp.any(jnp.all(bad, axis=0)),
        }
        if scheme.keep_members:
            found["members"] = every[1]
        if scheme.lag:
            smoothed = jax.vmap(lambda E: smooth(E, D, turn))(past)
            found["smoother_mean"] = smoothed[0].mean(axis=0)
            found["smoother_spread"] = inflation.spread(smoothed[0])
            past = jnp.concatenate([smoothed[1:], after[None]])
        return (analysed, factor, past), found

    blank = jnp.zeros((scheme.lag, members, len(variables), columns), dtype)
    start = (ensemble, jnp.ones(columns, dtype), blank)
    (last, _, past), found = jax.lax.scan(cycle, start, (jnp.arange(cycles), seen))
    tail = None
    if scheme.lag:
        tail = (past.mean(axis=1), jax.vmap(inflation.spread)(past))
    return last, found, tail


def _stacked(members: Members, names: tuple[str, ...]) -> analyses.Ensemble:
    return jnp.stack([members[name] for name in names], axis=1)


def _weights(scheme: Scheme) -> analyses.Weights:
    """The analysis of a method."""
    if scheme.method == "enkf-n":
        return partial(analyses.enkf_n, certainty=scheme.certainty)
    return {"etkf": analyses.etkf, "enkf": analyses.enkf, "denkf": analyses.denkf}[scheme.method]


def _relaxed(
    scheme: Scheme, before: analyses.Ensemble, after: analyses.Ensemble, mask: Array
) -> analyses.Ensemble:
    """Inflation of the analysed members of columns in which anything was observed."""
    wide = after
    if scheme.rtpp is not None:
        wide = inflation.rtpp(before, wide, scheme.rtpp)
    if scheme.rtps is not None:
        wide = inflation.rtps(before, wide, scheme.rtps)
    wide = inflation.multiplicative(wide, scheme.inflation)
    return jnp.where(jnp.any(mask > 0, axis=0)[None, None], wide, after)


def _check_inputs(
    model: Model,
    ensemble: Mapping[str, Array],
    forcing: Mapping[str, Array],
    observations: Observations,
    scheme: Scheme,
) -> int:
    """Columns, or `InputError` for what a filter cannot work with."""
    absent = [name for name in model.prognostic if name not in ensemble]
    if absent:
        raise InputError(
            f"the ensemble lacks {', '.join(absent)}, expected all that the model predicts; add it"
        )
    variables = scheme.variables or tuple(model.prognostic)
    unknown = [name for name in variables if name not in ensemble]
    if unknown:
        raise InputError(
            f"the analysis is to correct {', '.join(unknown)}, expected variables of the ensemble "
            f"({', '.join(ensemble)}); name some of them"
        )
    if scheme.rotate and set(variables) != set(ensemble):
        raise InputError(
            f"rotation with {len(variables)} of {len(ensemble)} variables analysed would tear "
            "members apart, expected all; analyse all variables or leave rotation out"
        )
    members, columns = next(iter(ensemble.values())).shape
    if members < 2:
        raise InputError(
            f"the ensemble has {members} member, expected at least 2; draw more members"
        )
    collapsed = [n for n in variables if float(np.ptp(np.asarray(ensemble[n]), axis=0).max()) == 0]
    if len(collapsed) == len(variables):
        raise InputError(
            f"all {members} members are the same in {', '.join(collapsed[:3])}, expected a spread; "
            "perturb the first ensemble"
        )
    steps = next(iter(forcing.values())).shape[0]
    if steps < scheme.every:
        raise InputError(
            f"the forcing has {steps} records, expected at least one cycle of {scheme.every}; give "
            "more or a shorter cycle"
        )
    for name, values in observations.values.items():
        if values.shape[1] != columns or values.shape[0] not in (steps, steps + 1):
            raise InputError(
                f"observations of {name} have {values.shape[0]} records of {values.shape[1]} "
                f"columns, expected {steps} of {columns} as in the forcing; match them"
            )
        errors, mask = np.asarray(observations.errors[name]), np.asarray(observations.mask[name])
        bad = (mask > 0) & ~(np.isfinite(errors) & (errors > 0))
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise InputError(
                f"the observation error of {name} is {errors[i, j]:g} at record {i}, column {j}, "
                "expected a positive standard deviation; give one or mask the observation"
            )
        lost = (mask > 0) & ~np.isfinite(np.asarray(values))
        if lost.any():
            i, j = np.argwhere(lost)[0]
            raise InputError(
                f"the observation of {name} at record {i}, column {j} is not finite, expected a "
                "number; mask it"
            )
    return columns


def _check_outcome(found: dict[str, Array], scheme: Scheme) -> None:
    """Raise `InputError` if a column lost all members, or all spread."""
    lost = np.asarray(found["lost"])
    if lost.any():
        first = int(np.argmax(lost))
        column = int(np.argmax(np.asarray(found["failures"])[first]))
        raise InputError(
            f"all members failed (not finite) in cycle {first}, column {column}, expected at least "
            "one that runs; inflate less, correct the first ensemble or the model"
        )
