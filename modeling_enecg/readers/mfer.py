"""MFER recordings (ISO 22077-1, once ISO/TS 11073-92001), as of Nihon Kohden and Fukuda Denshi."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..ecg_file import MOST_CHANNELS, ECGFileError, FileContent, missing_as_nan
from ..metadata_values import measured, plain_text, years_between
from ..recording import Metadata
from .lead_codes import lead_of_code

_ZERO, _BYTE_ORDER, _BLOCK, _CHANNELS, _SEQUENCES = 0x00, 0x01, 0x04, 0x05, 0x06
_WAVEFORM, _LEAD, _SAMPLE, _INTERVAL, _SENSITIVITY, _OFFSET, _COMPRESSION = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
_NULL, _MAKER, _DATA, _CHANNEL, _GROUP, _END = 0x12, 0x17, 0x1E, 0x3F, 0x67, 0x80
_PATIENT, _AGE, _SEX, _TIME = 0x82, 0x83, 0x84, 0x85
_OF_CHANNELS = {_BLOCK, _SEQUENCES, _WAVEFORM, _LEAD, _SAMPLE, _INTERVAL, _SENSITIVITY, _OFFSET, _NULL}
_KEPT = _OF_CHANNELS | {_MAKER, _PATIENT, _AGE, _SEX, _TIME}
_INDEFINITE = 0x80  # in place of a length: the contents end with two zeros
_SAMPLE_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_STATUS = 4  # bits of 16: electrodes that are off, pacemaker pulses
_STATUS_LEAD = 4160
_VOLT = 0
_HERTZ, _SECOND = 0, 1
_ECG_TYPES = {0, 1, 2, 3, 4, 6, 20, 21}  # unspecified, 12-lead, long-term, vector, stress, surface mapping, monitors
# Where MFER's codes of leads are others than those of SCP-ECG.
_OTHER_LEADS = {31: "NASA", 32: "CB4", 33: "CB5", 34: "CB6", 4166: "ECG1", 4167: "ECG2", 4168: "ECG3", 4169: "ECG4"}
_SAME_LEADS = {*range(1, 10), *range(11, 21), *range(61, 73)}
_DEEPEST = 4  # groups within groups
_MOST_FRAMES = 1000
_SEXES = {1: "male", 2: "female"}
_Order = Literal["<", ">"]  # of bytes, the lowest or the highest first
_ENDIANNESS: dict[_Order, Literal["little", "big"]] = {"<": "little", ">": "big"}


class _Value(NamedTuple):
    """The bytes of a definition, and the byte order that was set before it."""

    data: bytes
    order: _Order


_Definitions = dict[int, _Value]


@dataclass
class _Frame:
    """Waveforms of one time: what is defined for all channels and for each, and their samples."""

    num_channels: int = 1
    common: _Definitions = field(default_factory=dict)
    by_channel: dict[int, _Definitions] = field(default_factory=dict)
    order: _Order = ">"
    data: bytes = b""

    def of(self, channel: int) -> _Definitions:
        """Return what holds for a channel; a name that is given to all is the only channel's."""
        shared = {tag: value for tag, value in self.common.items() if tag != _LEAD or self.num_channels == 1}
        return shared | self.by_channel.get(channel, {})


class _Channel(NamedTuple):
    """A channel of a frame; its unit is None where none is stated, and its samples are NaN where there was none."""

    name: str | None
    unit: int | None
    rate: float | None
    samples: np.ndarray
    is_status: bool = False


def read(path: Path) -> FileContent:
    """Read the ECG of an MFER recording; dominant and averaged beats, status bits and other waveforms are left out.

    Skews of the digitizer, which are shorter than a sample, are not corrected.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if the file is damaged, cut short or compressed, or holds several recordings or none.
    """
    frames = _frames(path.read_bytes())
    recordings = [(_channels(frame), _metadata(frame)) for frame in frames if _waveform_type(frame) in _ECG_TYPES]
    if len(recordings) != 1:
        raise ECGFileError(f"holds {len(recordings)} waveforms of the type of an ECG; export one recording per file.")
    channels, metadata = recordings[0]
    voltages = [each for each in channels if each.unit in (_VOLT, None) and not each.is_status]
    if not voltages:
        raise ECGFileError(f"has no ECG: none of its {len(channels)} channels is in volts.")
    return _joined(voltages, metadata, _left_out(channels))


