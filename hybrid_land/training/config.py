"""The configuration of a training run: a typed object, read from TOML."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from hybrid_land.errors import InputError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Phase(_Strict):
    """One stage of the curriculum: `updates` of `batch` windows of `length` steps."""

    length: PositiveInt
    updates: PositiveInt
    batch: PositiveInt


class TrainingConfig(_Strict):
    """Everything that decides a training run but its data and its place.

    Attributes:
        hidden: widths of the network's hidden layers.
        screen_width: hidden units of the small network for what is seen at the end of a step; 0
            for none.
        part: `screen` to train that network alone, from `start_from`, which then keeps every other
            weight and so its state; `score` is then of skin, screen and sensible heat.
        kind: `emulator`, or `increments` for the plain network that is its baseline.
        start_from: a model whose weights the run starts from, as `load_model` takes it; its kind
            and widths then count. Empty: random weights.
        phases: the curriculum, from short rollouts to long ones.
        learning_rate: peak of the schedule (linear warm-up, cosine to a hundredth).
        weight_decay: of AdamW, on kernels only.
        gradient_norm: the global norm beyond which a gradient is scaled down.
        drift_weight: weight of the squared mean error over a window beside the squared error.
        averaging: decay of the exponential average of weights, which is what is kept.
        state_noise: spread of the noise on a window's first state, in units of a 6-hour change.
        unknown_albedo: share of windows whose background albedo is withheld, so that the model
            also runs on data without it.
        unknown_beside: share of windows whose records before each step are withheld, and share of
            those whose records after it are, as at the ends of the data.
        validation_share: share of places withheld from training, by column.
        leave_out_last_year: withhold the last year of files longer than two years.
        validate_every: updates between free rollouts on the validation columns.
        checkpoint_every: updates between checkpoints.
        seed: of the initial weights and the batches.
        split_seed: of the split, the same for the members of an ensemble.
    """

    hidden: tuple[PositiveInt, ...] = (112, 112)
    screen_width: int = Field(default=48, ge=0)
    part: Literal["all", "screen"] = "all"
    kind: Literal["emulator", "increments"] = "emulator"
    start_from: str = ""
    phases: tuple[Phase, ...] = Field(
        default=(
            Phase(length=1, updates=4000, batch=4096),
            Phase(length=4, updates=2400, batch=2048),
            Phase(length=16, updates=3600, batch=1024),
            Phase(length=64, updates=5200, batch=512),
            Phase(length=240, updates=2400, batch=256),
        ),
        min_length=1,
    )
    learning_rate: PositiveFloat = 3e-3
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_norm: PositiveFloat = 1.0
    drift_weight: float = Field(default=1.0, ge=0)
    averaging: float = Field(default=0.998, ge=0, lt=1)
    state_noise: float = Field(default=0.1, ge=0)
    unknown_albedo: float = Field(default=0.15, ge=0, le=1)
    unknown_beside: float = Field(default=0.15, ge=0, le=1)
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    leave_out_last_year: bool = True
    validate_every: PositiveInt = 500
    checkpoint_every: PositiveInt = 500
    seed: int = 0
    split_seed: int = 1

    @property
    def updates(self) -> int:
        """Updates of all phases."""
        return sum(phase.updates for phase in self.phases)

    def phase_at(self, update: int) -> Phase:
        """The phase that an update belongs to, counted from zero."""
        for phase in self.phases:
            if update < phase.updates:
                return phase
            update -= phase.updates
        return self.phases[-1]


def read_config(path: str | Path | None) -> TrainingConfig:
    """Read a TOML file into a `TrainingConfig`; the defaults where there is none.

    Raises:
        InputError: if the file is missing, not TOML, or has a key or value that is not known.
    """
    if path is None:
        return TrainingConfig()
    try:
        content = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(
            f"{path}: the configuration cannot be read ({error.strerror}); give a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error}); correct that line") from error
    try:
        return TrainingConfig.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one: the misspelling says more.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            table = Phase if len(first["loc"]) > 1 else TrainingConfig
            known = ", ".join(table.model_fields)
            raise InputError(
                f"{path}: unknown key {key!r}; expected one of {known}; correct or remove it"
            ) from error
        raise InputError(
            f"{path}: {key} is {first['input']!r}: {first['msg'].lower()}; correct the value"
        ) from error
