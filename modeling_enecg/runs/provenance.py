"""What a run's description says on any machine: no paths of this one, and the state of the code."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from .portable import without_machine_paths

PROJECT = Path(__file__).parents[2]
_PACKAGES = ("enecg", "torch", "transformers", "peft", "accelerate", "datasets", "numpy", "scipy")


def environment() -> dict[str, Any]:
    """Return the `device`, the number of processes, and the `versions` of Python and the packages."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({os.cpu_count()} cores)",
        "num_processes": PartialState().num_processes,
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
    }


def with_provenance(run_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's description with the `commit` of the code, and of each absolute path its last part only."""
    return {**without_machine_paths(dict(run_info)), "commit": source_commit()}


def source_commit(project: Path = PROJECT) -> str | None:
    """Return the commit of a git checkout, with a remark if files differ from it; None where it cannot be told."""
    if not (project / ".git").exists():  # an installed package may lie in somebody else's checkout
        return None
    command = ["git", "--no-optional-locks", "-C", str(project)]
    try:
        commit, changes = (
            subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit} with changes" if changes else commit
