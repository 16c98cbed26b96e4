"""Writes AliveCor's ATC recordings, as its specification 1.7 and its apps do."""

import struct

import numpy as np

LEAD_BLOCKS = [b"ecg ", *(f"ecg{place}".encode() for place in "23456789abc")]


def byte_sum(block: bytes) -> int:
    return sum(block)


def block(name: bytes, data: bytes, checksum=byte_sum) -> bytes:
    content = name + struct.pack("<I", len(data)) + data
    return content + struct.pack("<I", checksum(content))


def stated_format(rate=300, resolution=500, flags=2, kind=1) -> bytes:
    return struct.pack("<BHHBH", kind, rate, resolution, flags, 0)


def atc(*blocks: bytes, version=3) -> bytes:
    return b"ALIVE\0\0\0" + struct.pack("<I", version) + b"".join(blocks)


def lead_blocks(counts: np.ndarray, **options) -> list[bytes]:
    return [
        block(name, row.astype("<i2").tobytes(), **options) for name, row in zip(LEAD_BLOCKS, counts, strict=False)
    ]
