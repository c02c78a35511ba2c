"""All methods of sensitivity behind one call: files in a folder, numbers for a script."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from hybrid_land.data import save
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.errors import InputError
from hybrid_land.figures import paper_style, save_figure
from hybrid_land.interface import Model
from hybrid_land.sensitivity import adjoint, curves, integrated, plots, sobol
from hybrid_land.sensitivity.problem import problem_of

METHODS = ("curves", "adjoint", "sobol", "integrated-gradients")


def analyse(
    model: Model,
    data: xr.Dataset,
    *,
    out: str | Path,
    methods: Sequence[str] = ("curves",),
    parameters: Sequence[str] = ("theta_cap",),
    targets: Sequence[str] | None = None,
    at: str = "mean",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    samples: int = sobol.SAMPLES,
    seed: int = 0,
    baseline: Mapping[str, float] | None = None,
    weather_baseline: str = "climatology",
    points: int = integrated.POINTS,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Ask how a run answers to parameters, first state and weather, by one method or several.

    Args:
        model: anything with the `step` interface; `adjoint` and `integrated-gradients` need one
            that can be differentiated.
        data: forcing, first state and parameters with dims `(time, column)`.
        out: folder for `<method>.nc`, `.md` and `.png` (`sensitivity.*` for `curves`).
        methods: of `METHODS`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics of the model.
        at: of the targets' `mean` over the run, or their value at the `end`.
        ranges: of parameters, for `sobol`.
        samples: for `sobol`.
        seed: for `sobol`.
        baseline: of parameters, for `integrated-gradients`.
        weather_baseline: for `integrated-gradients`.
        points: for `integrated-gradients`.
        report: told what goes on.

    Returns:
        By method, what its table says: for `curves` each variable's mean over columns.

    Raises:
        InputError: for a method that is not known, and as each method; before any of them runs
            where it can be known.
    """
    for method in methods:
        if method not in METHODS:
            raise InputError(
                f"method {method!r} is not known, expected {', '.join(METHODS)}; correct --method"
            )
    problem = problem_of(model, data, parameters=parameters, targets=targets, at=at)
    for name, given, option in (
        ("sobol", ranges, "--ranges"),
        ("integrated-gradients", baseline, "--baseline"),
    ):
        if given and name not in methods:
            raise InputError(
                f"{option} is for {name}, expected it in --method; add it or leave out"
            )
    say = report or (lambda sentence: None)

    def show(label: str, done: int, total: int) -> None:
        say(f"{label} {done} of {total}")

    common: dict[str, Any] = {"parameters": parameters, "targets": targets, "at": at}
    found: dict[str, Any] = {}
    folder: Path | None = None
    for method in methods:
        if method == "curves":
            result = curves.sensitivity(model, data, **common, progress=partial(show, "run"))
            found[method] = {
                str(name): values.mean("column").to_numpy().tolist()
                for name, values in result.data_vars.items()
            }
            text, figures = curves.table(result), [curves.curves_figure]
        elif method == "adjoint":
            result = adjoint.adjoint_sensitivity(
                model, data, **common, progress=partial(show, "sweep")
            )
            found[method] = adjoint.effects(result)
            text = adjoint.table(result)
            figures = [
                partial(plots.adjoint_figure, targets=group)
                for group in plots.in_figures(problem.targets)
            ]
        elif method == "sobol":
            result = sobol.sobol_indices(
                model, data, **common, ranges=ranges, samples=samples, seed=seed, report=report
            )
            found[method] = sobol.rows_of(result)
            text = sobol.table(result)
            figures = [partial(plots.sobol_figure, targets=problem.targets)]
        else:
            result = integrated.integrated_gradients(
                model,
                data,
                **common,
                baseline=baseline,
                weather=weather_baseline,
                points=points,
                progress=partial(show, "sweep"),
            )
            found[method] = integrated.rows_of(result)
            text = integrated.table(result)
            figures = [
                partial(plots.attribution_figure, targets=group)
                for group in plots.in_figures(problem.targets)
            ]
        folder = make_folder(out)
        stem = "sensitivity" if method == "curves" else method.replace("-", "_")
        save(result, folder / f"{stem}.nc")
        with atomic_path(folder / f"{stem}.md") as path:
            path.write_text(text, encoding="utf-8")
        with paper_style():
            for i, draw in enumerate(figures):
                end = "" if i == 0 else f"_{i + 1}"
                save_figure(draw(result), folder / f"{stem}{end}.png")
    return found
