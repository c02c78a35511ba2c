"""Parameters that no run of ECLand has changed alone: partial dependence against regression.

Weaker evidence than `field_capacity`. ECLand has columns that differ in everything at once, so its
answer to one parameter is what a regression over columns leaves to it after the others and the
climate (the coefficient b of y ~ a + b x + controls, least squares, with its standard error).
The model is asked three ways: by partial dependence (Friedman 2001, section 8.2), its own mean
over withheld columns with x alone moved over the spread of the training columns; and by the same
regression on its own run of the same columns as ECLand's. Where the two regressions agree and
partial dependence does not, the regression is confounded, not the model wrong; or the run is too
short: partial dependence starts from the column's own first state, while ECLand's columns were
spun up with their own value, so that the answer of soil water is less than it would become.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from hybrid_land.columns import parameters_from
from hybrid_land.errors import InputError
from hybrid_land.figures import MODEL, TRUTH, pretty_units
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.sensitivity.problem import problem_of, words_of
from hybrid_land.sensitivity.ranges import ranges_of
from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.windows import validation_columns
from hybrid_land.variables import CLIMATE_CLASSES

TARGETS = ("swvl1", "swvl2", "swvl3", "slhf", "sro", "ssro")
PARAMETERS = ("theta_cap", "theta_pwp", "veg_rsminh", "veg_rsminl", "ksat", "cvh", "cvl")
QUANTILES = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
_LOGARITHMIC = ("ksat", "vg_alpha", "sdor")
_APPLIES = {"veg_rsminh": "cvh", "veg_rsminl": "cvl", "cvh": "cvh", "cvl": "cvl"}
_CONTROLS = (
    *("theta_cap", "theta_pwp", "theta_sat", "theta_max", "ksat", "vg_alpha", "vg_n", "vg_l"),
    *("cvh", "cvl", "veg_rsminh", "veg_rsminl", "veg_covh", "veg_covl", "sdor"),
)
_WEATHER = (
    *("met_rainf", "met_snowf", "met_swdown", "met_lwdown", "met_tair", "met_qair"),
    *("met_wind_e", "met_wind_n", "lai_hv", "lai_lv"),
)
_PRESENT = 0.05  # cover from which a parameter of that vegetation can matter


def scale_of(name: str, values: np.ndarray) -> np.ndarray:
    """The axis on which a parameter's answer is near a line: log10 for what spans decades."""
    return np.log10(np.maximum(values, 1e-12)) if name in _LOGARITHMIC else values


def regression(
    x: Float[np.ndarray, " column"],
    y: Float[np.ndarray, " column"],
    controls: Float[np.ndarray, "column control"],
) -> tuple[float, float]:
    """Coefficient of x in least squares of y on x, controls and a constant; its standard error.

    The error holds for residuals of unequal spread (White 1980, HC1). NaN where there are no more
    columns than controls.
    """
    spread = controls.std(axis=0)
    kept = (controls - controls.mean(axis=0))[:, spread > 1e-12] / spread[spread > 1e-12]
    middle, size = x.mean(), max(float(x.std()), 1e-30)
    design = np.column_stack([(x - middle) / size, np.ones_like(x), kept])
    inverse = np.linalg.pinv(design.T @ design)
    beta = inverse @ (design.T @ y)
    residual = y - design @ beta
    free = len(y) - np.linalg.matrix_rank(design)
    if free < 1:
        return float("nan"), float("nan")
    meat = design.T @ (design * residual[:, None] ** 2)
    covariance = inverse @ meat @ inverse * len(y) / free
    return float(beta[0] / size), float(np.sqrt(covariance[0, 0]) / size)


def partial_dependence(
    model: Model,
    data: xr.Dataset,
    sweeps: Mapping[str, Sequence[float]],
    *,
    targets: Sequence[str],
) -> dict[str, dict[str, Float[np.ndarray, "value column"]]]:
    """Means over the run of each column with one parameter set to each value, all else held.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        sweeps: by parameter, its values.
        targets: diagnostics or prognostic variables.

    Returns:
        By parameter and target; NaN where the value would not be a soil beside the column's
        others.
    """
    problem = problem_of(model, data, parameters=list(sweeps), targets=targets)

    def means(parameters: Parameters, state: State, forcing: ForcingSeries) -> Any:
        return problem.answer(parameters, state, forcing)

    run = jax.jit(means)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, values in sweeps.items():
        least, most = min(values), max(values)
        low, high = ranges_of(problem.parameters, [name], given={name: (least, most)})[name]
        room = 1e-6 * (most - least)
        rows: dict[str, list[np.ndarray]] = {target: [] for target in targets}
        for value in values:
            possible = (value >= low - room) & (value <= high + room)
            moved = {name: jnp.full_like(problem.parameters[name], value)}
            answer = run(problem.parameters | moved, problem.state, problem.forcing)
            for target in targets:
                mean = np.asarray(answer[target], float)
                rows[target].append(np.where(possible, mean, np.nan))
        found[name] = {target: np.stack(parts) for target, parts in rows.items()}
    return found


