"""EDF, EDF+, BDF and BDF+ recordings.

`edfio` is not used: it takes a file that was cut short for a shorter recording, and gaps for continuous time.
"""

import re
from datetime import datetime
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ecg_file import (
    MOST_CHANNELS,
    ChannelKind,
    ECGFileError,
    FileContent,
    channel_kinds,
    check_no_surplus,
    check_size,
    is_known_lead,
    is_no_unit,
    mv_per_unit,
)
from ..metadata_values import plain_text, sex_of, time_of, years_between
from ..recording import Metadata
from ..strict_numbers import number_or_none

_BLOCK = 256  # bytes of the file's header, and of each channel's
_FIELDS = {  # widths of a channel's fields, in the order of the file
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical minimum": 8,
    "physical maximum": 8,
    "digital minimum": 8,
    "digital maximum": 8,
    "filters": 80,
    "samples a record": 8,
}
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_NO_SIGNAL = (*_ANNOTATIONS, "Status")
_LONGEST_GAPS = 10  # a recording with gaps may last so many times longer than what was recorded
_ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{0,12})?)\x14\x14")
_SHORTEST_RECORD_S, _LONGEST_RECORD_S = 1e-9, 1e9
_FIRST_OF_1900S = 85  # as the year's two digits: a date of EDF is from 1985 to 2084


class _Channel(NamedTuple):
    """A channel: its header, its samples per record, and how many samples of other channels stand before them."""

    fields: dict[str, str]
    num_samples: int
    at: int

    @property
    def label(self) -> str:
        return self.fields["label"]

    @property
    def unit(self) -> str:
        return self.fields["unit"]


class _Header(NamedTuple):
    """What a file states before its samples."""

    sample_bytes: int
    has_gaps: bool
    num_records: int
    record_seconds: Fraction
    channels: list[_Channel]
    metadata: Metadata

    @property
    def start(self) -> int:
        return _BLOCK * (1 + len(self.channels))

    @property
    def record_bytes(self) -> int:
        return self.sample_bytes * sum(channel.num_samples for channel in self.channels)


