"""Chains kept on disk, so that a killed run goes on to the same result."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from calibration.problem import Problem
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError

FILE = "chains.npz"


def mark_of(problem: Problem, key: jax.Array, options: Mapping[str, Any]) -> str:
    """What a run's result depends on, in a few letters: data, random key, options.

    Args:
        problem: its observations and what its columns hold.
        key: of the run.
        options: that change the result.
    """
    summed = hashlib.sha256(repr((problem.names, sorted(options.items()))).encode())
    leaves = (jax.random.key_data(key), problem.observed, *jax.tree.leaves(problem.columns))
    for leaf in leaves:
        summed.update(np.ascontiguousarray(leaf).tobytes())
    return summed.hexdigest()[:16]


def save_chains(folder: str | Path, mark: str, tree: Any) -> None:
    """Write the state of chains and what they have drawn, whole or not at all.

    Args:
        folder: made if absent.
        mark: of the run, `mark_of`.
        tree: arrays, random keys among them.

    Raises:
        InputError: if it cannot be written.
    """
    leaves = {
        f"leaf_{i:04d}": np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for i, leaf in enumerate(jax.tree.leaves(tree))
    }
    path = make_folder(folder) / FILE
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, mark=np.asarray(mark), **leaves)


def load_chains(folder: str | Path, mark: str) -> list[np.ndarray] | None:
    """The leaves of what `save_chains` wrote, or nothing if there is none.

    Args:
        folder: as it was given there.
        mark: of the run that is to go on.

    Raises:
        InputError: if they are of another run, or the file is broken.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            found = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not kept chains ({error}); remove it") from error
    if str(found.pop("mark", "")) != mark:
        raise InputError(
            f"{path}: chains of another run, expected the same data, parameters, seed and options; "
            "give those or another folder"
        )
    return [found[name] for name in sorted(found)]


def as_tree(like: Any, leaves: list[np.ndarray]) -> Any:
    """Leaves in the structure and of the types of `like`."""
    shapes, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(
        structure,
        [
            jax.random.wrap_key_data(jnp.asarray(leaf)) if _is_key(shape) else jnp.asarray(leaf)
            for shape, leaf in zip(shapes, leaves, strict=True)
        ],
    )


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
