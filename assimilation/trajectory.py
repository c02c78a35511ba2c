"""A model's run as operators look at it: a value a record of the data, and the state after them."""

from assimilation.operators import Series, on_records
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout


def trajectory(
    model: Model, parameters: Parameters, state: State, forcing: ForcingSeries
) -> tuple[Series, State]:
    """The run from a state on the data's records.

    Args:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        state: at the first record, leaves `[column]`.
        forcing: leaves `[record, column]`.

    Returns:
        States and diagnostics of each record, leaves `[record, column]`, and the state after them.
    """
    states, diagnostics = rollout(model, parameters, state, forcing)
    return on_records(state, states, diagnostics), {name: x[-1] for name, x in states.items()}