def read(path: Path) -> FileContent:
    """Read the ECG channels of a recording; where no label tells one, all channels in a unit of voltage.

    Channels of another sampling rate than most of them are left out. Time that a discontinuous recording (EDF+D,
    BDF+D) leaves out is NaN. No sample counts as missing: the lowest code is a value like others in this format.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if the header is damaged, samples are missing at the end, or there is no ECG.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(_BLOCK)
        num_channels = _integer(first[252:256], "number of channels", 1)
        if num_channels > MOST_CHANNELS:
            raise ECGFileError(f"declares {num_channels} channels; at most {MOST_CHANNELS} are read.")
        header = _header(first, stream.read(_BLOCK * num_channels), num_channels, size)
    channels, left_out = _ecg_channels(header)
    rate = channels[0].num_samples / header.record_seconds
    record_bytes = header.record_bytes
    held, rest = divmod(size - header.start, record_bytes)
    if header.num_records > held:
        raise ECGFileError(f"declares {header.num_records} records, and holds {held}: cut short.")
    num_samples = header.num_records * channels[0].num_samples
    check_size(len(channels), num_samples, float(rate), size / header.sample_bytes)
    surplus = (held - header.num_records) * record_bytes + rest
    check_no_surplus(surplus, f"{header.num_records} records of {record_bytes} bytes")
    records = np.memmap(path, np.uint8, "r", header.start, (header.num_records, record_bytes))
    signal = np.stack([_physical(_digital(records, channel, header.sample_bytes), channel) for channel in channels])
    if header.has_gaps:
        signal = _spread(signal, _starts(records, header, rate), channels[0].num_samples)
    return FileContent(
        signal,
        float(rate),
        [channel.unit for channel in channels],
        [_without_prefix(channel.label) for channel in channels],
        counts_per_unit=np.array([_counts_per_unit(channel) for channel in channels]),
        metadata=header.metadata,
        left_out=left_out,
    )


def _header(first: bytes, rest: bytes, num_channels: int, size: int) -> _Header:
    declared = _integer(first[184:192], "length of the header", 1)
    if declared != _BLOCK * (1 + num_channels) or len(rest) < _BLOCK * num_channels:
        raise ECGFileError(f"declares {num_channels} channels and a header of {declared} bytes, in a file of {size}.")
    channels = _channels(rest, num_channels)
    header = _Header(
        sample_bytes=3 if first[:1] == b"\xff" else 2,
        has_gaps=first[192:197] in (b"EDF+D", b"BDF+D"),
        num_records=_integer(first[236:244], "number of records", -1),
        record_seconds=_seconds(_text(first[244:252])),
        channels=channels,
        metadata=_metadata(first),
    )
    if header.num_records == -1:  # written so while the recording lasts
        num_records, left = divmod(size - header.start, max(1, header.record_bytes))
        if left:
            raise ECGFileError(
                f"leaves its number of records open (-1), and ends {left} bytes within one of {header.record_bytes}: "
                "it was cut short, or bytes were inserted, as a transfer in text mode does; fetch it again."
            )
        return header._replace(num_records=num_records)
    return header


def _channels(content: bytes, num_channels: int) -> list[_Channel]:
    """Read the headers of the channels, which are stored field by field."""
    fields: dict[str, list[str]] = {}
    at = 0
    for field, width in _FIELDS.items():
        ends = range(at + width, at + width * num_channels + 1, width)
        fields[field] = [_text(content[end - width : end]) for end in ends]
        at += width * num_channels
    counts = [_integer(text, "number of samples a record", 0) for text in fields["samples a record"]]
    places = list(accumulate(counts, initial=0))
    return [
        _Channel({field: texts[index] for field, texts in fields.items()}, count, places[index])
        for index, count in enumerate(counts)
    ]


def _ecg_channels(header: _Header) -> tuple[list[_Channel], dict[str, str]]:
    """Choose the channels that are ECG leads, of one sampling rate; and why each of the others is none."""
    signals = [each for each in header.channels if each.label not in _NO_SIGNAL and each.num_samples]
    kinds = channel_kinds([each.label for each in signals])
    others = [each for each, kind in zip(signals, kinds, strict=True) if kind is ChannelKind.OTHER_SIGNAL]
    left_out = {each.label: "by its name no ECG" for each in others}
    candidates = [
        (each, kind) for each, kind in zip(signals, kinds, strict=True) if kind is not ChannelKind.OTHER_SIGNAL
    ]
    left_out |= {
        each.label: f"in {each.unit}, which is no unit of voltage" for each, _ in candidates if not _may_be_ecg(each)
    }
    candidates = [(each, kind) for each, kind in candidates if _may_be_ecg(each)]
    leads = [each for each, kind in candidates if kind is ChannelKind.LEAD]
    voltages = [each for each, _ in candidates if mv_per_unit(each.unit) is not None]
    chosen = leads or voltages or [each for each, _ in candidates]
    if not chosen:
        stated = ", ".join(f"{channel.label} ({channel.unit})" for channel in header.channels)
        raise ECGFileError(f"has no ECG: its channels are {stated}.")
    counts = [channel.num_samples for channel in chosen]
    commonest = max(set(counts), key=lambda count: (counts.count(count), count))
    kept = [channel for channel in chosen if channel.num_samples == commonest]
    places = {channel.at for channel in chosen}
    left_out |= {each.label: "by its name no standard lead" for each, _ in candidates if each.at not in places}
    rates = [(channel.label, float(channel.num_samples / header.record_seconds)) for channel in chosen]
    common = float(commonest / header.record_seconds)
    left_out |= {name: f"at {rate:g} Hz, unlike the leads at {common:g} Hz" for name, rate in rates if rate != common}
    return kept, left_out


def _may_be_ecg(channel: _Channel) -> bool:
    return mv_per_unit(channel.unit) is not None or is_no_unit(channel.unit)


def _metadata(first: bytes) -> Metadata:
    """Return what the file's header says; of plain EDF no patient, for the field may hold the name."""
    recorded_at = _time(_text(first[168:176]), _text(first[176:184]))
    if first[192:196] not in (b"EDF+", b"BDF+"):
        return Metadata(recorded_at=recorded_at)
    patient = [None if text == "X" else text for text in _text(first[8:88]).split()] + [None] * 3
    recording = [None if text == "X" else text for text in _text(first[88:168]).split()] + [None] * 5
    return Metadata(
        patient_id=plain_text(patient[0]),
        recorded_at=recorded_at,
        age_years=years_between(time_of((patient[2] or "").title(), "%d-%b-%Y"), recorded_at),
        sex=sex_of(patient[1]),
        device=plain_text((recording[4] or "").replace("_", " ")) if recording[0] == "Startdate" else None,
    )


def _time(day: str, clock: str) -> datetime | None:
    recorded_at = time_of(f"{day} {clock}", "%d.%m.%y %H.%M.%S")
    if recorded_at is None:
        return None
    century = 1900 if recorded_at.year % 100 >= _FIRST_OF_1900S else 2000
    return recorded_at.replace(year=century + recorded_at.year % 100)


