"""Observation operators: from a model's series to what an instrument reports, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.brightness import brightness_temperature
from assimilation.exponential_filter import exponential_filter
from assimilation.probe import PROBE_DEPTHS, at_depth, probe_name
from assimilation.soil_emission import Polarisation
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
MEMORY_DAYS = 20.0  # of the soil water index of the top metre: Wagner et al. 1999


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


def soil_water_index(
    series: Mapping[str, Float[Array, "record column"]],
    *,
    time_step: float,
    days: float = MEMORY_DAYS,
) -> Float[Array, "record column"]:
    """Soil moisture of layer 1 through the exponential filter, m3 m-3.

    The filter's memory begins at the first record, in assimilation at the window's: observations
    within the first `days` of a window see less of the past than the product does.

    Args:
        series: holds `swvl1`.
        time_step: between records, s.
        days: the product's characteristic time; Copernicus' products name it (SWI_001 to SWI_100).
    """
    return exponential_filter(series["swvl1"], time_step=time_step, days=days)


def _itself(name: str) -> Operator:
    return lambda series, _: series[name]


def _brightness(polarisation: Polarisation) -> Operator:
    return lambda series, context: brightness_temperature(
        series, context.parameters, context.forcing, polarisation=polarisation
    )


def _probe(quantity: str, centimetres: int) -> Operator:
    return lambda series, _: at_depth(series, depth=0.01 * centimetres, quantity=quantity)


_PROBES = {
    probe_name(quantity, depth): (quantity, depth)
    for quantity in ("soil_moisture", "soil_temperature")
    for depth in PROBE_DEPTHS
}

OPERATORS: dict[str, Operator] = {
    **{name: _itself(name) for name in (*PROGNOSTIC, *DIAGNOSTIC)},
    "root_zone_soil_moisture": lambda series, _: root_zone_soil_moisture(series),
    "soil_water_index": lambda series, context: soil_water_index(
        series, time_step=context.time_step
    ),
    "brightness_temperature_h": _brightness("h"),
    "brightness_temperature_v": _brightness("v"),
    **{name: _probe(*what) for name, what in _PROBES.items()},
}


REMEMBERING = ("soil_water_index",)  # what depends on records before


def operator_of(name: str) -> Operator:
    """The operator of an observable; what the table does not know is a variable of the model."""
    return OPERATORS.get(name, _itself(name))


def _derived(name: str, units: str, long_name: str, lower: float, upper: float) -> Variable:
    return Variable(name, "diagnostic", units, long_name, lower, upper)


def _probed(name: str, quantity: str, centimetres: int) -> Variable:
    layer = VARIABLES["stl1" if quantity == "soil_temperature" else "swvl1"]
    what = f"{quantity.replace('_', ' ')} at {centimetres} cm"
    return _derived(name, layer.units, what, layer.lower, layer.upper)


# What only an operator gives, in the form of the table of variables.
DERIVED: dict[str, Variable] = {
    row.name: row
    for row in (
        _derived(
            "root_zone_soil_moisture", "m3 m-3", "root-zone soil moisture (0 to 1 m)", 0.0, 1.0
        ),
        _derived("soil_water_index", "m3 m-3", "soil water index (T = 20 d)", 0.0, 1.0),
        _derived(
            "brightness_temperature_h",
            "K",
            "L-band brightness temperature, horizontal polarisation, 40 degrees",
            50.0,
            340.0,
        ),
        _derived(
            "brightness_temperature_v",
            "K",
            "L-band brightness temperature, vertical polarisation, 40 degrees",
            50.0,
            340.0,
        ),
        *(_probed(name, *what) for name, what in _PROBES.items()),
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
