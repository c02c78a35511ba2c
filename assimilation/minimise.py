"""Minimisers of a window's cost, for many columns that do not know of each other at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax
import optimistix
from jaxtyping import Array, Float, Int

from hybrid_land.columnwise import columnwise, columnwise_residuals, forward_slopes

MINIMISERS = (
    "levenberg-marquardt",
    "gauss-newton",
    "bfgs",
    "l-bfgs",
    "incremental",
    "secant",
    "small-hessian",
)
FORWARD_MODE = ("levenberg-marquardt", "gauss-newton", "small-hessian")  # no adjoint is needed
Residuals = Callable[[Float[Array, "control column"], Any], Float[Array, "residual column"]]
_FIRST_DAMPING = 1.0  # of `small-hessian` where a step fails: as strong as the prior
_LEAST_DAMPING = 1e-3  # below which it goes without
_INNER_STEPS = 30  # of the conjugate gradients in an outer loop, at most


def minimise(
    residuals: Residuals,
    start: Float[Array, "control column"],
    data: Any,
    *,
    method: str = "levenberg-marquardt",
    max_iterations: int = 40,
    tolerance: float = 1e-3,
    amplitude: float = 0.1,
) -> tuple[Float[Array, "control column"], Int[Array, " column"]]:
    """Least sum of squared residuals of each column, |r(v)|^2 / 2.

    `levenberg-marquardt` and `gauss-newton` build each column's Jacobian by one forward sweep a
    control; `bfgs` and `l-bfgs` take one reverse sweep an iteration (all of optimistix, a column
    at a time, mapped over columns in one compiled call). `incremental` linearises about an outer
    state and solves the inner quadratic problem by conjugate gradients on products of tangent and
    adjoint, without a matrix (Courtier et al. 1994): for control vectors too long for a Jacobian.
    `secant` needs neither tangent nor adjoint: a run of the model along each control gives the
    Jacobian, by finite differences as ECMWF's simplified EKF (de Rosnay et al. 2013) or, where the
    controls are an ensemble's members, as 4DEnVar (Liu et al. 2008).

    `small-hessian` is Levenberg's and Marquardt's method on I + J^T J of each column, J by one
    forward sweep with a tangent for each control: for many columns with few controls. It stops
    where the next step d is short beside the analysis error, d^T (I + J^T J) d < tolerance^2.

    Args:
        residuals: of `v` and `data`, a column's depending on that column alone; the whitened
            control variable is among them.
        start: where to begin.
        data: pytree whose leaves have the column as their last axis.
        method: one of `MINIMISERS`.
        max_iterations: of the minimiser; outer loops of `incremental` and `secant`.
        tolerance: relative and absolute.
        amplitude: of the runs of `secant`, in units of the whitened control variable.

    Returns:
        v at the minimum, and the iterations of each column.
    """
    if method in ("incremental", "secant"):

        def at(v: Array) -> Array:
            return residuals(v, data)

        loop = _secant(at, amplitude) if method == "secant" else _incremental(at, tolerance)
        return _outer_loops(at, loop, start, most=max_iterations, tolerance=tolerance)
    if method == "small-hessian":
        v, _, iterations = small_hessian(
            residuals, start, data, max_iterations=max_iterations, tolerance=tolerance
        )
        return v, iterations
    least: dict[str, Any] = {
        "levenberg-marquardt": optimistix.LevenbergMarquardt,
        "gauss-newton": optimistix.GaussNewton,
    }
    descent: dict[str, Any] = {"bfgs": optimistix.BFGS, "l-bfgs": optimistix.LBFGS}
    options: dict[str, Any] = {"max_steps": max_iterations, "throw": False}
    vector = columnwise_residuals(residuals)
    scalar = columnwise(
        lambda v, given: 0.5 * jnp.sum(residuals(v, given) ** 2, axis=0), mode="reverse"
    )

    def one(begin: Float[Array, " control"], given: Any) -> tuple[Array, Array]:
        if method in least:
            solver = least[method](rtol=tolerance, atol=tolerance)
            found = optimistix.least_squares(vector, solver, begin, given, **options)
        else:
            solver = descent[method](rtol=tolerance, atol=tolerance)
            found = optimistix.minimise(scalar, solver, begin, given, **options)
        return found.value, found.stats["num_steps"]

    return jax.vmap(one, in_axes=-1, out_axes=-1)(start, data)


def _incremental(at: Callable[[Array], Array], tolerance: float) -> Callable[[Array], Any]:
    """An outer loop: departures here, and the inner problem's solution by conjugate gradients."""

    def loop(v: Float[Array, "control column"]) -> tuple[Array, Array]:
        here, push = jax.linearize(at, v)
        pull = jax.linear_transpose(push, v)
        # All columns are one system: one that is not finite must not spoil the others' products.
        sound = jnp.isfinite(_cost(here))[None]

        def adjoint(departures: Array) -> Array:
            return jnp.where(sound, pull(departures)[0], 0.0)

        hessian = lineax.FunctionLinearOperator(
            lambda way: jnp.where(sound, adjoint(jnp.where(sound, push(way), 0.0)), way),
            jax.eval_shape(lambda: v),
            tags=lineax.positive_semidefinite_tag,
        )
        solver = lineax.CG(rtol=1e-2 * tolerance, atol=1e-2 * tolerance, max_steps=_INNER_STEPS)
        downhill = -adjoint(jnp.where(sound, here, 0.0))
        return here, lineax.linear_solve(hessian, downhill, solver, throw=False).value

    return loop