def _left_out(channels: list[_Channel]) -> dict[str, str]:
    """Return why each channel is left out that is no voltage."""
    reasons = {}
    for number, each in enumerate(channels, start=1):
        if each.is_status or each.unit not in (_VOLT, None):
            reason = "status bits" if each.is_status else "in another unit than volts"
            reasons[each.name or f"channel {number}"] = reason
    return reasons


def _joined(channels: list[_Channel], metadata: Metadata, left_out: dict[str, str]) -> FileContent:
    """Put channels of one rate and length together, which are in mV or, all of them, in no stated unit."""
    units = {each.unit for each in channels}
    kinds = sorted({(each.rate or 0.0, len(each.samples)) for each in channels})
    if len(units) > 1 or len(kinds) > 1:
        raise ECGFileError(f"has channels of different rates, lengths or units: (Hz, samples) are {kinds[:3]}.")
    names = [each.name or f"channel {number}" for number, each in enumerate(channels, start=1)]
    if len(set(names)) < len(names):
        raise ECGFileError(f"names a lead twice, of {', '.join(names)[:200]}.")
    signal = np.stack([each.samples for each in channels])
    stated_units = None if units == {None} else ["mV"] * len(channels)
    stated_names = names if any(each.name for each in channels) else None
    return FileContent(signal, channels[0].rate, stated_units, stated_names, metadata=metadata, left_out=left_out)


def _frames(content: bytes) -> Iterator[_Frame]:
    """Yield each frame with the definitions that stand before it; the next one changes it."""
    frame = _Frame()
    num_frames = 0
    for tag, channel, data in _elements(content):
        if tag != _DATA:
            _define(frame, tag, channel, _Value(data, frame.order))
            continue
        num_frames += 1
        if num_frames > _MOST_FRAMES:
            raise ECGFileError(f"holds more than {_MOST_FRAMES} waveforms.")
        frame.data = data
        yield frame


def _define(frame: _Frame, tag: int, channel: int | None, value: _Value) -> None:
    if tag == _BYTE_ORDER:
        if value.data not in (b"", b"\0", b"\1"):
            raise ECGFileError(f"declares the byte order {value.data[:8].hex()}; 00 or 01 was expected.")
        frame.order = "<" if value.data == b"\1" else ">"
    elif tag == _CHANNELS:
        frame.num_channels = _whole(value, "number of channels") if value.data else 1
        frame.by_channel = {}
        if not 0 < frame.num_channels <= MOST_CHANNELS:
            raise ECGFileError(f"declares {frame.num_channels} channels; 1 to {MOST_CHANNELS} were expected.")
    elif channel is not None and channel >= frame.num_channels:
        raise ECGFileError(f"describes channel {channel}, counted from 0, of {frame.num_channels}.")
    elif tag == _COMPRESSION and any(value.data):
        raise ECGFileError("is compressed MFER, whose coding is not published; export it uncompressed.")
    elif tag in _KEPT:
        place = frame.common if channel is None else frame.by_channel.setdefault(channel, {})
        if value.data:
            place[tag] = value
        else:  # back to what holds without it
            place.pop(tag, None)


