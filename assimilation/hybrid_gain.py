"""Hybrid gain: an ensemble's analysis of a window, then part of the way to a static B's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from jaxtyping import Array, Float

from assimilation.control import ControlVector
from assimilation.observations import Observations
from assimilation.window import Analysis, make_window_analysis
from hybrid_land.interface import ForcingSeries, Model, Parameters, State


def make_hybrid_gain(
    model: Model,
    *,
    control: ControlVector,
    error_of: Sequence[str],
    growth: Mapping[str, float],
    minimiser: str,
    max_iterations: int,
    weight: float,
) -> Callable[..., tuple[Analysis, Analysis]]:
    """The analysis of a window by Penny (2014), algorithm 2, over a window as 4D-Var has it.

    The ensemble's covariance gives a first analysis; from there a 4D-Var with the static B goes to
    a second one, and the result lies between them: x_e + (1 - w) (x_v - x_e). The observations
    serve both, so that the cost at the result is no measure of consistency.

    Args:
        model: anything with the `step` interface.
        control: elements at the window's start only.
        error_of: names whose analysis error is wanted along the window.
        growth: of the model's own error in a day, see `make_window_analysis`.
        minimiser: of the 4D-Var.
        max_iterations: of it.
        weight: w, of the ensemble's analysis.

    Returns:
        `analyse(parameters, background, forcing, observations, members_root, root, *, keep)`,
        which gives the ensemble's analysis and the result.
    """
    by_members = make_window_analysis(
        model, control=control, minimiser="secant", max_iterations=2, amplitude=1.0
    )
    by_static = make_window_analysis(
        model,
        control=control,
        error_of=error_of,
        growth=growth,
        minimiser=minimiser,
        max_iterations=max_iterations,
        part=1.0 - weight,
    )

    def analyse(
        parameters: Parameters,
        background: State,
        forcing: ForcingSeries,
        observations: Observations,
        members_root: Float[Array, "control member column"],
        root: Float[Array, "control control"],
        *,
        keep: int,
    ) -> tuple[Analysis, Analysis]:
        seen = (forcing, observations)
        first = by_members(parameters, background, *seen, members_root, keep=keep)
        between = first.begin(control.start, parameters, background)
        second = by_static(*between, *seen, root, keep=keep)
        result = replace(
            second,
            background=first.background,
            background_state=first.background_state,
            innovations={
                name: (before, second.innovations[name][1])
                for name, (before, _) in first.innovations.items()
            },
            stated=first.stated,
            cost_start=first.cost_start,
            iterations=first.iterations + second.iterations,
        )
        return first, result

    return analyse
