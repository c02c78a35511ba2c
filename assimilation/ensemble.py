"""An ensemble of control vectors that goes along with the windows of a hybrid 4DEnVar."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.control import moved
from assimilation.propagation import symmetric_root
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout


def ensemble_root(
    static: Float[Array, "control control"],
    members: Float[Array, "member control column"],
    *,
    weight: float,
) -> Float[Array, "control whitened column"]:
    """U of (1 - w) B + w P as [sqrt(1 - w) U_B, sqrt(w / (N - 1)) X'], without forming it.

    The control variable of a hybrid 4DEnVar (Lorenc 2003): the static part, then a weight for
    each member.

    Args:
        static: U_B.
        members: perturbations X' of the control vector about the ensemble's mean.
        weight: w.
    """
    own = jnp.sqrt(weight) * members_root(members)
    shared = jnp.sqrt(1.0 - weight) * jnp.repeat(static[..., None], members.shape[-1], axis=2)
    return jnp.concatenate([shared, own], axis=1)


def members_root(
    members: Float[Array, "member control column"],
) -> Float[Array, "control member column"]:
    """U of the members' own covariance, X' / sqrt(N - 1)."""
    return jnp.moveaxis(members, 0, 1) / jnp.sqrt(members.shape[0] - 1.0)


def centred_draws(
    key: Array, root: Float[Array, "control whitened *column"], members: int, columns: int
) -> Float[Array, "member control column"]:
    """Perturbations from a covariance U U^T, their mean taken out, each column's own."""
    z = jax.random.normal(key, (members, root.shape[1], columns), root.dtype)
    z = (z - z.mean(axis=0, keepdims=True)) * jnp.sqrt(members / (members - 1))
    wide = root if root.ndim == 3 else jnp.repeat(root[..., None], columns, axis=2)
    return jnp.einsum("ijc,mjc->mic", wide, z)


def analysed_members(
    key: Array,
    root: Float[Array, "control whitened column"],
    covariance: Float[Array, "column whitened whitened"],
    members: int,
) -> Float[Array, "member control column"]:
    """Perturbations with the analysis error's covariance, U (I + J^T J)^-1/2 z."""
    analysed = jnp.einsum("uic,cij->ujc", root, symmetric_root(covariance))
    return centred_draws(key, analysed, members, root.shape[-1])


def propagated(
    model: Model,
    parameters: Parameters,
    state: State,
    draws: Float[Array, "member control column"],
    forcing: ForcingSeries,
    *,
    names: tuple[str, ...],
) -> Float[Array, "member control column"]:
    """Perturbations at the window's start, run to the next one's start, about their mean there."""

    def run(draw: Float[Array, "control column"]) -> Float[Array, "control column"]:
        own, begin = dict(parameters), dict(state)
        for k, name in enumerate(names):
            group = begin if name in begin else own
            group[name] = moved(name, group[name], draw[k], parameters)
        states, _ = rollout(model, own, begin, forcing)
        return jnp.stack([states[n][-1] if n in states else own[n] for n in names])

    ended = jax.lax.map(run, draws)
    return ended - ended.mean(axis=0, keepdims=True)
