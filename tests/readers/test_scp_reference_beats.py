import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from tests.helpers.scp_reference_beats import COMPLEXES, less_beats, locations, record


@pytest.fixture
def rows() -> np.ndarray:
    steps = np.random.default_rng(0).normal(scale=30, size=(2, 400)).cumsum(axis=1)
    steps[0, 210] = -32700  # less the beat it leaves 16 bits
    return steps.astype(np.int16)


@pytest.fixture
def beats() -> np.ndarray:
    return (np.hanning(60) * [[900], [-400]]).astype(np.int16)


@pytest.mark.parametrize("coding", ["plain", "huffman"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_subtracted_beat_is_added_again(tmp_path, rows, beats, coding, order):
    content = record(less_beats(rows, beats), beats, coding, order)
    np.testing.assert_allclose(read(tmp_path, content).signal_mv, rows * 2.5e-3, rtol=1e-12)


def read(tmp_path, content):
    path = tmp_path / "record.scp"
    path.write_bytes(content)
    return read_ecg(path)


def test_a_beat_may_be_stored_in_other_counts(tmp_path, rows, beats):
    rows[0, 210] = 0
    content = record(less_beats(rows, beats, scale=2), beats, beat_options={"amplitude": 5000})
    np.testing.assert_allclose(read(tmp_path, content).signal_mv, rows * 2.5e-3, atol=1e-12)


def test_complexes_are_counted_from_the_beginning_of_the_rhythm_and_may_reach_beyond_a_lead(tmp_path, rows, beats):
    firsts = [1, 41]
    content = record(less_beats(rows, beats, firsts=firsts), beats, firsts=firsts)
    signal = read(tmp_path, content).signal_mv
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
        read(tmp_path, record(less_beats(rows, beats), beats, **options))


def test_a_beat_subtracted_nowhere_is_not_added(tmp_path, rows, beats):
    content = record(rows, beats, section_4=locations([(1, 30, 42, 75)]))
    path = tmp_path / "record.scp"
    path.write_bytes(content)
    np.testing.assert_allclose(read_ecg(path).signal_mv, rows * 2.5e-3, rtol=1e-12)
