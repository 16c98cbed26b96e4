"""HDF5 files of many records, as CODE-15 is published, or of one signal."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..ecg_file import ECGFileError, FileContent
from .arrays import RATE_NAMES, signal_of
from .hdf5_values import is_numeric, members, opened, values

_SIGNAL, _RECORDS, _IDS = "signal", "tracings", "exam_id"
_MOST_IDS = 5_000_000
_SHOWN = 3  # ids in a message


def read(path: Path) -> FileContent:
    """Read a record of `tracings`, an array of shape `(records, samples, leads)`, or the only signal of a file.

    A record is named by what stands behind the file's name, as in `exams_part0.hdf5/590673`: its `exam_id`, or its
    place, counted from 0, where the file has no such array. Samples at its ends where all leads are 0 are left out:
    records of one array are padded with zeros. A file of one signal names it `signal`, or holds no other array.

    The rate is that of a single number named `fs` or alike, if there is one; unit and names are not in such files.

    Args:
        path (`Path`): The file, or a record within it.

    Raises:
        ImportError: if `h5py` is not installed.
        ECGFileError: if the file is damaged, or holds no such array, or not one record of that name.
    """
    file, record = (path, None) if path.is_file() else (path.parent, path.name)
    with opened(file) as root:
        arrays = {name: each for name, each in members(root).items() if is_numeric(each)}
        rate = _rate(arrays, root)
        records = _records(arrays)
        if records is None:
            if record is not None:
                raise ECGFileError(f"is a record within {file.name}, which holds one signal; leave {record} out.")
            return FileContent(signal_of(values(_signal(arrays))), rate, None, None)
        row = _row(records, arrays.get(_IDS), record, file.name)
        return FileContent(_without_padding(signal_of(values(records, row)), row), rate, None, None)


def _records(arrays: dict[str, Any]) -> Any | None:
    """Return the array of many records, None where there is none."""
    deep = [name for name, each in arrays.items() if each.ndim == 3]
    if _RECORDS in deep:
        return arrays[_RECORDS]
    if len(deep) > 1:
        raise ECGFileError(f"holds several arrays of records: {', '.join(deep)[:200]}; {_RECORDS} was expected.")
    return arrays[deep[0]] if deep else None


def _signal(arrays: dict[str, Any]) -> Any:
    signals = {name: each for name, each in arrays.items() if each.ndim in (1, 2) and math.prod(each.shape) > 1}
    if _SIGNAL in signals:
        return signals[_SIGNAL]
    if len(signals) == 1:
        return next(iter(signals.values()))
    found = ", ".join(f"{name} {each.shape}" for name, each in arrays.items()) or "none"
    raise ECGFileError(f"expected an array named {_RECORDS} or {_SIGNAL}, or a single one; found {found[:200]}.")


def _rate(arrays: dict[str, Any], root: Any) -> float | None:
    """Return the rate that a single number or an attribute of the file states."""
    scalars = [each for name, each in arrays.items() if name.lower() in RATE_NAMES and math.prod(each.shape) == 1]
    stated = [float(values(each).item()) for each in scalars]
    for name in root.attrs:
        attribute = np.asarray(root.attrs[name]) if name.lower() in RATE_NAMES else np.empty(0)
        if attribute.size == 1 and attribute.dtype.kind in "iuf":
            stated.append(float(attribute.item()))
    return stated[0] if len(stated) == 1 else None


def _row(records: Any, ids: Any | None, record: str | None, file: str) -> int:
    """Return the place of a record."""
    num_records = len(records)
    names = np.arange(num_records) if ids is None else _ids(ids, num_records)
    kind = "its place, counted from 0" if ids is None else f"its {_IDS}"
    example = f"name one by {kind}, as in {file}/{names[0]}" if num_records else "none can be named"
    if record is None and num_records != 1:
        raise ECGFileError(f"holds {num_records} records; {example}.")
    if record is None:
        return 0
    is_number = record.isascii() and record.isdecimal() and len(record) < 19  # 64 bits
    found = np.flatnonzero(names == int(record)) if is_number else np.empty(0, dtype=np.int64)
    if len(found) != 1:
        listed = ", ".join(map(str, names[:_SHOWN].tolist()))
        raise ECGFileError(
            f"names {len(found)} of the {num_records} records of {file}; {example} (it begins {listed})."
        )
    return int(found[0])


def _ids(ids: Any, num_records: int) -> np.ndarray:
    if ids.shape != (num_records,) or ids.dtype.kind not in "iu" or num_records > _MOST_IDS:
        raise ECGFileError(f"holds {num_records} records, and {_IDS} is {ids.dtype} of shape {ids.shape}.")
    return values(ids)


def _without_padding(signal: np.ndarray, row: int) -> np.ndarray:
    recorded = np.flatnonzero((signal != 0).any(axis=0))
    if not len(recorded):
        raise ECGFileError(f"holds nothing but zeros at place {row} of its records.")
    return signal[:, recorded[0] : recorded[-1] + 1]
