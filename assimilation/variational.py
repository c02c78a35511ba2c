"""Strong-constraint 4D-Var: the initial state (and parameters) that best explain a window."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Float, Int

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Series, on_records
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_WATER

CONTROL = SOIL_WATER
_BEND = 0.004  # width of the bend near a bound, in units of the variable (m3 m-3)
_NEAREST = 1e-5  # how near to a bound a background may lie


def to_bounded(free: Array, lower: Array, upper: Array) -> Array:
    """A smooth, increasing map of the line onto (lower, upper), the identity but near its ends.

    upper - s log(1 + exp((upper - u) / s)) with u = lower + s log(1 + exp((y - lower) / s)).
    """
    above = lower + _BEND * jax.nn.softplus((free - lower) / _BEND)
    return upper - _BEND * jax.nn.softplus((upper - above) / _BEND)


def to_free(bounded: Array, lower: Array, upper: Array) -> Array:
    """The inverse of `to_bounded`, after moving values on a bound inside it."""

    def inverse_softplus(x: Array) -> Array:
        return x + jnp.log(-jnp.expm1(-x))

    x = jnp.clip(bounded, lower + _NEAREST, upper - _NEAREST)
    above = upper - _BEND * inverse_softplus((upper - x) / _BEND)
    above = jnp.maximum(above, lower + 0.5 * _NEAREST)
    return lower + _BEND * inverse_softplus((above - lower) / _BEND)


def bounds(name: str, parameters: Parameters) -> tuple[Any, Any]:
    """Where a control variable must lie, or nothing for one without bounds.

    Soil water lies within the layer, field capacity between the wilting point and what a layer
    can hold.
    """
    if name in SOIL_WATER:
        return jnp.zeros_like(parameters["theta_max"]), parameters["theta_max"]
    if name == "theta_cap":
        return parameters["theta_pwp"] + 0.02, parameters["theta_max"]
    return None, None


@dataclass(frozen=True)
class Problem:
    """4D-Var over one window of one column (every leaf has a column axis of length 1).

        J(v) = v . v / 2 + sum_i [(y_i - H_i(M(x0(v)))) / sigma_i]^2 / 2
        x0(v) = b(b^-1(x_background) + U v),   B = U U^T

    v is the control variable whitened by the square root of B, so that its prior is a standard
    normal; b is the bijection that keeps bounded variables in bounds and the identity away from
    them (Courtier et al. 1994, incremental form not used; Kalnay 2003, section 5.5).

    Attributes:
        model: anything with the `step` interface.
        parameters: the background's parameters.
        background: the background's state at the window's start.
        forcing: leaves `[record, 1]`.
        observations: leaves `[record, 1]`.
        root: U, `[control, control]`.
        control: names of the control variables: prognostic names or parameters.
    """

    model: Model
    parameters: Parameters
    background: State
    forcing: ForcingSeries
    observations: Observations
    root: Float[Array, "control control"]
    control: tuple[str, ...]

    def start(self, v: Float[Array, " control"]) -> tuple[Parameters, State]:
        """Parameters and initial state for a whitened control variable."""
        step = self.root @ v
        parameters, state = dict(self.parameters), dict(self.background)
        for k, name in enumerate(self.control):
            group = state if name in state else parameters
            lower, upper = bounds(name, self.parameters)
            if lower is None:
                group[name] = group[name] + step[k]
            else:
                free = to_free(group[name], lower, upper) + step[k]
                group[name] = to_bounded(free, lower, upper)
        return parameters, state

    def series(self, v: Float[Array, " control"]) -> Series:
        """The window's trajectory on the data's records, leaves `[record, 1]`."""
        parameters, state = self.start(v)
        states, diagnostics = rollout(self.model, parameters, state, self.forcing)
        return on_records(state, states, diagnostics)

    def departures(self, v: Float[Array, " control"]) -> Float[Array, " observation"]:
        """(y - H(M(x0(v)))) / sigma, zero where nothing was observed."""
        return self.departures_of(self.series(v))

    def departures_of(self, series: Series) -> Float[Array, " observation"]:
        """The departures of a trajectory that is at hand."""
        seen = self.observations
        return jnp.concatenate(
            [
                (seen.mask[k] * (seen.values[k] - OPERATORS[k](series)) / seen.errors[k]).ravel()
                for k in seen.values
            ]
        )

    def terms(self, v: Float[Array, " control"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Jb and Jo."""
        return 0.5 * jnp.vdot(v, v), 0.5 * jnp.sum(self.departures(v) ** 2)

    def cost(self, v: Float[Array, " control"]) -> Float[Array, ""]:
        """J = Jb + Jo."""
        background, observation = self.terms(v)
        return background + observation


