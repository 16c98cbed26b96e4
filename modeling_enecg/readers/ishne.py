"""ISHNE 1.0 Holter recordings."""

import binascii
import struct
from datetime import datetime
from pathlib import Path

import numpy as np

from ..ecg_file import ECGFileError, FileContent, check_no_surplus, check_size
from ..metadata_values import plain_text, years_between
from ..recording import Metadata

_START, _END = 10, 522  # of the header, after magic and checksum
_SLOTS = 12
_ABSENT = -9
_FAULT = -(1 << 15)  # a sample where the lead was off
_SEXES = {1: "male", 2: "female"}
_LEADS = dict(
    enumerate(
        ("X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6", "ES", "AS", "AI"),
        start=2,
    )
)


def read(path: Path) -> FileContent:
    """Read an ISHNE recording; its leads are in nV.

    The field for the number of samples counts each lead's in most files, and all leads' in some: whichever fits the
    file is taken.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if the file is damaged or cut short, or holds annotations.
    """
    content = path.read_bytes()
    if content.startswith(b"ANN"):
        raise ECGFileError("holds annotations of an ISHNE recording; the signal is in the file that starts ISHNE1.0.")
    if len(content) < _END:
        raise ECGFileError(f"has {len(content)} bytes, and an ISHNE header {_END}: cut short.")
    block_size, num_samples, block_at, signal_at = struct.unpack_from("<4i", content, _START)
    _check_header(content, block_at, block_size)
    (num_leads,) = struct.unpack_from("<h", content, 156)
    (sampling_rate,) = struct.unpack_from("<h", content, 272)
    if not 1 <= num_leads <= _SLOTS or not _END <= signal_at <= len(content):
        raise ECGFileError(f"declares {num_leads} leads from byte {signal_at}; an ISHNE file of 1 to 12 was expected.")
    available = (len(content) - signal_at) // 2
    if num_samples == available and num_samples % num_leads == 0:
        num_samples //= num_leads
    check_size(num_leads, num_samples, sampling_rate, available)
    check_no_surplus(len(content) - signal_at - 2 * num_samples * num_leads, f"{num_samples} samples a lead")
    names, resolutions = _leads(content, num_leads)
    samples = np.frombuffer(content, "<i2", num_samples * num_leads, signal_at).reshape(num_samples, num_leads)
    signal = np.where(samples == _FAULT, np.nan, samples).T * resolutions[:, None]
    return FileContent(
        signal, float(sampling_rate), ["nV"] * num_leads, names, 1 / resolutions, metadata=_metadata(content)
    )


def _check_header(content: bytes, block_at: int, block_size: int) -> None:
    """Compare the checksum with the header and the block of variable length after it."""
    if block_size < 0 or (block_size > 0 and not _END <= block_at <= len(content) - block_size):
        raise ECGFileError(
            f"declares a block of {block_size} bytes at byte {block_at}, of {len(content)} in the file."
        )
    block = content[block_at : block_at + block_size] if block_size else b""
    (declared,) = struct.unpack_from("<H", content, 8)
    found = binascii.crc_hqx(content[_START:_END] + block, 0xFFFF)
    if declared and found != declared:  # some writers leave 0 in its place
        raise ECGFileError(f"has a damaged header: its checksum is {found:#06x}, and {declared:#06x} is declared.")


def _leads(content: bytes, num_leads: int) -> tuple[list[str], np.ndarray]:
    """Return the names of the leads and how many nV one count is; leads of no known place are numbered."""
    codes = struct.unpack_from(f"<{_SLOTS}h", content, 158)
    resolutions = struct.unpack_from(f"<{_SLOTS}h", content, 206)
    used = [slot for slot, code in enumerate(codes) if code != _ABSENT]
    if len(used) != num_leads:  # some writers fill absent slots with other numbers
        used = list(range(num_leads))
    names = [_LEADS.get(codes[slot], f"lead {number}") for number, slot in enumerate(used, start=1)]
    for name, slot in zip(names, used, strict=True):
        if resolutions[slot] < 1:
            raise ECGFileError(f"declares a resolution of {resolutions[slot]} nV for {name}; it must be positive.")
    return names, np.array([resolutions[slot] for slot in used], dtype=np.float64)


def _metadata(content: bytes) -> Metadata:
    (sex,) = struct.unpack_from("<h", content, 128)
    day, month, year, *clock = (*struct.unpack_from("<3h", content, 138), *struct.unpack_from("<3h", content, 150))
    recorded_at = _time(year, month, day, *clock)
    day, month, year = struct.unpack_from("<3h", content, 132)
    return Metadata(
        patient_id=_text(content[108:128]),
        recorded_at=recorded_at,
        age_years=years_between(_time(year, month, day), recorded_at),
        sex=_SEXES.get(sex),
        device=_text(content[232:272]),
    )


def _text(content: bytes) -> str | None:
    return plain_text(content.partition(b"\0")[0].decode("latin-1"))


def _time(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:  # fields that are unknown hold -9, or 0
        return None