def _without_prefix(label: str) -> str:
    """Leave out the `ECG ` that EDF+ puts before a lead's name, where what follows is one."""
    name = re.sub(r"^(ECG|EKG)\s+", "", label)
    return name if is_known_lead(name) else label


def _digital(records: np.ndarray, channel: _Channel, sample_bytes: int) -> np.ndarray:
    """Return a channel's samples of all records as integers of shape `(num_samples,)`."""
    begin = channel.at * sample_bytes
    content = np.ascontiguousarray(records[:, begin : begin + channel.num_samples * sample_bytes])
    if sample_bytes == 2:
        return content.view("<i2").ravel()
    words = np.zeros((content.size // 3, 4), dtype=np.uint8)
    words[:, 1:] = content.reshape(-1, 3)
    return words.view("<i4").ravel() >> 8  # keeps the sign


def _range(channel: _Channel) -> tuple[float, float, float, float]:
    """Return the physical minimum and maximum of a channel, and the digital ones that mean them."""
    low, high, first, last = (
        _number(channel.fields[f"{kind} {end}"], f"{kind} {end} of {channel.label}")
        for kind in ("physical", "digital")
        for end in ("minimum", "maximum")
    )
    if low == high or first >= last:
        raise ECGFileError(f"scales {first:g} to {last:g} as {low:g} to {high:g} in {channel.label}; no such range.")
    return low, high, first, last


def _physical(digital: np.ndarray, channel: _Channel) -> np.ndarray:
    """Scale integers to the channel's unit."""
    low, high, first, last = _range(channel)
    return (digital - first) * ((high - low) / (last - first)) + low


def _counts_per_unit(channel: _Channel) -> float:
    low, high, first, last = _range(channel)
    return (last - first) / (high - low)


def _starts(records: np.ndarray, header: _Header, rate: Fraction) -> np.ndarray:
    """Return at which sample each record starts, from the times that the first annotation channel keeps."""
    keeper = next((channel for channel in header.channels if channel.label in _ANNOTATIONS), None)
    if keeper is None:
        raise ECGFileError("has gaps, and no annotations that tell when its records start.")
    begin = keeper.at * header.sample_bytes
    times: list[Fraction] = []
    for record in records[:, begin : begin + keeper.num_samples * header.sample_bytes]:
        onset = _ONSET.match(record.tobytes())
        if onset is None:
            raise ECGFileError(f"has gaps, and record {len(times) + 1} does not tell when it starts.")
        times.append(Fraction(onset[1].decode()))
    return np.array([round((time - times[0]) * rate) for time in times])


def _spread(signal: np.ndarray, starts: np.ndarray, record_length: int) -> np.ndarray:
    """Place records in time, NaN between them."""
    if (np.diff(starts) < record_length).any():
        raise ECGFileError("has records that overlap in time.")
    length = int(starts[-1]) + record_length
    if length > _LONGEST_GAPS * signal.shape[1]:
        raise ECGFileError(
            f"has gaps: {signal.shape[1]} samples are recorded of {length}; at least one of {_LONGEST_GAPS} must be."
        )
    spread = np.full((len(signal), length), np.nan)
    spread[:, (starts[:, None] + np.arange(record_length)).ravel()] = signal
    return spread


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")  # not allowed, and yet how some write µV
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.strip(" \0")


def _integer(field: bytes | str, what: str, least: int) -> int:
    text = field if isinstance(field, str) else _text(field)
    number = number_or_none(text)
    if number is None or number != int(number):
        raise ECGFileError(f"has a damaged header: the {what} is {text!r}.")
    if number < least:
        raise ECGFileError(f"has a damaged header: the {what} is {number:g}; at least {least} was expected.")
    return int(number)


def _number(text: str, what: str) -> float:
    number = number_or_none(text.replace(",", "."))
    if number is None:
        raise ECGFileError(f"has a damaged header: the {what} is {text!r}.")
    return number


def _seconds(text: str) -> Fraction:
    """Return the duration of a record, exactly: 9.59375 s of 1228 samples are 128 Hz."""
    written = text.replace(",", ".").strip()
    number = number_or_none(written)
    if number is None or not _SHORTEST_RECORD_S <= number <= _LONGEST_RECORD_S:
        raise ECGFileError(f"has a damaged header: the duration of a record is {text!r}; seconds were expected.")
    return Fraction(written)
