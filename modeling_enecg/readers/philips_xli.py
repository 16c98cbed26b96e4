"""XLI, the compression of Philips Sierra XML: LZW of bytes, of second differences.

Each lead is a chunk: its size in bytes (32 bits), 16 bits that are always 1, the first difference (16 bits), and codes
of 10 bits each. The bytes that these mean are the high bytes of all samples, then the low ones.
"""

import struct

import numpy as np

from ..ecg_file import ECGFileError

_HEADER = struct.Struct("<IHh")
_CODE_BITS = 10
_END = (1 << _CODE_BITS) - 1
_PLACE_VALUES = 1 << np.arange(_CODE_BITS, dtype=np.int16)[::-1]
_BIAS = 64  # what is added to each difference


def decode_xli(data: bytes, num_leads: int, num_samples: int) -> list[np.ndarray]:
    """Return the samples of the first leads.

    Args:
        data (`bytes`): The chunks; there may be more than are wanted.
        num_leads (`int`): How many are wanted.
        num_samples (`int`): How many samples each lead has.

    Returns:
        `list[np.ndarray]`: Each lead's samples, int16, of shape `(num_samples,)`.

    Raises:
        ECGFileError: if there are fewer leads, or one is damaged or of another length.
    """
    leads: list[np.ndarray] = []
    at = 0
    for number in range(1, num_leads + 1):
        if len(data) < at + _HEADER.size:
            raise ECGFileError(f"holds {number - 1} leads in XLI, of {num_leads} declared: cut short.")
        size, _, first = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if size > len(data) - at:
            raise ECGFileError(f"lead {number} in XLI has {size} bytes, of {len(data) - at} left: cut short.")
        unpacked = _unpack(data[at : at + size], number, 2 * num_samples)
        leads.append(_integrate(unpacked, first))
        at += size
    return leads


def _unpack(chunk: bytes, number: int, num_bytes: int) -> bytes:
    """Undo the LZW compression."""
    num_codes = min(8 * len(chunk) // _CODE_BITS, num_bytes + 1)  # a code means a byte or more, or the end
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8), count=num_codes * _CODE_BITS)
    codes = bits.reshape(num_codes, _CODE_BITS) @ _PLACE_VALUES
    table = [bytes([value]) for value in range(256)]
    unpacked = bytearray()
    last = b""
    for code in codes.tolist():
        if code == _END:
            break
        if code > len(table) or (code == len(table) and not last):
            raise ECGFileError(f"lead {number} in XLI has the code {code}, of {len(table)} known: damaged.")
        word = table[code] if code < len(table) else last + last[:1]
        if last and len(table) < _END:
            table.append(last + word[:1])
        unpacked += word
        if len(unpacked) > num_bytes:
            break
        last = word
    if len(unpacked) != num_bytes:
        raise ECGFileError(f"lead {number} in XLI has not the {num_bytes // 2} samples declared: damaged.")
    return bytes(unpacked)


def _integrate(unpacked: bytes, first: int) -> np.ndarray:
    """Join high and low bytes, and undo the second differences; sums wrap around at 16 bits."""
    halves = np.frombuffer(unpacked, np.uint8).reshape(2, -1).astype(np.uint16)
    stored = (halves[0] << 8 | halves[1]).astype(np.int16)
    if len(stored) < 3:
        return stored
    bends = np.concatenate([[first], stored[2:-1] - np.int16(_BIAS)]).astype(np.int16)
    steps = stored[1:2] - stored[:1] - np.cumsum(bends, dtype=np.int16)
    return np.concatenate([stored[:2], stored[1] + np.cumsum(steps, dtype=np.int16)])
