"""Strong-constraint 4D-Var: the initial state (and parameters) that best explain a window."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Float, Int

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Context, Series, on_records
from hybrid_land.columnwise import columnwise
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
    """4D-Var over one window, for any number of columns that do not know of each other.

        J(v) = v . v / 2 + sum_i [(y_i - H_i(M(x0(v)))) / sigma_i]^2 / 2
        x0(v) = b(b^-1(x_background) + U v),   B = U U^T

    v is the control variable whitened by the square root of B, so that its prior is a standard
    normal; b is the bijection that keeps bounded variables in bounds and the identity away from
    them (Courtier et al. 1994, incremental form not used; Kalnay 2003, section 5.5).

    Attributes:
        model: anything with the `step` interface.
        parameters: the background's parameters, leaves `[column]`.
        background: the background's state at the window's start, leaves `[column]`.
        forcing: leaves `[record, column]`.
        observations: leaves `[record, column]`.
        root: U of each column, `[control, control, column]`.
        control: names of the control variables: prognostic names or parameters.
    """

    model: Model
    parameters: Parameters
    background: State
    forcing: ForcingSeries
    observations: Observations
    root: Float[Array, "control control column"]
    control: tuple[str, ...]

    def start(self, v: Float[Array, "control column"]) -> tuple[Parameters, State]:
        """Parameters and initial state for a whitened control variable."""
        step = jnp.einsum("ijc,jc->ic", self.root, v)
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

    def trajectory(self, v: Float[Array, "control column"]) -> tuple[Series, State]:
        """The window on the data's records, leaves `[record, column]`, and the state after it."""
        parameters, state = self.start(v)
        states, diagnostics = rollout(self.model, parameters, state, self.forcing)
        last = {name: after[-1] for name, after in states.items()}
        return on_records(state, states, diagnostics), last

    @property
    def context(self) -> Context:
        """What the operators need besides the trajectory; parameters are the background's."""
        return Context(self.model.time_step, self.parameters, self.forcing)

    def departures(self, series: Series) -> Float[Array, "observation column"]:
        """(y - H(x)) / sigma of a trajectory, zero where nothing was observed."""
        seen = self.observations
        return jnp.concatenate(
            [
                seen.mask[k]
                * (seen.values[k] - OPERATORS[k](series, self.context))
                / seen.errors[k]
                for k in seen.values
            ]
        )

    def terms(
        self, v: Float[Array, "control column"]
    ) -> tuple[Float[Array, " column"], Float[Array, " column"]]:
        """Jb and Jo."""
        departures = self.departures(self.trajectory(v)[0])
        return 0.5 * jnp.sum(v**2, axis=0), 0.5 * jnp.sum(departures**2, axis=0)

    def cost(self, v: Float[Array, "control column"]) -> Float[Array, " column"]:
        """J = Jb + Jo."""
        background, observation = self.terms(v)
        return background + observation


