"""A differentiable hybrid emulator of ECLand, ECMWF's land-surface model.

The names below are what users import. Each is loaded when it is first asked for, so the import
is quick and touches no device; `rollout` alone comes at once, since its module has its name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybrid_land.rollout import rollout

if TYPE_CHECKING:
    from hybrid_land.any_model import load_model
    from hybrid_land.data import load, save, validate
    from hybrid_land.ensemble_run import simulate_ensemble
    from hybrid_land.errors import InputError
    from hybrid_land.evaluation.evaluate import evaluate
    from hybrid_land.models.ensemble import load_ensemble
    from hybrid_land.models.store import save_model
    from hybrid_land.simulation import simulate

__all__ = [
    "InputError",
    "evaluate",
    "load",
    "load_ensemble",
    "load_model",
    "rollout",
    "save",
    "save_model",
    "simulate",
    "simulate_ensemble",
    "validate",
]

_HOME = {
    "InputError": "hybrid_land.errors",
    "evaluate": "hybrid_land.evaluation.evaluate",
    "load": "hybrid_land.data",
    "load_ensemble": "hybrid_land.models.ensemble",
    "load_model": "hybrid_land.any_model",
    "save": "hybrid_land.data",
    "save_model": "hybrid_land.models.store",
    "simulate": "hybrid_land.simulation",
    "simulate_ensemble": "hybrid_land.ensemble_run",
    "validate": "hybrid_land.data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hybrid_land' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
