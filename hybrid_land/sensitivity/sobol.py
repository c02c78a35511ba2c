"""Sobol indices: which share of a target's variance each parameter explains over its range.

First order S_i = Var(E[y | x_i]) / Var(y), total T_i = E[Var(y | all but x_i)] / Var(y) (Sobol
2001; estimators of Saltelli et al. 2010, confidence by bootstrap, from SALib).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hybrid_land.chunks import in_chunks
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.sensitivity.problem import Problem, empty_result, problem_of, words_of
from hybrid_land.sensitivity.ranges import SCALE, Range, ranges_of
from hybrid_land.variables import VARIABLES

SAMPLES = 256
CONFIDENCE = 0.95
_AT_ONCE = 512  # columns in a piece of the rollout, which then fits the cache
_FLAT = 1e-5  # of the largest value: less spread is float32 rounding


@dataclass(frozen=True)
class Indices:
    """Of one target. The last entry of the axis `place` is the mean over columns.

    Attributes:
        first: first-order indices, `[parameter, place]`, NaN where the target does not vary.
        first_confidence: half width of their 95% interval.
        total: total indices.
        total_confidence: half width of their 95% interval.
        deviation: standard deviation of the target over the samples, `[place]`.
    """

    first: Float[np.ndarray, "parameter place"]
    first_confidence: Float[np.ndarray, "parameter place"]
    total: Float[np.ndarray, "parameter place"]
    total_confidence: Float[np.ndarray, "parameter place"]
    deviation: Float[np.ndarray, " place"]


def indices(
    problem: Problem, ranges: Mapping[str, Range], *, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Indices]:
    """Indices of each target over the given ranges, in each column and for the columns' mean.

    All samples run as columns of one compiled rollout, in pieces of some 512 columns. Samples
    share their place within the range between columns, so that the mean over columns has
    indices too.

    Args:
        problem: the rollout and its targets.
        ranges: lowest and highest value of each varied parameter, `[column]`.
        samples: N, a power of 2; N (D + 2) runs for D parameters.
        seed: of the scrambled Sobol sequence and the bootstrap.
    """
    from SALib.analyze import sobol as analysis
    from SALib.sample import sobol as sampling

    names = list(problem.varied)
    plan: Any = {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}
    unit = np.asarray(sampling.sample(plan, samples, calc_second_order=False, seed=seed))
    values = evaluate(problem, ranges, unit)
    possible = np.all([low <= high for low, high in ranges.values()], axis=0)
    found = {}
    for target, columns in values.items():
        y = np.asarray(columns, np.float64)
        mean = y[possible].mean(axis=0, keepdims=True)
        y = np.concatenate([np.where(possible[:, None], y, np.nan), mean])
        rows = []
        for series in y:
            flat = not np.isfinite(series).all()
            if flat or series.std() <= _FLAT * max(np.abs(series).max(), 1e-30):
                rows.append(np.full((4, len(names)), np.nan))
                continue
            # SALib takes seed 0 for none.
            one = analysis.analyze(plan, series, calc_second_order=False, seed=seed + 1)
            rows.append(np.stack([one[key] for key in ("S1", "S1_conf", "ST", "ST_conf")]))
        whole = np.stack(rows, axis=-1)
        found[target] = Indices(*whole, deviation=y.std(axis=1))
    return found


def evaluate(
    problem: Problem, ranges: Mapping[str, Range], unit: Float[np.ndarray, "sample parameter"]
) -> dict[str, Float[Array, "column sample"]]:
    """The targets for parameters at `low + unit (high - low)` of each column's range."""
    kind = next(iter(problem.state.values())).dtype
    columns = problem.columns

    def run(place: dict[str, Array], low: Any, high: Any, inputs: Any) -> dict[str, Array]:
        fixed, state, forcing = inputs
        count = next(iter(place.values())).shape[0]

        def copies(x: Array) -> Array:
            return jnp.tile(x, (1,) * (x.ndim - 1) + (count,))

        varied = {
            name: (low[name][None] + u[:, None] * (high[name] - low[name])[None]).reshape(-1)
            for name, u in place.items()
        }
        answer = problem.answer(
            {name: copies(x) for name, x in fixed.items()} | varied,
            {name: copies(x) for name, x in state.items()},
            {name: copies(x) for name, x in forcing.items()},
        )
        return {name: x.reshape(count, columns).T for name, x in answer.items()}

    def whole(place: Any, low: Any, high: Any, inputs: Any) -> dict[str, Array]:
        piece = in_chunks(
            lambda part: run(part, low, high, inputs), axes=(0,), chunk=max(1, _AT_ONCE // columns)
        )
        return piece(place)

    place = {name: jnp.asarray(unit[:, i], kind) for i, name in enumerate(problem.varied)}
    low = {name: jnp.asarray(ranges[name][0], kind) for name in problem.varied}
    high = {name: jnp.asarray(ranges[name][1], kind) for name in problem.varied}
    return jax.jit(whole)(place, low, high, (problem.parameters, problem.state, problem.forcing))


def sobol_indices(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] | None = None,
    at: str = "mean",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    scale: tuple[float, float] = SCALE,
    samples: int = SAMPLES,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """First-order and total Sobol indices of each target in each column.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: at least two names without `clim_`.
        targets: prognostic variables or diagnostics of the model; by default soil water,
            evaporation and runoff.
        at: of the target's `mean` over the run, or its value at the `end`.
        ranges: by parameter, in its unit, the same for all columns; else `scale`.
        scale: factors on the column's own value.
        samples: N, a power of 2; N (D + 2) runs for D parameters.
        seed: of the samples and the bootstrap.
        report: told what goes on.

    Returns:
        For each target `<t>_first_order`, `<t>_total` with dims `(parameter, column)`, beside
        each `<...>_confidence`, the half width of its 95% interval; the same with `_of_mean` for
        the mean over columns, dims `(parameter)`; `<t>_deviation`, the standard deviation over
        the samples; and the ranges used, `<parameter>_low` and `<parameter>_high`, cut where
        they would not be a soil (see `ranges.ranges_of`).

    Raises:
        InputError: as `problem_of` and `ranges_of`; for fewer than two parameters or a number of
            samples that is not a power of 2.
    """
    problem = problem_of(model, data, parameters=parameters, targets=targets, at=at)
    if len(parameters) < 2:
        raise InputError(
            f"Sobol indices of {len(parameters)} parameter, expected two or more to share the "
            "variance; add to --parameters"
        )
    if samples < 8 or samples & (samples - 1):
        raise InputError(
            f"{samples} samples, expected a power of 2 of at least 8 for the Sobol sequence; "
            f"give --samples {max(8, 1 << (max(samples, 1).bit_length()))}"
        )
    limits = ranges_of(problem.parameters, parameters, given=ranges, scale=scale)
    runs = samples * (len(parameters) + 2)
    if report is not None:
        report(f"{runs} samples of {problem.columns} columns, {problem.steps} steps")
    result = empty_result(
        data, title=f"Sobol indices of targets ({at})", parameter=list(problem.varied)
    )
    result.attrs |= {
        "at": at,
        "samples": samples,
        "runs": runs,
        "seed": seed,
        "confidence": CONFIDENCE,
        "targets": " ".join(problem.targets),
    }
    for target, found in indices(problem, limits, samples=samples, seed=seed).items():
        units, long_name = words_of(target, at=at)
        for key, values, confidence in (
            ("first_order", found.first, found.first_confidence),
            ("total", found.total, found.total_confidence),
        ):
            words = f"{key.replace('_', ' ')} Sobol index of {long_name}"
            half = f"half width of the 95% interval of the {words}"
            for end, array, text in (("", values, words), ("_confidence", confidence, half)):
                attributes = {"units": "1", "long_name": text}
                name = f"{target}_{key}"
                result[f"{name}{end}"] = (("parameter", "column"), array[:, :-1], attributes)
                of_mean = {"units": "1", "long_name": f"{text}, mean over columns"}
                result[f"{name}_of_mean{end}"] = (("parameter",), array[:, -1], of_mean)
        result[f"{target}_deviation"] = (
            ("column",),
            found.deviation[:-1],
            {"units": units, "long_name": f"standard deviation over the samples of {long_name}"},
        )
    for name, ends in limits.items():
        row = VARIABLES[f"clim_{name}"]
        for key, values in zip(("low", "high"), ends, strict=True):
            result[f"{name}_{key}"] = (
                ("column",),
                values,
                {"units": row.units, "long_name": f"{key} end of the range of {row.long_name}"},
            )
    return result


def rows_of(result: xr.Dataset) -> list[dict[str, Any]]:
    """Numbers of the table, for a script: one row a target and parameter."""
    rows = []
    for target in str(result.attrs["targets"]).split():
        for parameter in result["parameter"].to_numpy():
            one = result.sel(parameter=parameter)
            row: dict[str, Any] = {"target": target, "parameter": str(parameter)}
            for key in ("first_order", "total"):
                row[key] = float(one[f"{target}_{key}"].mean())
                row[f"{key}_confidence"] = float(one[f"{target}_{key}_confidence"].median())
                row[f"{key}_of_mean"] = float(one[f"{target}_{key}_of_mean"])
                row[f"{key}_of_mean_confidence"] = float(one[f"{target}_{key}_of_mean_confidence"])
            row["deviation"] = float(one[f"{target}_deviation"].mean())
            row["columns"] = int(one[f"{target}_total"].notnull().sum())
            rows.append(row)
    return rows


def table(result: xr.Dataset) -> str:
    """The indices as a Markdown table."""
    lines = [
        f"Sobol indices over the ranges in the file, {result.attrs['runs']} runs of each column. "
        "First order: the share of the variance that the parameter explains alone; total: with "
        "what it does together with others. Mean over columns with the median half width of the "
        "95% interval, and the same for the mean over columns of the target.",
        "",
        "| target | unit | parameter | first order | total | of the mean: first order | total | "
        "deviation | columns |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows_of(result):
        cells = [
            f"{row[key]:.3f} ± {row[f'{key}_confidence']:.3f}"
            for key in ("first_order", "total", "first_order_of_mean", "total_of_mean")
        ]
        units = result[f"{row['target']}_deviation"].attrs["units"]
        lines.append(
            f"| {row['target']} | {units} | {row['parameter']} | {' | '.join(cells)} | "
            f"{row['deviation']:.3g} | {row['columns']} |"
        )
    return "\n".join(lines) + "\n"
