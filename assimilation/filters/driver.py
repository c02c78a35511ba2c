"""A filter over many cycles: the one scan over cycles, compiled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from assimilation.filters import inflation
from assimilation.filters.checks import check_inputs, check_outcome
from assimilation.filters.cycle import Setting, filter_cycle
from assimilation.filters.forecast import Members, Operators, by_cycle, starts_step
from assimilation.filters.scheme import Scheme, check
from assimilation.filters.shown import Shown, shown_of
from assimilation.filters.smoothers import iterative_cycle
from assimilation.observations import Observations
from assimilation.operators import Operator, operator_of
from hybrid_land.compiled import run_compiled
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
        residual: observation minus mean of what the analysed members say of it, the same.
        predicted_spread: of the predicted observations, over the members.
        observed: the observable of each observation.
        factor: variance inflation of the forecasts, `[cycle, column]`; one unless adaptive.
        failures: members replaced in each cycle, `[cycle, column]`.
        ensemble: members after the last cycle, leaves `[member, column]`; can be run on.
        members: analysed members of each cycle, `[cycle, member, variable, column]`, if kept.
        shown: other quantities that were asked for, and each one's `Shown`.
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
    residual: Float[Array, "cycle observation column"]
    predicted_spread: Float[Array, "cycle observation column"]
    observed: tuple[str, ...]
    factor: Float[Array, "cycle column"]
    failures: Int[Array, "cycle column"]
    ensemble: Members
    members: Float[Array, "cycle member variable column"] | None
    shown: dict[str, Shown]


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
    shown: tuple[str, ...] = (),
    first: int = 0,
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
        shown: other quantities to look at, named as observables are.
        first: number of the first cycle, where a long run is made in pieces that each go on from
            the last one's `Run.ensemble`: its draws are then those of one run.

    Raises:
        InputError: for an option, an ensemble or observations that cannot be (see `scheme.check`
            and `checks.check_inputs`), and if in some cycle all members of a column failed or
            those of an observed one were the same.
    """
    check(scheme)
    columns = check_inputs(model, ensemble, forcing, observations, scheme)
    variables = scheme.variables or tuple(model.prognostic)
    names = (*variables, *(n for n in ensemble if n not in variables))
    steps = next(iter(forcing.values())).shape[0]
    cycles = steps // scheme.every
    # A pytree's operations sort the names of observations; tapers have an order of their own.
    local = scheme.localisation
    observed = tuple(observations.values) if local is None else local.observables
    used = tuple((n, (operators or {}).get(n) or _operator(n)) for n in observed)
    looked = tuple((n, _operator(n)) for n in shown)
    early = [starts_step(name, tuple(model.diagnostic)) for name, _ in used]

    leaves = [observations.values, observations.errors, observations.mask]
    first_to_last = [[x[name] for name, _ in used] for x in leaves]
    seen = by_cycle(first_to_last, tuple(early), every=scheme.every, cycles=cycles)
    whole = jnp.stack([jnp.asarray(ensemble[name]) for name in names], axis=1)
    arrays = dict(parameters), whole, dict(forcing), seen
    last, found, past = run_compiled(
        *(_cycles, model, *arrays, scheme, key, first), names=names, operators=used, looked=looked
    )
    check_outcome(found, len(variables))
    smoother: tuple[Any, Any] = (None, None)
    if past is not None:
        mean, wide = found["smoother_mean"][scheme.lag :], found["smoother_spread"][scheme.lag :]
        smoother = (
            jnp.concatenate([mean, past[0]])[-cycles:],
            jnp.concatenate([wide, past[1]])[-cycles:],
        )
    return Run(
        names=names,
        records=np.arange(1, cycles + 1) * scheme.every,
        forecast_mean=found["forecast_mean"],
        forecast_spread=found["forecast_spread"],
        analysis_mean=found["analysis_mean"],
        analysis_spread=found["analysis_spread"],
        smoother_mean=None if past is None else smoother[0][:, : len(variables)],
        smoother_spread=None if past is None else smoother[1][:, : len(variables)],
        innovation=found["innovation"],
        residual=found["residual"],
        predicted_spread=found["predicted_spread"],
        observed=tuple(n for n, _ in used for _ in range(scheme.every)),
        factor=jnp.broadcast_to(found["factor"], (cycles, columns)),
        failures=found["failures"],
        ensemble={name: last[:, k] for k, name in enumerate(names)},
        members=found.get("members"),
        shown=shown_of(shown, found, smoother, analysed=len(variables), every=scheme.every),
    )


@cache
def _operator(name: str) -> Operator:
    """`operator_of`, the same object for the same name: a new one would be compiled anew."""
    return operator_of(name)


def _cycles(
    model: Model,
    parameters: Parameters,
    ensemble: Array,
    forcing: dict[str, Array],
    seen: tuple[Array, Array, Array],
    scheme: Scheme,
    key: Array,
    first: int | Array,
    *,
    names: tuple[str, ...],
    operators: Operators,
    looked: Operators,
) -> tuple[Array, dict[str, Array], Any]:
    """The scan: members at the end, what each cycle found, and the smoother's last cycles."""
    size = len(scheme.variables or tuple(model.prognostic))
    setting = Setting(model, parameters, forcing, operators, looked, names, size, scheme)
    one = iterative_cycle if scheme.method == "ienks" else filter_cycle

    def cycle(carry: Any, given: Any) -> tuple[Any, dict[str, Array]]:
        number, observed = given
        return one(setting, jax.random.fold_in(key, first + number), carry, number, observed)

    members, every, columns = ensemble.shape
    past = jnp.zeros((scheme.lag, members, every + len(looked), columns), ensemble.dtype)
    past = past.at[:, :, :every].set(ensemble[None])
    start = (ensemble, jnp.ones(columns, ensemble.dtype), past)
    cycles = jnp.arange(seen[0].shape[0])
    (last, _, past), found = jax.lax.scan(cycle, start, (cycles, seen))
    if not scheme.lag:
        return last, found, None
    if scheme.method == "ienks":
        last = past[-1, :, :every]
    past = jnp.concatenate([past[:, :, :size], past[:, :, every:]], axis=2)
    return last, found, (past.mean(axis=1), jax.vmap(inflation.spread)(past))
