"""EnECG: 12-lead ECG foundation models on the Hugging Face stack.

Importing this package registers its models and feature extractors with the Auto classes of transformers, and its
pipeline. What is saved takes the code along, so that `trust_remote_code=True` loads it where this package is not.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__


def builtin(name: str) -> str:
    """Return the folder of a model that comes with the package, such as `"small"`, as any `from_pretrained` takes it.

    Raises:
        FileNotFoundError: if no such model is shipped; the message says which are.
    """
    from .runs.shipped import builtin

    return builtin(name)


def _is_own_command() -> bool:
    """Whether this process is the command `enecg`, which imports what a subcommand needs when that runs."""
    as_module = sys.orig_argv[1:3] == ["-m", f"{__name__}.cli"]
    return as_module or Path(sys.argv[0]).name in ("enecg", "enecg.exe")


if TYPE_CHECKING or not (_is_own_command() or find_spec("torch") is None):  # ONNX files do without torch
    from .auto import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__") or name == "auto":  # which the import below asks for first
            raise AttributeError(name)
        from . import auto

        return getattr(auto, name)
