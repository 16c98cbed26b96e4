"""Reading ECG files into signals in millivolts."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .leads import standard_lead_names

try:  # a model that was loaded with its code needs it for files only
    import wfdb
except ImportError:
    wfdb = None

# What wfdb raises on headers and samples that are not as they should be.
_READING_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
_MV_PER_UNIT = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}


class ECGFileError(ValueError):
    """A file that is not a readable ECG."""


class ECGRecord(NamedTuple):
    """A recording as read from a file.

    Attributes:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): Amplitudes in mV, float64.
        sampling_rate (`float`): Samples a second (Hz).
        lead_names (`list[str]`): The standard name of each lead.
    """

    signal_mv: np.ndarray
    sampling_rate: float
    lead_names: list[str]


def read_ecg(path: str | os.PathLike[str]) -> ECGRecord:
    """Read a WFDB record.

    Args:
        path (`str` or `Path`): The record, with or without the ending `.hea` or `.dat`.

    Returns:
        [`ECGRecord`]

    Raises:
        ImportError: if the package `wfdb` is not installed.
        ECGFileError: if the record is missing, damaged or of another format, a lead or unit is unknown, or a sample is
            missing.
    """
    if wfdb is None:
        raise ImportError("Reading WFDB records needs the package wfdb: pip install wfdb.")
    path = Path(path)
    record = path.with_suffix("") if path.suffix in (".hea", ".dat") else path
    if not Path(f"{record}.hea").is_file():
        raise ECGFileError(f"{path}: no WFDB header at {record}.hea.")
    try:
        content = wfdb.rdrecord(str(record))
    except _READING_ERRORS as error:
        raise ECGFileError(f"{path}: cannot be read as a WFDB record: {error}") from error
    if content.p_signal is None or not content.p_signal.size:
        raise ECGFileError(f"{path}: the record has no samples.")
    unknown = sorted({unit for unit in content.units if unit not in _MV_PER_UNIT})
    if unknown:
        raise ECGFileError(f"{path}: unknown units {', '.join(unknown)}; expected {', '.join(_MV_PER_UNIT)}.")
    signal = (content.p_signal * [_MV_PER_UNIT[unit] for unit in content.units]).T
    if not np.isfinite(signal).all():
        raise ECGFileError(f"{path}: {np.count_nonzero(~np.isfinite(signal))} samples are marked as missing.")
    try:
        names = standard_lead_names([name or "" for name in content.sig_name])
    except ValueError as error:
        raise ECGFileError(f"{path}: {error}") from error
    return ECGRecord(np.ascontiguousarray(signal), float(content.fs), names)
