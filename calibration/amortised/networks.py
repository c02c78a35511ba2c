"""The two networks of amortised posteriors: a conditional flow, and a map from noise to draws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flowjax.bijections import Affine, Chain, RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow
from flowjax.train import fit_to_data
from jaxtyping import Array, Float

_FLAT = 3  # standard deviations within which a spline bends
_CLIP = 5.0  # largest norm of a gradient


def make_flow(
    key: Array, *, parameters: int, features: int, layers: int, width: int, knots: int
) -> Any:
    """A conditional normalising flow with coupling layers (Dinh et al. 2017) of flowjax.

    Each layer moves and scales half of the parameters, after bending them by a rational quadratic
    spline (Durkan et al. 2019) where `knots` is not zero.

    Args:
        key: of the first weights.
        parameters: drawn by it.
        features: it is conditioned on.
        layers: of the flow.
        width: of each layer's network, two hidden layers.
        knots: of the splines.
    """
    bends = [RationalQuadraticSpline(knots=knots, interval=_FLAT)] if knots else []
    return coupling_flow(
        key,
        base_dist=Normal(jnp.zeros(parameters)),
        transformer=Chain([*bends, Affine()]),
        cond_dim=features,
        flow_layers=layers,
        nn_width=width,
        nn_depth=2,
        nn_activation=jax.nn.silu,
    )


def make_map(key: Array, *, parameters: int, features: int, layers: int, width: int) -> Any:
    """A network from features and noise to a draw: weights and biases of each layer.

    Args:
        key: of the first weights.
        parameters: drawn by it, as many as the noise has numbers.
        features: it is conditioned on.
        layers: hidden ones.
        width: of each.
    """
    sizes = [features + parameters, *[width] * layers, parameters]
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (into, out)) / np.sqrt(into), jnp.zeros(out))
        for k, into, out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def through_map(
    network: Any, features: Float[Array, "*draw feature"], noise: Float[Array, "*draw parameter"]
) -> Float[Array, "*draw parameter"]:
    """Draws that a network of `make_map` makes of noise.

    Args:
        network: weights and biases.
        features: normalised.
        noise: standard normal.
    """
    x = jnp.concatenate([features, noise], axis=-1)
    for weight, bias in network[:-1]:
        x = jax.nn.silu(jnp.dot(x, weight) + jnp.expand_dims(bias, range(x.ndim - 1)))
    weight, bias = network[-1]
    return jnp.dot(x, weight) + jnp.expand_dims(bias, range(x.ndim - 1))


def _map_loss(params: Any, static: Any, x: Array, features: Array, noise: Array, key: Array):
    del static, key
    return jnp.mean((through_map(params, features, noise) - x) ** 2)


def fit(
    network: Any,
    data: tuple[np.ndarray | Array, ...],
    *,
    key: Array,
    kind: str,
    updates: int,
    batch: int,
    learning_rate: float,
    validation_share: float,
) -> tuple[Any, dict[str, list[float]]]:
    """Train by Adam with a cosine schedule; what was best on a part withheld is kept.

    Args:
        network: a flow, or a map.
        data: draws `[case, parameter]`, features `[case, feature]`, and noise for a map.
        key: of batches and split.
        kind: "flow" for maximum likelihood, "dbuq" for least squares.
        updates: at the least, a whole number of passes over the data.
        batch: cases of an update.
        learning_rate: the largest.
        validation_share: of the cases.

    Returns:
        The network, and the loss of each epoch by "train" and "val".
    """
    cases = data[0].shape[0]
    of_a_pass = max(int((1.0 - validation_share) * cases) // batch, 1)
    passes = -(-updates // of_a_pass)
    schedule = optax.cosine_onecycle_schedule(passes * of_a_pass, learning_rate, pct_start=0.1)
    return fit_to_data(
        key,
        network,
        tuple(jnp.asarray(each, jnp.float32) for each in data),
        loss_fn=_map_loss if kind == "dbuq" else None,
        optimizer=optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(schedule)),
        max_epochs=passes,
        max_patience=passes,
        batch_size=batch,
        val_prop=validation_share,
        show_progress=False,
    )


def sample_map(
    network: Any, features: Float[Array, "column feature"], key: Array, *, draws: int
) -> Float[Array, "draw column parameter"]:
    """Draws of each column from a network of `make_map`.

    Args:
        network: weights and biases.
        features: normalised.
        key: of the noise.
        draws: of each column.
    """
    parameters = network[-1][1].shape[0]
    noise = jax.random.normal(key, (draws, features.shape[0], parameters))
    many = jnp.broadcast_to(features, (draws, *features.shape))
    return through_map(network, many, noise)


def sample_flow(
    network: Any, features: Float[Array, "column feature"], key: Array, *, draws: int
) -> tuple[Float[Array, "draw column parameter"], Float[Array, "draw column"]]:
    """Draws of each column from a flow, and the logarithm of their density.

    Args:
        network: from `make_flow`.
        features: normalised.
        key: of the draws.
        draws: of each column.
    """
    many = jnp.broadcast_to(features, (draws, *features.shape))
    return network.sample_and_log_prob(key, condition=many)


def compiled(function: Callable[..., Any], network: Any, *given: Any, **settings: Any) -> Any:
    """`function(network, *given, **settings)`, compiled once for each structure of network.

    Args:
        function: defined at the top of a module.
        network: a pytree whose leaves that are no arrays are part of the program.
        given: arrays.
        settings: hashable.
    """
    leaves, tree = jax.tree.flatten(network)
    arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
    rest = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
    return _run(function, tree, rest, tuple(sorted(settings.items())), arrays, *given)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(function: Any, tree: Any, rest: Any, settings: Any, arrays: Any, *given: Any) -> Any:
    leaves = [other if leaf is None else leaf for leaf, other in zip(arrays, rest, strict=True)]
    return function(jax.tree.unflatten(tree, leaves), *given, **dict(settings))


def named_arrays(network: Any) -> dict[str, Any]:
    """Arrays of a network by their place in it.

    Args:
        network: a flow, or a map.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(network)
    return {_name(path): leaf for path, leaf in leaves if _is_array(leaf)}


def with_arrays(network: Any, arrays: dict[str, np.ndarray]) -> Any:
    """`network` with other arrays of the same names in the place of its own.

    Args:
        network: what says which arrays there are.
        arrays: by name as in `named_arrays`.
    """

    def taken(path: Any, leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(path)]) if _is_array(leaf) else leaf

    return jax.tree_util.tree_map_with_path(taken, network)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).strip(".")


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)