def compare_partial_dependence(
    model: Model,
    files: Sequence[xr.Dataset],
    *,
    parameters: Sequence[str] = PARAMETERS,
    targets: Sequence[str] = TARGETS,
    report: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """The model's partial dependence beside regressions between columns, ECLand's and its own.

    Args:
        model: anything with the `step` interface.
        files: ECLand, each `(time, column)`; the columns that training withholds by default
            (`TrainingConfig`) are those of the partial dependence, the others of the regression.
        parameters: names without `clim_`.
        targets: diagnostics or prognostic variables.
        report: told what goes on.

    Returns:
        One row a parameter and target: `ecland` and `regression` (the model's own run of the
        same columns), coefficients per unit of `axis` with `_error`, one standard error;
        `partial`, the mean over withheld columns of each one's least-squares slope, and
        `partial_error`; `curve`, the mean change from the middle value against `values`;
        `sign_right` and `within_two_errors` of `partial` against `ecland`; `columns`.

    Raises:
        InputError: if no column is withheld, or the files lack what the model needs.
    """
    say = report or (lambda sentence: None)
    config = TrainingConfig.model_validate({})
    held = [validation_columns(ds, share=config.validation_share, seed=config.seed) for ds in files]
    if not any(mask.any() for mask in held) or all(mask.all() for mask in held):
        raise InputError(
            "no columns are withheld from training, expected some for the partial dependence and "
            "some for the regression; give files with more columns"
        )
    say("means of ECLand and of the model over all columns")
    table = _columns(model, files, targets)
    withheld = np.concatenate(held)
    where = {name: _where(name, table["parameters"]) for name in parameters}
    sweeps = {
        name: np.quantile(table["parameters"][name][where[name] & ~withheld], QUANTILES)
        for name in parameters
    }
    say(f"partial dependence on {', '.join(parameters)} of {int(withheld.sum())} columns")
    moved = _moved(model, files, held, sweeps, targets)
    rows = []
    for name in parameters:
        applies, values = where[name], sweeps[name]
        chosen = applies[withheld]
        axis = scale_of(name, values)
        x = scale_of(name, table["parameters"][name])
        used = applies & ~withheld
        for target in targets:
            curves = moved[name][target][:, chosen]
            slopes = _slopes(axis, curves)
            theirs, their_error = regression(
                x[used], table["ecland"][target][used], _controls(table, name, used)
            )
            own, own_error = regression(
                x[used], table["model"][target][used], _controls(table, name, used)
            )
            partial = float(_mean(slopes))
            error = float(
                np.sqrt(_mean((slopes - partial) ** 2) / max(np.isfinite(slopes).sum(), 1))
            )
            change = _mean(curves - curves[len(values) // 2])
            rows.append(
                {
                    "parameter": name,
                    "axis": f"log10({name})" if name in _LOGARITHMIC else name,
                    "target": target,
                    "units": words_of(target)[0],
                    "ecland": theirs,
                    "ecland_error": their_error,
                    "regression": own,
                    "regression_error": own_error,
                    "partial": partial,
                    "partial_error": error,
                    "span": float(axis[-1] - axis[0]),
                    "values": axis.tolist(),
                    "curve": change.tolist(),
                    "sign_right": bool(np.sign(partial) == np.sign(theirs)),
                    "heard": bool(abs(theirs) > 2 * their_error),
                    "within_two_errors": bool(
                        abs(partial - theirs) <= 2 * np.hypot(their_error, error)
                    ),
                    "columns": int(chosen.sum()),
                }
            )
    return rows


def _where(name: str, parameters: dict[str, np.ndarray]) -> Bool[np.ndarray, " column"]:
    cover = _APPLIES.get(name)
    if cover is None:
        return np.ones_like(parameters[name], bool)
    return parameters[cover] > _PRESENT


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over columns that have a value; NaN where none has."""
    there = np.isfinite(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _slopes(axis: np.ndarray, curves: np.ndarray) -> Float[np.ndarray, " column"]:
    """Least-squares slope of each column over the values that it can have, at least three."""
    there = np.isfinite(curves)
    count = there.sum(axis=0)
    x = np.where(there, axis[:, None], 0.0)
    y = np.where(there, curves, 0.0)
    n = np.maximum(count, 1)
    dx = np.where(there, axis[:, None] - x.sum(axis=0) / n, 0.0)
    slope = (dx * y).sum(axis=0) / np.maximum((dx**2).sum(axis=0), 1e-30)
    return np.where(count >= 3, slope, np.nan)


def _columns(model: Model, files: Sequence[xr.Dataset], targets: Sequence[str]) -> dict[str, Any]:
    """Of all columns: parameters, mean weather, means of ECLand and of the model's free run."""
    parameters: dict[str, list] = {}
    weather: dict[str, list] = {}
    means: dict[str, dict[str, list]] = {"ecland": {}, "model": {}}
    for ds in files:
        problem = problem_of(model, ds, parameters=(), targets=targets)
        answer = jax.jit(problem.answer)(problem.parameters, problem.state, problem.forcing)
        for name, values in parameters_from(ds).items():
            parameters.setdefault(name, []).append(np.asarray(values, float))
        if "climate_index" in ds:
            parameters.setdefault("climate_index", []).append(ds["climate_index"].to_numpy())
        for name in _WEATHER:
            weather.setdefault(name, []).append(ds[name].mean("time").to_numpy().astype(float))
        for target in targets:
            mean = ds[target].mean("time").to_numpy().astype(float) * problem.factor(target)
            means["ecland"].setdefault(target, []).append(mean)
            means["model"].setdefault(target, []).append(np.asarray(answer[target], float))

    def joined(tree: dict[str, list]) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in tree.items()}

    return {
        "parameters": joined(parameters),
        "weather": joined(weather),
        **{run: joined(tree) for run, tree in means.items()},
    }


def _controls(
    table: dict[str, Any], name: str, used: Bool[np.ndarray, " column"]
) -> Float[np.ndarray, "chosen control"]:
    """The other parameters, the mean weather and the climate class of the columns."""
    parameters, weather = table["parameters"], table["weather"]
    rows = [scale_of(k, parameters[k]) for k in _CONTROLS if k != name and k in parameters]
    rows += list(weather.values())
    rain = weather["met_rainf"] + weather["met_snowf"]
    rows.append(np.log(np.maximum(rain, 1e-9)))
    if "climate_index" in parameters:
        classes = parameters["climate_index"].astype(int)
        rows += [(classes == k).astype(float) for k in range(1, len(CLIMATE_CLASSES))]
    for kind in ("tvh", "tvl", "sotype"):
        if kind in parameters:
            numbers = parameters[kind].astype(int)
            rows += [(numbers == k).astype(float) for k in np.unique(numbers[used])[1:]]
    return np.stack(rows, axis=-1)[used]


def _moved(
    model: Model,
    files: Sequence[xr.Dataset],
    held: Sequence[np.ndarray],
    sweeps: Mapping[str, np.ndarray],
    targets: Sequence[str],
) -> dict[str, dict[str, Float[np.ndarray, "value column"]]]:
    listed = {name: values.tolist() for name, values in sweeps.items()}
    parts = [
        partial_dependence(model, ds.isel(column=np.flatnonzero(mask)), listed, targets=targets)
        for ds, mask in zip(files, held, strict=True)
        if mask.any()
    ]
    return {
        name: {
            target: np.concatenate([part[name][target] for part in parts], axis=1)
            for target in targets
        }
        for name in sweeps
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The comparison as Markdown."""
    lines = [
        "Weaker evidence: no run of ECLand has these parameters changed alone. ECLand: regression "
        "of means over columns on the parameter, the others, climate and classes; same, model: "
        "the same regression on the model's run of the same columns; alone: the model's partial "
        "dependence over withheld columns. Per unit of the axis, with one standard error; span: "
        "5 to 95% of the training columns.",
        "",
        "| axis | target | unit | ECLand | same, model | alone, model | span | sign | "
        "within 2 errors |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = " | ".join(
            f"{row[key]:.3g} ± {row[f'{key}_error']:.2g}"
            for key in ("ecland", "regression", "partial")
        )
        sign = ("right" if row["sign_right"] else "wrong") if row["heard"] else "not known"
        lines.append(
            f"| {row['axis']} | {row['target']} | {row['units']} | {cells} | {row['span']:.3g} | "
            f"{sign} | {'yes' if row['within_two_errors'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Change of each target with each parameter: partial dependence and ECLand's regression."""
    parameters = list(dict.fromkeys(row["parameter"] for row in rows))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    size = (2.2 * len(targets) + 0.4, 1.7 * len(parameters) + 0.6)
    drawn = Figure(figsize=size, layout="constrained")
    panels = drawn.subplots(len(parameters), len(targets), squeeze=False)
    for row in rows:
        i, j = parameters.index(row["parameter"]), targets.index(row["target"])
        axes = panels[i, j]
        x = np.asarray(row["values"])
        dx = x - x[len(x) // 2]
        error = 2 * row["ecland_error"] * np.abs(dx)
        line = row["ecland"] * dx
        axes.fill_between(x, line - error, line + error, color=TRUTH, alpha=0.15, lw=0)
        axes.plot(x, line, color=TRUTH, ls="--", lw=1, label="ECLand, regression, 2 errors")
        axes.plot(x, row["regression"] * dx, color=MODEL, ls=":", label="emulator, regression")
        axes.plot(x, row["curve"], color=MODEL, label="emulator, parameter alone")
        axes.tick_params(labelsize=7)
        if i == 0:
            axes.set_title(f"{row['target']} ({pretty_units(row['units'])})", fontsize=8.5)
        if j == 0:
            axes.set_ylabel(row["axis"])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=3)
    return drawn
