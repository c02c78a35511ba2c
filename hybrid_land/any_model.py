"""One way to load a model, whichever it is: an emulator, or a hybrid that corrects one."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_land.interface import Model
from hybrid_land.models import store
from hybrid_land.weights import DESCRIPTION, WEIGHTS

if TYPE_CHECKING:
    from assimilation.model_error import Hybrid
    from calibration.covariance import Errors

_BASE = "base"  # folder of the model that is corrected, in the hybrid's


def is_hybrid(name: str | Path) -> bool:
    """Whether a directory says that it holds a hybrid."""
    try:
        description = json.loads((Path(name) / DESCRIPTION).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("kind") == "hybrid"


def load_model(name: str | Path = "default", **settings: Any) -> Model:
    """Load a shipped model by name, or the directory of a training run or of a hybrid.

    Args:
        name: of a shipped model, or a directory.
        settings: of an emulator, see `hybrid_land.models.store.load_model`.

    Raises:
        InputError: if there is no model, or its weights do not fit its description.
    """
    if not is_hybrid(name):
        return store.load_model(name, **settings)
    from assimilation.model_error import load_hybrid

    folder = Path(name)
    described = json.loads((folder / DESCRIPTION).read_text()).get("base", {})
    if described.get("kind") != "named":
        return load_hybrid(folder)
    own = folder / _BASE
    base = own if described["name"] == _BASE else described["name"]
    return load_hybrid(folder, base=store.load_model(base, **settings))


def trained_ranges(name: str | Path) -> dict[str, dict[str, list[float]]]:
    """Parameters' ranges that a model was trained on, by soil type; none if it does not say.

    Args:
        name: of a shipped model or a directory; a hybrid's are those of its base.
    """
    folder = store.model_directory(name)
    described = json.loads((folder / DESCRIPTION).read_text())
    if described.get("kind") == "hybrid":
        base = described.get("base", {}).get("name")
        return {} if base is None else trained_ranges(folder / _BASE if base == _BASE else base)
    return described.get("parameter_ranges", {})


def own_errors(model: Model, name: str | Path, *, factor: float = 1.0) -> "Errors":
    """What a calibration counts of a model's own error, as its validation measured it.

    That is the error of what is observed, by lead and lag where `errors.nc` lies beside the
    weights, as one number by variable where not, and how far the parameters with which the model
    does best lie from the true ones; nothing of a model that says neither.

    Args:
        model: as loaded.
        name: that it was loaded by, or its directory.
        factor: on the standard deviations of what is observed.
    """
    from calibration.covariance import Errors
    from hybrid_land.evaluation.error_covariance import FILE, load_errors

    rmse = getattr(model, "expected_error", ())
    own = Errors(model={key: factor * value for key, value in rmse}, table_factor=factor)
    if not (store.model_directory(name) / FILE).is_file():
        return own
    known = load_errors(name)
    return replace(own, table=known.table, parameters=known.parameters)


def save_learnt(
    hybrid: "Hybrid", directory: str | Path, *, base: str, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a hybrid with all that it needs: a base that is not shipped goes along.

    Args:
        hybrid: a corrected emulator.
        directory: made if absent.
        base: the emulator's name or directory, or that of a hybrid of the same emulator.
        facts: what else to say in the description.

    Raises:
        InputError: if the directory cannot be written.
    """
    from assimilation.model_error import save_hybrid

    target = Path(directory)
    if is_hybrid(base):
        name = json.loads((Path(base) / DESCRIPTION).read_text())["base"]["name"]
        base = str(Path(base) / _BASE) if name == _BASE else name
    if base not in store.shipped_models():
        target.joinpath(_BASE).mkdir(parents=True, exist_ok=True)
        for file in (DESCRIPTION, WEIGHTS):
            shutil.copyfile(store.model_directory(base) / file, target / _BASE / file)
        base = _BASE
    save_hybrid(hybrid, target, base=base, facts=facts)
