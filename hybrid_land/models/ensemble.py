"""A deep ensemble: emulators of one architecture whose weights are stacked on an axis `member`.

Members differ by the seed of their weights and batches (Lakshminarayanan et al. 2017), and each
has its own state: averaging states at every step would be another model, smoother than any
member, and would hide the spread that the ensemble is for. Two ways to run it, both by one `vmap`
over the stacked weights and without a loop over members:

- `simulate_ensemble` maps the rollout over members; forcing and parameters are shared. This is
  the way for forecasts.
- `Ensemble.step` satisfies the `step` interface for code that knows models alone (`rollout`,
  assimilation, calibration): members are folded into the column axis, row = column K + member,
  see `fold`. With the member as the fast index every piece of the rows that holds whole places is
  sound, whatever splits the rows; one that does not is refused. `required` names `member`, which
  a Dataset has only once it is folded (`hybrid_land.ensemble_run.fold_columns`), so that plain
  data are never run with one member a column by mistake.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models.emulator import Emulator
from hybrid_land.models.store import (
    describe_model,
    description_of,
    emulator_from,
    load_model,
    model_directory,
)
from hybrid_land.weights import (
    DESCRIPTION,
    WEIGHTS,
    named_weights,
    read_weights,
    with_weights,
    write_weights,
)

MEMBER = "member"
LONG = ("config", "screen_config", "member_facts")  # parts of a description that fill a screen
# What a member's own description says of its training that the ensemble's keeps.
_KEPT = ("trained_on", "command", "config", "validation", "validation_rmse", "update")


class Ensemble(nnx.Module):
    """K emulators as one pytree.

    Attributes:
        members: an emulator each of whose arrays has the leading axis `member`.
        size: K.
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics.
        required: names that a folded Dataset must have to be run by `step`.
    """

    def __init__(self, members: Emulator, *, size: int) -> None:
        """From a stacked emulator, see `stack`."""
        self.members = members
        self.size = size
        self.time_step = members.time_step
        self.prognostic: tuple[str, ...] = members.prognostic
        self.diagnostic: tuple[str, ...] = members.diagnostic
        self.required: tuple[str, ...] = (*members.required, MEMBER)

    def member(self, index: int) -> Emulator:
        """One member as an emulator of its own.

        Raises:
            IndexError: if there is no such member.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"member {index}, expected 0 to {self.size - 1}")
        return jax.tree.map(lambda leaf: leaf[index], self.members)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """Each member's own step, on leaves `[column K + member]`. See `interface.Model`.

        Raises:
            ValueError: if the rows are not whole columns of K members.
        """
        rows = jax.tree.leaves(state)[0].shape[-1]
        if rows % self.size:
            raise ValueError(
                f"{rows} rows for {self.size} members, expected a multiple: columns are folded "
                "with all their members side by side (`fold`), and pieces must not cut them"
            )

        def one(member: Emulator, *arguments: Any) -> Any:
            return member.step(*arguments)

        apart = jax.tree.map(lambda x: x.reshape(-1, self.size), (parameters, state, forcing))
        result = jax.vmap(one, in_axes=(0, 1, 1, 1), out_axes=1)(self.members, *apart)
        return jax.tree.map(lambda x: x.reshape(-1), result)


def fold(tree: Any, size: int) -> Any:
    """Every column K times side by side: leaves `[..., column]` to `[..., column K]`."""
    return jax.tree.map(lambda x: jnp.repeat(x, size, axis=-1), tree)


def unfold(rows: Float[Array, "*axes row"], size: int) -> Float[Array, "member *axes column"]:
    """Members in front again: `[..., column K]` to `[member, ..., column]`."""
    return jnp.moveaxis(rows.reshape(*rows.shape[:-1], -1, size), -1, 0)


def stack(emulators: Sequence[Emulator], *, names: Sequence[str] | None = None) -> Ensemble:
    """Emulators of one architecture as one ensemble.

    Args:
        emulators: at least two.
        names: what to call them in an error.

    Raises:
        InputError: if they are fewer than two or not of one architecture.
    """
    if len(emulators) < 2:
        raise InputError(
            f"an ensemble of {len(emulators)} models has no spread, expected at least 2; add models"
        )
    called = list(names or (f"member {i}" for i in range(len(emulators))))
    first = description_of(emulators[0])
    for name, other in zip(called[1:], emulators[1:], strict=True):
        found = description_of(other)
        for key, value in first.items():
            if found[key] != value:
                raise InputError(
                    f"{name}: {key} differ from those of {called[0]}, expected members of one "
                    "architecture; train them with one configuration but for the seed"
                )
    weights = [named_weights(emulator) for emulator in emulators]
    arrays = {key: np.stack([np.asarray(one[key]) for one in weights]) for key in weights[0]}
    dtype = jax.tree.leaves(emulators[0])[0].dtype
    stacked = with_weights(
        emulators[0], arrays, source="the members", dtype=dtype, leading=(len(emulators),)
    )
    stacked.expected_error = _mean_error([emulator.expected_error for emulator in emulators])
    return Ensemble(stacked, size=len(emulators))


