"""SCP-ECG records (EN 1064, ISO 11073-91064), versions 1 to 3."""

import binascii
import struct
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError, FileContent, check_size, missing_as_nan
from ..metadata_values import in_years, plain_text, statements, years_between
from ..recording import Metadata
from .lead_codes import lead_of_code
from .scp_huffman import BITS_A_BYTE, Table, decode, read_tables
from .scp_reference_beats import Subtraction, add_beat, read_subtraction

_HEADER = 16  # bytes of a section: checksum, number, length, versions, reserved
_POINTER = struct.Struct("<HII")  # a section's number, length and place, counted from 1
_LEAD = struct.Struct("<IIB")  # a lead's first and last sample, counted from 1, and its code
_SPREAD = 4  # how many times more samples a record may span than bits were stored
_ID, _AGE, _BIRTH, _SEX, _DEVICE, _DATE, _TIME = 2, 4, 5, 8, 14, 25, 26  # fields of section 1
_AGE_UNITS = {1: "years", 2: "months", 3: "weeks", 4: "days"}
_SEXES = {1: "male", 2: "female"}
_MOST_STATEMENTS = 100


class _Lead(NamedTuple):
    """A lead's name, place in time and encoded samples."""

    name: str
    first: int
    num_samples: int
    encoded: bytes


def read(path: Path) -> FileContent:
    """Read the rhythm of an SCP-ECG record; its leads are in nV, NaN before and after what was recorded of a lead.

    Where a reference beat was subtracted it is added again. Records whose samples are decimated outside the QRS
    complexes (bimodal compression) are refused: what is left out there cannot be restored.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if a checksum is wrong, or the record is cut short or compressed bimodally.
    """
    sections = _sections(path.read_bytes())
    for number, what in ((3, "definition of leads"), (6, "rhythm")):
        if number not in sections:
            raise ECGFileError(f"has no section {number}, the {what}; it has {sorted(sections)}.")
    amplitude, interval, order, bimodal = _unpack("<HHBB", sections[6], 0)
    _check_decimation(sections, interval, bool(bimodal))
    if not amplitude or not interval or order > 2:
        raise ECGFileError(
            f"declares {amplitude} nV a count, {interval} us a sample and differences of order {order}; "
            "positive numbers and an order of 0, 1 or 2 were expected."
        )
    tables = read_tables(sections[2]) if 2 in sections else []
    leads = _leads(sections[3], sections[6], bool(tables))
    begin = min(lead.first for lead in leads)
    length = max(lead.first + lead.num_samples for lead in leads) - begin
    # Before memory is taken: a sample has at least a bit, and leads may follow each other in time.
    check_size(len(leads), length, 1e6 / interval, _SPREAD * BITS_A_BYTE * len(sections[6]))
    signal = np.full((len(leads), length), np.nan)
    samples = [_samples(lead, tables, order) for lead in leads]
    subtraction = _subtraction(sections, interval)
    if subtraction is not None:
        samples = _with_beats(samples, leads, subtraction, sections[5], tables, amplitude)
    for row, lead, values in zip(signal, leads, samples, strict=True):
        row[lead.first - begin :][: lead.num_samples] = missing_as_nan(values)
    names = [lead.name for lead in leads]
    metadata = _metadata(sections.get(1, b""), sections.get(8, b""))
    return FileContent(signal * amplitude, 1e6 / interval, ["nV"] * len(leads), names, metadata=metadata)


def _sections(content: bytes) -> dict[int, bytes]:
    """Return the contents of the sections that are there, without their headers, by number."""
    _, size = _unpack("<HI", content, 0)
    number, pointers_size = _unpack("<HI", content, 8)
    if number != 0 or pointers_size < _HEADER + _POINTER.size:
        raise ECGFileError(f"is no SCP-ECG: section 0 is numbered {number} and has {pointers_size} bytes.")
    first = _unpack(_POINTER.format, content, 6 + _HEADER)
    if first[2] != 7:
        raise ECGFileError(
            f"only resembles SCP-ECG: section 0 is said to be at byte {first[2]} and not 7. "
            "Healforce devices write such files; export them in another format."
        )
    if not 6 + pointers_size <= size <= len(content):
        raise ECGFileError(f"declares {size} bytes, and the file has {len(content)}: cut short, or damaged.")
    _check_crc(content[:size], "the record")
    sections = {}
    for at in range(6 + _HEADER, 6 + pointers_size - _POINTER.size + 1, _POINTER.size):
        number, length, place = _POINTER.unpack_from(content, at)
        if number and length > _HEADER:
            sections[number] = _section(content[:size], number, length, place - 1)
    return sections


