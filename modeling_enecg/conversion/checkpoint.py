"""Reading published checkpoint files without running anything that they contain."""

import pickle
import re
import zipfile
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

# Published training checkpoints carry scores as NumPy scalars and settings as a Namespace: plain values, safe to
# rebuild.
_SAFE_GLOBALS: list[Any] = [
    Namespace,
    defaultdict,
    *(bool, int, float, str, list, dict),  # as types of settings
    np.dtype,
    np.float64(0).__reduce__()[0],
    *(type(np.dtype(code)) for code in "?bhilqBHILQefd"),
]
# Settings beside the weights, which are not read: of OmegaConf, and of the code that trained ECG-CPC.
_SETTINGS_MODULES = ("omegaconf.", "clinical_ts.", "typing.")


class _Settings:
    """Stands in for an object of settings, so that nothing of the class that a file names is imported or run."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class ConversionError(ValueError):
    """A checkpoint that cannot be read, or does not fit its architecture."""


def read_checkpoint(path: str | Path, weights_key: str) -> dict[str, torch.Tensor]:
    """Read a state dict from a `.safetensors` file or a torch file.

    Args:
        path (`str` or `Path`): The file. A torch file is read with `weights_only=True`.
        weights_key (`str`): Where the published torch file keeps its weights; a bare state dict is taken as well.

    Returns:
        `dict[str, torch.Tensor]` with upstream's key names.

    Raises:
        ConversionError: if the file is missing, unreadable, holds objects other than tensors and plain values, or
            has no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ConversionError(f"No checkpoint file at {path}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, Mapping):
        raise ConversionError(f"{path} holds a {type(content).__name__}; expected a dict of weights.")
    weights = content.get(weights_key, content)
    if not isinstance(weights, Mapping) or not weights:
        raise ConversionError(f"{path} has no weights under {weights_key!r}.")
    not_tensors = [key for key, value in weights.items() if not isinstance(key, str) or not torch.is_tensor(value)]
    if not_tensors:
        raise ConversionError(
            f"{path} has no weights under {weights_key!r}, and its entries {not_tensors[:5]} are not named tensors."
        )
    return dict(weights)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConversionError(f"{path} is not a valid safetensors file: {error}.") from error


def _read_torch(path: Path) -> object:
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else []
        stand_ins = [(_Settings, name) for name in named if name.startswith(_SETTINGS_MODULES)]
        with torch.serialization.safe_globals([*_SAFE_GLOBALS, *stand_ins]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in every way there is
        raise ConversionError(
            f"{path} cannot be read as weights only: {_reason(error)}. Nothing in it was executed. "
            "If it is a torch checkpoint, save its state dict as .safetensors and convert that."
        ) from error


def _reason(error: Exception) -> str:
    """Say what is wrong with a torch file, without torch's advice to load it unsafely."""
    forbidden = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if forbidden:
        return f"it holds {forbidden[1]}, which is neither a tensor nor a plain value"
    if isinstance(error, pickle.UnpicklingError | EOFError | LookupError):
        return "it is damaged, or no torch file"
    return str(error).partition("\n")[0] or type(error).__name__
