"""AliveCor's ATC recordings (KardiaMobile), of which the specification 1.7 is public."""

import struct
import zlib
from pathlib import Path

import numpy as np

from ..ecg_file import ECGFileError, FileContent, check_size, missing_as_nan
from ..metadata_values import plain_text, time_of
from ..recording import Metadata

_HEADER = 12  # bytes: signature and version
_BLOCK = struct.Struct("<4sI")  # a block's name and how many bytes of data follow, before a checksum
_CHECKSUM = struct.Struct("<I")
_FORMAT = struct.Struct("<BHHBH")  # kind of samples, rate in Hz, nV a count, flags, reserved
_INT16 = 1
_POLARITY = 1  # a flag of no stated meaning, which no known file sets
_LEADS = dict(
    zip(
        (b"ecg ", *(b"ecg%c" % place for place in b"23456789abc")),
        ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        strict=True,
    )
)


def read(path: Path) -> FileContent:
    """Read an ATC recording; its leads are in nV. Averaged and median beats are left out.

    A block's checksum is the sum of its bytes in the recordings of AliveCor's apps, and their CRC-32 by the
    specification; either is taken.

    Args:
        path (`Path`): The file.

    Raises:
        ECGFileError: if a checksum is wrong, the file is cut short, or its leads differ in length.
    """
    blocks = _blocks(path.read_bytes())
    rate, resolution = _format(blocks)
    leads = {name: np.frombuffer(blocks[key], "<i2") for key, name in _LEADS.items() if key in blocks}
    lengths = sorted({len(samples) for samples in leads.values()})
    if not lengths:
        raise ECGFileError("holds no ECG block: no lead was recorded.")
    if len(lengths) > 1:
        raise ECGFileError(f"has leads of {lengths[0]} and of {lengths[-1]} samples; all must be as long.")
    check_size(len(leads), lengths[0], rate, len(leads) * lengths[0])
    signal = missing_as_nan(np.stack([*leads.values()])) * float(resolution)
    metadata = _metadata(blocks.get(b"info", b""))
    return FileContent(signal, float(rate), ["nV"] * len(leads), [*leads], metadata=metadata)


def _blocks(content: bytes) -> dict[bytes, bytes]:
    """Return the data of all blocks by name."""
    blocks: dict[bytes, bytes] = {}
    at = _HEADER
    while at < len(content):
        if len(content) - at < _BLOCK.size + _CHECKSUM.size:
            raise ECGFileError(f"ends {len(content) - at} bytes into a block: cut short.")
        name, size = _BLOCK.unpack_from(content, at)
        begin, end = at + _BLOCK.size, at + _BLOCK.size + size
        if end + _CHECKSUM.size > len(content):
            raise ECGFileError(
                f"declares a block of {size} bytes at byte {at}, of {len(content)} in the file: cut short."
            )
        _check(name, content[at:end], *_CHECKSUM.unpack_from(content, end))
        if name in blocks:
            raise ECGFileError(f"has the block {_shown(name)} twice.")
        if name in _LEADS and size % 2:
            raise ECGFileError(f"has a block {_shown(name)} of {size} bytes, no whole number of 16-bit samples.")
        blocks[name] = content[begin:end]
        at = end + _CHECKSUM.size
    return blocks


def _check(name: bytes, block: bytes, declared: int) -> None:
    total = sum(block) & 0xFFFFFFFF
    if declared not in (total, zlib.crc32(block)):
        raise ECGFileError(
            f"is damaged: the checksum of the block {_shown(name)} is {total:#x}, and {declared:#x} is declared."
        )


def _format(blocks: dict[bytes, bytes]) -> tuple[int, int]:
    """Return the rate in Hz and how many nV one count is."""
    stated = blocks.get(b"fmt ", b"")
    if len(stated) != _FORMAT.size:
        raise ECGFileError(f"has a format block of {len(stated)} bytes; {_FORMAT.size} were expected.")
    kind, rate, resolution, flags, _ = _FORMAT.unpack(stated)
    if kind != _INT16:
        raise ECGFileError(f"has samples of the format {kind}; only {_INT16}, signed 16 bits, is known.")
    if flags & _POLARITY:
        raise ECGFileError("sets the flag of polarity, whose meaning is not published: it may be upside down.")
    if not rate or not resolution:
        raise ECGFileError(f"declares {rate} Hz and {resolution} nV a count; both must be positive.")
    return rate, resolution


def _metadata(info: bytes) -> Metadata:
    """Return the local time and the recorder's hardware of the block `info`, whose fields are of fixed length."""
    time, hardware = info[:19], info[180:212].partition(b"\0")[0]
    return Metadata(
        recorded_at=time_of(time.decode("latin-1"), "%Y-%m-%dT%H:%M:%S"),
        device=plain_text(f"AliveCor {hardware.decode('latin-1')}"),
    )


def _shown(name: bytes) -> str:
    return name.decode("latin-1").strip()