def _section(record: bytes, number: int, length: int, at: int) -> bytes:
    section = record[at : at + length] if at >= 0 else b""
    if len(section) < length:
        raise ECGFileError(f"has {len(record)} bytes, and section {number} is from byte {at} to {at + length}.")
    (found,) = _unpack("<H", section, 2)
    if found != number:
        raise ECGFileError(f"has section {found} where section {number} should be.")
    _check_crc(section, f"section {number}")
    return section[_HEADER:]


def _check_crc(part: bytes, name: str) -> None:
    """Compare the checksum at the beginning with what follows it."""
    declared, found = int.from_bytes(part[:2], "little"), binascii.crc_hqx(part[2:], 0xFFFF)
    if declared != found:
        raise ECGFileError(f"is damaged: the checksum of {name} is {found:#06x}, and {declared:#06x} is declared.")


def _check_decimation(sections: dict[int, bytes], interval: int, bimodal: bool) -> None:
    """Refuse records that lack samples; the flag is also set where none were left out."""
    if bimodal and (5 not in sections or _unpack("<HH", sections[5], 0)[1] != interval):
        raise ECGFileError("is compressed bimodally: samples outside QRS complexes are left out; export it without.")


def _subtraction(sections: dict[int, bytes], interval: int) -> Subtraction | None:
    """Return where a reference beat was subtracted; the flag is also set where it was nowhere."""
    num_leads, flags = _unpack("<BB", sections[3], 0)
    subtraction = read_subtraction(sections[4]) if flags & 1 and 4 in sections else None
    if not flags & 1 or (4 in sections and subtraction is None):
        return None
    if subtraction is None or 5 not in sections:
        raise ECGFileError(
            "has a reference beat subtracted, and lacks section 4 or 5 with the beat; export it without."
        )
    if _unpack("<HH", sections[5], 0)[1] != interval:
        raise ECGFileError(
            "has a reference beat subtracted of another sampling rate than the rhythm's; export it without."
        )
    if any(_unpack(_LEAD.format, sections[3], 2 + lead * _LEAD.size)[0] == 0 for lead in range(num_leads)):
        raise ECGFileError("has a reference beat subtracted, and counts samples from 0 and not 1; export it without.")
    return subtraction


def _with_beats(
    samples: list[np.ndarray],
    leads: list[_Lead],
    subtraction: Subtraction,
    section: bytes,
    tables: list[Table],
    amplitude: int,
) -> list[np.ndarray]:
    """Add each lead's reference beat, which section 5 holds. Sums of the same counts wrap at 16 bits, as they did."""
    beat_amplitude, interval, order, _ = _unpack("<HHBB", section, 0)
    num_samples = subtraction.length_ms * 1000 // interval
    if not beat_amplitude or not num_samples or order > 2:
        raise ECGFileError(
            f"has reference beats of {num_samples} samples of {beat_amplitude} nV a count and differences of order "
            f"{order}; positive numbers and an order of 0, 1 or 2 were expected."
        )
    restored = []
    for values, lead, encoded in zip(samples, leads, _parts(section, len(leads)), strict=True):
        beat = _samples(_Lead(lead.name, 1, num_samples, encoded), tables, order)
        if beat_amplitude == amplitude:
            restored.append(add_beat(values, lead.first, beat, subtraction).astype(np.int16))
        else:
            restored.append(add_beat(values, lead.first, beat * (beat_amplitude / amplitude), subtraction))
    return restored


