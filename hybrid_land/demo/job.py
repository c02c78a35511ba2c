"""The four questions in turn, the page and the numbers."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hybrid_land.any_model import own_errors
from hybrid_land.data.files import atomic_path, make_folder
from hybrid_land.data.samples import load_sample
from hybrid_land.demo.answer_to_field_capacity import answer_to_field_capacity
from hybrid_land.demo.field_capacity import field_capacity
from hybrid_land.demo.free_run import free_run
from hybrid_land.demo.part import Part
from hybrid_land.demo.surface_to_root import surface_to_root
from hybrid_land.devices import use_cores
from hybrid_land.models.store import describe_model, load_model
from hybrid_land.report import report_html

_TITLE = "ECLand, emulated: a free run, an assimilation, a calibration and a sensitivity"
_LEAD = (
    "Everything on this page was computed by one command on packaged output of ECLand, ECMWF's "
    "land-surface model. ECLand is the truth throughout; the emulator is never compared with "
    "itself. Each sentence below is written from the numbers, and its mark says whether the "
    "number is good, fair or poor."
)


_QUESTIONS: dict[str, tuple[str, str, Callable[..., Part]]] = {
    "rollout": ("Free run on unseen columns", "unseen", free_run),
    "assimilation": ("4D-Var of surface soil moisture", "unseen", surface_to_root),
    "calibration": ("Field capacity by NUTS", "theta_cap", field_capacity),
    "sensitivity": ("Answer to field capacity", "theta_cap", answer_to_field_capacity),
}
_LONGEST_FIRST = ("calibration", "assimilation", "rollout", "sensitivity")


def demo(
    out: str | Path,
    *,
    model: str | Path = "default",
    console: Console | None = None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Do the whole job and leave a page that says how it went.

    Args:
        out: folder for `report.html`, `metrics.json`, the figures and the data files; made if it
            is not there.
        model: name or directory of the emulator.
        console: where progress is shown; standard error by default.
        processes: in which the questions are answered, by default two, or one on a single core;
            with 1 that is this process.

    Returns:
        The content of `metrics.json`.

    Raises:
        InputError: if there is no such model, or `out` cannot be written.
    """
    folder = make_folder(out)
    describe_model(model)  # a wrong one is refused before any work
    processes = processes or min(2, os.cpu_count() or 1)
    begun = time.monotonic()
    found: dict[str, tuple[Part, float]] = {}
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
            for key, (title, _, _) in _QUESTIONS.items()
        }

        def say(key: str, text: str) -> None:
            progress.start_task(tasks[key])
            progress.update(tasks[key], doing=text)

        def done(key: str) -> None:
            progress.update(tasks[key], total=1, completed=1, doing="done")

        if processes == 1:
            for key in _QUESTIONS:
                found[key] = _answer(key, model, folder, say)
                done(key)
        else:
            for key, answer in _answers_apart(model, folder, say, processes=processes):
                found[key] = answer
                done(key)
    parts = {key: found[key][0] for key in _QUESTIONS}
    seconds = {key: found[key][1] for key in _QUESTIONS}
    seconds["total"] = round(time.monotonic() - begun, 1)
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


def _answer(
    key: str, model: str | Path, folder: Path, say: Callable[[str, str], None]
) -> tuple[Part, float]:
    """One question's part, and the seconds that it took."""
    _, sample, question = _QUESTIONS[key]
    begun = time.monotonic()
    say(key, "loading")
    emulator = load_model(model)
    given = {"errors": own_errors(emulator, model)} if question is field_capacity else {}
    part = question(
        emulator,
        load_sample(sample).load(),
        out=folder,
        say=lambda text: say(key, text),
        **given,
    )
    return part, round(time.monotonic() - begun, 1)


def _answer_apart(key: str, model: str | Path, folder: Path, told: Queue) -> tuple[Part, float]:
    """`_answer` in a process of its own, which tells by a queue what goes on."""
    # Half of the time is compilation: code made in two thirds of the time, though it runs slower.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
    use_cores(share=2)
    return _answer(key, model, folder, lambda *words: told.put(words))


def _answers_apart(
    model: str | Path, folder: Path, say: Callable[[str, str], None], *, processes: int
) -> Iterator[tuple[str, tuple[Part, float]]]:
    """Each question's name and answer as they come, from several processes.

    Compiling a rollout keeps one core busy and is the most of what the demonstration does.
    """
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, context) as pool:
        told = manager.Queue()
        waiting = {
            pool.submit(_answer_apart, key, model, folder, told): key for key in _LONGEST_FIRST
        }
        while waiting:
            finished, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            while not told.empty():
                say(*told.get())
            for future in finished:
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                yield waiting.pop(future), future.result()


def _facts(model: str | Path, seconds: dict[str, float]) -> dict[str, str]:
    description = describe_model(model)
    libraries = ("jax", "flax", "numpyro", "optimistix", "xarray")
    return {
        "Emulator": f"{model}, {description['weights']:,} weights",
        "Trained on": ", ".join(description.get("trained_on", [])) or "not recorded",
        "Made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Time": f"{seconds['total']:.0f} s on {os.cpu_count()} cores, {platform.machine()}",
        "Versions": ", ".join(f"{name} {version(name)}" for name in libraries),
    }
