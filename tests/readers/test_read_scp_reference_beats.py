import struct

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from tests import test_read_scp as scp

FIDUCIAL = 21  # of the beat, counted from 1
BEAT_MS = 120  # 60 samples of 2 ms
COMPLEXES = [(0, 30, 42, 75), (1, 100, 120, 150), (0, 200, 225, 260), (0, 261, 281, 320)]  # kind, begin, fiducial, end


@pytest.fixture
def rows() -> np.ndarray:
    steps = np.random.default_rng(0).normal(scale=30, size=(2, 400)).cumsum(axis=1)
    steps[0, 210] = -32700  # less the beat it leaves 16 bits
    return steps.astype(np.int16)


@pytest.fixture
def beats() -> np.ndarray:
    return (np.hanning(60) * [[900], [-400]]).astype(np.int16)


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


@pytest.mark.parametrize("coding", ["plain", "huffman"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_subtracted_beat_is_added_again(tmp_path, rows, beats, coding, order):
    content = record(less_beats(rows, beats), beats, coding, order)
    np.testing.assert_allclose(scp.read(tmp_path, content).signal_mv, rows * 2.5e-3, rtol=1e-12)


def test_a_beat_may_be_stored_in_other_counts(tmp_path, rows, beats):
    rows[0, 210] = 0
    content = record(less_beats(rows, beats, scale=2), beats, beat_options={"amplitude": 5000})
    np.testing.assert_allclose(scp.read(tmp_path, content).signal_mv, rows * 2.5e-3, atol=1e-12)


def test_complexes_are_counted_from_the_beginning_of_the_rhythm_and_may_reach_beyond_a_lead(tmp_path, rows, beats):
    firsts = [1, 41]
    content = record(less_beats(rows, beats, firsts=firsts), beats, firsts=firsts)
    signal = scp.read(tmp_path, content).signal_mv
    np.testing.assert_allclose(signal[0, :400], rows[0] * 2.5e-3, rtol=1e-12)
    np.testing.assert_allclose(signal[1, 40:], rows[1] * 2.5e-3, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beat_options": {"interval": 1000}}, "another sampling rate"),
        ({"beat_options": {"amplitude": 0}}, "60 samples of 0 nV a count"),
        ({"section_4": locations(length_ms=1)}, "0 samples of 2500 nV"),
        ({"section_4": locations(length_ms=500)}, "declares 250 samples of lead I, and holds 60"),
        ({"section_4": locations(declared=9)}, "declares 9 QRS complexes"),
        ({"section_4": b"\0\0"}, "section 4 of 2 bytes"),
        ({"section_4": locations(COMPLEXES * 30)}, "from 4[0-9]* of 400 samples: damaged"),
        ({"firsts": [0, 0]}, "counts samples from 0"),
    ],
)
def test_a_beat_that_cannot_be_placed_is_refused(tmp_path, rows, beats, options, message):
    with pytest.raises(ECGFileError, match=message):
        scp.read(tmp_path, record(less_beats(rows, beats), beats, **options))


def test_a_beat_subtracted_nowhere_is_not_added(tmp_path, rows, beats):
    content = record(rows, beats, section_4=locations([(1, 30, 42, 75)]))
    path = tmp_path / "record.scp"
    path.write_bytes(content)
    np.testing.assert_allclose(read_ecg(path).signal_mv, rows * 2.5e-3, rtol=1e-12)
