"""Offline learning from forecasts: how far they get from the analyses and observations to come.

    J(w) = 1/2 sum_forecasts sum_l |x_a(k + l) - M_w^l(x_a(k))|^2 / (c s^2)
         + 1/2 sum_forecasts sum_l |y(k + l) - H(M_w^l(x_a(k)))|^2 / (c s^2) + 1/2 |w|^2 / b^2

The first part is the regression of analysis increments (Brajard et al. 2020, eq. 9), over several
analyses; the second knows nothing of the model that made these. s^2 is, of each variable and
observable, the mean square of the departures without a correction: what they err by and what the
model gets wrong. c departures count as one, since errors of a forecast last. The last part is the
prior of the correction, zero give or take b in its own scale, which keeps small what nobody sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from assimilation.model_error.hybrid import Hybrid, trainable
from assimilation.model_error.pairs import warn_if_few
from assimilation.observations import Observations
from assimilation.operators import Context, on_records, operator_of
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_TEMPERATURE, SOIL_WATER

SOIL = (*SOIL_WATER, *SOIL_TEMPERATURE)
_ANALYSED = "analysed "


@dataclass(frozen=True)
class Forecasts:
    """How to fit.

    Attributes:
        steps: of a forecast.
        apart: steps from the start of a forecast to that of the next.
        updates: of the weights, each by all forecasts.
        rate: of Adam at the start; falls to a tenth by a cosine.
        prior: b, deviation of the correction in units of its scale.
        shared: c, departures that count as one.
        check_every: updates between looks at the columns held out.
    """

    steps: int = 20
    apart: int = 20
    updates: int = 100
    rate: float = 0.002
    prior: float = 0.3
    shared: float = 10.0
    check_every: int = 10


def fit_forecasts(
    hybrid: Hybrid,
    parameters: Mapping[str, Float[Array, " column"]],
    analyses: Mapping[str, Float[Array, "analysis column"]],
    forcing: Mapping[str, Float[Array, "record column"]],
    observations: Observations,
    *,
    every: int,
    held_out: Bool[np.ndarray, " column"],
    options: Forecasts | None = None,
) -> tuple[Hybrid, dict[str, list[float]]]:
    """Weights for which forecasts from analyses come nearest to the observations that follow.

    Args:
        hybrid: the model and its correction, whose weights are where the fit starts.
        parameters: leaves `[column]`.
        analyses: of all prognostic variables, at records 0, `every`, ...; a forecast from one that
            is not finite does not count.
        forcing: leaves `[record, column]`.
        observations: leaves `[record, column]`, on the same records.
        every: records from one analysis to the next.
        held_out: columns that choose the weights that are kept, and that none is learnt from.
        options: how to fit.

    Returns:
        The hybrid with the weights that did best on the columns held out, and the history:
        `update`, `cost` and `held_out`, the mean over the observables of the mean square departure
        in units of s^2.

    Raises:
        InputError: for a series shorter than a forecast, or no column to learn from or to hold
            out.

    Warns:
        UserWarning: for fewer analyses than weights.
    """
    options = options or Forecasts()
    records = next(iter(forcing.values())).shape[0]
    starts, steps = starts_of(records, every, options)
    own, others = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not (own.size and others.size):
        raise InputError(
            f"{own.size} columns to learn from and {others.size} held out, expected some of both; "
            "give more columns"
        )
    warn_if_few(own.size * (records // every), hybrid.correction)
    weights, rebuilt = trainable(hybrid)
    seen = _with_analyses(analyses, observations, every=every, records=records)
    learning, looking = (
        _Forecasts.of(parameters, analyses, forcing, seen, starts, steps, every, columns)
        for columns in (own, others)
    )
    misfits = jax.jit(lambda weights, given: _misfits(rebuilt(weights), given))
    total, count = misfits(weights, learning)
    if not bool(jnp.any(count > 0)):
        raise InputError("no observation follows an analysis, expected some; give others")
    units = jnp.maximum(total, 1e-6) / jnp.maximum(count, 1.0)
    optimiser = optax.adam(optax.cosine_decay_schedule(options.rate, options.updates, 0.1))

    def cost(weights: dict, given: "_Forecasts", units: Array) -> Array:
        misfit = jnp.sum(_misfits(rebuilt(weights), given)[0] / units)
        return 0.5 * misfit / options.shared + 0.5 * _prior(weights, options.prior)

    @jax.jit
    def update(weights: dict, moments: optax.OptState, *given: Any) -> tuple:
        value, slope = jax.value_and_grad(cost)(weights, *given)
        step, moments = optimiser.update(slope, moments)
        return optax.apply_updates(weights, step), moments, value

    def score(weights: dict) -> float:
        total, count = misfits(weights, looking)
        return float(jnp.sum(total / units / jnp.maximum(count, 1.0)) / jnp.sum(count > 0))

    moments, best = optimiser.init(weights), (score(weights), weights)
    history: dict[str, list[float]] = {"update": [0.0], "cost": [np.nan], "held_out": [best[0]]}
    for number in range(1, options.updates + 1):
        weights, moments, value = update(weights, moments, learning, units)
        if number % options.check_every == 0 or number == options.updates:
            for name, x in zip(history, (number, value, score(weights)), strict=True):
                history[name].append(float(x))
            if history["held_out"][-1] < best[0]:
                best = (history["held_out"][-1], weights)
    return rebuilt(best[1]), history


def starts_of(records: int, every: int, options: Forecasts) -> tuple[np.ndarray, int]:
    """Records at which forecasts start, and their steps, both in whole cycles.

    Raises:
        InputError: for a series shorter than a forecast.
    """
    steps, apart = (max(1, round(x / every)) * every for x in (options.steps, options.apart))
    starts = np.arange(0, records - steps + 1, apart)
    if not starts.size:
        raise InputError(
            f"{records} records for forecasts of {steps} steps, expected as many or more; "
            "assimilate longer or forecast less far"
        )
    return starts, steps


def _with_analyses(
    analyses: Mapping[str, Array], observations: Observations, *, every: int, records: int
) -> Observations:
    """Analyses of the soil as if they were observed at their records, beside the observations."""
    values, errors, mask = (
        dict(getattr(observations, kind)) for kind in ("values", "errors", "mask")
    )
    for name, x in analyses.items():
        if name in SOIL:
            own = x[: (records + every - 1) // every]
            sound = jnp.isfinite(own)
            row = jnp.zeros((records, x.shape[1]), x.dtype)
            key = f"{_ANALYSED}{name}"
            values[key] = row.at[::every].set(jnp.where(sound, own, 0.0))
            mask[key] = row.at[::every].set(sound)
            errors[key] = jnp.ones_like(row)
    return Observations(values, errors, mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Forecasts:
    """Forecasts side by side, start and column in one: `[forecast]` and `[step, forecast]`."""

    parameters: dict[str, Array]
    start: dict[str, Array]
    forcing: dict[str, Array]
    seen: Observations
    sound: Array

    @staticmethod
    def of(
        parameters: Mapping[str, Array],
        analyses: Mapping[str, Array],
        forcing: Mapping[str, Array],
        observations: Observations,
        starts: np.ndarray,
        steps: int,
        every: int,
        columns: np.ndarray,
    ) -> "_Forecasts":
        at, place = (x.reshape(-1) for x in np.meshgrid(starts, columns, indexing="ij"))
        index = (at[None, :] + np.arange(steps)[:, None], place[None, :])
        first = {name: x[at // every, place] for name, x in analyses.items()}
        sound = jnp.stack([jnp.isfinite(x) for x in first.values()]).all(axis=0)
        return _Forecasts(
            parameters={name: x[place] for name, x in parameters.items()},
            start={name: jnp.where(jnp.isfinite(x), x, 0.0) for name, x in first.items()},
            forcing={name: x[index] for name, x in forcing.items()},
            seen=jax.tree.map(lambda x: x[index], observations),
            sound=sound.astype(jnp.float32),
        )


def _misfits(model: Hybrid, given: _Forecasts) -> tuple[Array, Array]:
    """Of each observable, the sum of squared departures over their errors, and how many."""
    states, diagnostics = rollout(
        *(model, given.parameters, given.start, given.forcing), keep_products=False
    )
    series = on_records(given.start, states, diagnostics)
    context = Context(model.time_step, given.parameters, given.forcing)
    totals, counts = [], []
    for name, values in given.seen.values.items():
        # The analysis has seen the first record.
        known = given.seen.mask[name].at[0].set(0.0) * given.sound[None]
        predicted = operator_of(name.removeprefix(_ANALYSED))(series, context)
        departure = (values - predicted) / given.seen.errors[name]
        totals.append(jnp.sum(jnp.where(known > 0, departure, 0.0) ** 2))
        counts.append(jnp.sum(known))
    return jnp.stack(totals), jnp.stack(counts)


def _prior(weights: Mapping[str, Any], deviation: float) -> Array:
    """|w|^2 / b^2 of the last layer; of the others, in units of the spread they are drawn with."""
    leaves = jax.tree_util.tree_leaves_with_path(weights)
    last = [x for path, x in leaves if "head" in jax.tree_util.keystr(path)]
    others = [x for path, x in leaves if "head" not in jax.tree_util.keystr(path)]
    inside = sum((jnp.sum(x**2) * x.shape[-1] / 2.0 for x in others), start=jnp.zeros(()))
    return inside + sum(jnp.sum(x**2) for x in last) / deviation**2