def _leads(definition: bytes, rhythm: bytes, is_coded: bool) -> list[_Lead]:
    """Return the leads that section 3 defines, each with its part of section 6, coded or in plain 16 bits."""
    (num_leads,) = _unpack("<B", definition, 0)
    if not num_leads:
        raise ECGFileError("defines no leads.")
    leads = []
    for index, encoded in enumerate(_parts(rhythm, num_leads)):
        first, last, code = _unpack(_LEAD.format, definition, 2 + index * _LEAD.size)
        name = lead_of_code(code)
        if not first:  # counted from 0, and by some devices up to one sample more than there is
            first, last = 1, last if is_coded else min(last + 1, len(encoded) // 2)
        if not first <= last:
            raise ECGFileError(f"defines lead {name} from sample {first} to {last}.")
        leads.append(_Lead(name, first, last - first + 1, encoded))
    return leads


def _parts(section: bytes, num_leads: int) -> list[bytes]:
    """Return each lead's part of section 5 or 6."""
    ends = np.cumsum((6 + 2 * num_leads, *_unpack(f"<{num_leads}H", section, 6))).tolist()
    if ends[-1] > len(section):
        raise ECGFileError(f"declares {ends[-1]} bytes of samples, and holds {len(section)}.")
    return [section[begin:end] for begin, end in pairwise(ends)]


def _samples(lead: _Lead, tables: list[Table], order: int) -> np.ndarray:
    """Decode a lead."""
    values = decode(lead.encoded, tables, lead.num_samples) if tables else _plain(lead.encoded)
    if len(values) < lead.num_samples:
        raise ECGFileError(
            f"declares {lead.num_samples} samples of lead {lead.name}, and holds {len(values)}: "
            "the device cut it short, for at most 65535 bytes fit."
        )
    return _sum_differences(values[: lead.num_samples], order)


def _plain(encoded: bytes) -> np.ndarray:
    return np.frombuffer(encoded, "<i2", len(encoded) // 2).astype(np.int64)


def _sum_differences(values: np.ndarray, order: int) -> np.ndarray:
    """Undo differences of order 0, 1 or 2; the first `order` values are samples. Sums wrap at 16 bits."""
    if order == 2 and len(values) > 1:
        slopes = np.cumsum(np.append(values[1] - values[0], values[2:]))
        values = np.append(values[:1], slopes)
    if order:
        values = np.cumsum(values)
    return values.astype(np.int16)


def _metadata(patient: bytes, findings: bytes) -> Metadata:
    """Return what section 1, of the patient, and section 8, of findings in words, say."""
    fields = _fields(patient)
    recorded_at = _time(fields.get(_DATE, b""), fields.get(_TIME, b""))
    age, unit = struct.unpack("<HB", fields.get(_AGE, b"")[:3].ljust(3, b"\0"))
    return Metadata(
        patient_id=_text(fields.get(_ID, b"")),
        recorded_at=recorded_at,
        age_years=in_years(age, _AGE_UNITS[unit])
        if age and unit in _AGE_UNITS
        else years_between(_time(fields.get(_BIRTH, b""), b""), recorded_at),
        sex=_SEXES.get(fields.get(_SEX, b"\0")[:1].ljust(1, b"\0")[0]),
        device=_text(fields.get(_DEVICE, b"")[8:14]),
        statements=statements(_statements(findings)),
    )


def _fields(section: bytes) -> dict[int, bytes]:
    """Return the fields of section 1, each a number, a length and a value, up to the one that ends them."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 3 <= len(section) and section[at] != 0xFF:
        length = int.from_bytes(section[at + 1 : at + 3], "little")
        fields.setdefault(section[at], section[at + 3 : at + 3 + length])
        at += 3 + length
    return fields


def _statements(section: bytes) -> list[str | None]:
    """Return the texts of section 8; they follow 9 bytes of status, time and number."""
    texts: list[str | None] = []
    at = 9
    while at + 3 <= len(section) and len(texts) < min(section[8], _MOST_STATEMENTS):
        length = int.from_bytes(section[at + 1 : at + 3], "little")
        texts.append(_text(section[at + 3 : at + 3 + length]))
        at += 3 + length
    return texts


def _text(field: bytes) -> str | None:
    return plain_text(field.partition(b"\0")[0].decode("latin-1"))


def _time(day: bytes, clock: bytes) -> datetime | None:
    """Return the time of year (16 bits), month, day, and of hour, minute, second; midnight where these are absent."""
    if len(day) < 4:
        return None
    try:
        return datetime(*struct.unpack("<HBB", day[:4]), *clock[:3].ljust(3, b"\0"))
    except ValueError:
        return None


def _unpack(layout: str, content: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, content, at)
    except struct.error as error:
        raise ECGFileError(f"ends within a table of SCP-ECG: {error}.") from error
