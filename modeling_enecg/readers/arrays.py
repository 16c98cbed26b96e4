"""Bare matrices: which axis is time, which numbers are missing samples, and how a rate beside them is called."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError, missing_as_nan

RATE_NAMES = ("sampling_rate", "fs", "sfreq", "sample_rate", "sampling_frequency", "frequency", "hz")  # case aside


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
        `np.ndarray` of shape `(num_leads, num_samples)`: float64, NaN for missing samples.

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
    return missing_as_nan(np.ascontiguousarray(min(matrix, matrix.T, key=len)))
