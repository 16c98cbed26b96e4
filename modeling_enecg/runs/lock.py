"""One writer per folder: a lock that its processes hold from the first moment, and that their death releases."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from .files import clear_leftovers

LOCK = ".lock"  # of the main process; the others' have their number behind it


class FolderInUseError(ValueError):
    """A folder, or a file, into which another process writes."""


@contextmanager
def locked(place: str | Path, what: str = "run") -> Iterator[None]:
    """Let no other processes than these of the launcher write to a place.

    Each process holds a lock file of its own, since any of them may outlive the others: a launcher that is killed
    leaves its workers alive. The system releases a lock when its holder dies, in whatever way; what it left half
    written is cleared by the next one.

    Args:
        place (`str` or `Path`): A folder, which is made if needed; afterwards it is removed if nothing is in it.
        what (`str`, *optional*, defaults to `"run"`): What goes on there, for the message.

    Raises:
        FolderInUseError: if another process holds a lock there, in every process, and with the holder's name.
    """
    folder, state = Path(place), PartialState()
    with ExitStack() as locks:
        problem: list[str | None] = [None]
        if state.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            locks.callback(_remove_if_empty, folder)
            try:
                locks.enter_context(_file_lock(folder / LOCK))
                _release_all(folder)
                clear_leftovers(folder)
            except Timeout as timeout:
                problem = [f"{place}: a {what} is under way here, by {_holder(Path(timeout.lock_file))}."]
        if state.num_processes > 1:
            broadcast_object_list(problem)
        if problem[0] is not None:
            raise FolderInUseError(problem[0])
        if not state.is_main_process:
            locks.enter_context(_file_lock(folder / f"{LOCK}.{state.process_index}"))
        yield


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold one lock file, which says whose it is; it goes with the lock."""
    with FileLock(path, timeout=0):
        path.write_text(json.dumps(_self()), encoding="utf-8")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _release_all(folder: Path) -> None:
    """Remove what dead processes left; a live one's lock cannot be had."""
    for path in folder.glob(f"{LOCK}.*"):
        with FileLock(path, timeout=0):
            path.unlink()


def _self() -> dict[str, str]:
    program = Path(sys.argv[0]).name or "python"
    return {
        "process": f"process {os.getpid()} ({program})",
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", timespec="seconds"),
    }


def _holder(path: Path) -> str:
    """Return who holds a lock; it may be between taking it and saying so."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"{holder['process']} on {holder['host']} since {holder['since']}; wait for it, or end it"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process; wait for it, or end it"


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


__all__ = ["LOCK", "FolderInUseError", "locked"]
