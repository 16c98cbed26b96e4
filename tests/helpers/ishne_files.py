"""A writer of ISHNE files."""

import binascii
import struct

RATE = 200


def ishne(signal, codes=(5, 6, 11), resolutions=(2500, 1000, 5000), slots=None, block=b"", gap=b"", declared=None):
    """Write a recording in the layout of ISHNE 1.0; `slots` are the leads' places among the twelve."""
    num_leads, num_samples = signal.shape
    header = bytearray(512)
    size = num_samples if declared is None else declared
    struct.pack_into("<4ih", header, 0, len(block), size, 522, 522 + len(block) + len(gap), 1)
    struct.pack_into("<h", header, 146, num_leads)
    for index in range(12):
        for at in (148, 172, 196):
            struct.pack_into("<h", header, at + 2 * index, -9)
    for slot, code, resolution in zip(slots or range(num_leads), codes, resolutions, strict=True):
        struct.pack_into("<h", header, 148 + 2 * slot, code)
        struct.pack_into("<h", header, 196 + 2 * slot, resolution)
    struct.pack_into("<h", header, 262, RATE)
    crc = binascii.crc_hqx(bytes(header) + block, 0xFFFF)
    return b"ISHNE1.0" + struct.pack("<H", crc) + bytes(header) + block + gap + signal.T.astype("<i2").tobytes()
