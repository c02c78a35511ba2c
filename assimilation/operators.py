"""Observation operators: from a model's series to what an instrument reports, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import DiagnosticsSeries, State, StateSeries
from hybrid_land.variables import (
    DIAGNOSTIC,
    LAYER_THICKNESS,
    PROGNOSTIC,
    SOIL_WATER,
    VARIABLES,
    Variable,
)

Series = dict[str, Float[Array, "record column"]]

ROOT_ZONE_DEPTH = 1.0  # m


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["parameters", "forcing"],
    meta_fields=["time_step"],
)
@dataclass(frozen=True)
class Context:
    """What an operator may need besides the trajectory.

    Attributes:
        time_step: between records, s.
        parameters: of the columns, leaves `[column]`, named as in the interface.
        forcing: leaves `[record, column]`; record i covers the step that starts at record i.
    """

    # Annotated without a shape: JAX rebuilds the object with tracers of any rank.
    time_step: float
    parameters: Mapping[str, Array] = field(default_factory=dict)
    forcing: Mapping[str, Array] = field(default_factory=dict)


Operator = Callable[[Series, Context], Float[Array, "record column"]]


def layer_mean(
    series: Mapping[str, Float[Array, "record column"]], *, bottom: float, top: float = 0.0
) -> Float[Array, "record column"]:
    """Mean soil moisture between two depths, m3 m-3.

    Layers (0.07, 0.21, 0.72, 1.89 m thick) count by how much of them lies within.

    Args:
        series: holds `swvl1` and those below it down to the lower depth.
        bottom: lower depth, m; 0.05 for an L-band radiometer or a sensor that spans the top 5 cm.
        top: upper depth, m.

    Raises:
        InputError: unless 0 <= top < bottom <= 2.89 m.
    """
    deepest = sum(LAYER_THICKNESS)
    if not 0.0 <= top < bottom <= deepest + 1e-9:
        raise InputError(
            f"soil moisture between {top:g} and {bottom:g} m is not a layer of the model, expected "
            f"0 <= top < bottom <= {deepest:g}; correct the depths"
        )
    total, above = 0.0, 0.0
    for name, thickness in zip(SOIL_WATER, LAYER_THICKNESS, strict=True):
        inside = min(bottom, above + thickness) - max(top, above)
        if inside > 1e-9:
            total = total + inside / (bottom - top) * series[name]
        above += thickness
    return jnp.asarray(total)


def root_zone_soil_moisture(
    series: Mapping[str, Float[Array, "record column"]],
) -> Float[Array, "record column"]:
    """Mean soil moisture of the top metre, m3 m-3: layers 1 to 3 (0.07, 0.21, 0.72 m)."""
    return layer_mean(series, bottom=ROOT_ZONE_DEPTH)


def _itself(name: str) -> Operator:
    return lambda series, _: series[name]


OPERATORS: dict[str, Operator] = {
    **{name: _itself(name) for name in (*PROGNOSTIC, *DIAGNOSTIC)},
    "root_zone_soil_moisture": lambda series, _: root_zone_soil_moisture(series),
}

# What only an operator gives, in the form of the table of variables.
DERIVED: dict[str, Variable] = {
    row.name: row
    for row in (
        Variable(
            "root_zone_soil_moisture",
            "diagnostic",
            "m3 m-3",
            "root-zone soil moisture (0 to 1 m)",
            0.0,
            1.0,
        ),
    )
}

OBSERVABLES: dict[str, Variable] = {name: (VARIABLES | DERIVED)[name] for name in OPERATORS}

UNITS = {name: row.units for name, row in OBSERVABLES.items()}


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
