"""Writing without leaving anything half-written in place."""

import csv
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import psutil

ASIDE = ".new."  # how everything begins that is not in place yet; host and process follow
_HOST = platform.node().replace(".", "-")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to write in, and put it at `path` once all is written.

    After an error nothing is left, neither at `path` nor beside it.

    Args:
        path (`str` or `Path`): Where the folder is to appear; must not exist, or be an empty folder.

    Yields:
        `Path`: The folder to write in, on the same file system.

    Raises:
        FileExistsError: if `path` holds something already.
    """
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{path} exists and is not an empty folder; choose another place or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=_aside_in(target.parent), dir=target.parent))
    try:
        yield aside
        _open_to_others(aside)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write, and put it at `path`, over any older one, once all is written.

    After an error an older file is untouched.

    Args:
        path (`str` or `Path`): Where the file is to appear; its folder is made if needed.

    Yields:
        `Path`: The file to write, with the same suffix, in the same folder.
    """
    target = Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{_aside_in(target.parent)}{target.name}")
    try:
        yield aside
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def added_files(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder to write files in, and move them into `folder` once all are written.

    Files of the same names are replaced one by one; after an error while writing they are untouched.

    Args:
        folder (`str` or `Path`): Where the files are to appear; made if needed.

    Yields:
        `Path`: The folder to write in.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=_aside_in(target), dir=target))
    try:
        yield aside
        _open_to_others(aside)
        for path in sorted(aside.iterdir()):
            os.replace(path, target / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def clear_leftovers(folder: str | Path) -> None:
    """Remove what writers that were killed left in a folder and below, which must not be written to meanwhile."""
    for path in Path(folder).rglob(f"{ASIDE}*"):
        _remove(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, wholly or not at all."""
    with new_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a UTF-8 CSV file with a head, wholly or not at all; what a row lacks stays empty."""
    with new_file(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _aside_in(folder: Path) -> str:
    """Return how what this process writes aside in a folder begins; what dead ones left there is cleared first."""
    process = os.getpid()
    _clear_of_dead(folder, process)
    return f"{ASIDE}{_HOST}.{process}."


@lru_cache(maxsize=1024)
def _clear_of_dead(folder: Path, process: int) -> None:
    """Remove what killed writers left in a folder, once per process; other machines' writers cannot be told dead."""
    begin = f"{ASIDE}{_HOST}."
    for path in [each for each in folder.iterdir() if each.name.startswith(begin)]:
        writer = path.name.removeprefix(begin).partition(".")[0]
        if writer.isdecimal() and int(writer) != process and not psutil.pid_exists(int(writer)):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _open_to_others(folder: Path) -> None:
    """Give a temporary folder and its files the modes that new ones have: colleagues must be able to read them."""
    mask = os.umask(0)  # can only be read by setting it
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
