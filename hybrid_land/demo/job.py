"""The four questions in turn, the page and the numbers."""

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.samples import load_sample
from hybrid_land.demo.answer_to_field_capacity import answer_to_field_capacity
from hybrid_land.demo.field_capacity import field_capacity
from hybrid_land.demo.free_run import free_run
from hybrid_land.demo.part import Part, Say
from hybrid_land.demo.surface_to_root import surface_to_root
from hybrid_land.models.store import describe_model, load_model
from hybrid_land.report import report_html

_TITLE = "ECLand, emulated: a free run, an assimilation, a calibration and a sensitivity"
_LEAD = (
    "Everything on this page was computed by one command on packaged output of ECLand, ECMWF's "
    "land-surface model. ECLand is the truth throughout; the emulator is never compared with "
    "itself. Each sentence below is written from the numbers, and its mark says whether the "
    "number is good, fair or poor."
)


def demo(
    out: str | Path, *, model: str | Path = "default", console: Console | None = None
) -> dict[str, Any]:
    """Do the whole job and leave a page that says how it went.

    Args:
        out: folder for `report.html`, `metrics.json`, the figures and the data files; made if it
            is not there.
        model: name or directory of the emulator.
        console: where progress is shown; standard error by default.

    Returns:
        The content of `metrics.json`.

    Raises:
        InputError: if there is no such model, or `out` cannot be written.
    """
    folder = make_folder(out)
    emulator = load_model(model)
    unseen, varied = load_sample("unseen").load(), load_sample("theta_cap").load()
    parts: dict[str, Part] = {}
    seconds: dict[str, float] = {}
    questions: dict[str, tuple[str, Callable[[Say], Part]]] = {
        "rollout": (
            "Free run on unseen columns",
            lambda say: free_run(emulator, unseen, out=folder, say=say),
        ),
        "assimilation": (
            "4D-Var of surface soil moisture",
            lambda say: surface_to_root(emulator, unseen, out=folder, say=say),
        ),
        "calibration": (
            "Field capacity by NUTS",
            lambda say: field_capacity(emulator, varied, out=folder, say=say),
        ),
        "sensitivity": (
            "Answer to field capacity",
            lambda say: answer_to_field_capacity(emulator, varied, out=folder, say=say),
        ),
    }
    with Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[doing]}"),
        console=console or Console(stderr=True),
    ) as progress:
        tasks = {
            key: progress.add_task(title, total=None, start=False, doing="")
            for key, (title, _) in questions.items()
        }
        for key, (_, answer) in questions.items():
            progress.start_task(tasks[key])
            begun = time.monotonic()
            parts[key] = answer(lambda text, key=key: progress.update(tasks[key], doing=text))
            seconds[key] = round(time.monotonic() - begun, 1)
            progress.update(tasks[key], total=1, completed=1, doing="done")
    metrics: dict[str, Any] = {key: part.metrics for key, part in parts.items()}
    metrics["seconds"] = seconds
    page = report_html(
        title=_TITLE,
        lead=_LEAD,
        headlines=[part.headline for part in parts.values()],
        sections=[part.section for part in parts.values()],
        facts=_facts(model, seconds),
    )
    with atomic_path(folder / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    return metrics


def _facts(model: str | Path, seconds: dict[str, float]) -> dict[str, str]:
    description = describe_model(model)
    libraries = ("jax", "flax", "numpyro", "optimistix", "xarray")
    return {
        "Emulator": f"{model}, {description['weights']:,} weights",
        "Trained on": ", ".join(description.get("trained_on", [])) or "not recorded",
        "Made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Time": f"{sum(seconds.values()):.0f} s on {os.cpu_count()} cores, {platform.machine()}",
        "Versions": ", ".join(f"{name} {version(name)}" for name in libraries),
    }
