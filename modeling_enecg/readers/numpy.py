"""NumPy's `.npy` and `.npz` files."""

import math
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..ecg_file import ECGFileError, FileContent, check_no_surplus, check_unpacked, errors_of
from ..strict_numbers import whole_number
from .arrays import RATE_NAMES, signal_of

_SIGNAL, _RATE, _UNIT, _NAMES = "signal", "sampling_rate", "unit", "lead_names"
_OTHER_NAMES = {  # under which packages of signal processing store the same
    **dict.fromkeys(RATE_NAMES, _RATE),
    **dict.fromkeys(("units",), _UNIT),
    **dict.fromkeys(("leads", "sig_name", "channels", "channel_names", "ch_names"), _NAMES),
}
_LONGEST_TEXT = 1 << 16  # values of unit and lead_names
_LENGTHS = {(1, 0): "<H", (2, 0): "<I"}  # of the header, by version
_LONGEST_HEADER = 4096
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=]?[A-Za-z][0-9]{0,9})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([0-9, ]{0,200})\),?\s*\}\s*"
)
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # that NumPy writes


def read(path: Path) -> FileContent:
    """Read a signal of shape `(leads, samples)`, its transpose or `(samples,)`.

    An `.npz` file holds it as `signal` or as its only other array, and may state `sampling_rate` (`fs`) in Hz, `unit`
    (one, or one a lead; texts, or how many mV a count is) and `lead_names`; an `.npy` file states none of these.
    Nothing is ever unpickled.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if the file is damaged, or holds no such array.
    """
    size = path.stat().st_size
    with errors_of("numpy"), warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")  # about how a header is written
        if stream.read(2) != b"PK":
            stream.seek(0)
            return FileContent(signal_of(_read_array(stream, size)), None, None, None)
        with zipfile.ZipFile(stream) as archive:
            return _read_archive(archive, size)


def _read_archive(archive: zipfile.ZipFile, size: int) -> FileContent:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    stated = {_OTHER_NAMES.get(name.lower(), name): name for name in names}
    others = [name for kind, name in stated.items() if kind not in (_RATE, _UNIT, _NAMES)]
    if not names:
        raise ECGFileError(f"is {_archive_kind(archive)}.")
    if len(stated) < len(names) or (_SIGNAL not in names and len(others) != 1):
        raise ECGFileError(f"expected an array named {_SIGNAL}, or a single one; found {', '.join(names)}.")
    signal = signal_of(_member(archive, _SIGNAL if _SIGNAL in names else others[0], size))
    rate = _member(archive, stated[_RATE], size) if _RATE in stated else None
    if rate is not None and (rate.size != 1 or rate.dtype.kind not in "iuf"):
        raise ECGFileError(f"{stated[_RATE]} is {rate.dtype} of shape {rate.shape}; expected one number, in Hz.")
    units = None
    if _UNIT in stated:
        unit = _member(archive, stated[_UNIT], size)
        if unit.dtype.kind in "iuf":
            signal, unit = signal * _positive(unit, len(signal)), np.array("mV")
        units = _texts(unit, _UNIT)
        units = units * len(signal) if len(units) == 1 else units
    leads = _texts(_member(archive, stated[_NAMES], size), _NAMES) if _NAMES in stated else None
    return FileContent(signal, None if rate is None else float(rate.item()), units, leads)


def _archive_kind(archive: zipfile.ZipFile) -> str:
    """Return what an archive without arrays is, and the way on."""
    if any(name.startswith("xl/") for name in archive.namelist()):
        return "an Excel workbook, which is not read: save the sheet as CSV"
    return "a zip archive without NumPy arrays: unpack it"


def _positive(unit: np.ndarray, num_leads: int) -> np.ndarray:
    """Return how many mV a count is, of shape `(1, 1)` or `(num_leads, 1)`."""
    if unit.size not in (1, num_leads) or not (np.isfinite(unit) & (unit > 0)).all():
        raise ECGFileError(
            f"{_UNIT} is {unit.tolist()}; one positive number of mV a count, or one a lead was expected."
        )
    return unit.reshape(-1, 1).astype(np.float64)


def _member(archive: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in _ZIP_METHODS:
        raise ECGFileError(f"{name} is compressed in a way that numpy.savez does not write.")
    with archive.open(entry) as stream:
        return _read_array(stream, entry.file_size, size)


def _texts(array: np.ndarray, name: str) -> list[str]:
    if array.dtype.kind not in "SU" or array.size > _LONGEST_TEXT:
        raise ECGFileError(f"{name} is {array.dtype} of shape {array.shape}; expected texts.")
    if array.dtype.kind == "U":  # NumPy makes strings of what is no character, too
        array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le")
    return [each.decode() if isinstance(each, bytes) else str(each) for each in array.reshape(-1).tolist()]


def _read_array(stream: IO[bytes], available: int, packed: int | None = None) -> np.ndarray:
    """Read an array whose header and values fit in the bytes available, which are unpacked from so many."""
    version = np.lib.format.read_magic(stream)
    if version not in _LENGTHS:
        raise ECGFileError(f"is of version {version} of NumPy's format; 1.0 and 2.0 can be read.")
    shape, in_columns, dtype = _header(stream, _LENGTHS[version])
    num_values = math.prod(shape)
    if dtype.kind not in "iufSU" or not 0 <= num_values * dtype.itemsize <= available:
        raise ECGFileError(f"declares {dtype} of shape {shape} in {available} bytes; expected numbers that fit in.")
    if packed is not None:
        check_unpacked(max(num_values, num_values * dtype.itemsize // 8), packed)
    values = np.frombuffer(stream.read(num_values * dtype.itemsize), dtype)
    check_no_surplus(available - stream.tell(), f"{dtype} of shape {shape}")
    return values.reshape(shape, order="F" if in_columns else "C")


def _header(stream: IO[bytes], layout: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns are stored one after another, and type.

    NumPy's own parser evaluates a header as Python, whose nesting it does not bound.
    """
    (length,) = struct.unpack(layout, stream.read(struct.calcsize(layout)))
    if length > _LONGEST_HEADER:
        raise ECGFileError(f"has a header of {length} bytes; at most {_LONGEST_HEADER} were expected.")
    match = _HEADER.fullmatch(stream.read(length).decode("latin-1"))
    if match is None:
        raise ECGFileError("has a header that describes no array of plain numbers or texts.")
    shape = tuple(whole_number(size, "a size of the array") for size in match[3].replace(",", " ").split())
    return shape, match[2] == "True", np.dtype(match[1])
