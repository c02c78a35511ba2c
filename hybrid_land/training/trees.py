"""Training the tree baseline: one regressor a target on the emulator's own training columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
import xgboost as xgb

from hybrid_land.columns import BESIDE, KNOWN, STEP_FORCING
from hybrid_land.models.increments import reference
from hybrid_land.models.inputs import features, survey
from hybrid_land.models.screen import SEEN, changes
from hybrid_land.models.trees import TARGETS, TreeModel
from hybrid_land.training.config import Phase
from hybrid_land.training.windows import pack
from hybrid_land.variables import PROGNOSTIC, SNOW_INNER, SNOW_PRESENT, VARIABLES

_CHUNK = 50_000  # rows whose features are computed together


@dataclass(frozen=True)
class TreeSettings:
    """What decides the trees.

    Attributes:
        rows: steps drawn from the training columns, with replacement.
        rounds: most trees of a regressor; fewer where the validation columns say so.
        patience: rounds without a lower error on the validation columns before it stops.
        depth: of a tree.
        learning_rate: shrinkage of a tree.
        row_share: share of rows that a tree sees.
        feature_share: share of features that a tree sees.
        least_rows: in a leaf.
        threads: 0 for all.
        seed: of the draws.
    """

    rows: int = 600_000
    rounds: int = 300
    patience: int = 15
    depth: int = 8
    learning_rate: float = 0.1
    row_share: float = 0.7
    feature_share: float = 0.7
    least_rows: float = 10.0
    threads: int = 0
    seed: int = 0


def train_trees(
    training: Sequence[xr.Dataset],
    validation: Sequence[xr.Dataset],
    *,
    settings: TreeSettings | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> TreeModel:
    """Fit one regressor a target to single steps of ECLand.

    Inputs are the emulator's, those of the records beside a step only for what is seen at its end
    (given to all, they are taken for causes and the free run gets worse). Targets are differences
    from `increments.reference` over their spread. Snow's inner variables are fitted where there is
    snow at the end of the step (everywhere, to no end, if the columns never have any).

    Args:
        training: columns to fit.
        validation: columns that decide when to stop.
        settings: what decides the trees.
        report: called after each target with its name, trees, and share of variance left.
    """
    settings = settings or TreeSettings()
    inputs, x, y, weight = _table(training, settings.rows, settings.seed)
    _, x_held, y_held, weight_held = _table(validation, settings.rows // 5, settings.seed + 1)
    own = len(inputs) - len(BESIDE) - len(KNOWN)
    matrices = {}
    for wide, size in ((False, own), (True, len(inputs))):
        matrix = xgb.QuantileDMatrix(x[:, :size])
        matrices[wide] = matrix, xgb.QuantileDMatrix(x_held[:, :size], ref=matrix)
    del x, x_held
    parameters = {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "max_depth": settings.depth,
        "learning_rate": settings.learning_rate,
        "subsample": settings.row_share,
        "colsample_bytree": settings.feature_share,
        "min_child_weight": settings.least_rows,
        "nthread": settings.threads,
        "seed": settings.seed,
    }
    boosters, scales = {}, {}
    for i, name in enumerate(TARGETS):
        # XGBoost drops splits that gain less than 1e-6, so that targets must be of order one.
        spread = float(np.sqrt(np.average(np.square(y[i]), weights=weight[name])))
        scales[name] = max(spread, 1e-12)
        matrix, held = matrices[name in SEEN]
        matrix.set_info(label=y[i] / scales[name], weight=weight[name])
        held.set_info(label=y_held[i] / scales[name], weight=weight_held[name])
        booster = xgb.train(
            parameters,
            matrix,
            num_boost_round=settings.rounds,
            evals=[(held, "held")],
            early_stopping_rounds=settings.patience,
            verbose_eval=False,
        )
        boosters[name] = booster[: booster.best_iteration + 1]
        if report:
            report(
                {
                    "target": name,
                    "trees": booster.best_iteration + 1,
                    "variance_left": float(booster.best_score) ** 2,
                }
            )
    return TreeModel(boosters, scales=scales, inputs=inputs)


def _table(
    datasets: Sequence[xr.Dataset], rows: int, seed: int
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Names of inputs, inputs `[row, input]`, targets `[target, row]`, weights `[row]` a target."""
    windows = pack(datasets, sources=[f"data set {i}" for i in range(len(datasets))])
    batch = windows.draw(Phase(length=1, updates=1, batch=rows), seed=seed, update=0)
    column = {name: i for i, name in enumerate(windows.variables)}
    now, after = batch["rows"]
    inputs: tuple[str, ...] = ()
    x, y = [], []
    for begin in range(0, rows, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        state = {name: jnp.asarray(now[column[name], part]) for name in PROGNOSTIC}
        forcing = {name: jnp.asarray(now[column[name], part]) for name in STEP_FORCING}
        fixed = dict(zip(windows.parameters, jnp.asarray(batch["fixed"][:, part]), strict=True))
        land = survey(fixed, state, forcing, time_step=21600.0)
        found = features(land, fixed, state, forcing, time_step=21600.0)
        inputs = found.names
        x.append(np.concatenate([found.rows, changes(forcing)]).T)
        base = {name: np.asarray(value) for name, value in reference(state, forcing).items()}
        y.append(
            np.stack(
                [
                    (after if VARIABLES[name].kind == "instantaneous" else now)[column[name], part]
                    - base.get(name, 0.0)
                    for name in TARGETS
                ]
            )
        )
    snow = (after[column["sd"]] >= SNOW_PRESENT).astype(np.float32)
    every = np.ones(rows, np.float32)
    snow = snow if snow.any() else every
    weight = {name: snow if name in SNOW_INNER else every for name in TARGETS}
    return (*inputs, *BESIDE, *KNOWN), np.concatenate(x), np.concatenate(y, axis=1), weight
