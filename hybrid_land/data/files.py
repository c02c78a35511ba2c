"""Files written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_land.errors import InputError


def require_writable(path: str | Path) -> Path:
    """The path, once it is known that a file can be made there.

    Raises:
        InputError: if the folder does not exist, or nothing can be written in it.
    """
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise InputError(
            f"{target}: cannot be written, {folder} is not a folder; make it or choose another path"
        )
    if target.is_dir():
        raise InputError(f"{target}: is a folder, expected a file to write; add a file name")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{target}: {folder} cannot be written; choose another path")
    return target


def require_folder(path: str | Path) -> Path:
    """The path, once it is known that a folder is there or can be made there.

    Raises:
        InputError: if it is a file or below one, or nothing can be written there.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder; give another path")
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(
            f"{folder}: cannot be made, {above} cannot be written; choose another path"
        )
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error.

    Raises:
        InputError: if the place cannot be written.
    """
    target = require_writable(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); choose another path"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """A folder for results, made if it is not there.

    Raises:
        InputError: if it cannot be made or written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be made ({error.strerror}); choose another path"
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: the folder cannot be written; choose another path")
    return folder