def _elements(content: bytes) -> Iterator[tuple[int, int | None, bytes]]:
    """Yield all definitions, those in groups and of channels, too: tag, channel and contents."""
    ends: list[tuple[int | None, int | None]] = []  # where the open groups end, and whose channel each is
    at = 0
    while True:
        while ends and ends[-1][0] is not None and at >= ends[-1][0]:
            ends.pop()
        if at >= len(content):
            break
        tag = content[at]
        if tag == _ZERO:
            closes = bool(ends) and ends[-1][0] is None and content[at + 1 : at + 2] == b"\0"
            at += 2 if closes else 1
            if closes:
                ends.pop()
            continue
        if tag == _END and not ends:
            return
        number, at = _channel_number(content, at + 1) if tag == _CHANNEL else (None, at + 1)
        length, at = _length(content, at)
        if at + (length or 0) > len(content):
            raise ECGFileError(f"declares {length} bytes for the definition {tag:#04x} at byte {at}: cut short.")
        outer = ends[-1][1] if ends else None
        if tag in (_CHANNEL, _GROUP):
            if len(ends) >= _DEEPEST:
                raise ECGFileError(f"has groups of definitions deeper than {_DEEPEST}: damaged.")
            ends.append((None if length is None else at + length, outer if number is None else number))
        elif length is None:
            raise ECGFileError(f"has a definition {tag:#04x} of no length at byte {at}: damaged.")
        else:
            yield tag, outer, content[at : at + length]
            at += length


def _channel_number(content: bytes, at: int) -> tuple[int, int]:
    """Return a channel's number, counted from 0, in bytes of 7 bits, and where it ends."""
    number = 0
    while at < len(content) and number < 1 << 28:
        number = number << 7 | content[at] & 0x7F
        at += 1
        if not content[at - 1] & 0x80:
            return number, at
    raise ECGFileError(f"has no number of a channel at byte {at}: cut short, or damaged.")


def _length(content: bytes, at: int) -> tuple[int | None, int]:
    """Return the length of what follows, None where it is not stated, and where that begins."""
    first = content[at] if at < len(content) else 0xFF
    if first <= _INDEFINITE:
        return (None if first == _INDEFINITE else first), at + 1
    size = first & 0x7F
    if size > 4 or at + 1 + size > len(content):
        raise ECGFileError(f"has no length at byte {at}: cut short, or damaged.")
    return int.from_bytes(content[at + 1 : at + 1 + size], "big"), at + 1 + size


def _waveform_type(frame: _Frame) -> int:
    stated = frame.common.get(_WAVEFORM)
    return 0 if stated is None else _whole(_Value(stated.data[:2], stated.order), "type of waveform")


