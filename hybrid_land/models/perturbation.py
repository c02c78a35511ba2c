"""Gaussian perturbations of a model's state, correlated in time, that keep it within its bounds.

A model's error is not in its members' weights alone. `Perturbed` adds to the state after each step

    x' = x + r tanh(s n / r),   r = min(x - lower, upper - x)

where s is the spread that is asked for, n a stationary first-order autoregressive series of unit
variance (`noise.noise_series`) and r the distance to the nearer bound: far from a bound the
perturbation has the spread s, at a bound it vanishes, and none is ever crossed. A column without
snow gets none. Soil water and snow that are added are no flux of ECLand's, so they are reported as
the diagnostic `water_added`, with which the water budget closes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State
from hybrid_land.models.inputs import snow_cover
from hybrid_land.noise import NOISE
from hybrid_land.variables import (
    SOIL_TEMPERATURE,
    SOIL_WATER,
    VARIABLES,
    WATER_DENSITY,
)

PERTURBED = (*SOIL_WATER, *SOIL_TEMPERATURE, "sd")
WATER_ADDED = "water_added"


@dataclass(frozen=True)
class Perturbation:
    """What is added to the state of each member, each step.

    Attributes:
        spread: standard deviation of what a step adds, in the variable's unit, by name (of
            `PERTURBED`): one number, or one for each member.
        memory_days: e-folding time of the noise's correlation in time, d; 0 for white noise.
    """

    spread: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    memory_days: float = 0.0

    def spreads(self, members: int) -> dict[str, Float[Array, " member"]]:
        """The spread of each member.

        Raises:
            InputError: if a variable cannot be perturbed, or a spread is negative or not one
                number a member.
        """
        if not (math.isfinite(self.memory_days) and self.memory_days >= 0):
            raise InputError(
                f"perturbation: memory is {self.memory_days:g} days, expected 0 or more; correct it"
            )
        found = {}
        for name, given in self.spread.items():
            if name not in PERTURBED:
                raise InputError(
                    f"perturbation: {name!r} cannot be perturbed, expected one of "
                    f"{', '.join(PERTURBED)}; correct the name"
                )
            values = np.asarray(given, np.float32)
            if values.ndim and values.shape != (members,):
                raise InputError(
                    f"perturbation: {values.size} spreads of {name}, expected one or {members}, "
                    "one for each member; correct them"
                )
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise InputError(
                    f"perturbation: spread of {name} is {values.min():g}, expected 0 or more; "
                    "correct it"
                )
            found[name] = jnp.broadcast_to(jnp.asarray(values), (members,))
        return found

    def correlation(self, time_step: float) -> float:
        """Of the noise from one step of `time_step` seconds to the next."""
        if self.memory_days == 0.0:
            return 0.0
        return math.exp(-time_step / 86400.0 / self.memory_days)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Perturbed:
    """A model whose state is perturbed after each step; itself a model.

    Its forcing holds `noise_<name>` beside the model's own, see `noise.noise_series`.

    Attributes:
        model: anything with the `step` interface.
        spread: by name, a scalar or `[column]`, in the variable's unit.
    """

    model: Any
    spread: dict[str, Array]

    @property
    def time_step(self) -> float:
        """Length of a step, s."""
        return self.model.time_step

    @property
    def prognostic(self) -> tuple[str, ...]:
        """Names in the state."""
        return self.model.prognostic

    @property
    def diagnostic(self) -> tuple[str, ...]:
        """Names in the diagnostics."""
        return (*self.model.diagnostic, WATER_ADDED)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """The model's step, then the perturbation. See `hybrid_land.interface.Model`."""
        own = {name: leaf for name, leaf in forcing.items() if not name.startswith(NOISE)}
        model: Model = self.model
        new, diagnostics = model.step(parameters, state, own)
        moved = dict(new)
        added = jnp.zeros_like(next(iter(new.values())))
        for name, spread in self.spread.items():
            lower, upper = _bounds(name, parameters)
            shift = shift_within(new[name], spread * forcing[NOISE + name], lower, upper)
            moved[name] = new[name] + shift
            added = added + _water(name) * shift
        if "sd" in self.spread and {"rsn", "snowc"} <= set(new):
            moved["snowc"] = snow_cover(moved["sd"], moved["rsn"])
        return moved, diagnostics | {WATER_ADDED: added}


def shift_within(
    x: Float[Array, " column"],
    shift: Float[Array, " column"],
    lower: float | Float[Array, " column"],
    upper: float | Float[Array, " column"],
) -> Float[Array, " column"]:
    """`shift` far from the bounds of `x`, smoothly less near one, never beyond: see the module."""
    room = jnp.maximum(jnp.minimum(x - lower, upper - x), 0.0)
    some = room > 0.0
    return room * jnp.tanh(shift / jnp.where(some, room, 1.0))


def _bounds(name: str, parameters: Parameters) -> tuple[float, float | Array]:
    row = VARIABLES[name]
    if name in SOIL_WATER and "theta_max" in parameters:
        return row.lower, parameters["theta_max"]
    return row.lower, row.upper


def _water(name: str) -> float:
    """Water in a unit of a variable, kg m-2."""
    if name in SOIL_WATER:
        return WATER_DENSITY * VARIABLES[name].thickness
    return 1.0 if name == "sd" else 0.0
