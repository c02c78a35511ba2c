"""Whether an analysis can be believed: its gradient, its adjoint, its statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
import xarray as xr
from jaxtyping import Array, Float

from assimilation.operators import OBSERVABLES
from assimilation.variational import Problem
from hybrid_land.errors import InputError
from hybrid_land.gaussian_crps import gaussian_crps

_STATED = ("observation", "background")
ORDERS = 10.0 ** -np.arange(1.0, 9.0)  # lengths of the steps of a Taylor test


@dataclass(frozen=True)
class TaylorTest:
    """Remainders of the cost's expansion along one direction.

    Attributes:
        lengths: of the steps, falling.
        remainders: |J(v + h w) - J(v) - h w . grad J(v)|, summed over columns.
        order: the least order at which a remainder falls with the length before rounding takes
            over: 2 where the gradient is right, 1 where it is not.
    """

    lengths: Float[np.ndarray, " length"]
    remainders: Float[np.ndarray, " length"]
    order: float


def taylor_test(
    problem: Problem,
    v: Float[Array, "whitened column"],
    direction: Float[Array, "whitened column"],
    *,
    lengths: Sequence[float] = tuple(ORDERS),
) -> TaylorTest:
    """Does the cost fall away from its tangent with the square of the step?

    In double precision; in single precision rounding hides the answer.

    Args:
        problem: a window.
        v: where.
        direction: along which.
        lengths: of the steps, falling by the same factor.

    Raises:
        InputError: if the cost or its gradient is not finite.
    """

    def total(at: Array) -> Array:
        return jnp.sum(problem.cost(at))

    value, slope = jax.value_and_grad(total)(v)
    along = float(jnp.vdot(slope, direction))
    if not (np.isfinite(float(value)) and np.isfinite(along)):
        column = int(np.argmin(np.isfinite(np.asarray(slope)).all(axis=0)))
        raise InputError(
            f"the gradient of the cost is not finite in column {column}, "
            "expected numbers; look for values that are not in the forcing or the observations"
        )
    steps = np.asarray(lengths)
    costs = jax.jit(jax.vmap(lambda h: total(v + h * direction)))(jnp.asarray(steps))
    remainders = np.abs(np.asarray(costs) - float(value) - steps * along)
    # Two neighbours say an order where the smaller remainder stands well above rounding, which is
    # that of small differences of observations and run, thousands of times the cost's own.
    rounding = 1e4 * np.finfo(np.asarray(value).dtype).eps * abs(float(value))
    sound = remainders[1:] > rounding
    factors = np.log(remainders[:-1] / np.maximum(remainders[1:], 1e-300))
    orders = factors / np.log(steps[:-1] / steps[1:])
    return TaylorTest(steps, remainders, float(orders[sound].min()) if sound.any() else np.inf)


def adjoint_test(
    problem: Problem, v: Float[Array, "whitened column"], *, key: Array
) -> tuple[float, float]:
    """The two sides of <G w, z> = <w, G^T z> for random w and z, G the residuals' tangent at v.

    Args:
        problem: a window.
        v: where.
        key: for w and z.
    """
    here, push = jax.linearize(problem.residuals, v)
    pull = jax.linear_transpose(push, v)
    w = jax.random.normal(jax.random.fold_in(key, 0), v.shape, v.dtype)
    z = jax.random.normal(jax.random.fold_in(key, 1), here.shape, here.dtype)
    return float(jnp.vdot(push(w), z)), float(jnp.vdot(w, pull(z)[0]))


def innovation_statistics(analysis: xr.Dataset, name: str) -> dict[str, float | int]:
    """Mean, spread and memory of what observations say against background and analysis.

    Args:
        analysis: in the Analysis form.
        name: an observed variable.

    Returns:
        `count`, `mean_innovation`, `sd_innovation`, `mean_residual`, `sd_residual` in the
        variable's unit, `lag_1`: the first of `whiteness`, and where errors are stated `crps`: of
        the normal distributions that the background states of the observations, in the same unit.

    Raises:
        InputError: if the variable was not observed.
    """
    before, after = _pairs(analysis, name)
    seen = np.isfinite(before)
    stated = [analysis[key].to_numpy() for key in _errors(name) if key in analysis]
    scored = {}
    if len(stated) == len(_STATED):
        promised = np.hypot(*(x.astype(np.float64) for x in stated))
        known = seen & np.isfinite(promised)
        if known.any():
            scored["crps"] = gaussian_crps(np.zeros(known.sum()), promised[known], before[known])
    return scored | {
        "count": int(seen.sum()),
        "mean_innovation": float(np.nanmean(before)),
        "sd_innovation": float(np.nanstd(before)),
        "mean_residual": float(np.nanmean(after)),
        "sd_residual": float(np.nanstd(after)),
        "lag_1": float(whiteness(analysis, name, lags=1)[0]),
    }


def whiteness(analysis: xr.Dataset, name: str, *, lags: int = 10) -> Float[np.ndarray, " lag"]:
    """Correlation of a column's innovations with those 1 to `lags` observations later.

    The mean over columns, NaN where none has enough. An optimal filter leaves none (Kailath 1968).

    Args:
        analysis: in the Analysis form.
        name: an observed variable.
        lags: the longest.

    Raises:
        InputError: if the variable was not observed.
    """
    columns = [column[np.isfinite(column)] for column in _pairs(analysis, name)[0].T]
    found = []
    for lag in range(1, lags + 1):
        each = [_lagged(column, lag) for column in columns]
        known = [value for value in each if np.isfinite(value)]
        found.append(float(np.mean(known)) if known else float("nan"))
    return np.array(found)


def desroziers(analysis: xr.Dataset, name: str, *, error: float | None = None) -> dict[str, float]:
    """Are the background's and the observations' errors as large as was said?

    With d_b and d_a the departures of the observations from background and analysis,
    E[d_a d_b] = R, E[(d_b - d_a) d_b] = H B H^T and E[d_b d_b] is their sum (Desroziers et al.
    2005, eqs. 1 to 3). Observations where H B H^T as linearised is wider than a quarter of the
    variable's range are left out: there the model is not linear enough to ask.

    Args:
        analysis: in the Analysis form.
        name: an observed variable.
        error: standard deviation that the observations were given; what the analysis says of it
            if not told.

    Returns:
        `observation_error` and `background_error` as diagnosed, `stated_observation_error` and
        `stated_background_error`, all in the variable's unit, and `observation_factor` and
        `background_factor`: what to multiply the stated standard deviations by.

    Raises:
        InputError: if the variable was not observed.
    """
    before, after = _pairs(analysis, name)
    if f"{name}_background_error" in analysis:
        row = OBSERVABLES[name]
        wide = analysis[f"{name}_background_error"].to_numpy() > 0.25 * (row.upper - row.lower)
        analysis = analysis.assign({key: analysis[key].where(~wide) for key in _errors(name)})
        before = np.where(wide, np.nan, before)
    diagnosed = {
        "observation": max(_mean(after * before), 0.0) ** 0.5,
        "background": max(_mean((before - after) * before), 0.0) ** 0.5,
    }
    stated = {
        kind: _mean(np.square(analysis[f"{name}_{kind}_error"].to_numpy())) ** 0.5
        for kind in _STATED
        if f"{name}_{kind}_error" in analysis
    }
    if error is not None:
        stated["observation"] = error
    found = {f"{kind}_error": value for kind, value in diagnosed.items()}
    found |= {f"stated_{kind}_error": value for kind, value in stated.items()}
    factors = {f"{kind}_factor": diagnosed[kind] / value for kind, value in stated.items()}
    return found | factors


def _mean(values: np.ndarray) -> float:
    """Of what is finite; NaN if nothing is."""
    sound = values[np.isfinite(values)]
    return float(sound.mean()) if sound.size else float("nan")


def chi_squared(analysis: xr.Dataset) -> dict[str, float]:
    """Is the cost at the minimum what its errors promise: 2 Jmin as chi squared of p.

    With p observations in a window, 2 Jmin has the mean p and the variance 2 p if B and R are
    right and the model is linear (Bennett 1992; Talagrand 1999). Columns that did not converge
    are left out; an observation in two windows that overlap counts in both, as its cost does.

    Args:
        analysis: in the Analysis form.

    Returns:
        `ratio` of the sum of 2 Jmin to the number of observations, and the two-sided `p_value`
        of that sum.

    Raises:
        InputError: if nothing was observed.
    """
    cost = total_cost(analysis)
    observations = int(analysis["observed"].where(analysis["converged"].astype(bool), 0).sum())
    if observations == 0:
        raise InputError("no observation in any window, expected some; nothing can be tested")
    total = 2.0 * float(cost.where(analysis["converged"].astype(bool), 0.0).sum())
    below = float(scipy.stats.chi2.cdf(total, observations))
    return {"ratio": total / observations, "p_value": 2.0 * min(below, 1.0 - below)}


def total_cost(analysis: xr.Dataset) -> xr.DataArray:
    """J at the minimum, dims `(window, column)`: the sum of its terms."""
    terms = ("background", "model_error", "bias", "observation")
    first, *others = (analysis[f"cost_{term}"] for term in terms if f"cost_{term}" in analysis)
    for other in others:
        first = first + other
    return first


def coverage(
    analysis: xr.Dataset, truth: xr.Dataset, name: str, *, levels: Sequence[float] = (0.68, 0.95)
) -> dict[float, float]:
    """Share of a truth that lies within the stated analysis error, by the share that should.

    Args:
        analysis: in the Analysis form, with `<name>_analysis_error`.
        truth: at the same times and columns.
        name: of the variable.
        levels: shares that should.
    """
    error = np.abs(analysis[name].to_numpy() - truth[name].transpose("time", "column").to_numpy())
    stated = analysis[f"{name}_analysis_error"].to_numpy()
    found = {}
    for level in levels:
        width = float(scipy.stats.norm.ppf(0.5 + 0.5 * level))
        found[level] = float(np.mean(error <= width * stated))
    return found


def _pairs(analysis: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    if f"{name}_innovation" not in analysis:
        raise InputError(
            f"no innovations of {name} in the analysis, expected an observed variable; name one"
        )
    before = analysis[f"{name}_innovation"].to_numpy().astype(np.float64)
    return before, analysis[f"{name}_residual"].to_numpy().astype(np.float64)


def _errors(name: str) -> list[str]:
    return [f"{name}_{kind}_error" for kind in _STATED]


def _lagged(series: np.ndarray, lag: int) -> float:
    early, late = series[:-lag], series[lag:]
    if len(early) < 2 or early.std() == 0.0 or late.std() == 0.0:
        return float("nan")
    return float(np.corrcoef(early, late)[0, 1])
