"""Decoding the signal files of WFDB records: the samples of every storage format of `signal(5)` as integers.

Own code, because the package wfdb decodes only what its own parser of headers understood; see `reading_wfdb.py`.
"""

from pathlib import Path

import numpy as np

from .ecg_file import ECGFileError, check_no_surplus, errors_of, need

# The code that marks a missing sample; format 8 holds differences and has none.
MISSING = {
    "8": None,
    "16": -(1 << 15),
    "24": -(1 << 23),
    "32": -(1 << 31),
    "61": -(1 << 15),
    "80": -(1 << 7),
    "160": -(1 << 15),
    "212": -(1 << 11),
    "310": -(1 << 9),
    "311": -(1 << 9),
    "508": -(1 << 7),
    "516": -(1 << 15),
    "524": -(1 << 23),
}
_DTYPES = {"8": "i1", "16": "<i2", "32": "<i4", "61": ">i2", "80": "u1", "160": "<u2"}
_GROUPS = {"212": (2, 3), "310": (3, 4), "311": (3, 4), "24": (1, 3)}  # samples that share so many bytes
FLAC_BITS = {"508": 8, "516": 16, "524": 24}
_MOST_FLAC_SAMPLES_A_BYTE = 2048  # a flat signal in blocks of 4096 samples takes some 800 a byte


def count_samples(file: Path, fmt: str, offset: int) -> int:
    """Return how many samples, of all its signals together, a signal file can hold.

    Args:
        file (`Path`): The signal file.
        fmt (`str`): Its storage format, a key of `MISSING`.
        offset (`int`): Bytes, or for FLAC samples a signal, before the first sample.
    """
    num_bytes = file.stat().st_size
    if fmt in FLAC_BITS:
        return num_bytes * _MOST_FLAC_SAMPLES_A_BYTE
    num_bytes = max(num_bytes - offset, 0)
    if fmt in _DTYPES:
        return num_bytes // np.dtype(_DTYPES[fmt]).itemsize
    samples, size = _GROUPS[fmt]
    rest = {"212": (0, 0, 1), "310": (0, 0, 1, 1), "311": (0, 0, 1, 2), "24": (0, 0, 0)}[fmt]  # in a cut-off group
    return num_bytes // size * samples + rest[num_bytes % size]


def surplus_bytes(file: Path, fmt: str, offset: int, num_samples: int) -> int:
    """Return how many bytes follow behind the samples of a signal file; of FLAC none, which `decode` checks.

    Args:
        file (`Path`): The signal file.
        fmt (`str`): Its storage format, a key of `MISSING`.
        offset (`int`): Bytes before the first sample.
        num_samples (`int`): How many are read, of all signals together; a group that they begin may be filled up.
    """
    if fmt in FLAC_BITS:
        return 0
    per_group, size = _GROUPS[fmt] if fmt in _GROUPS else (1, np.dtype(_DTYPES[fmt]).itemsize)
    return max(file.stat().st_size - offset - -(-num_samples // per_group) * size, 0)


def decode(file: Path, fmt: str, offset: int, num_samples: int, num_signals: int) -> np.ndarray:
    """Read the first samples of a signal file, in the file's order.

    Args:
        file (`Path`): The signal file.
        fmt (`str`): Its storage format, a key of `MISSING`.
        offset (`int`): Bytes, or for FLAC samples a signal, before the first sample.
        num_samples (`int`): How many, of all signals together; at most `count_samples`.
        num_signals (`int`): How many signals share the file.

    Returns:
        `np.ndarray` of shape `(num_samples,)`: Integers; format 8's are differences still. FLAC's may be fewer.

    Raises:
        ImportError: if a FLAC file is to be read, and the package soundfile is not installed.
        ECGFileError: if a FLAC file is damaged.
    """
    if fmt in FLAC_BITS:
        return _decode_flac(file, FLAC_BITS[fmt], offset, num_samples, num_signals)
    if fmt in _DTYPES:
        samples = np.fromfile(file, _DTYPES[fmt], num_samples, offset=offset)
        zero = {"80": 1 << 7, "160": 1 << 15}.get(fmt, 0)  # offset binary
        return samples.astype(np.int32) - zero if zero else samples
    per_group, size = _GROUPS[fmt]
    num_groups = -(-num_samples // per_group)
    data = np.zeros(num_groups * size, np.uint8)  # a cut-off group is filled up with zeros
    stored = np.fromfile(file, np.uint8, len(data), offset=offset)
    data[: len(stored)] = stored
    groups = {"212": _unpack_212, "310": _unpack_310, "311": _unpack_311, "24": _unpack_24}[fmt](
        data.reshape(num_groups, size).astype(np.int32)
    )
    return np.stack(groups, axis=1).reshape(-1)[:num_samples]


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the two's complement numbers that the low bits of integers are."""
    sign = 1 << (bits - 1)
    return ((values & ((1 << bits) - 1)) ^ sign) - sign


def _unpack_212(data: np.ndarray) -> list[np.ndarray]:
    first, shared, second = data.T
    return [_signed(first | shared << 8, 12), _signed(second | (shared >> 4) << 8, 12)]


def _unpack_310(data: np.ndarray) -> list[np.ndarray]:
    """The third sample lies in the top five bits of the two words."""
    one, two = data[:, 0] | data[:, 1] << 8, data[:, 2] | data[:, 3] << 8
    return [_signed(one >> 1, 10), _signed(two >> 1, 10), _signed(one >> 11 | (two >> 11) << 5, 10)]


def _unpack_311(data: np.ndarray) -> list[np.ndarray]:
    """Three samples lie in a word of four bytes, from its low end."""
    word = data[:, 0] | data[:, 1] << 8 | data[:, 2] << 16 | data[:, 3] << 24
    return [_signed(word >> shift, 10) for shift in (0, 10, 20)]


def _unpack_24(data: np.ndarray) -> list[np.ndarray]:
    low, middle, high = data.T
    return [_signed(low | middle << 8 | high << 16, 24)]


def _decode_flac(file: Path, bits: int, offset: int, num_samples: int, num_signals: int) -> np.ndarray:
    soundfile = need("soundfile")
    with errors_of("soundfile"), soundfile.SoundFile(str(file)) as stream:
        depth = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(stream.subtype, 32)
        if stream.format != "FLAC" or depth > bits or stream.channels != num_signals:
            raise ECGFileError(
                f"{file.name} is {stream.format} of {stream.channels} channels of {depth} bits; its header says FLAC "
                f"of {num_signals} signals of at most {bits} bits."
            )
        if offset:
            stream.seek(offset)
        held, frames = max(stream.frames - offset, 0), num_samples // num_signals
        check_no_surplus((held - frames) * num_signals * bits // 8, f"{frames} samples a signal in {file.name}")
        frames = min(frames, held)
        samples = stream.read(frames, dtype="int32", always_2d=True)
    return samples.reshape(-1) >> (32 - depth)
