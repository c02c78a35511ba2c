"""Training: curriculum, validation by free rollout, checkpoints, and an exact resume."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import xarray as xr
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float

from hybrid_land.columns import STEP_FORCING
from hybrid_land.data import load, validate
from hybrid_land.data.files import atomic_path, make_folder, require_folder
from hybrid_land.data.parameter_ranges import parameter_ranges
from hybrid_land.errors import InputError
from hybrid_land.models.emulator import Emulator, create
from hybrid_land.models.screen import SEEN
from hybrid_land.models.store import KINDS, describe_model, load_model, save_model
from hybrid_land.training.config import Phase, TrainingConfig
from hybrid_land.training.loss import Scales, measure_scales, rollout_loss
from hybrid_land.training.split import split
from hybrid_land.training.validation import validation_scores
from hybrid_land.training.windows import Windows, pack
from hybrid_land.variables import (
    PROGNOSTIC,
    SOIL_TEMPERATURE,
    SOIL_WATER,
)

HISTORY = "history.jsonl"
CONFIGURATION = "config.json"
_WINDOW = "window"
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Progress:
    """The state of a training run: everything that a resume needs.

    Attributes:
        weights: trainable weights.
        average: their exponential average, which is validated and kept.
        optimiser: the optimiser's state.
        update: updates done.
        best: lowest validation score so far.
    """

    weights: Any
    average: Any
    optimiser: Any
    update: int
    best: float


def train(
    data: Sequence[str | Path],
    out: str | Path,
    *,
    config: TrainingConfig | None = None,
    resume: bool = False,
    report: Report | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train an emulator and leave the best one in `out`.

    The run directory holds `model.json` and `weights.safetensors` (the averaged weights that did
    best in a free rollout over the withheld columns), `checkpoints/` (Orbax), `history.jsonl`
    (losses and validation scores) and `config.json`. A run that was killed goes on from its last
    checkpoint to bit-identical weights with `resume=True`.

    Args:
        data: files of training data, any form that `load` knows.
        out: the run directory, new or empty unless `resume`.
        config: what decides the run.
        resume: go on from the last checkpoint in `out`.
        report: called with each record of the history.
        command: the command line, for the model's description.

    Returns:
        The description of the best model: validation scores, updates, seconds.

    Raises:
        InputError: if the data are not sound, or `out` is in use, not writable, or not a run.
    """
    config = config or TrainingConfig()
    if config.part == "screen":
        _check_screen(config)
    _check_run(Path(out), config, resume=resume)
    report = report or (lambda record: None)
    training, validation = _split(data, config)
    ranges = parameter_ranges(training)
    windows = pack(training, sources=[str(path) for path in data])
    longest = max(phase.length for phase in config.phases)
    if not (windows.room >= longest).any():
        raise InputError(
            f"the longest phase is {longest} steps, longer than every training column; shorten "
            "the phase or give longer data"
        )
    run = Path(out).resolve() if resume else _make_run(Path(out), config)
    scales = measure_scales(windows, leads=longest, seed=config.seed)
    model = _first_model(windows, config)
    alone = config.part == "screen"
    trained = nnx.All(nnx.Param, nnx.PathContains("screen")) if alone else nnx.Param
    definition, weights, fixed = nnx.split(model, trained, ...)
    optimiser = _optimiser(config)
    progress = Progress(weights, weights, optimiser.init(weights), 0, np.inf)
    with ocp.CheckpointManager(
        run / "checkpoints", options=ocp.CheckpointManagerOptions(max_to_keep=2)
    ) as manager:
        if resume and manager.latest_step() is not None:
            progress = _restore(manager, progress)
        _trim_history(run / HISTORY, progress.update)
        update = _make_update(definition, fixed, optimiser, scales, windows, config)
        schedule = [(i, config.phase_at(i)) for i in range(progress.update, config.updates)]
        begun, first = time.monotonic(), progress.update
        losses: list[Array] = []
        for (number, phase), batch in zip(
            schedule, windows.batches(schedule, seed=config.seed), strict=True
        ):
            key = jax.random.fold_in(jax.random.key(config.seed), number)
            weights, average, state, loss = update(
                progress.weights, progress.average, progress.optimiser, batch, key
            )
            progress = Progress(weights, average, state, number + 1, progress.best)
            losses.append(loss)
            done = progress.update
            last = done == config.updates
            if done % config.validate_every == 0 or last:
                candidate = nnx.merge(definition, progress.average, fixed)
                scores, errors = validation_scores(
                    candidate, validation, judged=SEEN if alone else PROGNOSTIC
                )
                score = scores["score"]
                if score < progress.best:
                    progress = Progress(weights, average, state, done, score)
                    facts = _facts(data, config, command, done) | {
                        "validation": scores,
                        "validation_rmse": errors,
                        "parameter_ranges": ranges,
                    }
                    save_model(candidate, run, facts=facts)
                spent = time.monotonic() - begun
                record = {
                    "update": done,
                    "updates": config.updates,
                    "length": phase.length,
                    "loss": float(np.mean(jax.device_get(losses))),
                    "validation": scores,
                    "best": progress.best,
                    "seconds": round(spent, 1),
                    "seconds_left": _time_left(config, first, done, spent),
                }
                losses = []
                with (run / HISTORY).open("a") as history:
                    history.write(json.dumps(record) + "\n")
                report(record)
            if done % config.checkpoint_every == 0 or last:
                _save(manager, progress)
    if not np.isfinite(progress.best):
        raise InputError(
            f"{run}: no validation score was finite; lower learning_rate or gradient_norm"
        )
    return json.loads((run / "model.json").read_text())


