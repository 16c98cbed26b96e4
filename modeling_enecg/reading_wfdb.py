"""Reading WFDB records, PhysioNet's format."""

from pathlib import Path

import numpy as np

from .ecg_file import ECGFileError, FileContent, errors_of

try:  # a model that was loaded with its code needs it for files only
    import wfdb
except ImportError:
    wfdb = None


def find_header(path: Path) -> Path | None:
    """Return the header of the record that a path names, with or without ending, or None where there is none."""
    candidates = [path] if path.suffix == ".hea" else [Path(f"{path}.hea"), path.with_suffix(".hea")]
    return next((each for each in candidates if each.is_file()), None)


def read_wfdb(header: Path) -> FileContent:
    """Read a record.

    Args:
        header (`Path`): Its `.hea` file.

    Raises:
        ImportError: if the package `wfdb` is not installed.
        ECGFileError: if the record is damaged.
    """
    if wfdb is None:
        raise ImportError("Reading WFDB records needs the package wfdb: pip install wfdb.")
    with errors_of("wfdb"):
        record = wfdb.rdrecord(str(header.with_suffix("")))
    if record.p_signal is None:
        raise ECGFileError("the record has no samples.")
    signal = np.ascontiguousarray(record.p_signal.T, dtype=np.float64)
    return FileContent(signal, float(record.fs), list(record.units), [name or "" for name in record.sig_name])
