"""Weights of a network on disk: arrays by name as safetensors beside a JSON description."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hybrid_land.errors import InputError

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
Network = TypeVar("Network", bound=nnx.Module)


def named_weights(network: nnx.Module) -> dict[str, Any]:
    """All arrays of a network by their place in it, such as `layers.0.kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(nnx.state(network)))
    return {_name(path): leaf for path, leaf in leaves}


def write_weights(
    directory: str | Path,
    weights: Mapping[str, Any],
    description: Mapping[str, Any],
    *,
    dtype: Any = None,
) -> None:
    """Write `model.json` and `weights.safetensors` into a directory, each whole or not at all.

    Args:
        directory: made if absent.
        weights: arrays by name as in `named_weights`.
        description: what `model.json` says.
        dtype: of the numbers written; their own by default.

    Raises:
        InputError: if the directory cannot be written.
    """
    target = Path(directory)
    arrays = {name: np.asarray(leaf, dtype) for name, leaf in weights.items()}
    partial, text = target / f".{WEIGHTS}.partial", target / f".{DESCRIPTION}.partial"
    try:
        target.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial)
        text.write_text(json.dumps(description, indent=1) + "\n")
        partial.replace(target / WEIGHTS)
        text.replace(target / DESCRIPTION)
    except OSError as error:
        raise InputError(
            f"{target}: the model cannot be written ({error.strerror}); choose a directory that can"
        ) from error


def read_weights(directory: Path) -> dict[str, np.ndarray]:
    """The arrays of a directory that `write_weights` wrote.

    Raises:
        InputError: if they cannot be read.
    """
    try:
        return load_file(directory / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{directory / WEIGHTS}: the weights cannot be read ({error}); restore the file"
        ) from error


def with_weights(
    network: Network,
    arrays: Mapping[str, np.ndarray],
    *,
    source: str | Path,
    dtype: Any = None,
    leading: tuple[int, ...] = (),
) -> Network:
    """`network` with the given arrays in the place of its own.

    Args:
        network: what says which arrays there are.
        arrays: by name as in `named_weights`.
        source: the file they come from.
        dtype: of the weights; that of the arrays by default.
        leading: axes that the arrays have before the network's own, such as `(member,)`.

    Raises:
        InputError: naming `source`, if names or shapes differ.
    """
    graph, state = nnx.split(network)
    leaves, tree = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(state))
    expected = {_name(path): (*leading, *np.shape(leaf)) for path, leaf in leaves}
    found = {key: value.shape for key, value in arrays.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise InputError(
            f"{source}: {wrong} has shape {found.get(wrong)}, expected "
            f"{expected.get(wrong)} from {DESCRIPTION}; restore both files of one model"
        )
    filled = [jnp.asarray(arrays[_name(path)], dtype) for path, _ in leaves]
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(tree, filled))
    return nnx.merge(graph, state)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(key.key) for key in path)
