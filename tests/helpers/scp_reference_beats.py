"""Writes SCP-ECG records that a reference beat was subtracted from."""

import struct

import numpy as np

from tests.helpers import scp_files as scp

FIDUCIAL = 21  # of the beat, counted from 1
BEAT_MS = 120  # 60 samples of 2 ms
COMPLEXES = [(0, 30, 42, 75), (1, 100, 120, 150), (0, 200, 225, 260), (0, 261, 281, 320)]  # kind, begin, fiducial, end


def less_beats(rows, beats, scale=1, firsts=(1, 1), complexes=COMPLEXES):
    """Subtract the beats sample by sample, by the numbers of samples that the standard defines."""
    residual = rows.astype(np.int64)
    for kind, begin, fiducial, end in complexes:
        for number in range(begin, end + 1) if kind == 0 else ():
            in_beat = number - fiducial + FIDUCIAL
            for row, (beat, first) in enumerate(zip(beats, firsts, strict=True)):
                if 1 <= in_beat <= len(beat) and 0 <= number - first < residual.shape[1]:
                    residual[row, number - first] -= scale * beat[in_beat - 1]
    return residual.astype(np.int16)


def locations(complexes=COMPLEXES, length_ms=BEAT_MS, declared=None):
    zones = b"".join(struct.pack("<HIII", *each) for each in complexes)
    number = len(complexes) if declared is None else declared
    return struct.pack("<HHH", length_ms, FIDUCIAL, number) + zones


def record(residual, beats, coding="plain", order=0, beat_options=None, firsts=None, section_4=None):
    sections = {3: scp.leads(residual, firsts=firsts, flags=1), 4: section_4 or locations()}
    if coding == "huffman":
        encoded, encoded_beats = scp.huffman(residual, order), scp.huffman(beats, order)
        sections[2] = scp.DEFAULT
    else:
        encoded, encoded_beats = (
            [scp.differences(row, order).astype("<i2").tobytes() for row in each] for each in (residual, beats)
        )
    sections |= {5: scp.rhythm(encoded_beats, order, **beat_options or {}), 6: scp.rhythm(encoded, order)}
    return scp.scp(dict(sorted(sections.items())))
