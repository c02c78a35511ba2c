"""Training pairs from analyses: where the model's forecasts of them go wrong, and by how much."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation.model_error.networks import Correction, weights_in
from assimilation.model_error.windows import records_of, tiled, windows_of
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pairs:
    """States and what the model lacks after them.

    Attributes:
        states: x_a(k - 1), leaves `[pair, column]`.
        targets: of each variable the analysis increment x_a(k) - M(x_a(k - 1)), or that for a
            unit of the model's time; zero where it is not known.
        weights: 1 / variance of the target, zero where it is not known.
        forcing: of the (first) step after the state, leaves `[pair, column]`.
    """

    # Annotated without a shape: JAX rebuilds the object with slices and tracers of any rank.
    states: dict[str, Array]
    targets: dict[str, Array]
    weights: dict[str, Array]
    forcing: dict[str, Array]

    @property
    def count(self) -> int:
        """Analyses that make a pair with the one before, over all columns."""
        return next(iter(self.states.values())).size

    def spread(self) -> dict[str, Float[Array, ""]]:
        """Root mean square of each variable's targets, weighted: the scale of a correction."""
        return {
            name: jnp.sqrt(jnp.sum(w * self.targets[name] ** 2) / jnp.maximum(jnp.sum(w), 1e-30))
            for name, w in self.weights.items()
        }


def make_pairs(
    model: Model,
    parameters: Mapping[str, Float[Array, " column"]],
    analyses: Mapping[str, Float[Array, "analysis column"]],
    forcing: Mapping[str, Float[Array, "record column"]],
    *,
    records: Int[Array, " analysis"] | None = None,
    deviations: Mapping[str, Float[Array, "analysis column"]] | None = None,
    form: str = "resolvent",
    dt: float = 1.0,
) -> Pairs:
    """Pairs of consecutive analyses: y(k) = x_a(k) - M(x_a(k - 1)) (Brajard et al. 2020, eq. 9).

    The tendency's form divides by the time between them: a rate of change that is missing, right
    to first order in that time.

    Args:
        model: the model whose error is looked for.
        parameters: leaves `[column]`.
        analyses: x_a of all prognostic variables; one that is not finite makes no pair.
        forcing: leaves `[record, column]`.
        records: the record of each analysis, evenly spaced; 0, 1, 2, .. by default.
        deviations: of the analyses; the target's variance is the sum of those of its two
            analyses, one where they are not given.
        form: of the targets, `resolvent` or `tendency`.
        dt: length of a step in the unit of time of the rate, for the tendency's form.

    Raises:
        InputError: for fewer than two analyses, analyses that are not evenly spaced, or a model
            whose variables were not all analysed.
    """
    lacking = [name for name in model.prognostic if name not in analyses]
    if lacking:
        raise InputError(
            f"the analyses lack {lacking[0]}, expected all prognostic variables; analyse them all"
        )
    count = next(iter(analyses.values())).shape[0]
    if count < 2:
        raise InputError(f"{count} analysis in time, expected two or more; assimilate longer")
    places = jnp.arange(count) if records is None else jnp.asarray(records)
    gaps = jnp.diff(places)
    every = int(gaps[0])
    if not bool(jnp.all(gaps == every)) or every < 1:
        raise InputError(
            "the analyses are not evenly spaced in time, expected the same steps between them; "
            "give those of one filter"
        )
    before = {name: x[:-1] for name, x in analyses.items()}
    sound = jax.tree.map(jnp.isfinite, dict(analyses))
    whole = jnp.stack([x[:-1] & x[1:] for x in sound.values()]).all(axis=0)
    filled = {name: jnp.where(jnp.isfinite(x), x, 0.0) for name, x in before.items()}
    states, _ = rollout(
        model,
        tiled(parameters, count - 1),
        {name: filled[name].reshape(-1) for name in model.prognostic},
        windows_of(forcing, places[:-1], length=every),
    )
    per = every * dt if form == "tendency" else 1.0
    targets, weights = {}, {}
    for name in model.prognostic:
        target = (analyses[name][1:] - states[name][-1].reshape(whole.shape)) / per
        usable = whole & jnp.isfinite(target)
        targets[name] = jnp.where(usable, target, 0.0)
        variance = jnp.ones_like(target)
        if deviations is not None:
            variance = (deviations[name][1:] ** 2 + deviations[name][:-1] ** 2) / per**2
        weights[name] = jnp.where(usable, 1.0 / variance, 0.0)
    weather = {n: x.reshape(whole.shape) for n, x in records_of(forcing, places[:-1]).items()}
    return Pairs(filled, targets, weights, weather)


def warn_if_few(analyses: int, correction: Correction) -> None:
    """Warn of a network that has more weights than there are analyses to train it.

    Args:
        analyses: how many, over all columns.
        correction: the network.
    """
    weights = weights_in(correction)
    if analyses < weights:
        warnings.warn(
            f"{analyses} analyses for a correction of {weights} weights, expected more analyses "
            "than weights; assimilate longer or take a smaller network",
            UserWarning,
            stacklevel=3,
        )
