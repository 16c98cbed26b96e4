"""Writes MFER recordings (ISO 22077-1)."""

import struct

PREAMBLE = b"MFR Standard 12 leads ECG".ljust(32)
BYTE_ORDER, BLOCK, CHANNELS, SEQUENCES, WAVEFORM, LEAD, SAMPLE, INTERVAL, SENSITIVITY, OFFSET, COMPRESSION = (
    *(0x01, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E),
)
MISSING, DATA, GROUP, NAME = 0x12, 0x1E, 0x67, 0x81
LITTLE = bytes([BYTE_ORDER, 1, 1])
END = b"\x80\0"
HZ_500 = b"\x01\xfd\x02\x00"  # 2 ms
UV_1_25 = b"\x00\xf8\x7d\x00"  # 125e-8 V
STANDARD_8 = (1, 2, 3, 4, 5, 6, 7, 8)


def length(size: int) -> bytes:
    return bytes([size]) if size < 128 else b"\x84" + struct.pack(">I", size)


def item(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + length(len(data)) + data


def number(tag: int, value: int, size: int = 4, order: str = "little") -> bytes:
    return item(tag, value.to_bytes(size, order))


def channel(index: int, *items: bytes) -> bytes:
    """Write what is defined for a channel alone."""
    data = b"".join(items)
    number = bytes([index]) if index < 128 else bytes([0x80 | index >> 7, index & 0x7F])
    return b"\x3f" + number + length(len(data)) + data


def lead(index: int, code: int, *items: bytes) -> bytes:
    return channel(index, item(LEAD, struct.pack("<H", code)), *items)


def recording(counts, codes=STANDARD_8, kind=1, interval=HZ_500, sensitivity=UV_1_25, extra=b"") -> bytes:
    """Write leads, each a block of its own, in the way of Nihon Kohden's electrocardiographs."""
    return b"".join(
        [
            *(item(WAVEFORM, bytes([kind])), item(INTERVAL, interval), item(SENSITIVITY, sensitivity)),
            *(number(CHANNELS, len(counts)), number(BLOCK, counts.shape[1]), number(SEQUENCES, 1)),
            *(lead(index, code) for index, code in enumerate(codes)),
            *(extra, item(DATA, counts.astype("<i2").tobytes())),
        ]
    )


def mfer(*parts: bytes, preamble=PREAMBLE) -> bytes:
    """Join a recording's parts, little-endian, between preamble and end."""
    return item(0x40, preamble) + LITTLE + b"".join(parts) + END
