"""Observation operators: from a model's series to what an instrument reports, by name."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.interface import DiagnosticsSeries, State, StateSeries
from hybrid_land.variables import DIAGNOSTIC, LAYER_THICKNESS, PROGNOSTIC, SOIL_WATER, VARIABLES

Series = dict[str, Float[Array, "record column"]]

ROOT_ZONE_DEPTH = 1.0  # m


def root_zone_soil_moisture(
    series: Mapping[str, Float[Array, "record column"]],
) -> Float[Array, "record column"]:
    """Mean soil moisture of the top metre, m3 m-3: layers 1 to 3 (0.07, 0.21, 0.72 m)."""
    total, above = 0.0, 0.0
    for name, thickness in zip(SOIL_WATER, LAYER_THICKNESS, strict=True):
        inside = min(thickness, max(ROOT_ZONE_DEPTH - above, 0.0))
        if inside > 0.0:
            total = total + inside * series[name]
        above += thickness
    return jnp.asarray(total / ROOT_ZONE_DEPTH)


def _itself(name: str) -> Callable[[Series], Float[Array, "record column"]]:
    return lambda series: series[name]


OPERATORS: dict[str, Callable[[Series], Float[Array, "record column"]]] = {
    **{name: _itself(name) for name in (*PROGNOSTIC, *DIAGNOSTIC)},
    "root_zone_soil_moisture": root_zone_soil_moisture,
}

UNITS = {
    **{name: VARIABLES[name].units for name in (*PROGNOSTIC, *DIAGNOSTIC)},
    "root_zone_soil_moisture": "m3 m-3",
}


def on_records(state: State, states: StateSeries, diagnostics: DiagnosticsSeries) -> Series:
    """A rollout's results on the records of the data it ran over.

    Instantaneous values move one record on: record 0 is the first state, record i the result of
    step i - 1. Amounts and means stay with the step that starts at the record. An instantaneous
    diagnostic at record 0 is not known and repeats the next one.

    Args:
        state: the first state, leaves `[column]`.
        states: leaves `[step, column]`, from `rollout`.
        diagnostics: leaves `[step, column]`, from `rollout`.

    Returns:
        Name to `[record, column]`, as many records as steps.
    """
    series = {
        name: jnp.concatenate([state[name][None], after[:-1]]) for name, after in states.items()
    }
    for name, values in diagnostics.items():
        row = VARIABLES.get(name)
        late = row is not None and row.kind == "instantaneous"
        series[name] = jnp.concatenate([values[:1], values[:-1]]) if late else values
    return series
