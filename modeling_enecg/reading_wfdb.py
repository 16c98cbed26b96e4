"""Reading WFDB records, PhysioNet's format, of one segment or many."""

import logging
import math
import os
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .ecg_file import (
    LONGEST_HOURS,
    ChannelKind,
    ECGFileError,
    FileContent,
    channel_kinds,
    check_no_surplus,
    check_size,
    check_unpacked,
    mv_per_unit,
)
from .wfdb_header import NO_FILE, Header, Signal, lists_file, read_header
from .wfdb_samples import FLAC_BITS, MISSING, count_samples, decode, surplus_bytes

logger = logging.getLogger(__name__)

_MOST_GAPS = 20  # times the samples there are
_MOST_REPEATS = 10  # of a segment that a record lists again, as calibration and demonstrations do
_MATLAB_4 = struct.Struct("<5I")  # type, rows, columns, imaginary part, length of the name
_MATLAB_TYPES = {"16": 30, "32": 20, "80": 50}  # by format


class _Channel(NamedTuple):
    """A signal in its unit: `samples_per_frame` samples per frame, NaN where one is missing."""

    name: str
    unit: str
    samples_per_frame: int
    samples: np.ndarray
    gain: float


class _Segment(NamedTuple):
    """A segment that is no gap: its header, and where its frames lie in the record, which may use the first only."""

    name: str
    folder: Path
    header: Header
    start: int
    length: int


def find_header(path: Path) -> Path | None:
    """Return the header of the record that a path names, or None where there is none.

    A record is named by its name, by its header, by the name with the ending `.dat`, or by a file that the header of
    the same name lists. What follows a dot in any other name is part of that name.

    Args:
        path (`Path`): What was given as a record.
    """
    text = os.fspath(path)
    if not os.path.basename(text):
        return None
    stem, ending = os.path.splitext(text)
    is_header = ending.lower() == ".hea"
    for header in (text,) if is_header else (f"{text}.hea", f"{text}.HEA"):
        if os.path.isfile(header):
            return Path(header)
    for beside in (Path(f"{stem}.hea"), Path(f"{stem}.HEA")):
        if os.path.isfile(beside) and (ending.lower() == ".dat" or lists_file(beside, path.name)):
            return beside
    return None


def read_wfdb(header: Path) -> FileContent:
    """Read a record.

    Missing samples, gaps, and segments that lack a signal become NaN. A checksum is verified where the header has one
    that is not 0 (many writers leave 0 in its place), unless the signal is skewed or FLAC, which has its own. A signal
    file that goes on behind the record's end is read where a checksum tells that the samples are the right ones, and
    a warning tells of the rest.

    Where signals have several samples per frame, leads that all have the same number keep them, and signals with
    another number, which are no leads, are left out. Leads of different numbers are averaged down to the highest rate
    that divides all of theirs; where one of the averaged samples is missing, the average is.

    Args:
        header (`Path`): Its `.hea` file.

    Raises:
        ImportError: if signals are compressed as FLAC, and the package `soundfile` is not installed.
        ECGFileError: if the record is damaged.
    """
    record = read_header(header)
    channels = _read_segments(header, record) if record.segments else _read_channels(header.parent, record)
    if not channels:
        raise ECGFileError("the record has no samples.")
    return _at_one_rate([channels[position] for position in sorted(channels)], record)


