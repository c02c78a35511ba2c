"""Windows already analysed, on disk: a run that was killed goes on to the same result."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from assimilation.observations import Observations
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError

_SETTINGS = "settings"


def _file(folder: Path, number: int) -> Path:
    return folder / f"window_{number:05d}.safetensors"


def save_window(
    folder: str | Path, number: int, arrays: Mapping[str, np.ndarray], *, settings: str
) -> None:
    """Write one window's results, whole or not at all.

    Args:
        folder: made if absent.
        number: of the window.
        arrays: by name.
        settings: what decides the run, in words.
    """
    whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    with atomic_path(_file(make_folder(Path(folder)), number)) as path:
        save_file(whole, path, metadata={_SETTINGS: settings})


def load_window(folder: str | Path, number: int, *, settings: str) -> dict[str, np.ndarray] | None:
    """One window's results, or nothing where it was not analysed yet.

    Raises:
        InputError: if the file is damaged or of a run with other settings.
    """
    path = _file(Path(folder), number)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stored:
            if (stored.metadata() or {}).get(_SETTINGS) != settings:
                raise InputError(
                    f"{path}: of a run with other settings or data, expected those of this one; "
                    "give another folder or the same settings"
                )
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: damaged ({error}); remove it and run again") from error


def settings_of(
    method: str,
    options: Any,
    begins: list[int],
    length: int,
    data: xr.Dataset,
    observations: Observations,
) -> str:
    """What decides a run, in words; a restart must have the same."""
    chosen = asdict(options)
    if options.root is not None:
        chosen["root"] = np.asarray(options.root).tolist()
    seen = {n: float(jnp.sum(x * observations.mask[n])) for n, x in observations.values.items()}
    facts = {
        "method": method,
        "options": chosen,
        "windows": [begins, length],
        "data": [str(data["time"].to_numpy()[0]), dict(data.sizes)],
        "observations": seen,
    }
    return json.dumps(facts, sort_keys=True, default=str)
