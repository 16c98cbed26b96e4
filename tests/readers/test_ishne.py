import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from tests.helpers.expected_formats import assert_samples_read_as_expected
from tests.helpers.ishne_files import RATE, ishne


@pytest.fixture
def signal() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, size=(3, 500), dtype=np.int16)


def read(tmp_path, content):
    path = tmp_path / "holter.ecg"
    path.write_bytes(content)
    return read_ecg(path)


def test_sample_files_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "ishne/")


def test_each_lead_has_its_resolution_in_nanovolts(tmp_path, signal):
    record = read(tmp_path, ishne(signal))
    np.testing.assert_allclose(record.signal_mv, signal * np.array([[2.5e-3], [1e-3], [5e-3]]), rtol=1e-12)
    assert record.lead_names == ["I", "II", "V1"]
    assert record.sampling_rate == RATE


def test_the_signal_starts_where_the_header_says(tmp_path, signal):
    record = read(tmp_path, ishne(signal, block=b"anything", gap=b"\0" * 6))
    np.testing.assert_allclose(record.signal_mv[1], signal[1] * 1e-3)


def test_leads_may_leave_slots_empty(tmp_path, signal):
    record = read(tmp_path, ishne(signal, slots=(0, 4, 9)))
    assert record.lead_names == ["I", "II", "V1"]
    np.testing.assert_allclose(record.signal_mv[2], signal[2] * 5e-3)


def test_the_lead_codes_are_those_of_the_standard(tmp_path):
    signal = np.ones((12, 400), dtype=np.int16)
    names = read(tmp_path, ishne(signal, codes=range(5, 17), resolutions=[1000] * 12)).lead_names
    assert names == ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    assert read(tmp_path, ishne(signal[:3], codes=(2, 3, 4))).lead_names == ["X", "Y", "Z"]


def test_leads_of_no_known_place_are_numbered(tmp_path, signal):
    assert read(tmp_path, ishne(signal, codes=(1, 0, 1))).lead_names == ["lead 1", "lead 2", "lead 3"]


def test_the_number_of_samples_may_count_all_leads(tmp_path, signal):
    np.testing.assert_array_equal(
        read(tmp_path, ishne(signal, declared=1500)).signal_mv, read(tmp_path, ishne(signal)).signal_mv
    )


@pytest.mark.parametrize("at", [8, 20, 200, 525])
def test_a_damaged_header_is_refused(tmp_path, signal, at):
    content = bytearray(ishne(signal, block=b"anything"))
    content[at] ^= 1
    with pytest.raises(ECGFileError):
        read(tmp_path, bytes(content))


def test_a_wrong_checksum_is_named(tmp_path, signal):
    content = bytearray(ishne(signal))
    content[30] ^= 1  # the patient's name
    with pytest.raises(ECGFileError, match="checksum is 0x"):
        read(tmp_path, bytes(content))


def test_a_checksum_of_zero_was_not_computed(tmp_path, signal):
    content = ishne(signal)
    record = read(tmp_path, content[:8] + b"\0\0" + content[10:])
    np.testing.assert_allclose(record.signal_mv[0], signal[0] * 2.5e-3)


def test_the_lowest_code_marks_a_lead_that_was_off(tmp_path, signal):
    signal[1, 7:9] = -32768
    record = read(tmp_path, ishne(signal))
    assert np.argwhere(np.isnan(record.signal_mv)).tolist() == [[1, 7], [1, 8]]


@pytest.mark.parametrize("kept", [0, 9, 521, 522, 1000, 3521])
def test_a_file_that_was_cut_short_is_refused(tmp_path, signal, kept):
    with pytest.raises(ECGFileError):
        read(tmp_path, ishne(signal)[:kept])


@pytest.mark.parametrize("declared", [-1, 0, 501, 2**31 - 1])
def test_a_number_of_samples_the_file_cannot_hold_is_refused(tmp_path, signal, declared):
    with pytest.raises(ECGFileError, match="declares 3 channels"):
        read(tmp_path, ishne(signal, declared=declared))


def test_a_file_longer_than_it_declares_is_refused(tmp_path, signal):
    content = ishne(signal)
    with pytest.raises(ECGFileError, match="declares 500 samples a lead, and holds 2 bytes more"):
        read(tmp_path, content[:1000] + b"\r\r" + content[1000:])
    with pytest.raises(ECGFileError, match="declares 490 samples a lead, and holds 60 bytes more"):
        read(tmp_path, ishne(signal, declared=490))


def test_a_resolution_that_is_not_positive_is_refused(tmp_path, signal):
    with pytest.raises(ECGFileError, match="resolution of -9 nV for II"):
        read(tmp_path, ishne(signal, resolutions=(1, -9, 1)))


def test_annotations_are_refused(tmp_path, signal):
    with pytest.raises(ECGFileError, match="annotations"):
        read(tmp_path, b"ANN  1.0" + ishne(signal)[8:])
