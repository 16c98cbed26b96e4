"""Writers of SCP-ECG files."""

import binascii
import struct

import numpy as np

DEFAULT = struct.pack("<H", 19999)


def with_crc(content):
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content


def section(number, content):
    content += b"\0" * (len(content) % 2)
    return with_crc(struct.pack("<HIBB6s", number, 16 + len(content), 20, 20, b"") + content)


def scp(sections, first_index=7):
    """Join sections, given by number, to a record."""
    built = {number: section(number, content) for number, content in sections.items()}
    size = 16 + 10 * (1 + len(built))
    pointers = struct.pack("<HII", 0, size, first_index)
    at = 7 + size
    for number, content in built.items():
        pointers += struct.pack("<HII", number, len(content), at)
        at += len(content)
    zero = with_crc(struct.pack("<HIBB6s", 0, size, 20, 20, b"SCPECG") + pointers)
    record = zero + b"".join(built.values())
    return with_crc(struct.pack("<I", 6 + len(record)) + record)


def leads(signal, codes=(1, 2), firsts=None, lengths=None, flags=0):
    firsts = firsts or [1] * len(signal)
    lengths = lengths or [signal.shape[1]] * len(signal)
    rows = [
        struct.pack("<IIB", first, first + length - 1, code)
        for first, length, code in zip(firsts, lengths, codes, strict=True)
    ]
    return bytes([len(rows), flags]) + b"".join(rows)


def rhythm(encoded, order=0, amplitude=2500, interval=2000, bimodal=0):
    lengths = struct.pack(f"<{len(encoded)}H", *map(len, encoded))
    return struct.pack("<HHBB", amplitude, interval, order, bimodal) + lengths + b"".join(encoded)


def plain(signal):
    return [row.astype("<i2").tobytes() for row in signal]


def differences(row, order):
    values = row.astype(np.int64)
    return np.concatenate([values[:order], np.diff(values, order)])


def packed(bits):
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def default_code(value):
    if abs(value) <= 8:
        return "0" if value == 0 else "1" * abs(value) + "0" + ("1" if value < 0 else "0")
    if -128 <= value < 128:
        return "1111111110" + f"{value & 0xFF:08b}"
    return "1111111111" + f"{value & 0xFFFF:016b}"


def wrapped(value):
    return (int(value) + 0x8000) % 0x10000 - 0x8000


def huffman(signal, order, code=default_code):
    return [packed("".join(code(wrapped(value)) for value in differences(row, order))) for row in signal]


def table(*codes):
    """Write a table of (prefix, bits in all, whether a value, value)."""
    rows = [
        struct.pack("<BBBhI", len(prefix), size, is_value, value, int(prefix[::-1], 2))
        for prefix, size, is_value, value in codes
    ]
    return struct.pack("<H", len(rows)) + b"".join(rows)
