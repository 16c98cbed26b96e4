"""Reading WFDB records, PhysioNet's format, of one segment or many."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .ecg_file import LONGEST_HOURS, ECGFileError, FileContent, check_size, is_known_lead, mv_per_unit
from .wfdb_header import NO_FILE, Header, Signal, read_header, read_text
from .wfdb_samples import FLAC_BITS, MISSING, count_samples, decode

_SLACK_SAMPLES = 2  # that may follow the last one, in a group that was filled up
_MOST_GAPS = 100  # times the samples there are
_MOST_REPEATS = 10  # of a segment that a record lists again, as calibration and demonstrations do


class _Channel(NamedTuple):
    """A signal in its unit: `samples_per_frame` samples a frame, NaN where one is missing."""

    name: str
    unit: str
    samples_per_frame: int
    samples: np.ndarray


class _Segment(NamedTuple):
    """A segment that is no gap: its header, with the length that the record uses, and its first frame."""

    name: str
    folder: Path
    header: Header
    start: int


def find_header(path: Path) -> Path | None:
    """Return the header of the record that a path names, or None where there is none.

    A record is named by its name, by its header, by the name with the ending `.dat`, or by a file that the header of
    the same name lists. What follows a dot in any other name is part of that name.

    Args:
        path (`Path`): What was given as a record.
    """
    if not path.name:
        return None
    header = path if path.suffix == ".hea" else Path(f"{path}.hea")
    if os.path.isfile(header):
        return header
    beside = path.with_suffix(".hea")
    if not os.path.isfile(beside) or not (path.suffix == ".dat" or _lists(beside, path.name)):
        return None
    return beside


def read_wfdb(header: Path) -> FileContent:
    """Read a record.

    Missing samples, gaps, and segments that lack a signal become NaN. A checksum is verified where the header has one
    that is not 0 (many writers leave 0 in its place), unless the signal is skewed or FLAC, which has its own, or the
    file goes on behind the record's end, which is then a part cut out on purpose.

    Where signals have several samples a frame, leads that all have the same number keep them, and signals with
    another number, which are no leads, are left out. Leads of different numbers are averaged frame by frame; a frame
    with a missing sample is missing.

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
    return _at_one_rate([channels[position] for position in sorted(channels)], record.rate)


def _lists(header: Path, name: str) -> bool:
    return any(line.split()[:1] == [name] for line in read_text(header).splitlines())


def _at_one_rate(channels: list[_Channel], frame_rate: float) -> FileContent:
    voltages = [each for each in channels if mv_per_unit(each.unit) is not None] or channels
    leads = [each for each in voltages if is_known_lead(each.name)] or voltages
    rates = {each.samples_per_frame for each in leads}
    if len(rates) == 1:
        channels = [each for each in channels if each.samples_per_frame in rates]
        signal = np.stack([each.samples for each in channels])
        frame_rate *= rates.pop()
    else:
        signal = np.stack([each.samples.reshape(-1, each.samples_per_frame).mean(axis=1) for each in channels])
    names = [each.name for each in channels]
    return FileContent(signal, frame_rate, [each.unit for each in channels], names if any(names) else None)


def _read_channels(folder: Path, record: Header) -> dict[int, _Channel]:
    """Read the signals of a record of one segment, by their position; those that were not recorded are left out."""
    channels = {}
    num_frames = record.num_frames
    for file, positions in _files(folder, record):
        signals = [record.signals[each] for each in positions]
        counts, whole = _read_counts(file, signals, num_frames)
        num_frames = num_frames or len(counts)
        if len(counts) != num_frames:
            raise ECGFileError(f"{file.name} holds {len(counts)} samples a signal; another file holds {num_frames}.")
        ends = np.cumsum([each.samples_per_frame for each in signals])
        for position, signal, frames in zip(positions, signals, np.split(counts, ends[:-1], axis=1), strict=True):
            samples = frames.reshape(-1)
            if signal.fmt == "8":
                samples = signal.initial + samples.cumsum(dtype=np.int64)
            if whole and signal.checksum and not signal.skew:
                _verify(signal, samples)
            values = _in_units(signal, samples)
            channels[position] = _Channel(signal.name, signal.unit, signal.samples_per_frame, values)
    return channels


