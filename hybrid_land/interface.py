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

    What it says of itself is only read: a model may hold it or compute it.
    """

    @property
    def time_step(self) -> float:
        """Length of a step, s."""
        ...

    @property
    def prognostic(self) -> tuple[str, ...]:
        """Names in the state."""
        ...

    @property
    def diagnostic(self) -> tuple[str, ...]:
        """Names in the diagnostics."""
        ...

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + dt and diagnostics of the step, from the state at t. Pure."""
        ...
