"""Parsing the headers of WFDB records, as `header(5)` of the WFDB Applications Guide describes them.

Own code, because the package wfdb drops what is not ASCII (µV becomes V), stops at exponents such as `1.5E+03`, and
lets damaged lines pass as other ones.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .ecg_file import ECGFileError
from .metadata_values import in_years, sex_of, statements, time_of
from .recording import Metadata
from .strict_numbers import number, whole_number
from .wfdb_samples import MISSING

NO_FILE = "~"  # of a signal that was not recorded, and of a gap between segments
_NULL_FORMAT = "0"
_MOST_BYTES = 1 << 22
_MOST_SIGNALS = 1024
_DEFAULT_RATE, _DEFAULT_GAIN = 250.0, 200.0
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_GAIN = re.compile(r"([^(/]+)(?:\(([^)]*)\))?(?:/(.+))?")
_COUNTS = ("ADC resolution", "ADC zero", "initial value", "checksum", "block size")
_CLOCKS = ("%H:%M:%S", "%H:%M:%S.%f")
_DATES = ("%d/%m/%Y", "%d-%b-%Y")  # the standard's, and that of the PhysioNet Challenges
_COMMENT = re.compile(r"#\s*<?(age|sex|gender|dx|diagnos\w*)>?\s*[:=]\s*(.*\S)", re.IGNORECASE)


class Signal(NamedTuple):
    """One signal, as its line describes it.

    Attributes:
        file (`str`): Its signal file, relative to the header; `"~"` if it was not recorded.
        fmt (`str`): The storage format, a key of `MISSING`.
        samples_per_frame (`int`): How often it is sampled in a frame.
        skew (`int`): How many frames it lies too late in the file.
        offset (`int`): Bytes before the file's first sample.
        gain (`float`): Counts per unit.
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
        rate (`float`): Frames per second.
        num_frames (`int`): The record's length; 0 where it is not stated.
        signals (`list[Signal]`): Those of a record of one segment.
        segments (`list[tuple[str, int]]`): Name and number of frames of each segment, else none.
        recorded_at (`datetime`, *optional*): When it begins.
        comments (`tuple[str, ...]`): Its lines that begin with `#`.
    """

    rate: float
    num_frames: int
    signals: list[Signal]
    segments: list[tuple[str, int]]
    recorded_at: datetime | None = None
    comments: tuple[str, ...] = ()

    def metadata(self) -> Metadata:
        """Return what the comments say of the patient, as in the PhysioNet Challenges: `#Age: 71`, `#Sex: Male`."""
        said: dict[str, str] = {}
        for match in filter(None, map(_COMMENT.match, self.comments)):
            said.setdefault({"gender": "sex"}.get(match[1].lower(), match[1].lower()), match[2])
        diagnoses = next((text for key, text in said.items() if key.startswith(("dx", "diagnos"))), "")
        return Metadata(
            recorded_at=self.recorded_at,
            age_years=in_years(said.get("age"), "years"),
            sex=sex_of(said.get("sex")),
            statements=statements(diagnoses.split(",")),
        )


def read_header(file: Path) -> Header:
    """Read a header.

    Args:
        file (`Path`): The `.hea` file.

    Raises:
        ECGFileError: if it cannot be read, or is damaged.
    """
    written = [line for line in map(str.strip, read_text(file).splitlines()) if line]
    lines = [line for line in written if line[0] != "#"]
    if not lines:
        raise ECGFileError(f"{file.name} is empty: a WFDB header begins with name, number of signals and rate.")
    fields = lines[0].split()
    _, _, num_segments = fields[0].partition("/")
    num_signals = _integer("number of signals", fields[1] if len(fields) > 1 else "")
    rate = _real("rate", fields[2].split("/")[0]) if len(fields) > 2 else _DEFAULT_RATE
    num_frames = _integer("number of samples", fields[3]) if len(fields) > 3 else 0
    if not 1 <= num_signals <= _MOST_SIGNALS:
        raise ECGFileError(f"{file.name} declares {num_signals} signals; 1 to {_MOST_SIGNALS} can be read.")
    if rate <= 0 or num_frames < 0:
        raise ECGFileError(f"{file.name} declares {num_frames} samples at {rate:g} Hz; both must be positive.")
    num_lines = _integer("number of segments", num_segments) if num_segments else num_signals
    if len(lines) - 1 != num_lines:
        kind = "segments" if num_segments else "signals"
        raise ECGFileError(f"{file.name} declares {num_lines} {kind}, but has {len(lines) - 1} lines for them.")
    comments = tuple(line for line in written if line[0] == "#")
    return Header(
        rate,
        num_frames,
        signals=[] if num_segments else [_signal(line) for line in lines[1:]],
        segments=[_segment(line) for line in lines[1:]] if num_segments else [],
        recorded_at=_time(fields[4:6]),
        comments=comments,
    )


def lists_file(header: Path, name: str) -> bool:
    """Whether a line of a header begins with the name of a file.

    Raises:
        ECGFileError: if the header cannot be read.
    """
    return any(line.split(maxsplit=1)[:1] == [name] for line in read_text(header).splitlines())


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


def _time(fields: list[str]) -> datetime | None:
    """Return the time of day and date behind the number of samples, in any order; None where one is absent."""
    layouts = [
        f"{first} {then}" for clock in _CLOCKS for day in _DATES for first, then in ((clock, day), (day, clock))
    ]
    return time_of(" ".join(fields), *layouts) if len(fields) == 2 else None


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
    storage = _storage(fields[1]) if len(fields) > 1 else None
    if storage is None:
        raise ECGFileError(f"signal {line[:80]!r}: expected a file and one of the formats 0, {', '.join(MISSING)}.")
    fmt, samples_per_frame, skew, offset = storage
    counts = [_integer(name, field) for name, field in zip(_COUNTS, fields[3:8], strict=False)]
    zero, initial, checksum = (*counts[1:4], None, None, None)[:3]
    zero = zero or 0
    gain, baseline, unit = _calibration(fields[2] if len(fields) > 2 else str(_DEFAULT_GAIN), zero)
    if samples_per_frame < 1:
        raise ECGFileError(f"signal {line[:80]!r}: has no samples in a frame.")
    return Signal(
        file=NO_FILE if fmt == _NULL_FORMAT else _inside(fields[0]),
        fmt=fmt,
        samples_per_frame=samples_per_frame,
        skew=skew,
        offset=offset,
        gain=gain,
        baseline=baseline,
        unit=unit,
        initial=zero if initial is None else initial,
        checksum=checksum or 0,
        name=fields[8].strip() if len(fields) > 8 else "",
    )


@lru_cache(maxsize=256)
def _storage(field: str) -> tuple[str, int, int, int] | None:
    """Return format, samples per frame, skew and offset; None where the format is unknown."""
    match = _FORMAT.fullmatch(field)
    if match is None or match[1] not in (*MISSING, _NULL_FORMAT):
        return None
    return match[1], int(match[2] or 1), int(match[3] or 0), int(match[4] or 0)


@lru_cache(maxsize=256)
def _calibration(field: str, zero: int) -> tuple[float, float, str]:
    """Return gain, baseline and unit; a gain of 0 means 200, no baseline the ADC's zero, no unit mV."""
    match = _GAIN.fullmatch(field)
    if match is None:
        raise ECGFileError(f"gain {field!r}: expected counts a unit, as in 200(1024)/mV.")
    gain = _real("gain", match[1]) or _DEFAULT_GAIN
    baseline = _real("baseline", match[2]) if match[2] else float(zero)
    return gain, baseline, match[3] or "mV"


def _inside(name: str) -> str:
    """Refuse a file that does not lie in the header's folder or below."""
    if "\\" in name or ":" in name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise ECGFileError(f"names the file {name!r}; only files in the header's own folder are read.")
    return name


@lru_cache(maxsize=4096)
def _integer(field: str, text: str) -> int:
    with _errors():
        return whole_number(text, field)


@lru_cache(maxsize=256)
def _real(field: str, text: str) -> float:
    with _errors():
        return number(text, field)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ECGFileError as error:
        raise ECGFileError(f"the WFDB header is damaged: {error}") from error
