"""MATLAB files of version 7.3, which are HDF5 files."""

from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Variable
from .hdf5_values import is_numeric, members, opened, values

_CLASS, _EMPTY = "MATLAB_class", "MATLAB_empty"  # attributes
_INTERNAL = "#"  # how the names of groups begin that hold what cells and objects refer to


def read_variables(path: Path) -> list[Variable]:
    """Return the variables of a file; arrays of numbers and structures of one record can be read further.

    Args:
        path (`Path`): The file.

    Raises:
        ImportError: if `h5py` is not installed.
        ECGFileError: if the file is damaged.
    """
    with opened(path) as file:
        return [_variable(path, name, each) for name, each in members(file).items() if not name.startswith(_INTERNAL)]


def _variable(path: Path, name: str, member: Any) -> Variable:
    stated = member.attrs.get(_CLASS, b"")
    kind = stated.decode("latin-1") if isinstance(stated, bytes) else str(stated)
    if not hasattr(member, "shape"):  # a group
        return Variable(name, kind, (1, 1), lambda: np.empty(0), lambda: _fields(path, name))
    if not is_numeric(member):  # complex numbers are stored as pairs, cells as references
        return Variable(name, f"{kind}, not of numbers", member.shape or (), lambda: np.empty(0))
    shape = () if _EMPTY in member.attrs else member.shape[::-1]  # columns are stored as rows
    place = member.name
    return Variable(name, kind, shape, lambda: _values(path, place))


def _values(path: Path, name: str) -> np.ndarray:
    with opened(path) as file:
        return values(file[name]).T


def _fields(path: Path, name: str) -> list[Variable]:
    with opened(path) as file:
        return [_variable(path, field, each) for field, each in members(file[name]).items()]
