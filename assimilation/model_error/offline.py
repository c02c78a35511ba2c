"""Offline learning: a correction fitted to analyses that another model gave."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from assimilation.model_error.hybrid import Hybrid, trainable
from assimilation.model_error.pairs import warn_if_few
from assimilation.model_error.windows import records_of, tiled, windows_of
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout


@dataclass(frozen=True)
class Offline:
    """How to fit.

    Attributes:
        steps: analyses that a forecast is compared with; one is the increment.
        updates: of the weights.
        batch: forecasts in an update.
        rate: of Adam at the start; falls to a hundredth by a cosine.
        held_out: part of the analyses, the last ones, that chooses the weights that are kept.
        check_every: updates between looks at that part.
    """

    steps: int = 1
    updates: int = 2000
    batch: int = 128
    rate: float = 3e-3
    held_out: float = 0.1
    check_every: int = 200


def fit_offline(
    hybrid: Hybrid,
    parameters: Mapping[str, Float[Array, " column"]],
    analyses: Mapping[str, Float[Array, "record column"]],
    forcing: Mapping[str, Float[Array, "step column"]],
    *,
    every: int = 1,
    deviations: Mapping[str, Float[Array, "record column"]] | None = None,
    options: Offline | None = None,
    key: Array,
) -> tuple[Hybrid, dict[str, list[float]]]:
    """Weights for which the hybrid's forecasts from analyses come nearest to later analyses.

        sum_k sum_(l = 1 .. steps) |x_a(k + l) - M_w^l(x_a(k))|^2 / s_a(k + l)^2

    With one step this is the regression of the analysis increments on the analyses of Bocquet and
    Brajard's course; in the tendency's form the gradient goes through the integration.

    Args:
        hybrid: the model and its correction, whose weights are where the fit starts.
        parameters: leaves `[column]`.
        analyses: of all prognostic variables; a value that is not finite is left out, and so are
            forecasts from a state that is not.
        forcing: leaves `[step, column]`, from the first analysis on.
        every: steps from one analysis to the next.
        deviations: of the analyses, one where they are not given.
        options: how to fit.
        key: of the batches.

    Returns:
        The hybrid with the weights that did best on the part held out, and the history: `update`,
        `loss` and `held_out`, each loss a mean over the numbers compared.

    Raises:
        InputError: for fewer analyses than a forecast is compared with.

    Warns:
        UserWarning: for fewer analyses than weights.
    """
    options = options or Offline()
    records, columns = next(iter(analyses.values())).shape
    training = int((1.0 - options.held_out) * records) - options.steps
    if training < 1 or records - training <= 2 * options.steps:
        raise InputError(
            f"{records} analyses in time for forecasts of {options.steps} steps, expected more; "
            "assimilate longer or take fewer steps"
        )
    warn_if_few(training * columns, hybrid.correction)
    weights, rebuilt = trainable(hybrid)
    sound = jnp.stack([jnp.isfinite(analyses[n]) for n in hybrid.prognostic])
    state = {n: jnp.where(jnp.isfinite(analyses[n]), analyses[n], 0.0) for n in hybrid.prognostic}
    precision = {
        n: jnp.where(finite, 1.0 if deviations is None else deviations[n] ** -2.0, 0.0)
        for n, finite in zip(hybrid.prognostic, sound, strict=True)
    }
    fit_for_start = {"start": sound.all(axis=0).astype(jnp.float32)}

    def loss(weights: dict, starts: Array) -> Array:
        tile = tiled(parameters, starts.shape[0])
        begin = records_of(state, starts)
        ahead, _ = rollout(
            *(rebuilt(weights), tile, begin),
            windows_of(forcing, starts * every, length=options.steps * every),
            keep_products=False,
        )
        ahead = {name: x[every - 1 :: every] for name, x in ahead.items()}
        after = windows_of(state, starts + 1, length=options.steps)
        known = windows_of(precision, starts + 1, length=options.steps)
        usable = records_of(fit_for_start, starts)["start"][None]
        misfit = sum(jnp.sum(usable * known[n] * (ahead[n] - after[n]) ** 2) for n in ahead)
        count = sum(jnp.sum(usable * (known[n] > 0)) for n in ahead)
        return misfit / jnp.maximum(count, 1.0)

    schedule = optax.cosine_decay_schedule(options.rate, options.updates, 0.01)
    optimiser = optax.adam(schedule)

    @jax.jit
    def update(weights: dict, moments: optax.OptState, key: Array) -> tuple:
        starts = jax.random.randint(key, (min(options.batch, training),), 0, training)
        value, slope = jax.value_and_grad(loss)(weights, starts)
        step, moments = optimiser.update(slope, moments)
        return optax.apply_updates(weights, step), moments, value

    looked = jax.jit(loss)
    held = jnp.arange(training + options.steps, records - options.steps)
    moments, best = optimiser.init(weights), (float(looked(weights, held)), weights)
    history: dict[str, list[float]] = {"update": [], "loss": [], "held_out": []}
    for number in range(1, options.updates + 1):
        weights, moments, value = update(weights, moments, jax.random.fold_in(key, number))
        if number % options.check_every == 0 or number == options.updates:
            score = float(looked(weights, held))
            for name, x in zip(history, (number, value, score), strict=True):
                history[name].append(float(x))
            if score < best[0]:
                best = (score, weights)
    return rebuilt(best[1]), history