def _check_screen(config: TrainingConfig) -> None:
    """Raise unless there is an emulator to train the screen network of; nothing is written."""
    if not (config.start_from and config.screen_width):
        raise InputError(
            "part is 'screen' without a model and a width for it; give start_from, a trained "
            "emulator, and a screen_width above 0"
        )
    kind = describe_model(config.start_from)["kind"]
    if kind != Emulator.kind:
        raise InputError(
            f"{config.start_from}: kind {kind!r} has no screen network, expected "
            f"{Emulator.kind!r}; give start_from, a trained emulator"
        )


def _note(config: TrainingConfig) -> str:
    return config.model_dump_json(indent=1) + "\n"


def _check_run(run: Path, config: TrainingConfig, *, resume: bool) -> None:
    """Raise unless the run directory can be begun or resumed; nothing is written."""
    note = run / CONFIGURATION
    require_folder(run)
    try:
        if resume:
            if not note.is_file():
                raise InputError(
                    f"{run}: nothing to resume, expected a run directory with {CONFIGURATION}; "
                    "leave out --resume to start one"
                )
            if note.read_text() != _note(config):
                raise InputError(
                    f"{note}: the run was made with another configuration; resume with the same "
                    "one or start a new run"
                )
        elif run.exists() and any(run.iterdir()):
            raise InputError(
                f"{run}: not empty; give a new directory, or --resume to go on with the run"
            )
    except OSError as error:
        raise InputError(
            f"{run}: the run directory cannot be read ({error.strerror}); choose another"
        ) from error


def _make_run(run: Path, config: TrainingConfig) -> Path:
    """The run directory with its configuration, as an absolute path."""
    with atomic_path(make_folder(run) / CONFIGURATION) as partial:
        partial.write_text(_note(config))
    return run.resolve()


def _split(
    data: Sequence[str | Path], config: TrainingConfig
) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    training, validation = [], []
    for path in data:
        whole = load(path)
        validate(whole, source=str(path))
        kept, held = split(whole, config)
        training.append(kept.load())
        validation.append(held.load())
    if not any(kept.sizes["column"] for kept in training):
        raise InputError(
            "the training data are of one place, expected at least two, one of them to validate "
            "on; give more places"
        )
    return training, validation


def _first_model(windows: Windows, config: TrainingConfig) -> Emulator:
    """What a run starts from; `part = "screen"` adds the screen network to one that has none."""
    if not config.start_from:
        return _untrained(windows, config)
    model = load_model(config.start_from)
    if config.part == "screen" and model.screen is None:
        model.add_screen(config.screen_width, rngs=nnx.Rngs(params=config.seed))
    return model


def _untrained(windows: Windows, config: TrainingConfig) -> Emulator:
    """A network whose normalisation comes from a sample of the training windows."""
    batch = windows.draw(Phase(length=1, updates=1, batch=50000), seed=config.seed, update=1 << 40)
    rows = {name: jnp.asarray(batch["rows"][0, i]) for i, name in enumerate(windows.variables)}
    forcing = {name: rows[name] for name in STEP_FORCING}
    parameters = dict(zip(windows.parameters, jnp.asarray(batch["fixed"]), strict=True))
    return create(
        parameters,
        {name: rows[name] for name in PROGNOSTIC},
        forcing,
        hidden=config.hidden,
        screen_width=config.screen_width if config.kind == "emulator" else 0,
        kind=KINDS[config.kind],
        key=jax.random.key(config.seed),
    )


def _optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    warm_up = max(1, min(500, config.updates // 10))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        warm_up,
        max(config.updates, warm_up + 1),
        0.01 * config.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.gradient_norm),
        optax.adamw(
            schedule,
            b2=0.99,
            weight_decay=config.weight_decay,
            mask=lambda weights: jax.tree.map(lambda leaf: leaf.shape[-1] > 1, weights),
        ),
    )


