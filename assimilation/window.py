"""The analysis of one window: the minimum of its cost, what it is worth, and how sure it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation.considered import error_root, with_model_error
from assimilation.control import ControlVector
from assimilation.minimise import FORWARD_MODE, minimise
from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Series
from assimilation.variational import Problem
from hybrid_land.columnwise import forward_slopes
from hybrid_land.compiled import run_compiled
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.tangents import in_turn

_ROUNDING = 1e-5  # of a cost in float32


@dataclass(frozen=True)
class Analysis:
    """The result of one window.

    Attributes:
        v: whitened control variable at the minimum, `[whitened, column]`.
        series: analysed trajectory, leaves `[record, column]`.
        background: the background's trajectory, same shapes.
        error: standard deviation of the analysis error, by observable or variable, same shape.
        state: state after the window's last step, leaves `[column]`.
        background_state: the background's.
        control: analysed values of the control vector's elements, `[control, column]`.
        control_error: their standard deviations.
        covariance: of the analysis error of v, `[column, whitened, whitened]`.
        next_root: square root of the analysis error's covariance of the elements at the window's
            start (`ControlVector.start`), carried by the tangent model to where the next window
            begins, `[start, part, column]`; by the observations before that alone, since the
            next window uses the others again.
        innovations: y - H(x_b) and y - H(x_a) by observable, NaN where nothing was observed.
        stated: standard deviations by observable, NaN where nothing was observed: the
            observations', and the background's of what they see (the root of H B H^T, model error
            and bias with it), linear about the analysis.
        cost: the terms of J at the minimum, `[column]`.
        cost_start: J at the background.
        gradient_norm: of J at the minimum.
        signal: degrees of freedom for signal, tr(I - A B^-1).
        iterations: of the minimiser.
        converged: whether cost and gradient are finite and the cost no higher than the
            background's but for rounding; where not, the column must keep its background.
    """

    v: Float[Array, "whitened column"]
    series: dict[str, Float[Array, "record column"]]
    background: dict[str, Float[Array, "record column"]]
    error: dict[str, Float[Array, "record column"]]
    state: dict[str, Float[Array, " column"]]
    background_state: dict[str, Float[Array, " column"]]
    control: Float[Array, "control column"]
    control_error: Float[Array, "control column"]
    covariance: Float[Array, "column whitened whitened"]
    next_root: Float[Array, "start part column"]
    innovations: dict[str, tuple[Float[Array, "record column"], Float[Array, "record column"]]]
    stated: dict[str, tuple[Float[Array, "record column"], Float[Array, "record column"]]]
    cost: dict[str, Float[Array, " column"]]
    cost_start: Float[Array, " column"]
    gradient_norm: Float[Array, " column"]
    signal: Float[Array, " column"]
    iterations: Int[Array, " column"]
    converged: Array

    def begin(
        self, names: Sequence[str], parameters: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """The analysis at the window's start; a column that failed has what is given.

        Args:
            names: of the control vector's elements at the start, `ControlVector.start`.
            parameters: of the background.
            state: the background at the window's start.
        """
        parameters, state = dict(parameters), dict(state)
        for k, name in enumerate(names):
            group = state if name in state else parameters
            group[name] = jnp.where(self.converged, self.control[k], group[name])
        return parameters, state


def make_window_analysis(
    model: Model,
    *,
    control: ControlVector,
    error_of: Sequence[str] = (),
    growth: Mapping[str, float] | None = None,
    minimiser: str = "levenberg-marquardt",
    max_iterations: int = 40,
    tolerance: float = 1e-3,
    amplitude: float = 0.1,
    part: float = 1.0,
) -> Callable[..., Analysis]:
    """A compiled analysis of one window for all columns at once.

    Columns are independent: each is minimised by itself, all in one batch. The analysis error
    covariance is the inverse of the Gauss-Newton Hessian, A = U (I + J^T J)^-1 U^T, with J by
    forward mode, exact for the small control vector of a column; along the window the model's own
    error is counted where it is known (`considered`).

    Args:
        model: anything with the `step` interface.
        control: what the control vector holds.
        error_of: names whose analysis error is wanted along the window.
        growth: standard deviations by which the model's own error moves prognostic variables in a
            day; for a control vector without model error.
        minimiser: one of `assimilation.minimise.MINIMISERS`.
        max_iterations: of the minimiser.
        tolerance: of the minimiser, relative and absolute.
        amplitude: of the runs of the minimiser `secant`.
        part: of the way from the background to the minimum, where the analysis is to be.

    Returns:
        `analyse(parameters, background, forcing, observations, root, *, keep=None)` with leaves
        `[column]` and `[record, column]`, and `root` U `[control, whitened]`, or with an axis of
        columns last; `keep`: records to where the next window begins, the window's if not given.
    """
    choices = _Choices(
        control=control,
        error_of=tuple(error_of),
        growth=tuple((growth or {}).items()),
        minimiser=minimiser,
        max_iterations=max_iterations,
        tolerance=tolerance,
        amplitude=amplitude,
        part=part,
    )
    # The minimiser's library keeps what a function closes over from one trace to the next, so that
    # weights cannot be arguments of the program: they are constants of one that is made here.
    if jax.tree.leaves(model):
        program = jax.jit(partial(_analysed, model, choices=choices))
    else:
        program = partial(run_compiled, _analysed, model, choices=choices)

    def analyse(
        parameters: Parameters,
        background: State,
        forcing: ForcingSeries,
        observations: Observations,
        root: Float[Array, "control whitened *column"],
        *,
        keep: int | None = None,
    ) -> Analysis:
        seen = (observations.values, observations.errors, observations.mask)
        columns = jax.tree.leaves(background)[0].shape[-1]
        roots = root if root.ndim == 3 else jnp.repeat(root[..., None], columns, axis=2)
        data = (parameters, background, forcing, seen, roots)
        records = jax.tree.leaves(forcing)[0].shape[0]
        kept = jnp.asarray(records if keep is None else keep)
        return Analysis(**program(data, kept))

    return analyse


@dataclass(frozen=True)
class _Choices:
    """The settings of `make_window_analysis`, hashable."""

    control: ControlVector
    error_of: tuple[str, ...]
    growth: tuple[tuple[str, float], ...]
    minimiser: str
    max_iterations: int
    tolerance: float
    amplitude: float
    part: float


# The minimiser rebuilds its arguments with leaves of other types: plain containers only.
def _problem(model: Model, data: Any, choices: _Choices) -> Problem:
    parameters, background, forcing, (values, errors, mask), root = data
    return Problem(
        model=model,
        parameters=parameters,
        background=background,
        forcing=forcing,
        observations=Observations(values=values, errors=errors, mask=mask),
        root=root,
        control=choices.control,
    )


def _analysed(
    model: Model, data: Any, keep: Int[Array, ""], *, choices: _Choices
) -> dict[str, Any]:
    """The attributes of `Analysis`."""
    # What follows the minimum takes tangents alone; a minimiser may need the reverse mode.
    forward = in_turn(model)
    own = forward if choices.minimiser in FORWARD_MODE else model
    problem = _problem(forward, data, choices)
    none = jnp.zeros(problem.root.shape[1:], problem.root.dtype)
    series_before, state_before = problem.trajectory(none)
    departures_before = problem.departures(none, series_before)
    cost_start = 0.5 * jnp.sum(departures_before**2, axis=0)
    found, iterations = minimise(
        lambda v, given: _problem(own, given, choices).residuals(v),
        none,
        data,
        method=choices.minimiser,
        max_iterations=choices.max_iterations,
        tolerance=choices.tolerance,
        amplitude=choices.amplitude,
    )
    finite = jnp.all(jnp.isfinite(found), axis=0)
    v = jnp.where(finite[None], choices.part * found, 0.0)
    (departures, values), slopes, (series, last) = _with_slopes(forward, data, v, keep, choices)
    jacobian, of_control, of_series, of_next = slopes
    estimated = jacobian[: v.shape[0]]
    half = _inverse_half(estimated)
    covariance = jnp.einsum("cik,cjk->cij", half, half)
    records = jax.tree.leaves(problem.forcing)[0].shape[0]
    used = jacobian * (jnp.arange(jacobian.shape[1]) % records < keep)[None, :, None]
    half_used = _inverse_half(used[: v.shape[0]])

    def deviation(slope: Float[Array, "whitened value column"]) -> Array:
        return jnp.linalg.norm(error_root(slope, half, jacobian), axis=0)

    cost = problem.terms(v, departures)
    end = sum(cost.values(), start=jnp.zeros_like(cost_start))
    before = problem.innovations(departures_before)
    after = problem.innovations(departures)
    one = problem.innovations(jnp.ones_like(departures))
    prior = problem.innovations(jnp.linalg.norm(estimated, axis=0))
    gradient = v + jnp.einsum("iyc,yc->ic", estimated, departures)
    gradient_norm = jnp.linalg.norm(gradient, axis=0)
    sound = finite & jnp.isfinite(end) & jnp.isfinite(gradient_norm)
    return {
        "v": v,
        "series": series,
        "background": series_before,
        "error": {name: deviation(slope) for name, slope in of_series.items()},
        "state": last,
        "background_state": state_before,
        "control": values,
        "control_error": deviation(of_control),
        "covariance": covariance,
        "next_root": jnp.moveaxis(error_root(of_next, half_used, used), 0, 1),
        "innovations": {name: (before[name], after[name]) for name in before},
        "stated": {name: (one[name], prior[name]) for name in before},
        "cost": cost,
        "cost_start": cost_start,
        "gradient_norm": gradient_norm,
        "signal": v.shape[0] - jnp.trace(covariance, axis1=1, axis2=2),
        "iterations": iterations,
        # The step limit alone is no failure: a lower cost than the background's is an analysis.
        "converged": sound & (end <= (1.0 + _ROUNDING) * cost_start),
    }


def _with_slopes(
    model: Model,
    data: Any,
    v: Float[Array, "whitened column"],
    keep: Int[Array, ""],
    choices: _Choices,
) -> tuple[Any, Any, tuple[Series, State]]:
    """At v: departures and controls; slopes of them, of wanted series and of the next start."""
    estimated = v.shape[0]
    if choices.growth:
        counted = with_model_error(_problem(model, data, choices), dict(choices.growth))
        more = counted.root.shape[1] - estimated
        v = jnp.concatenate([v, jnp.zeros((more, v.shape[1]), v.dtype)])

    def differentiated(v: Array, data: Any) -> tuple[Any, Any]:
        told = problem = _problem(model, data, choices)
        if choices.growth:
            problem = with_model_error(told, dict(choices.growth))
        series, last = problem.trajectory(v)
        wanted = {name: OPERATORS[name](series, problem.context(v)) for name in choices.error_of}
        onwards = problem.onwards(v, series, last, keep)
        departures, values = problem.departures(v, series), told.values(v[:estimated])
        return (departures, values, wanted, onwards), (series, last)

    results, slopes, aux = forward_slopes(differentiated, v, data, has_aux=True)
    return results[:2], slopes, aux


def _inverse_half(
    jacobian: Float[Array, "whitened observation column"],
) -> Float[Array, "column whitened whitened"]:
    """R with R R^T = (I + J^T J)^-1 of each column."""
    one = jnp.eye(jacobian.shape[0], dtype=jacobian.dtype)
    factor = jnp.linalg.cholesky(one[None] + jnp.einsum("iyc,jyc->cij", jacobian, jacobian))
    return jax.scipy.linalg.solve_triangular(
        factor, jnp.broadcast_to(one, factor.shape), lower=True
    ).mT
