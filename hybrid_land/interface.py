"""The one interface of a model: a pure step on dictionaries of arrays.

    step(parameters, state, forcing) -> (state, diagnostics)

Every leaf has the leading axis `column` and is named as in `hybrid_land.variables` (parameters
without their `clim_` prefix). Whatever satisfies `Model` can be rolled out, assimilated into and
calibrated; the network's weights are bound into the model object, which is itself a pytree.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

State = dict[str, Float[Array, " column"]]
Parameters = dict[str, Float[Array, " column"]]
Forcing = dict[str, Float[Array, " column"]]
Diagnostics = dict[str, Float[Array, " column"]]

# The same with time in front, as `rollout` takes and gives them.
ForcingSeries = dict[str, Float[Array, "time column"]]
StateSeries = dict[str, Float[Array, "time column"]]
DiagnosticsSeries = dict[str, Float[Array, "time column"]]


@runtime_checkable
class Model(Protocol):
    """A model of land columns (or of anything else with this interface).

    Attributes:
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics.
    """

    time_step: float
    prognostic: tuple[str, ...]
    diagnostic: tuple[str, ...]

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + dt and diagnostics of the step, from the state at t. Pure."""
        ...