@dataclass(frozen=True)
class Analysis:
    """The result of one window.

    Attributes:
        v: whitened control variable at the minimum, `[control, column]`.
        series: analysed trajectory, leaves `[record, column]`.
        background: the background's trajectory, same shapes.
        error: standard deviation of the analysis error, by observable or variable, same shape.
        state: state after the window's last step, leaves `[column]`.
        background_state: the background's.
        control: analysed control variables at the window's start, `[control, column]`.
        control_error: their standard deviations.
        cost_background: Jb at the minimum, `[column]`.
        cost_observation: Jo at the minimum.
        cost_start: J at the background.
        gradient_norm: of J at the minimum.
        signal: degrees of freedom for signal, tr(I - A B^-1).
        iterations: of the minimiser.
        converged: whether the cost is finite and no higher than the background's; where it is
            not, the column must keep its background.
    """

    v: Float[Array, "control column"]
    series: dict[str, Float[Array, "record column"]]
    background: dict[str, Float[Array, "record column"]]
    error: dict[str, Float[Array, "record column"]]
    state: dict[str, Float[Array, " column"]]
    background_state: dict[str, Float[Array, " column"]]
    control: Float[Array, "control column"]
    control_error: Float[Array, "control column"]
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
    size = len(names)
    solver = optimistix.BFGS(rtol=tolerance, atol=tolerance)

    # The minimiser rebuilds its arguments with leaves of other types: plain containers only.
    def problem_of(data: Any) -> Problem:
        parameters, background, forcing, (values, errors, mask), root = data
        return Problem(
            model=model,
            parameters=parameters,
            background=background,
            forcing=forcing,
            observations=Observations(values=values, errors=errors, mask=mask),
            root=root,
            control=names,
        )

    cost = columnwise(lambda v, data: problem_of(data).cost(v), mode="reverse")

    @jax.jit
    def minimise(data: Any) -> tuple[Array, Array]:
        def one(data: Any) -> tuple[Array, Array]:
            found = optimistix.minimise(
                cost,
                solver,
                jnp.zeros(size, data[-1].dtype),
                data,
                max_steps=max_iterations,
                throw=False,
            )
            return found.value, found.stats["num_steps"]

        return jax.vmap(one, in_axes=-1, out_axes=-1)(data)

    @jax.jit
    def outcome(data: Any, v: Array) -> tuple[Any, Any, Any, Any]:
        """At v: departures, controls and wanted series with their slopes; trajectory and end."""
        problem = problem_of(data)

        def differentiated(v: Array) -> tuple[Any, Any]:
            parameters, state = problem.start(v)
            series, last = problem.trajectory(v)
            values = jnp.stack([(state | parameters)[name] for name in names])
            wanted = {name: OPERATORS[name](series, problem.context) for name in error_of}
            return (problem.departures(series), values, wanted), (series, last)

        def slope(direction: Array) -> Any:
            tangent = jnp.broadcast_to(direction[:, None], v.shape)
            return jax.jvp(lambda v: differentiated(v)[0], (v,), (tangent,))[1]

        results, (series, last) = differentiated(v)
        return results, jax.lax.map(slope, jnp.eye(size, dtype=v.dtype)), series, last

    @jax.jit
    def background_of(data: Any) -> tuple[Array, Series, State]:
        problem = problem_of(data)
        series, last = problem.trajectory(jnp.zeros(problem.root.shape[1:], problem.root.dtype))
        return 0.5 * jnp.sum(problem.departures(series) ** 2, axis=0), series, last

    def analyse(
        parameters: Parameters,
        background: State,
        forcing: ForcingSeries,
        observations: Observations,
        root: Float[Array, "control control"],
    ) -> Analysis:
        seen = (observations.values, observations.errors, observations.mask)
        columns = jax.tree.leaves(background)[0].shape[-1]
        roots = jnp.broadcast_to(root[:, :, None], (size, size, columns))
        data = (parameters, background, forcing, seen, roots)
        cost_start, series_before, state_before = background_of(data)
        found, iterations = minimise(data)
        finite = jnp.all(jnp.isfinite(found), axis=0)
        v = jnp.where(finite, found, 0.0)
        (departures, values, _), slopes, series, last = outcome(data, v)
        jacobian, of_control, of_series = slopes
        hessian = (
            jnp.einsum("iyc,jyc->cij", jacobian, jacobian) + jnp.eye(size, dtype=root.dtype)[None]
        )
        covariance = jnp.linalg.inv(hessian)

        def deviation(slope: Float[Array, "control value column"]) -> Array:
            variance = jnp.einsum("ivc,cij,jvc->vc", slope, covariance, slope)
            return jnp.sqrt(jnp.maximum(variance, 0.0))

        cost_background = 0.5 * jnp.sum(v**2, axis=0)
        cost_observation = 0.5 * jnp.sum(departures**2, axis=0)
        end = cost_background + cost_observation
        gradient = v + jnp.einsum("iyc,yc->ic", jacobian, departures)
        return Analysis(
            v=v,
            series=series,
            background=series_before,
            error={name: deviation(slope) for name, slope in of_series.items()},
            state=last,
            background_state=state_before,
            control=values,
            control_error=deviation(of_control),
            cost_background=cost_background,
            cost_observation=cost_observation,
            cost_start=cost_start,
            gradient_norm=jnp.linalg.norm(gradient, axis=0),
            signal=size - jnp.trace(covariance, axis1=1, axis2=2),
            iterations=iterations,
            # The step limit alone is no failure: a lower cost than the background's is an analysis.
            converged=finite & jnp.isfinite(end) & (end <= cost_start),
        )

    return analyse
