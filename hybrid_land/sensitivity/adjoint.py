"""The adjoint: derivatives of a run's result to parameters, first state and weather in time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.sensitivity.problem import Problem, empty_result, per, problem_of, words_of
from hybrid_land.variables import VARIABLES

Progress = Callable[[int, int], None]
INITIAL = "initial_"

# Changes of a size that a reader can picture: what a derivative is multiplied with to compare
# inputs of different units. Parameters: a tenth of their value.
_BY_NAME = {
    "met_rainf": (1.0 / 86400.0, "1 mm d⁻¹"),
    "met_snowf": (1.0 / 86400.0, "1 mm d⁻¹"),
    "met_qair": (1e-3, "1 g kg⁻¹"),
    "met_psurf": (1e3, "10 hPa"),
    "lai_hv": (0.1, "0.1"),
    "lai_lv": (0.1, "0.1"),
}
_BY_UNITS = {
    "m3 m-3": (0.01, "0.01 m³ m⁻³"),
    "K": (1.0, "1 K"),
    "kg m-2": (1.0, "1 kg m⁻²"),
    "kg m-3": (10.0, "10 kg m⁻³"),
    "W m-2": (10.0, "10 W m⁻²"),
    "m s-1": (1.0, "1 m s⁻¹"),
    "1": (0.1, "0.1"),
}


def amount_of(name: str) -> tuple[float, str]:
    """A change of a state variable or of the weather to picture, in its unit and in words."""
    units = VARIABLES[name].units if name in VARIABLES else "1"
    return _BY_NAME.get(name) or _BY_UNITS.get(units, (1.0, f"1 {units}"))


@dataclass(frozen=True)
class Gradient:
    """Derivatives of one target of each column.

    Attributes:
        parameters: by the varied parameters, leaves `[column]`.
        state: by the first state, leaves `[column]`.
        forcing: by each record of the weather, leaves `[time, column]`.
    """

    parameters: dict[str, Float[Array, " column"]]
    state: dict[str, Float[Array, " column"]]
    forcing: dict[str, Float[Array, "time column"]]


def gradients(
    problem: Problem,
    *,
    checkpoint_segments: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Gradient]:
    """One reverse sweep through the rollout for each target.

    Columns do not know of each other, so the derivative of the sum over columns is each
    column's own. Memory is that of `rollout` with as many segments as the square root of the
    steps (Griewank and Walther 2008, chapter 12), beside the result.

    Args:
        problem: the rollout and its targets.
        checkpoint_segments: of the rollout.
        progress: called with sweeps done and in all.
    """
    segments = checkpoint_segments or max(1, round(math.sqrt(problem.steps)))

    def total(inputs: Any, fixed: Any, weights: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
        varied, state, weather = inputs
        parameters, forcing = fixed
        answer = problem.answer(
            parameters | varied, state, forcing | weather, checkpoint_segments=segments
        )
        return sum((weights[name] * answer[name].sum() for name in answer), start=jnp.zeros(()))

    sweep = jax.jit(jax.grad(total))
    inputs: tuple[Parameters, State, ForcingSeries] = (
        {name: problem.parameters[name] for name in problem.varied},
        problem.state,
        {name: problem.forcing[name] for name in problem.weather},
    )
    found = {}
    for i, target in enumerate(problem.targets):
        # The target is an argument, so that all sweeps are one compiled program.
        weights = {name: jnp.asarray(float(name == target)) for name in problem.targets}
        found[target] = Gradient(*sweep(inputs, (problem.parameters, problem.forcing), weights))
        if progress is not None:
            progress(i + 1, len(problem.targets))
    return found


def adjoint_sensitivity(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] | None = None,
    at: str = "mean",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Derivatives of targets to parameters, first state and each record of the weather.

    Args:
        model: anything with the `step` interface that can be differentiated.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics of the model; by default soil water,
            evaporation and runoff.
        at: of the target's `mean` over the run, or its value at the `end`.
        progress: called with sweeps done and in all.

    Returns:
        For each target `<t>`: `<t>_by_<parameter>` and `<t>_by_initial_<variable>` with dims
        `(column)`, and `<t>_by_<forcing>` with dims `(time, column)`: the change of the target
        for a change of that one record. Units are the target's divided by the input's. Functions
        of time and place and the albedo are held fixed.

    Raises:
        InputError: as `problem_of`.
    """
    problem = problem_of(model, data, parameters=parameters, targets=targets, at=at)
    result = empty_result(
        data, title=f"Derivatives of targets ({at}) by the adjoint", time=data["time"].to_numpy()
    )
    result.attrs["at"] = at
    result.attrs["parameters"] = " ".join(problem.varied)
    result.attrs["targets"] = " ".join(problem.targets)
    for target, gradient in gradients(problem, progress=progress).items():
        units, long_name = words_of(target, at=at)

        def put(name: str, values: Array, of: str, what: str, *, t=target, u=units, w=long_name):
            row = VARIABLES[of]
            dims = ("time", "column") if values.ndim == 2 else ("column",)
            result[f"{t}_by_{name}"] = (
                dims,
                np.asarray(values),
                {
                    "units": per(u, row.units),
                    "long_name": f"derivative of {w} by {what}{row.long_name}",
                },
            )

        for name, values in gradient.parameters.items():
            put(name, values, f"clim_{name}", "")
        for name, values in gradient.state.items():
            put(f"{INITIAL}{name}", values, name, "initial ")
        for name, values in gradient.forcing.items():
            put(name, values, name, "one record of ")
    for name in problem.varied:
        row = VARIABLES[f"clim_{name}"]
        result[name] = (
            ("column",),
            np.asarray(problem.parameters[name]),
            {"units": row.units, "long_name": row.long_name},
        )
    return result


