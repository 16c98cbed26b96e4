"""Reading ECG files of any known format into signals in millivolts.

Formats are told by their content, not by their ending. WFDB is read here; each other format has a module in
`readers/`, which belongs to the installed package and does not travel with a model's code.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from .ecg_file import (
    LONGEST_HOURS,
    ECGFileError,
    FileContent,
    channel_name,
    is_known_lead,
    is_other_signal,
    mv_per_unit,
)
from .feature_extraction_ecg import HIGHEST_HZ, LOWEST_HZ
from .leads import is_standard_lead
from .reading_wfdb import find_header, read_wfdb

_SNIFFED_BYTES = 4096
_FIRST_OF_GROUP_8 = (b"\0", b"\1", b"\5", b"\x08", b"\x12", b"\x16", b"\x18")  # length, character set, classes, dates
_LONGEST_TEXT = 500  # of a message, or of a lead's name


class ECGRecord(NamedTuple):
    """A recording as read from a file.

    Attributes:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): Amplitudes in mV, float64; NaN where a sample is
            missing.
        sampling_rate (`float`): Samples a second (Hz).
        lead_names (`list[str]`): The name of each lead; a standard lead's in its standard spelling.
    """

    signal_mv: np.ndarray
    sampling_rate: float
    lead_names: list[str]


# By a format's module in readers/: whether a file has it, from its first bytes.
_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "dicom": lambda head: head[128:132] == b"DICM" or _looks_like_dicom(head),
    "edf": lambda head: head[:8] in (b"0       ", b"\xffBIOSEMI") and b"\n" not in head[:256],
    "ishne": lambda head: head[:8] in (b"ISHNE1.0", b"ANN  1.0"),
    "atc": lambda head: head[:8] == b"ALIVE\0\0\0",
    "mfer": lambda head: re.match(rb"@.\s?MFE?R ", head, re.DOTALL) is not None or _looks_like_mfer(head),
    "hdf5": lambda head: head[:8] == b"\x89HDF\r\n\x1a\n",
    "scp": lambda head: head[16:22] == b"SCPECG" or _looks_like_scp(head),
    "matlab": lambda head: head.startswith((b"MATLAB 5.0", b"MATLAB 7.3")) or _looks_like_matlab_4(head),
    "numpy": lambda head: head[:6] == b"\x93NUMPY" or head[:4] == b"PK\x03\x04",
    "xml": lambda head: _text_start(head).startswith("<"),
    "text": lambda head: bool(head.strip()) and _is_text(head),
}
_OF_SEVERAL_RECORDS = ("hdf5",)  # formats of files that a path may go on from, to a record


def read_ecg(
    path: str | os.PathLike[str],
    sampling_rate: float | None = None,
    unit: str | float | None = None,
    lead_names: Sequence[str] | None = None,
) -> ECGRecord:
    """Read an ECG file.

    WFDB, PhysioNet Challenge `.mat`, DICOM waveform, EDF and BDF, GE MUSE and CardioSoft XML, HL7 aECG XML, Mortara
    ELI XML, Philips Sierra XML, Schiller XML, SCP-ECG, ISHNE, MFER, AliveCor ATC, HDF5, NumPy, CSV and text exports
    are understood. Only leads are returned: channels in
    other units than volts are left out, those that name themselves something else (EEG, RESP), and, beside channels
    that are named as leads, those that are not.

    Args:
        path (`str` or `Path`): The file; a WFDB record with or without the ending `.hea` or `.dat`; a record of an
            HDF5 file as `exams.hdf5/590673`, by its `exam_id`.
        sampling_rate (`float`, *optional*): Samples a second (Hz), where the file does not say it.
        unit (`str` or `float`, *optional*): The amplitudes' unit, where the file does not say it: nV, uV, mV or V; or
            how many mV one count is.
        lead_names (`Sequence[str]`, *optional*): The channels' names in the file's order, where it does not say them.

    Returns:
        [`ECGRecord`]

    Raises:
        ImportError: if the format's library is not installed.
        ECGFileError: if the file is missing, damaged, or of no known format; it contradicts an argument, or does not
            say what an argument then must; or it holds no lead.
    """
    path = Path(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused in the end
            content = _read(path)
            content = _complete(content, sampling_rate, unit, lead_names)
            return _leads(content)
    except ECGFileError as error:
        raise ECGFileError(f"{path}: {_on_one_line(str(error))}") from error


def _on_one_line(text: str) -> str:
    """Shorten what a damaged file may have put into a text, and take out what a terminal would obey."""
    shown = "".join(each if each.isprintable() else " " for each in text[:_LONGEST_TEXT])
    return shown if len(text) <= _LONGEST_TEXT else f"{shown} ..."


def _read(path: Path) -> FileContent:
    header = find_header(path)
    if header is not None:
        return read_wfdb(header)
    file = path.parent if path.parent.is_file() else path  # a record within a file of several
    try:
        with file.open("rb") as stream:
            head = stream.read(_SNIFFED_BYTES)
    except OSError as error:
        raise ECGFileError(f"cannot be read ({error.strerror}), and there is no WFDB header {path}.hea.") from error
    module = next((name for name, has_signature in _SIGNATURES.items() if has_signature(head)), None)
    if module is None:
        raise ECGFileError("is of no known format: no signature of one, and no WFDB header beside it.")
    if file != path and module not in _OF_SEVERAL_RECORDS:
        raise ECGFileError(f"names a record within {file.name}, which holds one; leave {path.name} out.")
    try:
        reader = import_module(f"{__package__}.readers.{module}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(f"{__package__}.readers"):
            raise
        raise ImportError("A model's own code reads WFDB records only; for other formats install enecg.") from error
    return reader.read(path)


def _complete(
    content: FileContent, sampling_rate: float | None, unit: str | float | None, lead_names: Sequence[str] | None
) -> FileContent:
    """Fill in what the file does not say, and refuse what contradicts it."""
    num_channels = len(content.signal)
    rate = _agreed("sampling_rate", content.sampling_rate, sampling_rate, math.isclose)
    units = content.units
    if units is None:
        if unit is None:
            raise ECGFileError("states no unit of voltage; give unit: nV, uV, mV, V, or how many mV one count is.")
        content = content._replace(signal=content.signal * _mv_per_given(unit))
        units = ["mV"] * num_channels
    elif unit is not None and any(mv_per_unit(str(unit)) != mv_per_unit(each) for each in units):
        raise ECGFileError(f"states the units {', '.join(sorted(set(units)))}; unit is given as {unit}.")
    names = content.names
    if names is None:
        if lead_names is None:
            raise ECGFileError(f"does not name its {num_channels} leads; give lead_names, in the file's order.")
        names = list(lead_names)
    elif lead_names is not None and [channel_name(name) for name in lead_names] != [*map(channel_name, names)]:
        raise ECGFileError(f"names its leads {', '.join(names)}; lead_names is given as {', '.join(lead_names)}.")
    if not len(names) == len(units) == num_channels:
        raise ECGFileError(f"has {num_channels} leads, but {len(names)} names and {len(units)} units.")
    return FileContent(content.signal, rate, units, names)


def _agreed(argument: str, stated: float | None, given: float | None, agree: Callable[[float, float], bool]) -> float:
    value = given if stated is None else stated
    if value is None:
        raise ECGFileError(f"does not state its {argument}; give {argument}, in Hz.")
    if given is not None and not agree(value, given):
        raise ECGFileError(f"states a {argument} of {value:g}; it is given as {given:g}.")
    return float(value)


def _leads(content: FileContent) -> ECGRecord:
    """Keep the channels that are leads, in mV, of content that says everything."""
    signal, rate, units, names = cast(tuple[np.ndarray, float, list[str], list[str]], content)
    names = [_on_one_line(name) for name in names]
    factors = [mv_per_unit(unit) for unit in units]
    voltages = [index for index, factor in enumerate(factors) if factor is not None]
    voltages = [index for index in voltages if not is_other_signal(names[index])]
    known = [index for index in voltages if is_known_lead(names[index])]
    kept = known or voltages
    if not kept or not signal.shape[1]:
        channels = ", ".join(f"{name} ({unit})" for name, unit in zip(names, units, strict=True))
        raise ECGFileError(f"has no ECG: its channels are {channels}, of {signal.shape[1]} samples.")
    if not LOWEST_HZ <= rate <= HIGHEST_HZ:
        raise ECGFileError(f"has a sampling rate of {rate:g} Hz; an ECG's is from {LOWEST_HZ} to {HIGHEST_HZ}.")
    if signal.shape[1] > LONGEST_HOURS * 3600 * rate:
        raise ECGFileError(f"lasts {signal.shape[1] / rate / 3600:.0f} hours; at most {LONGEST_HOURS} are read.")
    lead_names = [channel_name(names[index]) for index in kept]
    repeated = sorted({name for name in lead_names if lead_names.count(name) > 1 and is_standard_lead(name)})
    if repeated:
        raise ECGFileError(f"holds leads twice: {', '.join(repeated)}.")
    scale = np.array([factors[index] for index in kept], dtype=np.float64)[:, None]
    leads = np.ascontiguousarray(signal[kept] * scale)
    if np.isinf(leads).any() or np.isnan(leads).all():
        raise ECGFileError("holds no valid sample, or infinite ones.")
    return ECGRecord(leads, rate, lead_names)


def _mv_per_given(unit: str | float) -> float:
    """Return how many mV the unit is that was given, which may itself be such a number."""
    try:
        factor = float(unit)
    except ValueError:
        factor = mv_per_unit(str(unit)) or 0.0
    if not 0 < factor < math.inf:
        raise ECGFileError(f"unit is given as {unit}; nV, uV, mV, V, or a positive number of mV a count was expected.")
    return factor


def _looks_like_dicom(head: bytes) -> bool:
    """Whether the first element is one that DICOM begins with where the preamble of 128 bytes is left out."""
    is_group_8 = head[:2] == b"\x08\0" and head[3:4] == b"\0" and head[2:3] in _FIRST_OF_GROUP_8
    return head[:6] == b"\2\0\0\0UL" or is_group_8


def _looks_like_mfer(head: bytes) -> bool:
    """Whether the byte order is defined first, and a number of 1 to 4 bytes, a version or a character set after it."""
    return head[:3] in (b"\1\1\0", b"\1\1\1") and head[3:4] in b"\2\3\4\5\6" and 0 < int.from_bytes(head[4:5]) < 128


def _looks_like_scp(head: bytes) -> bool:
    """Whether the pointer section's number and length stand in its header and, again, in its first pointer."""
    return len(head) > 32 and head[8:10] == head[22:24] == b"\0\0" and any(head[10:14]) and head[10:14] == head[24:28]


def _looks_like_matlab_4(head: bytes) -> bool:
    """Whether a header of MATLAB 4 (type, rows, columns, imaginary part, length of the name) is plausible."""
    if len(head) < 20:
        return False
    kind, rows, columns, imaginary, name_length = (
        int.from_bytes(head[at : at + 4], "little") for at in range(0, 20, 4)
    )
    return kind < 100 and rows > 0 and columns > 0 and imaginary <= 1 and 1 < name_length < 64


def _text_start(head: bytes) -> str:
    """Return the beginning of a text in UTF-8 or UTF-16, without byte-order mark and blanks."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace").lstrip()
    if head[:2] == b"<\0":
        return head.decode("utf-16-le", errors="replace")
    if head[:2] == b"\0<":
        return head.decode("utf-16-be", errors="replace")
    return head.decode("utf-8", errors="replace").lstrip()


def _is_text(head: bytes) -> bool:
    """Whether bytes are text: no control characters but blanks; UTF-16 only with its mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