def _make_update(
    definition: Any,
    fixed: Any,
    optimiser: optax.GradientTransformation,
    scales: Scales,
    windows: Windows,
    config: TrainingConfig,
) -> Callable[..., Any]:
    """The compiled update: one batch in, new weights, average, optimiser's state and loss out.

    The windows of a batch are spread over the devices, whose gradients are averaged.
    """

    def loss_of(
        weights: Any,
        rows: Float[Array, "record variable window"],
        parameters: Float[Array, "parameter window"],
        noise: dict[str, Float[Array, " window"]],
        known: Bool[Array, " window"],
        beside: Bool[Array, "2 window"],
    ) -> Float[Array, ""]:
        return rollout_loss(
            nnx.merge(definition, weights, fixed),
            dict(zip(windows.parameters, parameters, strict=True)),
            {name: rows[:, i] for i, name in enumerate(windows.variables)},
            scales,
            drift_weight=config.drift_weight,
            noise=noise,
            albedo_known=known,
            beside_known=beside,
        )[0]

    def on_each(*arguments: Any) -> Any:
        return jax.lax.pmean(jax.value_and_grad(loss_of)(*arguments), _WINDOW)

    @jax.jit
    def update(weights: Any, average: Any, state: Any, batch: Any, key: Array) -> Any:
        noise_key, albedo_key = jax.random.split(key)
        beside_key = jax.random.fold_in(albedo_key, 1)
        count = batch["rows"].shape[-1]
        noisy = (*SOIL_WATER, *SOIL_TEMPERATURE)
        draws = jax.random.normal(noise_key, (len(noisy), count))
        noise = {
            name: config.state_noise * scales.state[name][0] * draws[i]
            for i, name in enumerate(noisy)
        }
        known = jax.random.uniform(albedo_key, (count,)) >= config.unknown_albedo
        beside = jax.random.uniform(beside_key, (2, count)) >= config.unknown_beside
        used = math.gcd(jax.device_count(), count)
        spread = jax.shard_map(
            on_each,
            mesh=Mesh(np.array(jax.devices()[:used]), (_WINDOW,)),
            in_specs=(
                PartitionSpec(),
                PartitionSpec(None, None, _WINDOW),
                PartitionSpec(None, _WINDOW),
                PartitionSpec(_WINDOW),
                PartitionSpec(_WINDOW),
                PartitionSpec(None, _WINDOW),
            ),
            out_specs=PartitionSpec(),
            check_vma=False,
        )
        loss, gradient = spread(weights, batch["rows"], batch["fixed"], noise, known, beside)
        change, new_state = optimiser.update(gradient, state, weights)
        sound = jnp.isfinite(optax.tree.norm(gradient))
        new = optax.apply_updates(weights, change)
        new_average = optax.incremental_update(new, average, 1.0 - config.averaging)

        def keep(a: Any, b: Any) -> Any:
            return jax.tree.map(lambda x, y: jnp.where(sound, x, y), a, b)

        return keep(new, weights), keep(new_average, average), keep(new_state, state), loss

    return update


def _facts(
    data: Sequence[str | Path], config: TrainingConfig, command: str, update: int
) -> dict[str, Any]:
    return {
        "trained_on": [Path(path).name for path in data],
        "command": command,
        "config": config.model_dump(mode="json"),
        "update": update,
    }


def _time_left(config: TrainingConfig, first: int, done: int, spent: float) -> float:
    """Seconds left, counting an update's cost as its steps times windows."""

    def work(begin: int, end: int) -> float:
        total, at = 0.0, 0
        for phase in config.phases:
            inside = max(0, min(end, at + phase.updates) - max(begin, at))
            total += inside * (phase.length * phase.batch + 3000.0)
            at += phase.updates
        return total

    return round(spent * work(done, config.updates) / max(work(first, done), 1.0), 1)


def _as_tree(progress: Progress) -> dict[str, Any]:
    leaves = jax.tree.leaves((progress.weights, progress.average, progress.optimiser))
    return {
        "leaves": [np.asarray(leaf) for leaf in leaves],
        "update": np.asarray(progress.update),
        "best": np.asarray(progress.best, np.float64),
    }


def _save(manager: ocp.CheckpointManager, progress: Progress) -> None:
    manager.save(progress.update, args=ocp.args.StandardSave(_as_tree(progress)))
    manager.wait_until_finished()


def _restore(manager: ocp.CheckpointManager, blank: Progress) -> Progress:
    tree = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(_as_tree(blank)))
    shape = jax.tree.structure((blank.weights, blank.average, blank.optimiser))
    weights, average, optimiser = jax.tree.unflatten(
        shape, [jnp.asarray(leaf) for leaf in tree["leaves"]]
    )
    return Progress(weights, average, optimiser, int(tree["update"]), float(tree["best"]))


def _trim_history(path: Path, update: int) -> None:
    """Drop records after the checkpoint that a resumed run starts from."""
    if not path.is_file():
        return
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["update"] <= update]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(line + "\n" for line in lines))
    partial.replace(path)
