"""Gradient-boosted trees as a model: one XGBoost regressor a variable, inside the step interface.

A baseline, not a product: it sees what the emulator sees, has no construction that keeps it
physical (its state is clipped), does not close the water budget, and has no gradient.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xgboost as xgb
from jaxtyping import Float

from hybrid_land.columns import BESIDE, KNOWN
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models.emulator import PARAMETERS
from hybrid_land.models.increments import clipped, reference
from hybrid_land.models.inputs import features, survey
from hybrid_land.models.screen import changes
from hybrid_land.variables import DIAGNOSTIC, FORCING, PROGNOSTIC

DESCRIPTION = "model.json"
TARGETS = (*PROGNOSTIC, *DIAGNOSTIC)
_FORM = 1
_MANY_ROWS = 2000  # below, a second thread costs more than it brings


@jax.tree_util.register_static
class TreeModel:
    """One XGBoost regressor a variable, called from inside the compiled rollout.

    Attributes:
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics.
        required: names that a Dataset must have to be run.
        inputs: names of the features in order; a regressor may take the first of them alone.
    """

    def __init__(
        self,
        boosters: Mapping[str, xgb.Booster],
        *,
        scales: Mapping[str, float],
        inputs: tuple[str, ...],
        time_step: float = 21600.0,
    ) -> None:
        """Bind the regressors, each of which predicts its target divided by its scale."""
        absent = [name for name in TARGETS if name not in boosters]
        if absent:
            raise ValueError(f"no regressor for {', '.join(absent)}; expected one for each target")
        self.boosters = dict(boosters)
        self.scales = {name: float(scales[name]) for name in TARGETS}
        self.inputs = tuple(inputs)
        self._threads = 0
        self.time_step = float(time_step)
        self.prognostic = PROGNOSTIC
        self.diagnostic = DIAGNOSTIC
        given = (name for name in PARAMETERS if name != "theta_max")
        self.required = (*PROGNOSTIC, *FORCING, *(f"clim_{name}" for name in given), "lat", "lon")

    def predict(self, rows: Any) -> Float[np.ndarray, "target row"]:
        """All targets in their units, from features `[row, input]`."""
        x = np.ascontiguousarray(np.asarray(rows), np.float32)
        threads = 1 if len(x) < _MANY_ROWS else (os.cpu_count() or 1)
        if threads != self._threads:  # a regressor takes long to be told, so tell it once
            for booster in self.boosters.values():
                booster.set_param({"nthread": threads})
            self._threads = threads
        sizes = {name: self.boosters[name].num_features() for name in TARGETS}  # the first so many
        shared = {n: xgb.DMatrix(x[:, :n], nthread=threads) for n in set(sizes.values())}
        return np.stack(
            [self.scales[n] * self.boosters[n].predict(shared[sizes[n]]) for n in TARGETS]
        ).astype(np.float32)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + 6 h and diagnostics of the step, clipped to their bounds.

        The regressors run on the host, whatever the device; there is no derivative.
        """
        land = survey(parameters, state, forcing, time_step=self.time_step)
        found = features(land, parameters, state, forcing, time_step=self.time_step)
        names = (*found.names, *BESIDE, *KNOWN)
        rows = jnp.concatenate([found.rows, changes(forcing)])
        x = rows[np.array([names.index(name) for name in self.inputs])].T.astype(jnp.float32)
        shape = jax.ShapeDtypeStruct((len(TARGETS), x.shape[0]), jnp.float32)
        y = jax.pure_callback(self.predict, shape, x, vmap_method="sequential")
        base = reference(state, forcing)
        values = {
            name: base.get(name, 0.0) + y[i].astype(state["sd"].dtype)
            for i, name in enumerate(TARGETS)
        }
        return clipped(values, parameters)


def save_trees(
    model: TreeModel, directory: str | Path, *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write one UBJSON file a target, XGBoost's own form, and `model.json`.

    Raises:
        InputError: if the directory cannot be written.
    """
    target = Path(directory)
    description = {
        "form": _FORM,
        "kind": "trees",
        "inputs": list(model.inputs),
        "scales": model.scales,
        "time_step": model.time_step,
        "prognostic": list(model.prognostic),
        "diagnostic": list(model.diagnostic),
        **(facts or {}),
    }
    make_folder(target)
    for name, booster in model.boosters.items():
        with atomic_path(target / f"{name}.ubj") as path:
            path.write_bytes(booster.save_raw("ubj"))
    with atomic_path(target / DESCRIPTION) as path:
        path.write_text(json.dumps(description, indent=1) + "\n")


def load_trees(directory: str | Path) -> TreeModel:
    """Read what `save_trees` wrote.

    Raises:
        InputError: if there are no trees there, or one of their files cannot be read.
    """
    home = Path(directory)
    try:
        description = json.loads((home / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{home}: no trees here ({error}), expected {DESCRIPTION}; train them with "
            "benchmarks/skill.py"
        ) from error
    if description.get("kind") != "trees" or description.get("form") != _FORM:
        raise InputError(
            f"{home / DESCRIPTION}: kind {description.get('kind')!r}, expected 'trees' of form "
            f"{_FORM}; give the directory of trained trees"
        )
    boosters = {}
    for name in TARGETS:
        booster = xgb.Booster()
        try:
            booster.load_model(home / f"{name}.ubj")
        except xgb.core.XGBoostError as error:
            raise InputError(
                f"{home / name}.ubj: the trees cannot be read; expected XGBoost's UBJSON; restore "
                "the file or train again"
            ) from error
        boosters[name] = booster
    return TreeModel(
        boosters,
        scales=description["scales"],
        inputs=tuple(description["inputs"]),
        time_step=description["time_step"],
    )
