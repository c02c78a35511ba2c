"""Models on disk: weights as safetensors beside a JSON description. Nothing is a pickle."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hybrid_land.errors import InputError
from hybrid_land.models.emulator import Emulator
from hybrid_land.models.increments import IncrementNetwork
from hybrid_land.weights import (
    DESCRIPTION,
    WEIGHTS,
    named_weights,
    read_weights,
    with_weights,
    write_weights,
)

KINDS: dict[str, type[Emulator]] = {kind.kind: kind for kind in (Emulator, IncrementNetwork)}
_FORM = 1
_NEEDED = ("kind", "inputs", "heads", "hidden", "time_step", "prognostic", "diagnostic")


def description_of(model: Emulator) -> dict[str, Any]:
    """What `model.json` says of an emulator's architecture."""
    return {
        "form": _FORM,
        "kind": model.kind,
        "inputs": list(model.inputs),
        "heads": list(model.heads),
        "hidden": list(model.hidden),
        "screen_width": model.screen_width,
        "time_step": model.time_step,
        "prognostic": list(model.prognostic),
        "diagnostic": list(model.diagnostic),
        "weights": sum(int(np.size(leaf)) for leaf in named_weights(model).values()),
    }


def save_model(
    model: Emulator, directory: str | Path, *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write `model.json` and `weights.safetensors` into a directory, each whole or not at all.

    Args:
        model: the emulator.
        directory: made if absent.
        facts: what else to say of the model in the description (data, scores, command).

    Raises:
        InputError: if the directory cannot be written.
    """
    description = description_of(model) | dict(facts or {})
    write_weights(directory, named_weights(model), description, dtype=np.float32)


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    home = resources.files("hybrid_land") / "models"
    return tuple(sorted(entry.name for entry in home.iterdir() if (entry / DESCRIPTION).is_file()))


def model_directory(name: str | Path) -> Path:
    """Directory of a shipped model by name, or the given directory.

    Raises:
        InputError: if it is neither, or a name both of a shipped model and of a run right here.
    """
    run = (Path(name) / DESCRIPTION).is_file()
    if isinstance(name, str) and run and name in shipped_models():
        raise InputError(
            f"{name}: found a run here and a shipped model of that name, expected one of them; "
            f"give .{os.sep}{name} for the run, or start from another folder for the shipped one"
        )
    if Path(name).is_dir() and (run or name not in shipped_models()):
        directory = Path(name)
    else:
        directory = Path(str(resources.files("hybrid_land") / "models" / str(name)))
    if not (directory / DESCRIPTION).is_file():
        raise InputError(
            f"{name}: no model here, expected a run directory with {DESCRIPTION} or one of the "
            f"shipped models ({', '.join(shipped_models()) or 'none'}); give one of those"
        )
    return directory


def describe_model(name: str | Path) -> dict[str, Any]:
    """The description of a model, as its `model.json` holds it.

    Raises:
        InputError: if there is no model, or its description is not readable.
    """
    directory = model_directory(name)
    try:
        description = json.loads((directory / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{directory / DESCRIPTION}: not a model's description ({error}); restore the file"
        ) from error
    form = description.get("form") if isinstance(description, dict) else None
    if form != _FORM:
        raise InputError(
            f"{directory / DESCRIPTION}: form {form!r}, expected {_FORM}; "
            "train the model again or use the version of hybrid_land that wrote it"
        )
    absent = [key for key in _NEEDED if key not in description]
    if absent:
        raise InputError(
            f"{directory / DESCRIPTION}: missing {', '.join(absent)}, expected "
            f"{', '.join(_NEEDED)}; restore the file"
        )
    return description


def load_model(name: str | Path = "default", *, dtype: Any = jnp.float32) -> Emulator:
    """Load a shipped model by name, or a model directory such as a training run.

    Args:
        name: `"default"` or a directory with `model.json` and `weights.safetensors`.
        dtype: of the weights.

    Raises:
        InputError: if there is no model, or its weights do not fit its description.
    """
    directory = model_directory(name)
    description = describe_model(directory)
    if description["kind"] == "ensemble":
        raise InputError(
            f"{name}: an ensemble of {description.get('members', 'several')} members, expected one "
            "emulator; give one member's directory, or use hybrid-land ensemble rollout or evaluate"
        )
    model = emulator_from(description, source=directory / DESCRIPTION)
    return with_weights(model, read_weights(directory), source=directory / WEIGHTS, dtype=dtype)


def emulator_from(description: Mapping[str, Any], *, source: str | Path) -> Emulator:
    """An emulator of the described architecture, with weights that mean nothing yet.

    Raises:
        InputError: naming `source`, if the description is not of this version.
    """
    size = len(description["inputs"])
    kind = KINDS.get(description.get("member_kind", description["kind"]), Emulator)
    model = kind(
        inputs=description["inputs"],
        mean=np.zeros(size),
        spread=np.ones(size),
        hidden=description["hidden"],
        screen_width=description.get("screen_width", 0),
        time_step=description["time_step"],
        expected_error=tuple(description.get("validation_rmse", {}).items()),
        rngs=nnx.Rngs(params=jax.random.key(0)),
    )
    _require_this_version(
        source,
        description,
        {
            "heads": tuple(model.heads),
            "prognostic": model.prognostic,
            "diagnostic": model.diagnostic,
        },
    )
    return model


def _require_this_version(
    source: str | Path, description: Mapping[str, Any], ours: Mapping[str, Sequence[str]]
) -> None:
    """Raise unless the model's outputs and variables are those of this version."""
    for key, names in ours.items():
        found = list(description[key])
        if found != list(names):
            strange = [f"{n!r} is strange" for n in found if n not in names]
            lacking = [f"{n!r} is missing" for n in names if n not in found]
            what = (strange + lacking or ["in another order"])[0]
            raise InputError(
                f"{source}: {key} are not this version's ({what}), expected "
                f"{', '.join(names)}; train the model again or use the version of hybrid_land that "
                "wrote it"
            )