@dataclass(frozen=True)
class Analysis:
    """The result of one window; leaves have a leading axis `column`.

    Attributes:
        v: whitened control variable at the minimum.
        series: analysed trajectory, leaves `[column, record]`.
        error: standard deviation of the analysis error, by observable or variable, same shape.
        state: state after the window's last step, leaves `[column]`.
        control: analysed control variables at the window's start, `[column, control]`.
        control_error: their standard deviations.
        cost_background: Jb at the minimum.
        cost_observation: Jo at the minimum.
        cost_start: J at the background.
        gradient_norm: of J at the minimum.
        signal: degrees of freedom for signal, tr(I - A B^-1).
        iterations: of the minimiser.
        converged: whether the cost is finite and no higher than the background's; where it is
            not, the column must keep its background.
    """

    v: Float[Array, "column control"]
    series: dict[str, Float[Array, "column record"]]
    error: dict[str, Float[Array, "column record"]]
    state: dict[str, Float[Array, " column"]]
    control: Float[Array, "column control"]
    control_error: Float[Array, "column control"]
    cost_background: Float[Array, " column"]
    cost_observation: Float[Array, " column"]
    cost_start: Float[Array, " column"]
    gradient_norm: Float[Array, " column"]
    signal: Float[Array, " column"]
    iterations: Int[Array, " column"]
    converged: Array


def make_window_analysis(
    model: Model,
    *,
    control: Sequence[str] = CONTROL,
    error_of: Sequence[str] = (),
    max_iterations: int = 40,
    tolerance: float = 1e-3,
) -> Callable[..., Analysis]:
    """A compiled analysis of one window for all columns at once.

    Columns are independent: each is minimised by itself (BFGS of optimistix, gradient by reverse
    mode through `rollout`), all in one batch. The analysis error covariance is the inverse of the
    Gauss-Newton Hessian, A = U (I + J^T J)^-1 U^T, with J by forward mode, exact for the small
    control variable.

    Args:
        model: anything with the `step` interface.
        control: names of the control variables.
        error_of: names whose analysis error is wanted along the window.
        max_iterations: of the minimiser.
        tolerance: of the minimiser, relative and absolute.

    Returns:
        `analyse(parameters, background, forcing, observations, root)` with leaves `[column]` and
        `[record, column]`.
    """
    names = tuple(control)
    solver = optimistix.BFGS(rtol=tolerance, atol=tolerance)

    # Under `vmap` a column's leaves have lost the axis that the interface's shapes name.
    def one(parameters: Any, background: Any, forcing: Any, observations: Any, root: Array) -> Any:
        def widen(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf[..., None], tree)

        problem = Problem(
            model=model,
            parameters=widen(parameters),
            background=widen(background),
            forcing=widen(forcing),
            observations=widen(observations),
            root=root,
            control=names,
        )
        zero = jnp.zeros(len(names), root.dtype)
        found = optimistix.minimise(
            lambda v, _: problem.cost(v), solver, zero, max_steps=max_iterations, throw=False
        )

        def outcome(v: Array) -> tuple[Any, Any]:
            """What is differentiated at the minimum, and all that is reported of it."""
            parameters_at, state_at = problem.start(v)
            states, diagnostics = rollout(model, parameters_at, state_at, problem.forcing)
            series = on_records(state_at, states, diagnostics)
            values = jnp.stack([(state_at | parameters_at)[name][0] for name in names])
            wanted = {name: OPERATORS[name](series)[:, 0] for name in error_of}
            differentiated = (problem.departures_of(series), values, wanted)
            last = {name: after[-1, 0] for name, after in states.items()}
            return differentiated, (differentiated, series, last)

        # The step limit alone is no failure: a lower cost than the background's is an analysis.
        start = problem.cost(zero)
        sane = jnp.where(jnp.isfinite(found.value), found.value, 0.0)
        slopes, (at_minimum, series, last) = jax.jacfwd(outcome, has_aux=True)(sane)
        departures, values, _ = at_minimum
        background_cost, observation_cost = (
            0.5 * jnp.vdot(sane, sane),
            0.5 * departures @ departures,
        )
        end = background_cost + observation_cost
        sound = jnp.isfinite(end) & jnp.all(jnp.isfinite(found.value)) & (end <= start)
        sensitivity, of_control, of_series = slopes
        covariance = jnp.linalg.inv(jnp.eye(len(names)) + sensitivity.T @ sensitivity)

        def deviation(slope: Array) -> Array:
            variance = jnp.einsum("...i,ij,...j->...", slope, covariance, slope)
            return jnp.sqrt(jnp.maximum(variance, 0.0))

        return {
            "v": sane,
            "series": {name: values[:, 0] for name, values in series.items()},
            "error": {name: deviation(slope) for name, slope in of_series.items()},
            "state": last,
            "control": values,
            "control_error": deviation(of_control),
            "cost_background": background_cost,
            "cost_observation": observation_cost,
            "cost_start": start,
            "gradient_norm": jnp.linalg.norm(sane + departures @ sensitivity),
            "signal": len(names) - jnp.trace(covariance),
            "iterations": found.stats["num_steps"],
            "converged": sound,
        }

    batched = jax.jit(jax.vmap(one, in_axes=(0, 0, 1, 1, None)))

    def analyse(
        parameters: Parameters,
        background: State,
        forcing: ForcingSeries,
        observations: Observations,
        root: Float[Array, "control control"],
    ) -> Analysis:
        return Analysis(**batched(parameters, background, forcing, observations, root))

    return analyse
