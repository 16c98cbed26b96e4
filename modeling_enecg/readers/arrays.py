"""What readers of bare matrices share."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError

RATE_NAMES = ("sampling_rate", "fs", "sfreq", "sample_rate", "sampling_frequency", "frequency", "hz")  # case aside
_MOST_VALUES = 10_000_000  # that any small file may unpack to: a flat signal is compressed to next to nothing
_MOST_VALUES_A_BYTE = 100  # beyond these


class Variable(NamedTuple):
    """A variable of a file: its name, kind and shape, and what reads its values, or the fields of a structure."""

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]
    fields: Callable[[], list["Variable"]] = list


def signal_of(array: np.ndarray) -> np.ndarray:
    """Bring a matrix into the form of a signal.

    Args:
        array (`np.ndarray` of shape `(num_leads, num_samples)`, its transpose, or `(num_samples,)`): Numbers; which
            of the first two it is, is told by there being fewer leads than samples.

    Returns:
        `np.ndarray` of shape `(num_leads, num_samples)`: float64.

    Raises:
        ECGFileError: if it is of another shape or kind.
    """
    if array.dtype.kind not in "iuf":
        raise ECGFileError(f"holds values of type {array.dtype}; a signal consists of integers or real numbers.")
    matrix = array.reshape(1, -1) if array.ndim == 1 else array
    if matrix.ndim != 2 or not matrix.size or matrix.shape[0] == matrix.shape[1] > 1:
        raise ECGFileError(
            f"holds an array of shape {array.shape}; expected (leads, samples), fewer leads than samples."
        )
    return np.ascontiguousarray(min(matrix, matrix.T, key=len), dtype=np.float64)


def check_unpacked(num_values: int, num_bytes: int) -> None:
    """Refuse an array that no compressed ECG of a file's size unpacks to, before memory is taken for it.

    Args:
        num_values (`int`): How many values are declared.
        num_bytes (`int`): The file's size.
    """
    if num_values > _MOST_VALUES + _MOST_VALUES_A_BYTE * num_bytes:
        raise ECGFileError(f"declares {num_values} values in {num_bytes} bytes: more than a signal is compressed to.")
