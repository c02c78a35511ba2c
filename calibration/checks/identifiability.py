"""Which parameters, or which combinations of them, the observations see."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from assimilation.minimise import small_hessian
from calibration.problem import Problem, chosen_columns

_STARTS = 16  # draws of the prior, of which the best is where a minimisation begins
_REACH = 4.0  # of a profile, in standard deviations of the posterior
_FARTHEST = 3.0  # in standard deviations of the prior
_SMALL = 0.2  # below which a parameter's part in a direction is not said
_SEEN = 0.5  # of the prior's spread: what is left of it where the data say a direction
_BLIND = 0.9  # and where they say nothing


def identifiability(problem: Problem, *, key: Array, points: int = 15) -> tuple[xr.Dataset, str]:
    """Eigenvalues of the likelihood's Hessian, and the profile of each parameter.

    At the minimum of -log p(z | y), with J the Jacobian of the whitened departures,

        J^T J = V diag(e) V^T,

    the prior being I: along v_k the posterior's spread is 1 / sqrt(1 + e_k) of the prior's
    (Gauss-Newton). The profile of a parameter is the least -log p(z | y) over all others, less
    its least of all; where it is as flat as the prior's, z^2 / 2, nothing was learnt.

    Args:
        problem: with the observations.
        key: for where minimisations begin.
        points: of each profile.

    Returns:
        `mode` `[parameter, column]`; `eigenvalue` and `spread_left` `[direction, column]`, largest
        eigenvalue first; `direction_of` `[parameter, direction, column]`; `profile_z`,
        `profile_value` (physical) and `profile` `[parameter, point, column]`; and the finding in
        words.
    """
    mode, hessian = _mode(problem, key)
    value, vector = np.linalg.eigh(hessian - np.eye(len(problem.names)))
    value, vector = np.maximum(value[:, ::-1], 0.0), vector[:, :, ::-1]
    # The sign of a direction means nothing: its largest part is positive.
    largest = np.take_along_axis(vector, np.abs(vector).argmax(axis=1)[:, None], axis=1)
    vector = vector * np.sign(largest)
    profile = _profiles(problem, mode, np.linalg.inv(hessian), points=points)
    found = xr.Dataset(
        {
            "mode": (("parameter", "column"), mode),
            "eigenvalue": (("direction", "column"), value.T),
            "spread_left": (("direction", "column"), 1.0 / np.sqrt(1.0 + value.T)),
            "direction_of": (("parameter", "direction", "column"), np.moveaxis(vector, 0, -1)),
            **{
                name: (("parameter", "point", "column"), values) for name, values in profile.items()
            },
        },
        coords={"parameter": list(problem.names)},
    )
    return found, "what the data see: " + "; ".join(_words(found))


def _words(found: xr.Dataset) -> list[str]:
    """One sentence for each direction where there is one column, else how many columns see it."""
    columns = found.sizes["column"]
    if columns == 1:
        return [
            f"{combination(found, k, 0)} {_seen(float(found['spread_left'][k, 0]))}"
            for k in range(found.sizes["direction"])
        ]
    lines = []
    for k in range(found.sizes["direction"]):
        left = found["spread_left"].to_numpy()[k]
        middle = int(np.argsort(left)[columns // 2])
        rank = ("best", "second", "third")[k] if k < 3 else f"{k + 1}th"
        lines.append(
            f"along the {rank} seen direction (such as {combination(found, k, middle)}) "
            f"{100 * np.median(left):.0f}% of the prior's spread is left, below "
            f"{100 * _SEEN:.0f}% in {int((left < _SEEN).sum())} of {columns} columns"
        )
    return lines


def _seen(left: float) -> str:
    share = f"{100 * left:.0f}% of the prior's spread is left"
    if left < _SEEN:
        return f"is seen ({share})"
    return f"is hardly seen ({share})" if left < _BLIND else f"is not seen ({share})"


def combination(found: xr.Dataset, direction: int, column: int) -> str:
    """A direction in words, such as `0.71 theta_cap + 0.71 theta_pwp`.

    Parts below 0.2 are left out; the parameters are the standard normal ones.

    Args:
        found: of `identifiability`.
        direction: its index, the best seen first.
        column: its index.
    """
    parts = found["direction_of"].to_numpy()[:, direction, column]
    text = ""
    for name, part in zip(found["parameter"].to_numpy(), parts, strict=True):
        if abs(part) >= _SMALL:
            sign = " - " if part < 0 else " + "
            text += f"{sign if text or part < 0 else ''}{abs(part):.2f} {name}"
    return text.strip()


def _residuals(problem: Problem, z: Array, data: Any) -> Float[Array, "residual column"]:
    columns, observed, _ = data
    return jnp.concatenate([observed - problem.expected(z, columns), z])


def _mode(problem: Problem, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Minimum of each column `[parameter, column]`, and I + J^T J there `[column, p, p]`."""
    draws = np.array(jax.random.normal(key, (_STARTS, len(problem.names), problem.count)))
    draws[0] = 0.0
    cost = problem.misfit(draws) + 0.5 * (draws**2).sum(axis=1)
    best = np.take_along_axis(draws, cost.argmin(axis=0)[None, None], axis=0)[0]
    search = jax.jit(partial(small_hessian, partial(_residuals, problem)))
    mode, hessian, _ = search(jnp.asarray(best, jnp.float32), problem.lanes)
    return np.asarray(mode), np.asarray(hessian, np.float64)


def _profiles(
    problem: Problem, mode: np.ndarray, covariance: np.ndarray, *, points: int
) -> dict[str, Float[np.ndarray, "parameter point column"]]:
    """Every point of every parameter's profile is a column of one minimisation."""
    size, count = mode.shape
    lanes = chosen_columns(problem, np.tile(np.arange(count), points))
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    along = np.linspace(-_REACH, _REACH, points)[None, :, None] * spread[:, None]
    at = np.clip(mode[:, None] + along, -_FARTHEST, _FARTHEST)
    least = problem.misfit(mode[None])[0] + 0.5 * (mode**2).sum(axis=0)
    height, value = np.empty(at.shape), np.empty(at.shape)
    for i in range(size):
        others = [k for k in range(size) if k != i]
        start = np.tile(mode[others], (1, points))
        fixed = at[i].reshape(1, -1)
        if others:
            start = np.asarray(_others(lanes, i, start, fixed))
        z = np.insert(start, i, fixed[0], axis=0)
        cost = lanes.misfit(z[None])[0] + 0.5 * (z**2).sum(axis=0)
        height[i] = cost.reshape(points, count) - least
        value[i] = lanes.parameters(z[None])[problem.names[i]].reshape(points, count)
    return {"profile_z": at, "profile_value": value, "profile": height}


def _others(lanes: Problem, which: int, start: np.ndarray, fixed: np.ndarray) -> Array:
    """The other parameters at the minimum, one being held."""

    def held(v: Array, data: Any) -> Array:
        own, value = data
        z = jnp.concatenate([v[:which], value, v[which:]])
        return _residuals(lanes, z, own)

    search = jax.jit(partial(small_hessian, held))
    return search(jnp.asarray(start, jnp.float32), (lanes.lanes, jnp.asarray(fixed, jnp.float32)))[
        0
    ]
