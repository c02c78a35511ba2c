"""A plain network of one-step increments: the baseline that knows no physics.

As the MLP of ML-BEES: what changes in a step is predicted, nothing is conserved, and the state is
clipped to its bounds. It sees the same inputs as the emulator.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models.air import dewpoint
from hybrid_land.models.emulator import Emulator
from hybrid_land.models.rows import rows_of
from hybrid_land.variables import (
    DIAGNOSTIC,
    FREEZING,
    PROGNOSTIC,
    SNOW_PRESENT,
    SOIL_WATER,
    VARIABLES,
)

# Spread of each target over a step in the training columns, in its unit.
_SCALE = {
    "swvl1": 2e-2,
    "swvl2": 6e-3,
    "swvl3": 1.2e-3,
    "swvl4": 2e-4,
    "stl1": 4.0,
    "stl2": 0.7,
    "stl3": 0.04,
    "stl4": 0.016,
    "snowc": 0.05,
    "sd": 1.5,
    "rsn": 10.0,
    "tsn": 3.0,
    "asn": 0.03,
    "src": 0.1,
    "skt": 6.0,
    "t2m": 3.0,
    "d2m": 3.0,
    "sshf": 60.0,
    "slhf": 60.0,
    "aco2gpp": 1e-7,
    "e": 0.5,
    "sro": 1.0,
    "ssro": 0.3,
}
_WITHOUT_SNOW = {"rsn": 100.0, "tsn": FREEZING, "asn": 0.85}  # what ECLand holds then


def reference(state: State, forcing: Forcing) -> dict[str, Float[Array, " column"]]:
    """What each target is the difference from, `[column]`; nothing for the other fluxes.

    Prognostic variables: their value at the start, so that the target is the increment. Screen
    and skin temperature: the air's; dewpoint: the air's.
    """
    air = forcing["met_tair"]
    return {name: state[name] for name in PROGNOSTIC} | {
        "skt": air,
        "t2m": air,
        "d2m": dewpoint(forcing["met_qair"], forcing["met_psurf"]),
    }


def clipped(
    values: dict[str, Float[Array, " column"]], parameters: Parameters
) -> tuple[State, Diagnostics]:
    """State and diagnostics within their bounds, which is all that keeps such models physical."""
    values = dict(values)
    for name in (*PROGNOSTIC, "sro"):
        row = VARIABLES[name]
        upper = parameters["theta_max"] if name in SOIL_WATER else row.upper
        values[name] = jnp.clip(values[name], max(row.lower, 0.0), upper)
    for name, empty in _WITHOUT_SNOW.items():
        values[name] = jnp.where(values["sd"] >= SNOW_PRESENT, values[name], empty)
    return (
        {name: values[name] for name in PROGNOSTIC},
        {name: values[name] for name in DIAGNOSTIC},
    )


class IncrementNetwork(Emulator):
    """The emulator's network and inputs, with an increment of each variable as its output."""

    kind = "increments"
    heads = dict.fromkeys((*PROGNOSTIC, *DIAGNOSTIC), 0.0)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + 6 h and diagnostics of the step. See `hybrid_land.interface.Model`."""
        x = self.normalised_inputs(parameters, state, forcing)
        rows = dict(zip(self.heads, rows_of(self.network(x)), strict=True))
        base = reference(state, forcing)
        values = {name: base.get(name, 0.0) + _SCALE[name] * z for name, z in rows.items()}
        return clipped(values, parameters)
