"""Folders that may only be read, and programs that mind it: root does so only without its right to override."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OVERRIDES = "-dac_override,-dac_read_search"


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Take from a folder and all that it holds the right to write."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield folder
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def python_without_privileges(*arguments: str | Path) -> str:
    """Run Python in a process that minds permissions; return what it printed. Skips where none can be had."""
    if os.name != "posix":
        pytest.skip("permissions of folders are POSIX's")
    command = [sys.executable, *map(str, arguments)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root minds no permissions, and there is no setpriv to take its privileges")
        command = ["setpriv", "--bounding-set", _OVERRIDES, *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
