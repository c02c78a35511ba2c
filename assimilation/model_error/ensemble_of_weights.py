"""Learning a correction by an ensemble of its weights: no gradient through a long run is needed.

Multiple data assimilation (Emerick and Reynolds 2013, Computers & Geosciences 55, 3): members of
the weights are drawn from a prior about those that there are; each makes a free run; the weights
are analysed by an ensemble transform (Hunt et al. 2007, eq. 21 to 23) from all the observations
at once, with R times the number of repetitions; and so on, that often. For a linear answer that is
the analysis itself; for another it comes nearer to it in steps. It suits corrections of few
weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from assimilation.model_error.hybrid import Hybrid, trainable
from assimilation.model_error.networks import weights_in
from assimilation.observations import Observations
from assimilation.operators import Context, operator_of
from assimilation.trajectory import trajectory
from hybrid_land.errors import InputError


@dataclass(frozen=True)
class EnsembleOfWeights:
    """How to learn.

    Attributes:
        members: of the ensemble.
        repetitions: of the analysis.
        prior: deviation of a correction in a typical column, before anything is seen.
        shared: observations that count as one, since a model's errors last.
    """

    members: int = 24
    repetitions: int = 4
    prior: float = 0.2
    shared: float = 10.0


def fit_ensemble(
    hybrid: Hybrid,
    parameters: Mapping[str, Float[Array, " column"]],
    state: Mapping[str, Float[Array, " column"]],
    forcing: Mapping[str, Float[Array, "record column"]],
    observations: Observations,
    *,
    options: EnsembleOfWeights | None = None,
    seed: int = 0,
) -> tuple[Hybrid, dict[str, list[float]]]:
    """Weights for which free runs come nearest to the observations.

    Args:
        hybrid: the model and its correction, about whose weights the members are drawn.
        parameters: leaves `[column]`.
        state: of all prognostic variables at the first record, leaves `[column]`.
        forcing: leaves `[record, column]`.
        observations: leaves `[record, column]`, on the same records.
        options: how to learn.
        seed: of the draws.

    Returns:
        The hybrid with the mean of the analysed members, and the history by repetition:
        `departure`, the RMS of the mean prediction's departures over their errors, and `spread`,
        the mean standard deviation of the weights over their prior's, after it.

    Raises:
        InputError: for fewer than three members, no repetition, a deviation or count that is not
            positive, no observation, or half of the members with runs that are not finite.
    """
    options = options or EnsembleOfWeights()
    if options.members < 3 or options.repetitions < 1:
        raise InputError(
            f"{options.members} members and {options.repetitions} repetitions, expected three or "
            "more and one or more; correct them"
        )
    if not (options.prior > 0 and options.shared > 0):
        raise InputError(
            f"prior {options.prior:g} and {options.shared:g} observations that count as one, "
            "expected positive numbers; correct them"
        )
    weights, rebuilt = trainable(hybrid)
    begin, unravel = ravel_pytree(weights)
    seen = np.stack([np.asarray(x) for x in observations.mask.values()]) > 0
    if not seen.any():
        raise InputError("nothing is observed in these columns, expected something; give others")
    values, errors = (
        np.stack([np.asarray(x) for x in kind.values()])[seen].astype(np.float64)
        for kind in (observations.values, observations.errors)
    )
    errors *= np.sqrt(options.shared * options.repetitions)

    @jax.jit
    def predicted(row: Array, *given: Any) -> Array:
        model = rebuilt(unravel(row))
        series, _ = trajectory(model, *given)
        context = Context(model.time_step, given[0], given[2])
        return jnp.stack([operator_of(n)(series, context) for n in observations.values])

    given = dict(parameters), dict(state), dict(forcing)
    draw = np.random.default_rng(seed)
    deviation = options.prior * _shares(weights)
    W = np.asarray(begin)[:, None] + deviation[:, None] * draw.standard_normal(
        (weights_in(hybrid.correction), options.members)
    )
    history: dict[str, list[float]] = {"departure": [], "spread": []}
    for _ in range(options.repetitions):
        rows = [jnp.asarray(row, begin.dtype) for row in W.T]
        Y = np.stack([np.asarray(predicted(row, *given))[seen] for row in rows], axis=1)
        sound = np.isfinite(Y).all(axis=0)
        if 2 * sound.sum() <= options.members:
            raise InputError(
                f"{options.members - sound.sum()} of {options.members} members of the weights "
                "make runs that are not finite, expected fewer than half; take a smaller prior"
            )
        W, Y = W[:, sound], Y[:, sound].astype(np.float64)
        d = (values - Y.mean(axis=1)) / errors
        W = _analysed(W, (Y - Y.mean(axis=1, keepdims=True)) / errors[:, None], d)
        size = np.sqrt(np.mean(d**2) * options.shared * options.repetitions)
        history["departure"].append(float(size))
        history["spread"].append(float(np.mean(W.std(axis=1, ddof=1) / deviation)))
    return rebuilt(unravel(jnp.asarray(W.mean(axis=1), begin.dtype))), history


def _analysed(W: np.ndarray, S: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Members `[weight, member]` from scaled predicted ones `[observation, member]`."""
    free = W.shape[1] - 1
    eigenvalues, U = np.linalg.eigh(S.T @ S)
    whole = np.maximum(eigenvalues, 0.0) + free
    mean = U @ ((U.T @ (S.T @ d)) / whole)
    root = (U * np.sqrt(free / whole)) @ U.T
    centre = W.mean(axis=1, keepdims=True)
    return centre + (W - centre) @ (mean[:, None] + root)


def _shares(weights: Mapping[str, Any]) -> np.ndarray:
    """The prior of each weight in units of a correction's: half of it differs from place to place.

    A constant has 1, each of k inputs of the same unit spread 1 / (2 sqrt(k)).
    """
    shares = jax.tree.map(
        lambda x: jnp.full_like(x, 1.0 if x.ndim == 1 else 0.5 / np.prod(x.shape[1:]) ** 0.5),
        weights,
    )
    return np.asarray(ravel_pytree(shares)[0])
