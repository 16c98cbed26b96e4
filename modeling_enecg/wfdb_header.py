"""Parsing the headers of WFDB records, as `header(5)` of the WFDB Applications Guide describes them.

Own code, because the package wfdb drops what is not ASCII (µV becomes V), stops at exponents such as `1.5E+03`, and
lets damaged lines pass as other ones.
"""

import math
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .ecg_file import ECGFileError
from .wfdb_samples import MISSING

NO_FILE = "~"  # of a signal that was not recorded, and of a gap between segments
_NULL_FORMAT = "0"
_MOST_BYTES = 1 << 22
_MOST_SIGNALS = 1024
_DEFAULT_RATE, _DEFAULT_GAIN = 250.0, 200.0
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_GAIN = re.compile(r"([^(/]+)(?:\(([^)]*)\))?(?:/(.+))?")
_COUNTS = ("ADC resolution", "ADC zero", "initial value", "checksum", "block size")


class Signal(NamedTuple):
    """One signal, as its line describes it.

    Attributes:
        file (`str`): Its signal file, relative to the header; `"~"` if it was not recorded.
        fmt (`str`): The storage format, a key of `MISSING`.
        samples_per_frame (`int`): How often it is sampled in a frame.
        skew (`int`): How many frames it lies too late in the file.
        offset (`int`): Bytes before the file's first sample.
        gain (`float`): Counts a unit.
        baseline (`float`): The count of 0 units.
        unit (`str`): The unit.
        initial (`int`): The first count.
        checksum (`int`): The sum of all counts modulo 65536; 0 where none was computed.
        name (`str`): Its description, or `""`.
    """

    file: str
    fmt: str
    samples_per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: float
    unit: str
    initial: int
    checksum: int
    name: str


class Header(NamedTuple):
    """What a header says.

    Attributes:
        rate (`float`): Frames a second.
        num_frames (`int`): The record's length; 0 where it is not stated.
        signals (`list[Signal]`): Those of a record of one segment.
        segments (`list[tuple[str, int]]`): Name and number of frames of each segment, else none.
    """

    rate: float
    num_frames: int
    signals: list[Signal]
    segments: list[tuple[str, int]]


def read_header(file: Path) -> Header:
    """Read a header.

    Args:
        file (`Path`): The `.hea` file.

    Raises:
        ECGFileError: if it cannot be read, or is damaged.
    """
    lines = [line for line in read_text(file).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ECGFileError(f"{file.name} is empty: a WFDB header begins with name, number of signals and rate.")
    fields = lines[0].split()
    _, _, num_segments = fields[0].partition("/")
    num_signals = _integer("number of signals", fields[1] if len(fields) > 1 else "")
    rate = _real("rate", fields[2].split("/")[0]) if len(fields) > 2 else _DEFAULT_RATE
    num_frames = _integer("number of samples", fields[3]) if len(fields) > 3 else 0
    if not 1 <= num_signals <= _MOST_SIGNALS:
        raise ECGFileError(f"{file.name} declares {num_signals} signals; 1 to {_MOST_SIGNALS} can be read.")
    if not 0 < rate < math.inf or num_frames < 0:
        raise ECGFileError(f"{file.name} declares {num_frames} samples at {rate:g} Hz; both must be positive.")
    num_lines = _integer("number of segments", num_segments) if num_segments else num_signals
    if len(lines) - 1 != num_lines:
        kind = "segments" if num_segments else "signals"
        raise ECGFileError(f"{file.name} declares {num_lines} {kind}, but has {len(lines) - 1} lines for them.")
    if num_segments:
        return Header(rate, num_frames, [], [_segment(line) for line in lines[1:]])
    return Header(rate, num_frames, [_signal(line) for line in lines[1:]], [])


def read_text(file: Path) -> str:
    """Return a header's text, in UTF-8 or Latin-1.

    Raises:
        ECGFileError: if the file cannot be read, or is too long for a header.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ECGFileError(f"{file.name} cannot be read ({error.strerror}).") from error
    if len(content) > _MOST_BYTES:
        raise ECGFileError(f"{file.name} is longer than {_MOST_BYTES} bytes: no WFDB header.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _segment(line: str) -> tuple[str, int]:
    fields = line.split()
    if len(fields) != 2:
        raise ECGFileError(f"segment {line[:80]!r}: expected a name and a number of samples.")
    num_frames = _integer("number of samples", fields[1])
    if num_frames < 0:
        raise ECGFileError(f"segment {line[:80]!r}: its number of samples is negative.")
    return fields[0] if fields[0] == NO_FILE else _inside(fields[0]), num_frames


def _signal(line: str) -> Signal:
    fields = line.split(maxsplit=8)
    fmt = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    if fmt is None or fmt[1] not in (*MISSING, _NULL_FORMAT):
        raise ECGFileError(f"signal {line[:80]!r}: expected a file and one of the formats 0, {', '.join(MISSING)}.")
    samples_per_frame, skew, offset = int(fmt[2] or 1), int(fmt[3] or 0), int(fmt[4] or 0)
    counts = {name: _integer(name, field) for name, field in zip(_COUNTS, fields[3:8], strict=False)}
    zero = counts.get("ADC zero", 0)
    gain, baseline, unit = _calibration(fields[2] if len(fields) > 2 else str(_DEFAULT_GAIN), zero)
    if samples_per_frame < 1:
        raise ECGFileError(f"signal {line[:80]!r}: has no samples in a frame.")
    return Signal(
        file=NO_FILE if fmt[1] == _NULL_FORMAT else _inside(fields[0]),
        fmt=fmt[1],
        samples_per_frame=samples_per_frame,
        skew=skew,
        offset=offset,
        gain=gain,
        baseline=baseline,
        unit=unit,
        initial=counts.get("initial value", zero),
        checksum=counts.get("checksum", 0),
        name=fields[8].strip() if len(fields) > 8 else "",
    )


def _calibration(field: str, zero: int) -> tuple[float, float, str]:
    """Return gain, baseline and unit; a gain of 0 means 200, no baseline the ADC's zero, no unit mV."""
    match = _GAIN.fullmatch(field)
    if match is None:
        raise ECGFileError(f"gain {field!r}: expected counts a unit, as in 200(1024)/mV.")
    gain = _real("gain", match[1]) or _DEFAULT_GAIN
    baseline = _real("baseline", match[2]) if match[2] else float(zero)
    if not math.isfinite(gain) or not math.isfinite(baseline):
        raise ECGFileError(f"gain {field!r}: is not finite.")
    return gain, baseline, match[3] or "mV"


def _inside(name: str) -> str:
    """Refuse a file that does not lie in the header's folder or below."""
    if "\\" in name or ":" in name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in name.split("/"):
        raise ECGFileError(f"names the file {name!r}; only files in the header's own folder are read.")
    return name


def _integer(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ECGFileError(f"{field} {text[:40]!r} is no whole number: the WFDB header is damaged.") from error


def _real(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ECGFileError(f"{field} {text[:40]!r} is no number: the WFDB header is damaged.") from error
