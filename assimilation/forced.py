"""A model to whose state an error is added at each step, for weak-constraint 4D-Var."""

from dataclasses import dataclass
from functools import partial

import jax

from assimilation.control import moved
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State
from hybrid_land.variables import DAY

PREFIX = "model_error_"  # of the forcing's leaves that hold the error


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model"],
    meta_fields=["names", "time_step", "prognostic", "diagnostic"],
)
@dataclass
class Forced:
    """A model whose named variables are moved each step by leaves of its forcing.

        x(i + 1) = M(x(i), f(i)) + q(i) dt,   q in the variable's unit a day

    within the bounds of each variable. What it adds to the soil is water that the model's budget
    does not know of: it is the correction of that budget.

    Attributes:
        model: anything with the `step` interface.
        names: prognostic variables with an error, each with a leaf `model_error_<name>`.
        time_step: of the model, s.
        prognostic: of the model.
        diagnostic: of the model.
    """

    model: Model
    names: tuple[str, ...]
    time_step: float
    prognostic: tuple[str, ...]
    diagnostic: tuple[str, ...]

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """One step of the model, then the error. See `hybrid_land.interface.Model`."""
        weather = {name: x for name, x in forcing.items() if not name.startswith(PREFIX)}
        new, diagnostics = self.model.step(parameters, state, weather)
        days = self.time_step / DAY
        changed = {
            name: moved(name, new[name], days * forcing[PREFIX + name], parameters)
            for name in self.names
        }
        return new | changed, diagnostics


def forced(model: Model, names: tuple[str, ...]) -> Forced:
    """A model with an error in the named prognostic variables."""
    return Forced(model, names, model.time_step, model.prognostic, model.diagnostic)