def effects(result: xr.Dataset) -> list[dict[str, Any]]:
    """What changes of a size to picture do to each target, largest first for each.

    Returns:
        Rows with `target`, `units`, `input`, `change` in words, `mean`, `least` and `largest`
        over columns of derivative times change (weather: the change sustained over the whole
        run), and for weather `days`, the time before the end within which half of the absolute
        effect lies, median over columns.
    """
    time = result["time"].to_numpy()
    age = (time[-1] - time + (time[-1] - time[0]) / max(len(time) - 1, 1)) / np.timedelta64(1, "D")
    rows = []
    for target in str(result.attrs["targets"]).split():
        found = []
        units, _ = words_of(target, at=result.attrs["at"])
        start = f"{target}_by_"
        for key in (str(name) for name in result.data_vars if str(name).startswith(start)):
            name = key.removeprefix(start)
            values = result[key].to_numpy().astype(float)
            days = None
            if name in result:
                values, change = values * 0.1 * result[name].to_numpy(), "10% of it"
            else:
                amount, change = amount_of(name.removeprefix(INITIAL))
                values = values * amount
            if values.ndim == 2:
                days = _half_life(np.abs(values), age)
                values = values.sum(axis=0)
            found.append(
                {
                    "target": target,
                    "units": units,
                    "input": name,
                    "change": change,
                    "mean": float(values.mean()),
                    "least": float(values.min()),
                    "largest": float(values.max()),
                    "days": days,
                }
            )
        rows += sorted(found, key=lambda row: -max(abs(row["least"]), abs(row["largest"])))
    return rows


def _half_life(effect: Float[np.ndarray, "time column"], age: np.ndarray) -> float | None:
    """Days before the end that hold half of the effect, median over columns that have any."""
    from_end = np.cumsum(effect[::-1], axis=0)
    alive = from_end[-1] > 0
    if not alive.any():
        return None
    first = np.argmax(from_end[:, alive] >= 0.5 * from_end[-1, alive], axis=0)
    return float(np.median(age[::-1][first]))


def table(result: xr.Dataset) -> str:
    """The effects as a Markdown table."""
    what = "value at the end" if result.attrs["at"] == "end" else "mean over the run"
    lines = [
        f"Effect on each target's {what} of a change of each input, by the adjoint: derivative "
        "times change, mean, least and largest over columns. Weather: the change sustained over "
        "the whole run; half within: days before the end that hold half of the absolute effect.",
        "",
        "| target | unit | input | change | effect | least | largest | half within, days |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in effects(result):
        days = "-" if row["days"] is None else f"{row['days']:.0f}"
        lines.append(
            f"| {row['target']} | {row['units']} | {row['input']} | {row['change']} | "
            f"{row['mean']:.3g} | {row['least']:.3g} | {row['largest']:.3g} | {days} |"
        )
    return "\n".join(lines) + "\n"
