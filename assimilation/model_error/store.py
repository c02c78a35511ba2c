"""Hybrid models on disk: weights and statistics as safetensors beside a JSON description."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from assimilation.lorenz96 import Lorenz96
from assimilation.model_error.hybrid import Hybrid, make_hybrid
from assimilation.model_error.networks import Correction, from_description
from hybrid_land.errors import InputError
from hybrid_land.interface import Model

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
_FORM = 1
_NEEDED = ("base", "correction", "tendency_or_resolvent", "applied")


def save_hybrid(
    hybrid: Hybrid,
    directory: str | Path,
    *,
    base: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a hybrid's correction, and say of which model, each file whole or not at all.

    Args:
        hybrid: the model and its correction; the model itself is not written.
        directory: made if absent.
        base: name or directory of the model that is corrected; not needed for `Lorenz96`.
        facts: what else to say in the description (data, scores, command).

    Raises:
        InputError: if the base has no name, or the directory cannot be written.
    """
    described = _describe(hybrid.base, base)
    arrays = {name: np.asarray(leaf) for name, leaf in _named(hybrid.correction).items()}
    description = {
        "form": _FORM,
        "kind": "hybrid",
        "base": described,
        "tendency_or_resolvent": hybrid.form,
        "applied": hybrid.applied,
        "correction": hybrid.correction.description,
        "weights": sum(int(x.size) for x in arrays.values()),
        **dict(facts or {}),
    }
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        partial, text = target / f".{WEIGHTS}.partial", target / f".{DESCRIPTION}.partial"
        save_file(arrays, partial)
        text.write_text(json.dumps(description, indent=1) + "\n")
        partial.replace(target / WEIGHTS)
        text.replace(target / DESCRIPTION)
    except OSError as error:
        raise InputError(
            f"{target}: the model cannot be written ({error.strerror}); choose a directory that can"
        ) from error


def load_hybrid(directory: str | Path, *, base: Model | None = None) -> Hybrid:
    """Read what `save_hybrid` wrote.

    Args:
        directory: of the hybrid.
        base: the model that is corrected; may be left out where it is a `Lorenz96`.

    Raises:
        InputError: if there is no hybrid in the directory, a file is not readable, the arrays are
            not those described, or the model that is corrected is needed and not given.
    """
    folder = Path(directory)
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        arrays = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder}: no hybrid model can be read ({error}), expected {DESCRIPTION} and "
            f"{WEIGHTS}; give a directory that save_hybrid wrote"
        ) from error
    whole = isinstance(description, dict) and all(key in description for key in _NEEDED)
    if not whole or description.get("kind") != "hybrid" or description.get("form") != _FORM:
        raise InputError(
            f"{folder / DESCRIPTION}: not the description of a hybrid of form {_FORM}; give a "
            "directory that this version's save_hybrid wrote"
        )
    model = base if base is not None else _base(description["base"], folder)
    try:
        correction = from_description(description["correction"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / DESCRIPTION}: the correction is not one of this version ({error}); restore "
            "the file or use the version that wrote it"
        ) from error
    made = make_hybrid(
        model,
        correction,
        form=description["tendency_or_resolvent"],
        applied=description["applied"],
    )
    return replace(made, correction=_with(correction, arrays, folder))


def _named(correction: Correction) -> dict[str, Any]:
    """All arrays of a network by their place in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(nnx.state(correction)))
    return {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def _with(correction: Correction, arrays: Mapping[str, np.ndarray], folder: Path) -> Correction:
    expected = {name: np.shape(leaf) for name, leaf in _named(correction).items()}
    found = {name: leaf.shape for name, leaf in arrays.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise InputError(
            f"{folder / WEIGHTS}: {wrong} has shape {found.get(wrong)}, expected "
            f"{expected.get(wrong)} from {DESCRIPTION}; restore both files of one model"
        )
    definition, state = nnx.split(correction)
    leaves, tree = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(state))
    filled = [jnp.asarray(arrays[".".join(str(key.key) for key in path)]) for path, _ in leaves]
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(tree, filled))
    return nnx.merge(definition, state)


def _describe(model: Any, name: str) -> dict[str, Any]:
    if isinstance(model, Lorenz96):
        return {
            "kind": "lorenz96",
            "points": model.points,
            "dt": model.dt,
            "forcing": model.forcing,
        }
    if not name:
        raise InputError(
            f"the model that is corrected is a {type(model).__name__} without a name, expected the "
            "name or directory that it is loaded from; give base="
        )
    return {"kind": "named", "name": name}


def _base(described: Mapping[str, Any], folder: Path) -> Model:
    if described.get("kind") == "lorenz96":
        options = {key: described[key] for key in ("points", "dt", "forcing")}
        return Lorenz96(**options)
    raise InputError(
        f"{folder}: corrects the model {described.get('name')!r}, which was not given; load that "
        "model and give it as base="
    )
