"""The command line: each command is one function of the library with files around it."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hybrid_land.cli_assimilate import assimilate_app
from hybrid_land.cli_calibrate import calibrate_app
from hybrid_land.cli_ensemble import AsJson, DataPath, ensemble_app
from hybrid_land.cli_learn_error import learn_error_app
from hybrid_land.cli_observe import observe_app
from hybrid_land.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

app = typer.Typer(
    name="hybrid-land",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A differentiable emulator of ECLand: run it, score it, assimilate into it, calibrate it.",
)
app.add_typer(ensemble_app)
app.add_typer(observe_app)
app.add_typer(assimilate_app)
app.add_typer(calibrate_app)
app.add_typer(learn_error_app)

# Newer typer carries its own click, older uses click's: the base of typer's own error is the usage
# error of whichever it is.
_UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run directory, or the name of a shipped model.")
]
OutFile = Annotated[Path, typer.Option("--out", help="NetCDF file to write.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write into; made if absent.")]
Names = Annotated[str, typer.Option("--parameters", help="Names separated by commas.")]


def open_data(name: str, *, required: tuple[str, ...] | None = None) -> "xr.Dataset":
    """Open and check the data that a command is given.

    Args:
        name: a path, or `sample:` and the name of a packaged sample.
        required: variables that must be there; all of the data's form by default.

    Raises:
        InputError: if there are none or they are not sound.
    """
    from hybrid_land.data import load, validate

    data = load(_located(name))
    validate(data, source=name, required=required)
    return data


def _located(name: str) -> Path:
    """Where the data of that name are."""
    from hybrid_land.data.samples import sample_path

    return sample_path(name.removeprefix("sample:")) if name.startswith("sample:") else Path(name)


def tell(message: str) -> None:
    """Say something to the person at the terminal, on standard error."""
    print(message, file=sys.stderr, flush=True)


def answer(result: dict[str, Any], *, as_json: bool, words: str) -> None:
    """Print a command's result: for a script, or in words."""
    print(json.dumps(_plain(result), indent=1, allow_nan=False) if as_json else words)


def _plain(value: Any) -> Any:
    """What JSON can say of a value: numbers that are not finite are null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def progress_of(label: str) -> Callable[[int, int], None]:
    """To tell how far a command's long work has come."""

    def show(done: int, total: int) -> None:
        tell(f"{label} {done} of {total}")

    return show


def listed(names: str, *, option: str = "--parameters") -> tuple[str, ...]:
    """An option's names, separated by commas."""
    found = tuple(part.strip() for part in names.split(",") if part.strip())
    if not found:
        raise InputError(f"{option} is empty, expected names such as theta_cap; give one")
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"{option}: {name!r} is named twice, expected once; remove one")
    return found


