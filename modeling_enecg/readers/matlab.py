"""MATLAB files, as those of the PhysioNet Challenges without the header that belongs beside them."""

from pathlib import Path

import numpy as np
import scipy.io

from ..ecg_file import ECGFileError, FileContent, errors_of
from .arrays import check_unpacked, signal_of

_SIGNAL = "val"
_MISSING = -(1 << 15)  # in 16 bits, as in WFDB's format 16, which the Challenges' files are
_NUMERIC = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def read(path: Path) -> FileContent:
    """Read the matrix `val`, or the only one there is; rate, unit and names of leads are not in the file.

    Versions 4 to 7 are read, and only matrices of numbers: no cells, structures or objects.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if the file is damaged, has no or several such matrices, or is of version 7.3.
    """
    with path.open("rb") as stream:
        if stream.read(10) == b"MATLAB 7.3":
            raise ECGFileError("is a MATLAB file of version 7.3, which cannot be read; save it with '-v7'.")
    with errors_of("scipy"):
        variables = scipy.io.whosmat(str(path), appendmat=False)
        name = _signal_variable(variables)
        check_unpacked(_num_values(variables, name), path.stat().st_size)
        matrix = scipy.io.loadmat(str(path), appendmat=False, variable_names=[name])[name]
        signal = signal_of(matrix)
    if matrix.dtype == np.int16:
        signal[signal == _MISSING] = np.nan
    return FileContent(signal, None, None, None)


def _signal_variable(variables: list[tuple[str, tuple[int, ...], str]]) -> str:
    matrices = [name for name, shape, kind in variables if kind in _NUMERIC and np.prod(shape, dtype=float) > 1]
    if _SIGNAL in matrices:
        return _SIGNAL
    if len(matrices) != 1:
        found = ", ".join(f"{name} ({kind}, {'x'.join(map(str, shape))})" for name, shape, kind in variables)
        raise ECGFileError(f"expected a matrix of numbers named {_SIGNAL}, or a single one; found {found or 'none'}.")
    return matrices[0]


def _num_values(variables: list[tuple[str, tuple[int, ...], str]], name: str) -> int:
    return max(int(np.prod(shape, dtype=object)) for each, shape, _ in variables if each == name)