def _mean_error(given: Sequence[tuple[tuple[str, float], ...]]) -> tuple[tuple[str, float], ...]:
    """Root mean square over members of each variable's expected error."""
    tables = [dict(pairs) for pairs in given]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return tuple(
        (name, float(np.sqrt(np.mean([table[name] ** 2 for table in tables])))) for name in shared
    )


def is_ensemble(name: str | Path) -> bool:
    """Whether a directory holds an ensemble.

    Raises:
        InputError: if there is no model, or its description is not readable.
    """
    return describe_model(name)["kind"] == "ensemble"


def save_ensemble(
    ensemble: Ensemble, directory: str | Path, *, facts: dict[str, Any] | None = None
) -> None:
    """Write `model.json` and `weights.safetensors`, whose arrays have the leading axis `member`.

    Args:
        ensemble: what to write.
        directory: made if absent.
        facts: what else to say of it in the description.

    Raises:
        InputError: if the directory cannot be written.
    """
    member = description_of(ensemble.member(0))
    description = member | {
        "kind": "ensemble",
        "member_kind": member["kind"],
        "members": ensemble.size,
        "validation_rmse": dict(ensemble.members.expected_error),
    }
    weights = named_weights(ensemble.members)
    write_weights(directory, weights, description | (facts or {}), dtype=np.float32)


def load_ensemble(
    source: str | Path | Sequence[str | Path], *, dtype: Any = jnp.float32
) -> Ensemble:
    """An ensemble from its directory, or from the directories of its members.

    Args:
        source: one directory that `save_ensemble` wrote, or several of single models.
        dtype: of the weights.

    Raises:
        InputError: if there is none, it is a single model, or members do not fit together.
    """
    if not isinstance(source, str | Path):
        models = [load_model(name, dtype=dtype) for name in source]
        return stack(models, names=[str(name) for name in source])
    directory = model_directory(source)
    description = describe_model(directory)
    if description["kind"] != "ensemble":
        raise InputError(
            f"{source}: kind {description['kind']!r}, expected an ensemble; assemble one from "
            "several runs with hybrid-land ensemble assemble RUN1 RUN2 ... --out DIR"
        )
    size = description.get("members")
    if not isinstance(size, int) or size < 2:
        raise InputError(
            f"{directory / DESCRIPTION}: members is {size!r}, expected a number of at least 2; "
            "restore the file"
        )
    members = with_weights(
        emulator_from(description, source=directory / DESCRIPTION),
        read_weights(directory),
        source=directory / WEIGHTS,
        dtype=dtype,
        leading=(size,),
    )
    return Ensemble(members, size=size)


def load_any(name: str | Path) -> Emulator | Ensemble:
    """A model or an ensemble, whichever the directory holds; see `load_model`, `load_ensemble`."""
    return load_ensemble(name) if is_ensemble(name) else load_model(name)


def assemble(directories: Sequence[str | Path], out: str | Path) -> Ensemble:
    """Stack trained models and write them as one ensemble, with what each one's training was.

    Args:
        directories: of the members, at least two.
        out: directory to write.

    Raises:
        InputError: if a model cannot be read, the models do not fit together, one is named twice,
            or `out` cannot be written.
    """
    places = [model_directory(name).resolve() for name in directories]
    for name, place in zip(directories, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{name}: named twice, expected each member once; remove one")
        if place == Path(out).resolve():
            raise InputError(
                f"{out}: is a member's own directory, expected another; give a new directory"
            )
    ensemble = load_ensemble(directories)
    told = []
    for name in directories:
        description = describe_model(name)
        told.append(
            {"name": Path(name).name}
            | {key: description[key] for key in _KEPT if key in description}
        )
    trained_on = [list(member.get("trained_on", ())) for member in told]
    facts: dict[str, Any] = {"member_facts": told}
    if all(names == trained_on[0] for names in trained_on):
        facts["trained_on"] = trained_on[0]
    save_ensemble(ensemble, out, facts=facts)
    return ensemble