@app.command()
def demo(
    out: OutFolder = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Do the whole job on the packaged sample and end in a report.html."""
    from hybrid_land.data.files import make_folder

    folder = make_folder(out)
    tell("loading the libraries")
    from hybrid_land.demo import demo as run_demo

    result = run_demo(folder)
    answer(result, as_json=as_json, words=f"report: {folder / 'report.html'}")


@app.command()
def train(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Training data.")],
    out: Annotated[Path, typer.Option("--out", help="Run directory, new or empty.")],
    config: Annotated[Path | None, typer.Option(help="TOML file; see TrainingConfig.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a killed run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an emulator; the best one on withheld columns is left in the run directory."""
    from hybrid_land.training.config import read_config
    from hybrid_land.training.loop import train as run_training

    settings = read_config(config)

    def report(record: dict[str, Any]) -> None:
        left = record["seconds_left"]
        tell(
            f"update {record['update']}/{record['updates']}  steps {record['length']}  "
            f"loss {record['loss']:.4f}  validation {record['validation']['score']:.4f}  "
            f"best {record['best']:.4f}  left {left // 60:.0f} min {left % 60:.0f} s"
        )

    parts = [*(Path(path).name for path in data), "--out RUN"]
    if config is not None:
        parts.append(f"--config {config.name}")
    result = run_training(
        [_located(name) for name in data],
        out,
        config=settings,
        resume=resume,
        report=report,
        command=f"hybrid-land train {' '.join(parts)}",
    )
    answer(
        result, as_json=as_json, words=f"model: {out} (score {result['validation']['score']:.4f})"
    )


@app.command()
def evaluate(
    model: ModelName,
    data: DataPath,
    out: OutFolder,
    trees: Annotated[
        Path | None,
        typer.Option(help="Folder of trained XGBoost regressors, scored in the same table."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a model freely over all of DATA and score it: scores.json, scoreboard.md, figures."""
    from hybrid_land.any_model import load_model
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data.files import make_folder, require_folder
    from hybrid_land.evaluation.evaluate import evaluate as score
    from hybrid_land.models.trees import load_trees

    require_folder(out)
    emulator = load_model(model)
    others = {} if trees is None else {"xgboost": load_trees(trees)}
    truth = open_data(data)
    require_model_fits(emulator, truth, source=data)
    folder = make_folder(out)
    result = score(emulator, truth, out=folder, others=others, name=Path(model).name, report=tell)
    answer(result, as_json=as_json, words=(folder / "scoreboard.md").read_text())


@app.command()
def rollout(
    model: ModelName,
    data: DataPath,
    out: OutFile,
    first_guess: Annotated[
        Path | None, typer.Option(help="Another first state: prognostic variables on column.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a model freely over DATA and write the result in the data's own form."""
    from hybrid_land.any_model import load_model
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data import save
    from hybrid_land.data.files import require_writable
    from hybrid_land.data.first_guess import read_first_guess
    from hybrid_land.simulation import simulate

    require_writable(out)
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    initial = read_first_guess(first_guess, forcing) if first_guess is not None else None
    run = simulate(emulator, forcing, initial=initial)
    run.attrs["title"] = f"Free run of the emulator {Path(model).name}"
    save(run, out)
    result = {"out": str(out), "columns": run.sizes["column"], "steps": run.sizes["time"]}
    answer(
        result,
        as_json=as_json,
        words=f"{out}: {result['columns']} columns, {result['steps']} steps",
    )


@app.command()
def sensitivity(
    model: ModelName,
    data: DataPath,
    out: OutFolder,
    parameters: Names = "theta_cap",
    method: Annotated[
        str, typer.Option(help="Of curves, adjoint, sobol and integrated-gradients.")
    ] = "curves",
    targets: Annotated[str, typer.Option(help="Variables; else soil water and its fluxes.")] = "",
    at: Annotated[str, typer.Option(help="mean of the run, or end: the last value.")] = "mean",
    ranges: Annotated[str, typer.Option(help="For sobol: theta_cap=0.2:0.4,...")] = "",
    samples: Annotated[int, typer.Option(help="For sobol: N of N (parameters + 2) runs.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples.")] = 0,
    baseline: Annotated[
        str, typer.Option(help="For integrated-gradients: theta_cap=0.3,...; else the median.")
    ] = "",
    forcing_baseline: Annotated[
        str, typer.Option(help="For integrated-gradients: climatology or mean.")
    ] = "climatology",
    points: Annotated[int, typer.Option(help="For integrated-gradients: on the path.")] = 32,
    as_json: AsJson = False,
) -> None:
    """How a run answers to parameters, first state and weather: tables, figures, NetCDF."""
    from hybrid_land.any_model import load_model
    from hybrid_land.columns import require_model_fits
    from hybrid_land.data.files import require_folder
    from hybrid_land.sensitivity import analyse
    from hybrid_land.sensitivity.options import read_baseline, read_ranges

    folder = require_folder(out)
    emulator = load_model(model)
    forcing = open_data(data)
    require_model_fits(emulator, forcing, source=data)
    found = analyse(
        emulator,
        forcing,
        out=folder,
        methods=listed(method, option="--method"),
        parameters=listed(parameters),
        targets=listed(targets, option="--targets") if targets else None,
        at=at,
        ranges=read_ranges(ranges),
        samples=samples,
        seed=seed,
        baseline=read_baseline(baseline),
        weather_baseline=forcing_baseline,
        points=points,
        report=tell,
    )
    curves = found.pop("curves", {})
    answer(
        {"out": str(folder), **curves, **{key.replace("-", "_"): v for key, v in found.items()}},
        as_json=as_json,
        words=f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}",
    )


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Data in any form that is read.")],
    out: OutFile,
    as_json: AsJson = False,
) -> None:
    """Convert any form that is read to the NetCDF form."""
    from hybrid_land.data import save
    from hybrid_land.data.describe import describe
    from hybrid_land.data.files import require_writable

    require_writable(out)
    data = open_data(source, required=())
    save(data, out)
    result = describe(data)
    answer({"out": str(out), **result}, as_json=as_json, words=f"{out}\n{result['words']}")


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="MODEL|DATA", help="What to look at.")],
    as_json: AsJson = False,
) -> None:
    """What is in a model or data set, and is it sound."""
    from hybrid_land.any_model import is_hybrid, load_model
    from hybrid_land.models import ensemble, store

    if name in store.shipped_models() or (Path(name) / "model.json").is_file():
        if is_hybrid(name):
            load_model(name)
            description = json.loads((Path(name) / "model.json").read_text())
        else:
            ensemble.load_any(name)
            description = store.describe_model(name)
        words = "\n".join(
            f"{key}: {value}"
            for key, value in description.items()
            if key not in (*ensemble.LONG, "learnt", "loop", "parameter_ranges")
        )
        answer(description | {"kind": "model"}, as_json=as_json, words=words)
        return
    from hybrid_land.data.describe import describe

    if not name.startswith("sample:") and not Path(name).exists():
        raise InputError(
            f"{name}: no such file or model, expected data, a run directory or a shipped model "
            f"({', '.join(store.shipped_models())}); give one of those"
        )
    # What is missing is listed, not refused: parts of a data set are worth a look.
    result = describe(open_data(name, required=()))
    answer({"kind": "data", **result}, as_json=as_json, words=result["words"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit status 0, or 2 with one line on a user's mistake."""
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        status = app(args=given or ["--help"], prog_name=app.info.name, standalone_mode=False)
    except InputError as error:
        _fail(str(error))
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        tell("hybrid-land: interrupted")
        sys.exit(130)
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "hybrid-land"
        _fail(f"{error.format_message().rstrip('.')}. See {command} --help.")  # type: ignore[attr-defined]
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    tell(f"hybrid-land: error: {' '.join(message.split())}")
    sys.exit(2)
