"""Experts' tokens as a column of a table, and whether the disk has room for it."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from transformers.utils import logging

from ..runs.processes import of_main_process

logger = logging.get_logger(__name__)

TOKENS = ".tokens"  # what a column of tokens is called after its expert's name


def token_column(tokens: Sequence[np.ndarray | None], hidden_size: int, dtype: np.dtype[Any]) -> pa.Array:
    """Return the tokens of records as lists of lists, the inner ones of fixed size.

    Args:
        tokens (`Sequence[np.ndarray]`): Each of shape `(num_tokens, hidden_size)`, None where a record has none.
        hidden_size (`int`): Their width.
        dtype (`np.dtype`): Of their numbers.
    """
    known = [each for each in tokens if each is not None]
    flat = np.concatenate(known).ravel() if known else np.zeros(0, dtype)
    values = pa.FixedSizeListArray.from_arrays(pa.array(flat), hidden_size)
    offsets = np.cumsum([0, *(0 if each is None else len(each) for each in tokens)])
    is_missing = pa.array([each is None for each in tokens], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=is_missing)


def check_room(
    output: str | Path, shapes: Mapping[str, tuple[int, int]], num_records: int, dtype: np.dtype[Any]
) -> None:
    """Say how much a table with tokens takes, and refuse where there is not so much room.

    Parts and table are there at once before the parts are removed, so that it takes twice its size.

    Args:
        output (`str` or `Path`): Where it is written.
        shapes (`Mapping[str, tuple[int, int]]`): By expert, how many tokens a window has, and their width.
        num_records (`int`): How many records there are, taken for one window each.
        dtype (`np.dtype`): Of the numbers.

    Raises:
        ValueError: if the disk has less room.
    """
    size = num_records * dtype.itemsize * sum(number * width for number, width in shapes.values())
    each = ", ".join(f"{name} {number} x {width}" for name, (number, width) in shapes.items())
    what = f"The tokens of {num_records} records ({each}; {dtype.name}) take {_gigabytes(size)}, if each is one window"
    free = of_main_process(lambda: _free(Path(output)))
    if free < 2 * size:
        raise ValueError(
            f"{what}; parts and table together need twice that, but there are {_gigabytes(free)} for {output}. "
            "A larger token_stride, float16 or fewer records take less."
        )
    if PartialState().is_main_process:
        logger.warning("%s.", what)


def _free(output: Path) -> int:
    """Return how many bytes are free where a file is to be, parts of it that are there already counted as free."""
    folder = next(each for each in output.absolute().parents if each.is_dir())
    done = sum(part.stat().st_size for part in Path(f"{output}.parts").glob("*.parquet"))
    return shutil.disk_usage(folder).free + done


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


__all__ = ["TOKENS", "check_room", "token_column"]