def _files(folder: Path, record: Header) -> list[tuple[Path, list[int]]]:
    """Return a record's signal files, checked to be there and long enough, and the positions of their signals."""
    files: dict[str, list[int]] = {}
    for position, signal in enumerate(record.signals):
        if signal.file != NO_FILE:
            files.setdefault(signal.file, []).append(position)
    for name, positions in files.items():
        signals = [record.signals[each] for each in positions]
        if not os.path.isfile(folder / name):
            raise ECGFileError(f"the header names the signal file {name}, which is not there.")
        if len({(each.fmt, each.offset) for each in signals}) > 1:
            raise ECGFileError(f"{name} is said to have several formats or offsets, signal by signal; it has one.")
        width = _width(signals)
        held = count_samples(folder / name, signals[0].fmt, signals[0].offset)
        check_size(width, record.num_frames or held // width, record.rate, held)
    return [(folder / name, positions) for name, positions in files.items()]


def _width(signals: list[Signal]) -> int:
    """Return how many samples of all signals make a frame."""
    return sum(each.samples_per_frame for each in signals)


def _read_counts(file: Path, signals: list[Signal], num_frames: int) -> tuple[np.ndarray, bool]:
    """Read the counts of a file's signals, of shape `(num_frames, samples of a frame)`, and whether these are all."""
    fmt, offset, width = signals[0].fmt, signals[0].offset, _width(signals)
    held = count_samples(file, fmt, offset)
    num_samples = (num_frames or held // width) * width
    counts = decode(file, fmt, offset, num_samples, len(signals))
    if fmt in FLAC_BITS:
        counts = _flac_frames(counts, signals)
    if num_frames and counts.size < num_samples:
        raise ECGFileError(f"{file.name} holds {counts.size} samples; its header says {num_samples}: it is cut short.")
    return counts.reshape(-1, width), fmt not in FLAC_BITS and held - num_samples <= _SLACK_SAMPLES


def _flac_frames(counts: np.ndarray, signals: list[Signal]) -> np.ndarray:
    """Bring FLAC's order of samples, `(times, signals)`, into that of the other formats."""
    repeats = signals[0].samples_per_frame
    if any(each.samples_per_frame != repeats for each in signals):
        raise ECGFileError("signals of one FLAC file must have the same number of samples a frame.")
    size = len(counts) // (repeats * len(signals)) * repeats * len(signals)
    return counts[:size].reshape(-1, repeats, len(signals)).swapaxes(1, 2).reshape(-1)


def _verify(signal: Signal, samples: np.ndarray) -> None:
    total = int(samples.sum(dtype=np.int64))
    if (total - signal.checksum) % 65536:
        raise ECGFileError(
            f"signal {signal.name} of {signal.file} has the checksum {total % 65536}; "
            f"its header says {signal.checksum % 65536}: header or samples are damaged."
        )


def _in_units(signal: Signal, samples: np.ndarray) -> np.ndarray:
    values = (samples - signal.baseline) / signal.gain
    values[samples == MISSING[signal.fmt]] = np.nan
    skew = min(signal.skew * signal.samples_per_frame, len(values))
    if skew:  # its samples lie too late in the file
        values[: len(values) - skew] = values[skew:].copy()
        values[len(values) - skew :] = np.nan
    return values


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
        if not segment.header.num_frames:
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
    if not names or max(map(names.count, set(names))) > _MOST_REPEATS:
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
            segments.append(_Segment(name, file.parent, described._replace(num_frames=length), start))
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
    for segment in segments:
        if segment.header.num_frames:
            recorded = [
                segment.header.signals[each] for _, group in _files(segment.folder, segment.header) for each in group
            ]
            held += segment.header.num_frames * _width(recorded)
    width = max((_width(each.header.signals) for each in segments if each.header.num_frames), default=0)
    if num_frames * width > _MOST_GAPS * held:
        raise ECGFileError(f"is nearly all gaps: {held} samples in {num_frames} frames of {width}.")


def _insert(part: _Channel, segment: _Segment, joined: _Channel) -> None:
    """Put a segment's samples in their place in the joined signal."""
    if (part.unit, part.samples_per_frame) != (joined.unit, joined.samples_per_frame):
        raise ECGFileError(
            f"segment {segment.name} has {part.samples_per_frame} samples a frame of {part.name} in {part.unit}; "
            f"an earlier one has {joined.samples_per_frame} in {joined.unit}."
        )
    start = segment.start * part.samples_per_frame
    joined.samples[start : start + len(part.samples)] = part.samples
