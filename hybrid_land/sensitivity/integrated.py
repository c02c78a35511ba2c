"""Integrated gradients: what of a run's result comes from which weather and which parameter.

Sundararajan, Taly and Yan (2017), eq. 1: for a function F, an input x and a baseline x',

    IG_i = (x_i - x'_i) * integral over a in [0, 1] of dF/dx_i at x' + a (x - x')

whose sum over i is F(x) - F(x') (completeness, their proposition 1). The integral is a midpoint
rule; how far the sum is off says whether its points are enough.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.interface import ForcingSeries, Model, Parameters
from hybrid_land.sensitivity.adjoint import Progress
from hybrid_land.sensitivity.problem import Problem, empty_result, problem_of, words_of
from hybrid_land.sensitivity.ranges import ranges_of
from hybrid_land.variables import VARIABLES

POINTS = 32
FORCING_BASELINES = ("climatology", "mean")
_AT_ONCE = 1024  # columns of a reverse sweep


@dataclass(frozen=True)
class Attribution:
    """Of one target, in its unit.

    Attributes:
        forcing: to each record of the weather, leaves `[time, column]`.
        parameters: leaves `[column]`.
        difference: F(x) - F(x'), `[column]`.
        residual: F(x) - F(x') less the sum of all attributions, `[column]`.
    """

    forcing: dict[str, Float[np.ndarray, "time column"]]
    parameters: dict[str, Float[np.ndarray, " column"]]
    difference: Float[np.ndarray, " column"]
    residual: Float[np.ndarray, " column"]


def attributions(
    problem: Problem,
    *,
    forcing: ForcingSeries,
    parameters: Parameters,
    points: int = POINTS,
    progress: Progress | None = None,
) -> dict[str, Attribution]:
    """Integrated gradients of each target from a baseline to the problem's own inputs.

    The points of the path run as columns of one rollout, some 1,000 at once. The gradient is
    taken with respect to one shift that all points share, so that the sum over points is part
    of the reverse sweep and no point's gradient is kept.

    Args:
        problem: the rollout, its own inputs and its targets.
        forcing: baseline of the weather, leaves `[time, column]`; what it lacks stays as it is.
        parameters: baseline of the varied parameters, leaves `[column]`.
        points: of the midpoint rule.
        progress: called with sweeps done and in all.
    """
    own = (
        {name: problem.forcing[name] for name in forcing},
        {name: problem.parameters[name] for name in parameters},
    )
    base = (dict(forcing), dict(parameters))
    change = jax.tree.map(jnp.subtract, own, base)
    kind = next(iter(problem.state.values())).dtype
    at_once = min(points, max(1, _AT_ONCE // problem.columns))
    segments = max(1, round(math.sqrt(problem.steps)))

    def answers(shift: Any, path: Array, fixed: Any) -> dict[str, Array]:
        """The targets at `base + a change + shift` for each a of the path, `[path, column]`."""
        start, change, parameters, state, forcing = fixed
        count = path.shape[0]

        def copies(x: Array) -> Array:
            return jnp.tile(x, (1,) * (x.ndim - 1) + (count,))

        def along(x: Array, d: Array, s: Array) -> Array:
            a = jnp.repeat(path, x.shape[-1]).reshape((1,) * (x.ndim - 1) + (-1,))
            return copies(x + s) + a * copies(d)

        weather, varied = jax.tree.map(along, start, change, shift)
        answer = problem.answer(
            {name: copies(x) for name, x in parameters.items()} | varied,
            {name: copies(x) for name, x in state.items()},
            {name: copies(x) for name, x in forcing.items()} | weather,
            checkpoint_segments=segments,
        )
        return {name: x.reshape(count, -1) for name, x in answer.items()}

    def total(shift: Any, path: Array, weight: Array, of: dict[str, Array], fixed: Any) -> Any:
        found = answers(shift, path, fixed)
        sums = (of[name] * (weight[:, None] * found[name]).sum() for name in found)
        return sum(sums, start=jnp.zeros((), kind)), {name: x[0] for name, x in found.items()}

    fixed = (base, change, problem.parameters, problem.state, problem.forcing)
    none = jax.tree.map(jnp.zeros_like, base)
    sweep = jax.jit(jax.grad(total, has_aux=True))
    pieces = -(-points // at_once)
    middles = np.zeros(pieces * at_once)
    middles[:points] = (np.arange(points) + 0.5) / points
    weights = np.where(np.arange(len(middles)) < points, 1.0 / points, 0.0)
    # The ends of the path by the same program, which takes longer to compile than to run.
    nothing = {name: jnp.zeros((), kind) for name in problem.targets}
    start, end = (
        sweep(none, jnp.full(at_once, a, kind), jnp.zeros(at_once, kind), nothing, fixed)[1]
        for a in (0.0, 1.0)
    )
    found = {}
    for i, target in enumerate(problem.targets):
        of = {name: jnp.asarray(float(name == target), kind) for name in problem.targets}
        gradient = jax.tree.map(lambda x: np.zeros(x.shape), base)
        for k in range(pieces):
            part = slice(k * at_once, (k + 1) * at_once)
            path, weight = jnp.asarray(middles[part], kind), jnp.asarray(weights[part], kind)
            gradient = jax.tree.map(
                lambda sum_, x: sum_ + np.asarray(x, np.float64),
                gradient,
                sweep(none, path, weight, of, fixed)[0],
            )
            if progress is not None:
                progress(i * pieces + k + 1, len(problem.targets) * pieces)
        weather, varied = jax.tree.map(lambda d, g: np.asarray(d, float) * g, change, gradient)
        difference = np.asarray(end[target], float) - np.asarray(start[target], float)
        added = sum((x.sum(axis=0) for x in weather.values()), start=np.zeros(problem.columns))
        added = sum(varied.values(), start=added)
        found[target] = Attribution(weather, varied, difference, difference - added)
    return found


def forcing_baseline(problem: Problem, time: np.ndarray, *, kind: str) -> ForcingSeries:
    """Each column's usual weather at the times of the run, leaves `[time, column]`.

    Args:
        problem: whose weather it is.
        time: `[time]`, datetime64.
        kind: `climatology`, the mean by day of year (31 days around it) and hour of day, or
            `mean`, the mean over the run.

    Raises:
        InputError: for another kind.
    """
    if kind not in FORCING_BASELINES:
        raise InputError(
            f"baseline {kind!r} of the weather, expected {' or '.join(FORCING_BASELINES)}; "
            "correct --forcing-baseline"
        )
    found = {}
    for name in problem.weather:
        series = np.asarray(problem.forcing[name])
        if kind == "climatology":
            usual = fit_climatology(series.astype(float), time).at(time)
        else:
            usual = np.broadcast_to(series.mean(axis=0, dtype=float), series.shape)
        found[name] = jnp.asarray(usual, series.dtype)
    return found


def parameter_baseline(
    problem: Problem, given: Mapping[str, float] | None = None
) -> dict[str, Float[Array, " column"]]:
    """The given values, else the median over columns, moved where they would not be a soil."""
    for name in given or {}:
        if name not in problem.varied:
            raise InputError(
                f"baseline of {name!r}, expected one of the parameters varied, "
                f"{', '.join(problem.varied)}; correct --baseline or --parameters"
            )
    found = {}
    for name in problem.varied:
        own = np.asarray(problem.parameters[name], float)
        value = dict(given or {}).get(name, float(np.median(own)))
        least, most = min(value, own.min()), max(value, own.max())
        if least == most:
            found[name] = problem.parameters[name]
            continue
        low, high = ranges_of(problem.parameters, [name], given={name: (least, most)})[name]
        moved = np.where(low <= high, np.clip(value, low, np.maximum(low, high)), own)
        found[name] = jnp.asarray(moved, problem.parameters[name].dtype)
    return found


def integrated_gradients(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] | None = None,
    at: str = "mean",
    baseline: Mapping[str, float] | None = None,
    weather: str = "climatology",
    points: int = POINTS,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Attribute targets to each record of the weather and to parameters.

    Args:
        model: anything with the `step` interface that can be differentiated.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics of the model; by default soil water,
            evaporation and runoff.
        at: of the target's `mean` over the run, or its value at the `end`.
        baseline: of parameters, in their unit; by default the median over columns. Moved in
            columns where it would not be a soil (see `ranges.ranges_of`).
        weather: baseline of the weather: the column's `climatology` by day of year and hour of
            day, or its `mean` over the run. First state, functions of time and place and the
            albedo are the same in both.
        points: of the midpoint rule between baseline and input.
        progress: called with sweeps done and in all.

    Returns:
        For each target `<t>`, in its unit: `<t>_from_<forcing>` with dims `(time, column)`,
        `<t>_from_<parameter>` with dims `(column)`; `<t>_difference` between the run and the
        run of the baseline; `<t>_residual`, the part of it that the attributions miss. Beside
        them `<parameter>_baseline`.

    Raises:
        InputError: as `problem_of`; for a baseline that is not known, or no point.
    """
    problem = problem_of(model, data, parameters=parameters, targets=targets, at=at)
    if points < 1:
        raise InputError(f"{points} points, expected at least 1; correct --points")
    at_base = parameter_baseline(problem, baseline)
    usual = forcing_baseline(problem, data["time"].to_numpy(), kind=weather)
    result = empty_result(
        data, title=f"Integrated gradients of targets ({at})", time=data["time"].to_numpy()
    )
    result.attrs |= {
        "at": at,
        "points": points,
        "weather_baseline": weather,
        "parameters": " ".join(problem.varied),
        "targets": " ".join(problem.targets),
    }
    found = attributions(
        problem, forcing=usual, parameters=at_base, points=points, progress=progress
    )
    for target, one in found.items():
        units, long_name = words_of(target, at=at)

        def put(name: str, values: np.ndarray, what: str, *, t=target, u=units, w=long_name):
            dims = ("time", "column") if values.ndim == 2 else ("column",)
            attributes = {"units": u, "long_name": f"{what} {w}"}
            result[f"{t}_{name}"] = (dims, values.astype(np.float32), attributes)

        for name, values in one.forcing.items():
            row = VARIABLES[name]
            put(f"from_{name}", values, f"attribution to one record of {row.long_name} of")
        for name, values in one.parameters.items():
            row = VARIABLES[f"clim_{name}"]
            put(f"from_{name}", values, f"attribution to {row.long_name} of")
        put("difference", one.difference, "difference from the baseline of")
        put("residual", one.residual, "difference that the attributions miss of")
    for name, values in at_base.items():
        row = VARIABLES[f"clim_{name}"]
        result[f"{name}_baseline"] = (
            ("column",),
            np.asarray(values),
            {"units": row.units, "long_name": f"baseline of {row.long_name}"},
        )
    return result


def rows_of(result: xr.Dataset) -> list[dict[str, Any]]:
    """Numbers of the table, for a script: one row a target.

    `attributions` by input are sums over time, mean over columns (`mean`) and mean of absolute
    values (`size`), largest first; `difference` and `residual` are root mean squares over
    columns, and `incompleteness` is their ratio.
    """
    rows = []
    for target in str(result.attrs["targets"]).split():
        start = f"{target}_from_"
        found = {}
        for key in (str(name) for name in result.data_vars if str(name).startswith(start)):
            values = result[key].astype(float)
            values = values.sum("time") if "time" in values.dims else values
            found[key.removeprefix(start)] = {
                "mean": float(values.mean()),
                "size": float(np.abs(values).mean()),
            }
        difference, residual = (
            float(np.sqrt((result[f"{target}_{key}"].astype(float) ** 2).mean()))
            for key in ("difference", "residual")
        )
        rows.append(
            {
                "target": target,
                "units": result[f"{target}_difference"].attrs["units"],
                "attributions": dict(sorted(found.items(), key=lambda row: -row[1]["size"])),
                "difference": difference,
                "residual": residual,
                "incompleteness": residual / difference if difference > 0 else 0.0,
            }
        )
    return rows


def table(result: xr.Dataset) -> str:
    """The attributions and the check of completeness as Markdown."""
    rows = rows_of(result)
    lines = [
        f"Integrated gradients from a baseline ({result.attrs['weather_baseline']} of the weather, "
        "parameters as in the file) to each column's own inputs, summed over time: mean over "
        "columns, and mean of the absolute values.",
        "",
        "| target | unit | input | mean | size |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines += [
            f"| {row['target']} | {row['units']} | {name} | {value['mean']:.3g} | "
            f"{value['size']:.3g} |"
            for name, value in row["attributions"].items()
        ]
    lines += [
        "",
        f"Completeness with {result.attrs['points']} points: the attributions should add up to the "
        "difference between run and baseline. Root mean squares over columns.",
        "",
        "| target | unit | difference | missed | ratio |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['target']} | {row['units']} | {row['difference']:.3g} | "
            f"{row['residual']:.2g} | {100 * row['incompleteness']:.2g}% |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"