def _secant(at: Callable[[Array], Array], amplitude: float) -> Callable[[Array], Any]:
    """An outer loop whose Jacobian comes from a run of the model along each control."""

    def loop(v: Float[Array, "control column"]) -> tuple[Array, Array]:
        here = at(v)

        def along(direction: Float[Array, " control"]) -> Array:
            return (at(v + amplitude * direction[:, None]) - here) / amplitude

        jacobian = jax.lax.map(along, jnp.eye(v.shape[0], dtype=v.dtype))
        hessian = jnp.einsum("irc,jrc->cij", jacobian, jacobian)
        downhill = -jnp.einsum("irc,rc->ci", jacobian, here)
        return here, jnp.linalg.solve(hessian, downhill[..., None])[..., 0].T

    return loop


class _Place(NamedTuple):
    """Where a column is, the cost's shape there, and where it goes next; the column comes first."""

    v: Float[Array, "column control"]
    value: Float[Array, " column"]
    gradient: Float[Array, "column control"]
    hessian: Float[Array, "column control control"]
    damping: Float[Array, " column"]
    change: Float[Array, "column control"]
    iterations: Int[Array, " column"]


def small_hessian(
    residuals: Residuals,
    start: Float[Array, "control column"],
    data: Any,
    *,
    max_iterations: int = 40,
    tolerance: float = 1e-3,
    batch: int = 96,
) -> tuple[
    Float[Array, "control column"], Float[Array, "column control control"], Int[Array, " column"]
]:
    """Levenberg's and Marquardt's method with each column's own damping; one sweep an iteration.

    No column waits for another: each round takes those that have come least far among the ones
    that still move, `batch` at a time.

    Args:
        residuals: of `v` and `data`, as in `minimise`.
        start: where to begin.
        data: pytree whose leaves have the column as their last axis.
        max_iterations: of a column.
        tolerance: length of the step that is not worth taking, in units of the analysis error.
        batch: columns of a round; so few that the rollout stays in the cache.

    Returns:
        v at the minimum, I + J^T J there, and the iterations of each column.
    """
    controls, columns = start.shape
    unit = jnp.eye(controls, dtype=start.dtype)

    def moving(place: _Place) -> Array:
        length = jnp.einsum("ci,cij,cj->c", place.change, place.hessian, place.change)
        # False where the length is not a number: nothing is to be gained.
        return (place.iterations < max_iterations) & (
            (place.iterations < 0) | (length > tolerance**2)
        )

    def once(place: _Place, own: Any) -> _Place:
        """A look at where the columns go, and from where they stand then, the next step."""
        trial = (place.v + place.change).T

        here, jacobian = forward_slopes(residuals, trial, own)
        value = _cost(here)
        better = value < place.value
        damping = jnp.where(
            better,
            jnp.where(place.damping > _LEAST_DAMPING, 0.1 * place.damping, 0.0),
            jnp.maximum(10.0 * place.damping, _FIRST_DAMPING),
        )
        there = place._replace(
            v=trial.T,
            value=value,
            gradient=jnp.einsum("irc,rc->ci", jacobian, here),
            hessian=jnp.einsum("irc,jrc->cij", jacobian, jacobian),
        )
        kept = _where(better, there, place)
        damped = kept.hessian + damping[:, None, None] * unit[None]
        change = -jnp.linalg.solve(damped, kept.gradient[..., None])[..., 0]
        return kept._replace(damping=damping, change=change, iterations=place.iterations + 1)

    def in_turn(place: _Place) -> _Place:
        if columns <= batch:
            return _where(moving(place), once(place, data), place)
        order = jnp.argsort(jnp.where(moving(place), place.iterations, max_iterations))
        index = order[:batch]
        some = jax.tree.map(lambda leaf: leaf[index], place)
        own = jax.tree.map(lambda leaf: leaf[..., index], data)
        after = _where(moving(some), once(some, own), some)
        return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), place, after)

    # Nothing is known of the start: its cost is lower than what is said here.
    none = jnp.zeros(columns, start.dtype)
    still = jnp.zeros((columns, controls), start.dtype)
    place = _Place(
        v=start.T,
        value=none + jnp.inf,
        gradient=still,
        hessian=still[:, None] + unit[None],
        damping=none,
        change=still,
        iterations=none.astype(jnp.int32) - 1,
    )
    place = jax.lax.while_loop(lambda place: jnp.any(moving(place)), in_turn, place)
    return place.v.T, place.hessian, place.iterations


def _where(chosen: Array, new: _Place, old: _Place) -> _Place:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(chosen.reshape((-1, *[1] * (a.ndim - 1))), a, b)

    return jax.tree.map(pick, new, old)


def _cost(departures: Float[Array, "residual column"]) -> Float[Array, " column"]:
    return 0.5 * jnp.sum(departures**2, axis=0)


def _outer_loops(
    at: Callable[[Array], Array],
    loop: Callable[[Array], tuple[Array, Array]],
    start: Float[Array, "control column"],
    *,
    most: int,
    tolerance: float,
) -> tuple[Float[Array, "control column"], Int[Array, " column"]]:
    """Outer loops until none moves; a column whose cost would rise stays where it is."""

    def once(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, iterations, number = carry
        here, change = loop(v)
        better = _cost(at(v + change)) < _cost(here)
        moving = better & (jnp.max(jnp.abs(change), axis=0) > tolerance)
        return jnp.where(better[None], v + change, v), iterations + moving, number + 1

    def going(carry: tuple[Array, Array, Array]) -> Array:
        _, iterations, number = carry
        return (number < most) & jnp.any(iterations == number)

    none = jnp.zeros(start.shape[-1], jnp.int32)
    v, iterations, _ = jax.lax.while_loop(going, once, (start, none, jnp.zeros((), jnp.int32)))
    return v, iterations