def _channels(frame: _Frame) -> list[_Channel]:
    """Read the channels of a frame: each sequence has a block of each channel."""
    if any(_SEQUENCES in each for each in frame.by_channel.values()):
        raise ECGFileError("has channels of different numbers of sequences, which are not understood.")
    definitions = [frame.of(channel) for channel in range(frame.num_channels)]
    types = [_sample_type(each, frame.order) for each in definitions]
    widths = [_count(each, _BLOCK) * kind.itemsize for each, kind in zip(definitions, types, strict=True)]
    num_bytes = sum(widths) * _count(frame.common, _SEQUENCES, len(frame.data) // max(sum(widths), 1))
    if num_bytes != len(frame.data) or not num_bytes:
        raise ECGFileError(
            f"declares {num_bytes} bytes of waveforms, and holds {len(frame.data)}: cut short, or damaged."
        )
    sequences = np.frombuffer(frame.data, np.uint8).reshape(-1, sum(widths))
    ends = np.cumsum(widths)
    return [
        _channel(each, np.ascontiguousarray(sequences[:, end - width : end]).view(kind).ravel())
        for each, kind, width, end in zip(definitions, types, widths, ends, strict=True)
    ]


def _sample_type(definitions: _Definitions, order: str) -> np.dtype:
    kind = _whole(definitions[_SAMPLE], "type of samples") if _SAMPLE in definitions else 0
    if kind != _STATUS and kind not in _SAMPLE_TYPES:
        raise ECGFileError(f"has samples of the type {kind}, compressed or unknown; export them as 16-bit integers.")
    return np.dtype(order + _SAMPLE_TYPES.get(kind, "u2"))


def _channel(definitions: _Definitions, stored: np.ndarray) -> _Channel:
    code, name = _lead(definitions.get(_LEAD))
    is_status = _SAMPLE in definitions and _whole(definitions[_SAMPLE], "type of samples") == _STATUS
    if is_status or code == _STATUS_LEAD:
        return _Channel(name, None, None, stored, is_status=True)
    samples = missing_as_nan(stored)
    if _NULL in definitions:
        samples[stored == _of_type(definitions[_NULL], stored.dtype, "missing value")] = np.nan
    if _OFFSET in definitions:
        samples += float(_of_type(definitions[_OFFSET], stored.dtype, "offset"))
    unit, rate = None, None
    if _SENSITIVITY in definitions:
        unit, exponent, mantissa = _quantity(definitions[_SENSITIVITY], "resolution")
        samples *= mantissa * 10.0 ** (exponent + 3)
    if _INTERVAL in definitions:
        kind, exponent, mantissa = _quantity(definitions[_INTERVAL], "sampling interval")
        if kind not in (_HERTZ, _SECOND):
            raise ECGFileError(f"is sampled in steps of the unit {kind}, which is no time.")
        rate = mantissa * 10.0**exponent if kind == _HERTZ else 10.0**-exponent / mantissa
    return _Channel(name, unit, rate, samples)


def _lead(stated: _Value | None) -> tuple[int, str | None]:
    """Return a lead's code, 0 where none is stated, and its name."""
    if stated is None:
        return 0, None
    code = _whole(_Value(stated.data[:2], stated.order), "code of a lead")
    text = stated.data[2:].decode("latin-1").strip("\0 ")
    if code in _SAME_LEADS:
        return code, lead_of_code(code)
    return code, _OTHER_LEADS.get(code) or text or (f"lead code {code}" if code else None)


def _metadata(frame: _Frame) -> Metadata:
    """Return what the definitions before a frame say of patient and device; texts of other scripts are left out."""
    texts = {
        tag: frame.common[tag].data.decode("ascii", "ignore") for tag in (_PATIENT, _MAKER) if tag in frame.common
    }
    recorded_at = _date(frame.common.get(_TIME), 0, 7)
    age = frame.common.get(_AGE)
    years = measured(age_years=age.data[0]).get("age_years") if age and any(age.data[:3]) else None
    return Metadata(
        patient_id=plain_text(texts.get(_PATIENT, "").partition("\0")[0].partition("^")[0]),
        recorded_at=recorded_at,
        age_years=years_between(_date(age, 3, 7), recorded_at) if years is None else years,
        sex=_SEXES.get(frame.common[_SEX].data[0]) if _SEX in frame.common else None,
        device=plain_text(" ".join(texts.get(_MAKER, "").partition("\0")[0].split("^")[:2])),
    )


def _date(stated: _Value | None, begin: int, end: int) -> datetime | None:
    """Return the time that a year of 16 bits and then month, day and perhaps hour, minute and second are."""
    if stated is None or len(stated.data) < end:
        return None
    try:
        year = int.from_bytes(stated.data[begin : begin + 2], _ENDIANNESS[stated.order])
        return datetime(year, *stated.data[begin + 2 : end])
    except ValueError:  # unknown fields hold 0 or 255
        return None


def _count(definitions: _Definitions, tag: int, default: int = 1) -> int:
    return _whole(definitions[tag], f"definition {tag:#04x}") if tag in definitions else default


def _quantity(value: _Value, what: str) -> tuple[int, int, int]:
    """Return a unit's code, a power of ten, and what it is multiplied by."""
    mantissa = int.from_bytes(value.data[2:], _ENDIANNESS[value.order], signed=True)
    if not 3 <= len(value.data) <= 6 or mantissa < 1:
        raise ECGFileError(f"has a {what} of the bytes {value.data[:8].hex()}; unit, power and number were expected.")
    (exponent,) = struct.unpack_from("b", value.data, 1)
    return value.data[0], exponent, mantissa


def _whole(value: _Value, what: str) -> int:
    if not 1 <= len(value.data) <= 4:
        raise ECGFileError(f"has a {what} of {len(value.data)} bytes; 1 to 4 were expected.")
    return int.from_bytes(value.data, _ENDIANNESS[value.order])


def _of_type(value: _Value, kind: np.dtype, what: str) -> np.generic:
    """Return a value that is stored as the samples are."""
    if len(value.data) != kind.itemsize:
        raise ECGFileError(f"has a {what} of {len(value.data)} bytes for samples of {kind.itemsize}.")
    return np.frombuffer(value.data, kind.newbyteorder(value.order))[0]
