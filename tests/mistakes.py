"""Mistakes on the command line: how a bad input is made, and what is asked of the answer.

The builders change the sound inputs of `tests.kit`, so that each mistake is the only one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr

from hybrid_land.cli import main
from hybrid_land.data import save

ROLLOUT = "rollout model bad.nc --out out.nc"
ASSIMILATE = "assimilate model good.nc --obs bad.nc --out out.nc --window-days 5"
TRAIN = "train good.nc --out run --config bad.toml"

Change = Callable[[xr.Dataset], xr.Dataset]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too: path to content, nothing for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def fails(arguments: str, *, place: Path, capsys) -> str:
    """Run a command that must fail as a user's mistake does; its line."""
    before = contents(place)
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("hybrid-land: error: ")
    assert contents(place) == before
    return lines[0]


@dataclass(frozen=True)
class Case:
    """A command, how its bad input is made, and the words that the line must have, in order."""

    command: str
    words: tuple[str, ...]
    make: Callable[[Path], object] = lambda place: None


def data(change: Change, command: str, *words: str) -> Case:
    """A fault in a data file `bad.nc`, made from the sound one."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "good.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, ("bad.nc", *words), make)


def observed(change: Change, *words: str, command: str = ASSIMILATE) -> Case:
    """A fault in a file of observations `bad.nc`."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "obs.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, ("bad.nc", *words), make)


def guessed(change: Change, *words: str, command: str) -> Case:
    """A fault in a first guess `bad.nc`."""

    def make(place: Path) -> None:
        with xr.open_dataset(place / "guess.nc") as sound:
            save(change(sound.load()), place / "bad.nc")

    return Case(command, words, make)


def configured(text: str, *words: str) -> Case:
    """A fault in a configuration."""
    return Case(TRAIN, words, lambda place: (place / "bad.toml").write_text(text))


def plain(command: str, *words: str, make: Callable[[Path], object] = lambda place: None) -> Case:
    """A fault in the command itself, or one that `make` makes."""
    return Case(command, words, make)


def put(name: str, index: tuple[int, int], value: float) -> Change:
    """Put one value into a variable."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name][index] = value
        return ds

    return change


def scaled(name: str, factor: float = 1.0, shift: float = 0.0) -> Change:
    """A variable in another unit, its attribute unchanged."""
    return lambda ds: ds.assign({name: (ds[name] * factor + shift).assign_attrs(ds[name].attrs)})


def truncate(name: str) -> Callable[[Path], object]:
    def make(place: Path) -> None:
        whole = (place / name).read_bytes()
        (place / "bad.nc").write_bytes(whole[: len(whole) // 2])

    return make


def corrupt(place: Path) -> None:
    """A file that opens but whose compressed values (each begins with x^) were overwritten."""
    whole = (place / "good.nc").read_bytes()
    assert b"x^" in whole
    (place / "bad.nc").write_bytes(whole.replace(b"x^", b"--"))


def holds(case: Case, *, place: Path, capsys) -> bool:
    """Whether the command of a case fails with one line that has its words in order."""
    case.make(place)
    line = fails(case.command, place=place, capsys=capsys)
    at = 0
    for word in case.words:
        found = line.find(word, at)
        assert found >= 0, f"{word!r} is not in its place in: {line}"
        at = found + len(word)
    return True