def _at_one_rate(channels: list[_Channel], record: Header) -> FileContent:
    kinds = channel_kinds([each.name for each in channels])
    voltages = [(each, kind) for each, kind in zip(channels, kinds, strict=True) if mv_per_unit(each.unit) is not None]
    leads = [each for each, kind in voltages if kind is ChannelKind.LEAD] or [each for each, _ in voltages] or channels
    rates = {each.samples_per_frame for each in leads}
    common = math.gcd(*rates)
    kept = [each for each in channels if each.samples_per_frame in rates]
    others = [each for each in channels if each.samples_per_frame not in rates]
    names = [each.name for each in kept]
    return FileContent(
        _stacked([_averaged(each, common) for each in kept]),
        record.rate * common,
        [each.unit for each in kept],
        names if any(names) else None,
        counts_per_unit=np.array([each.gain for each in kept]),
        metadata=record.metadata(),
        left_out={each.name: f"at {record.rate * each.samples_per_frame:g} Hz, unlike the leads" for each in others},
    )


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Return the array that rows make; without a copy where they are all the rows of one, as they were decoded."""
    whole = rows[0].base
    if whole is None or whole.shape != (len(rows), len(rows[0])):
        return np.stack(rows)
    are_in_order = all(row.base is whole and np.shares_memory(row, whole[place]) for place, row in enumerate(rows))
    return whole if are_in_order else np.stack(rows)


def _averaged(channel: _Channel, samples_per_frame: int) -> np.ndarray:
    if channel.samples_per_frame == samples_per_frame:
        return channel.samples
    return channel.samples.reshape(-1, channel.samples_per_frame // samples_per_frame).mean(axis=1)


def _read_channels(folder: Path, record: Header) -> dict[int, _Channel]:
    """Read the signals of a record of one segment, by their position; those that were not recorded are left out."""
    channels = {}
    num_frames = record.num_frames
    for file, positions, held in _files(folder, record):
        signals = [record.signals[each] for each in positions]
        counts = _read_counts(file, signals, num_frames, held)
        num_frames = num_frames or len(counts)
        if len(counts) != num_frames:
            raise ECGFileError(f"{file.name} holds {len(counts)} samples a signal; another file holds {num_frames}.")
        is_verified = [bool(each.checksum) and not each.skew and each.fmt not in FLAC_BITS for each in signals]
        surplus = surplus_bytes(file, signals[0].fmt, signals[0].offset, counts.size)
        if not any(is_verified):
            check_no_surplus(surplus, f"{num_frames} samples a signal in {file.name}, without a checksum")
        may_be_missing = bool(counts.size) and counts.min() == MISSING[signals[0].fmt]
        by_signal = zip(positions, signals, is_verified, _by_signal(counts, signals), strict=True)
        for position, signal, has_checksum, samples in by_signal:
            if has_checksum:
                _verify(signal, samples)
            _scale(signal, samples, may_be_missing)
            channels[position] = _Channel(
                signal.name, signal.unit, signal.samples_per_frame, samples, signal.gain or 1.0
            )
        if surplus > 0:
            logger.warning(
                "%s goes on for %d bytes behind the %d samples a signal of its header, whose checksum is right; they "
                "are left out.",
                *(file.name, surplus, num_frames),
            )
    return channels


def _by_signal(counts: np.ndarray, signals: Sequence[Signal]) -> list[np.ndarray]:
    """Return each signal's counts, float64, of a file's counts of shape `(num_frames, samples of a frame)`."""
    if all(each.samples_per_frame == 1 and each.fmt != "8" for each in signals):
        return list(np.ascontiguousarray(counts.T, dtype=np.float64))
    ends = np.cumsum([each.samples_per_frame for each in signals])
    parts = [part.reshape(-1).astype(np.float64) for part in np.split(counts, ends[:-1], axis=1)]
    return [
        each.initial + part.cumsum() if each.fmt == "8" else part for each, part in zip(signals, parts, strict=True)
    ]


def _files(folder: Path, record: Header) -> list[tuple[Path, list[int], int]]:
    """Return a record's signal files, checked to be there and long enough.

    Returns:
        `list[tuple[Path, list[int], int]]`: Each file, the positions of its signals, and how many samples it can hold.
    """
    files: dict[str, list[int]] = {}
    for position, signal in enumerate(record.signals):
        if signal.file != NO_FILE:
            files.setdefault(signal.file, []).append(position)
    checked = []
    for name, positions in files.items():
        signals = [record.signals[each] for each in positions]
        file = folder / name
        if not file.is_file():
            raise ECGFileError(f"the header names the signal file {name}, which is not there{_alike(file)}.")
        if len({(each.fmt, each.offset) for each in signals}) > 1:
            raise ECGFileError(f"{name} is said to have several formats or offsets, signal by signal; it has one.")
        width = _width(signals)
        held = count_samples(file, signals[0].fmt, signals[0].offset)
        check_size(width, record.num_frames or held // width, record.rate, held)
        if signals[0].fmt in FLAC_BITS:
            check_unpacked(width * (record.num_frames or held // width), os.path.getsize(file))
        if name.lower().endswith(".mat") and not all(each.checksum for each in signals):
            _check_matrix(file, signals, record.num_frames)
        checked.append((file, positions, held))
    return checked


def _alike(file: Path) -> str:
    """Say which file has the same name but for capitals."""
    names = os.listdir(file.parent) if file.parent.is_dir() else []
    found = next((name for name in names if name.lower() == file.name.lower() and name != file.name), None)
    return "" if found is None else f"; {found} is: rename one of them"


def _check_matrix(file: Path, signals: Sequence[Signal], num_frames: int) -> None:
    """Refuse a MATLAB file that is not the matrix its header takes it for, where no checksum would tell."""
    with file.open("rb") as stream:
        head = stream.read(_MATLAB_4.size)
    layout, rows, columns, imaginary, name_length = _MATLAB_4.unpack(head.ljust(_MATLAB_4.size, b"\0"))
    fmt, offset = signals[0].fmt, signals[0].offset
    is_right = (
        (layout, imaginary) == (_MATLAB_TYPES.get(fmt), 0)
        and rows == _width(list(signals))
        and columns >= num_frames
        and offset == _MATLAB_4.size + name_length
    )
    if not is_right:
        raise ECGFileError(
            f"{file.name} is no MATLAB 4 matrix of {_width(list(signals))} rows in format {fmt} from byte {offset}, "
            "as its header says: it was saved again. Move it away from its header, and give what that says."
        )


def _width(signals: list[Signal]) -> int:
    """Return how many samples of all signals make a frame."""
    return sum(each.samples_per_frame for each in signals)


def _read_counts(file: Path, signals: list[Signal], num_frames: int, held: int) -> np.ndarray:
    """Read the counts of a file's signals, of shape `(num_frames, samples of a frame)`."""
    fmt, offset, width = signals[0].fmt, signals[0].offset, _width(signals)
    num_samples = (num_frames or held // width) * width
    counts = decode(file, fmt, offset, num_samples, len(signals))
    if fmt in FLAC_BITS:
        counts = _flac_frames(counts, signals)
    if num_frames and counts.size < num_samples:
        raise ECGFileError(f"{file.name} holds {counts.size} samples; its header says {num_samples}: it is cut short.")
    return counts.reshape(-1, width)


def _flac_frames(counts: np.ndarray, signals: list[Signal]) -> np.ndarray:
    """Bring FLAC's order of samples, `(times, signals)`, into that of the other formats."""
    repeats = signals[0].samples_per_frame
    if any(each.samples_per_frame != repeats for each in signals):
        raise ECGFileError("signals of one FLAC file must have the same number of samples per frame.")
    size = len(counts) // (repeats * len(signals)) * repeats * len(signals)
    return counts[:size].reshape(-1, repeats, len(signals)).swapaxes(1, 2).reshape(-1)


def _verify(signal: Signal, samples: np.ndarray) -> None:
    total = int(samples.sum())  # of integers far below 2^53, and exact
    if (total - signal.checksum) % 65536:
        raise ECGFileError(
            f"signal {signal.name} of {signal.file} has the checksum {total % 65536}; "
            f"its header says {signal.checksum % 65536}: header or samples are damaged."
        )


def _scale(signal: Signal, samples: np.ndarray, may_be_missing: bool) -> None:
    """Bring counts into the signal's unit, in place."""
    if may_be_missing:
        samples[samples == MISSING[signal.fmt]] = np.nan
    if signal.baseline:
        samples -= signal.baseline
    samples /= signal.gain
    skew = min(signal.skew * signal.samples_per_frame, len(samples))
    if skew:  # its samples lie too late in the file
        samples[: len(samples) - skew] = samples[skew:].copy()
        samples[len(samples) - skew :] = np.nan


def _read_segments(header: Path, record: Header) -> dict[int, _Channel]:
    """Join the segments of a record.

    In a fixed layout all have the same signals; a variable layout has as first segment, of no length, a list of them.
    """
    segments = _segments(header, record)
    _check_segments(segments, record)
    layout = [each.name for each in segments[0].header.signals]
    is_variable = record.segments[0][1] == 0
    num_frames = sum(length for _, length in record.segments)
    joined: dict[int, _Channel] = {}
    for segment in segments:
        names = [each.name for each in segment.header.signals]
        if all(each.file == NO_FILE for each in segment.header.signals) and not is_variable:
            continue  # a gap, as the record "null" of the WFDB database is
        if names != layout and not (is_variable and set(names) <= set(layout) and len(set(names)) == len(names)):
            raise ECGFileError(f"segment {segment.name} has the signals {', '.join(names)}, not {', '.join(layout)}.")
        if not segment.length:
            continue
        for position, part in _read_channels(segment.folder, segment.header).items():
            place = layout.index(part.name) if is_variable else position
            if place not in joined:
                joined[place] = part._replace(samples=np.full(num_frames * part.samples_per_frame, np.nan))
            _insert(part, segment, joined[place])
    return joined


def _segments(header: Path, record: Header) -> list[_Segment]:
    """Read the headers of the segments that are no gaps."""
    names = [name for name, _ in record.segments if name != NO_FILE]
    if not names or max(Counter(names).values()) > _MOST_REPEATS:
        raise ECGFileError(f"has no segments but gaps, or lists one more than {_MOST_REPEATS} times.")
    segments = []
    start = 0
    for name, length in record.segments:
        if name != NO_FILE:
            file = header.parent / f"{name}.hea"
            described = read_header(file)
            if described.segments or described.rate != record.rate or 0 < described.num_frames < length:
                raise ECGFileError(
                    f"segment {name} has {described.num_frames} samples at {described.rate:g} Hz and "
                    f"{len(described.segments)} segments; expected {length}, {record.rate:g} Hz and none."
                )
            described = described._replace(num_frames=described.num_frames or length)
            segments.append(_Segment(name, file.parent, described, start, length))
        start += length
    return segments


def _check_segments(segments: list[_Segment], record: Header) -> None:
    """Refuse lengths that contradict each other or the files, before memory is taken for them."""
    num_frames = sum(length for _, length in record.segments)
    if record.num_frames not in (0, num_frames) or not 0 < num_frames <= LONGEST_HOURS * 3600 * record.rate:
        raise ECGFileError(
            f"has segments of {num_frames} samples, and declares {record.num_frames} at {record.rate:g} Hz; "
            f"expected the same, and at most {LONGEST_HOURS} hours."
        )
    held = 0
    uses: Counter[tuple[Path, int]] = Counter()
    for segment in segments:
        signals = segment.header.signals
        for file, group, _ in _files(segment.folder, segment.header) if segment.length else ():
            held += segment.length * _width([signals[each] for each in group])
            uses[file, signals[group[0]].offset] += 1
    if max(uses.values(), default=0) > _MOST_REPEATS:
        raise ECGFileError(f"has more than {_MOST_REPEATS} segments of the same samples.")
    width = max((_width(each.header.signals) for each in segments if each.length), default=0)
    check_size(max(width, 1), num_frames, record.rate, math.inf)
    if num_frames * width > _MOST_GAPS * held:
        raise ECGFileError(f"is nearly all gaps: {held} samples in {num_frames} frames of {width}.")


def _insert(part: _Channel, segment: _Segment, joined: _Channel) -> None:
    """Put a segment's samples in their place in the joined signal."""
    if (part.unit, part.samples_per_frame) != (joined.unit, joined.samples_per_frame):
        raise ECGFileError(
            f"segment {segment.name} has {part.samples_per_frame} samples per frame of {part.name} in {part.unit}; "
            f"an earlier one has {joined.samples_per_frame} in {joined.unit}."
        )
    start, length = (frames * part.samples_per_frame for frames in (segment.start, segment.length))
    joined.samples[start : start + length] = part.samples[:length]
