"""Hybrid models on disk: weights and statistics as safetensors beside a JSON description."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assimilation.lorenz96 import Lorenz96
from assimilation.model_error.hybrid import Hybrid, make_hybrid
from assimilation.model_error.networks import from_description
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.weights import (
    DESCRIPTION,
    WEIGHTS,
    named_weights,
    read_weights,
    with_weights,
    write_weights,
)

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
    weights = named_weights(hybrid.correction)
    description = {
        "form": _FORM,
        "kind": "hybrid",
        "base": described,
        "tendency_or_resolvent": hybrid.form,
        "applied": hybrid.applied,
        "correction": hybrid.correction.description,
        "weights": sum(int(np.size(x)) for x in weights.values()),
        **dict(facts or {}),
    }
    write_weights(directory, weights, description)


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
    except (OSError, ValueError) as error:
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
    arrays = read_weights(folder)
    return replace(made, correction=with_weights(correction, arrays, source=folder / WEIGHTS))


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
