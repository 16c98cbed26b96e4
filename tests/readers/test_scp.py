import struct

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from tests.helpers.expected_formats import assert_samples_read_as_expected
from tests.helpers.scp_files import DEFAULT, differences, huffman, leads, packed, plain, rhythm, scp, table, with_crc


@pytest.fixture
def signal() -> np.ndarray:
    steps = np.random.default_rng(0).normal(scale=30, size=(2, 400)).cumsum(axis=1)
    steps[0, 100] = 32000  # needs the escapes of 16 bits
    return steps.astype(np.int16)


def read(tmp_path, content):
    path = tmp_path / "record.scp"
    path.write_bytes(content)
    return read_ecg(path)


def test_sample_files_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "scp/")


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("coding", ["none", "default"])
def test_every_order_of_differences_reads_plain_and_coded(tmp_path, signal, coding, order):
    if coding == "none":
        encoded = [differences(row, order).astype("<i2").tobytes() for row in signal]
        sections = {3: leads(signal), 6: rhythm(encoded, order)}
    else:
        sections = {2: DEFAULT, 3: leads(signal), 6: rhythm(huffman(signal, order), order)}
    record = read(tmp_path, scp(sections))
    np.testing.assert_allclose(record.signal_mv, signal * 2.5e-3, rtol=1e-12)
    assert record.sampling_rate == 500
    assert record.lead_names == ["I", "II"]


def test_the_amplitude_is_in_nanovolts_and_the_interval_in_microseconds(tmp_path, signal):
    record = read(tmp_path, scp({3: leads(signal), 6: rhythm(plain(signal), amplitude=1000, interval=4000)}))
    np.testing.assert_allclose(record.signal_mv, signal * 1e-3)
    assert record.sampling_rate == 250


def test_the_codes_of_leads_are_those_of_the_standard(tmp_path):
    signal = np.ones((12, 400), dtype=np.int16)
    codes = [1, 2, 61, 62, 63, 64, *range(3, 9)]
    record = read(tmp_path, scp({3: leads(signal, codes), 6: rhythm(plain(signal))}))
    assert record.lead_names == ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def test_inverted_and_derived_leads_are_not_taken_for_the_leads_they_come_from(tmp_path):
    signal = np.ones((3, 400), dtype=np.int16)
    sections = {3: leads(signal, (65, 31, 255)), 6: rhythm(plain(signal))}
    assert read(tmp_path, scp(sections)).lead_names == ["aVRneg", "derived I", "lead code 255"]


def test_leads_recorded_one_after_the_other_are_missing_elsewhere(tmp_path, signal):
    sections = {3: leads(signal, firsts=[11, 411]), 6: rhythm(plain(signal))}
    record = read(tmp_path, scp(sections))
    assert record.signal_mv.shape == (2, 800)
    np.testing.assert_allclose(record.signal_mv[0, :400], signal[0] * 2.5e-3)
    np.testing.assert_allclose(record.signal_mv[1, 400:], signal[1] * 2.5e-3)
    assert np.isnan(record.signal_mv[0, 400:]).all()
    assert np.isnan(record.signal_mv[1, :400]).all()


def test_tables_of_the_file_are_used_and_changed_between(tmp_path):
    # The first table codes 0 and 1 and calls the second, which has signed values of 12 bits and calls the first.
    tables = struct.pack("<H", 2)
    tables += table(("0", 1, 1, 0), ("10", 2, 1, 1), ("11", 2, 0, 2))
    tables += table(("01", 14, 1, 0), ("00", 2, 0, 1), ("1", 1, 1, -7))
    small, large = "0" + "10", "01" + f"{-300 & 0xFFF:012b}" + "01" + f"{300:012b}" + "1"
    bits = (small + "11" + large + "00") * 100
    values = [0, 1, -300, 300, -7] * 100
    signal = np.array([values, values], dtype=np.int16)
    sections = {2: tables, 3: leads(signal), 6: rhythm([packed(bits)] * 2)}
    np.testing.assert_allclose(read(tmp_path, scp(sections)).signal_mv, signal * 2.5e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<H", 1), "empty or cut short"),
        (struct.pack("<HH", 1, 60000), "empty or cut short"),
        (struct.pack("<H", 1) + table(("0", 1, 1, 0), ("01", 2, 1, 1)), "0 begins 01"),
        (struct.pack("<H", 1) + table(("0", 1, 1, 0), ("1", 1, 0, 2)), "changes to table 2 of 1"),
        (struct.pack("<H", 1) + table(("0", 1, 1, 0), ("1", 9, 1, 5)), "both the value 5 and 8 further bits"),
        (struct.pack("<H", 1) + table(("0", 1, 1, 0), ("1", 40, 1, 0)), "of 40 bits"),
        (struct.pack("<H", 1) + table(("00", 2, 1, 0), ("01", 2, 1, 1)), "no Huffman code: 1"),
    ],
    ids=["none", "short", "ambiguous", "absent_table", "value_and_bits", "long", "unknown_bits"],
)
def test_senseless_tables_are_refused(tmp_path, signal, content, message):
    sections = {2: content, 3: leads(signal), 6: rhythm([b"\xff" * 100] * 2)}
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, scp(sections))


def test_a_table_that_only_changes_tables_ends(tmp_path, signal):
    sections = {2: struct.pack("<H", 1) + table(("1", 1, 0, 1)), 3: leads(signal), 6: rhythm([b"\xff" * 100] * 2)}
    with pytest.raises(ECGFileError, match="holds 0"):
        read(tmp_path, scp(sections))


def test_a_lead_that_the_device_cut_short_is_refused_with_both_lengths(tmp_path):
    signal = np.ones((2, 32767), dtype=np.int16)
    sections = {3: leads(signal, lengths=[37855] * 2), 6: rhythm(plain(signal))}
    with pytest.raises(ECGFileError, match="declares 37855 samples of lead I, and holds 32767"):
        read(tmp_path, scp(sections))


def test_coded_samples_that_end_early_are_refused(tmp_path, signal):
    encoded = [part[: len(part) // 2] for part in huffman(signal, 2)]
    sections = {2: DEFAULT, 3: leads(signal), 6: rhythm(encoded, 2)}
    with pytest.raises(ECGFileError, match="declares 400 samples of lead I, and holds"):
        read(tmp_path, scp(sections))


def test_decimated_samples_are_refused(tmp_path, signal):
    sections = {3: leads(signal), 5: rhythm(plain(signal), interval=1000), 6: rhythm(plain(signal), bimodal=1)}
    with pytest.raises(ECGFileError, match="bimodally"):
        read(tmp_path, scp(sections))
    sections[5] = rhythm(plain(signal))  # of the same rate: nothing was decimated
    np.testing.assert_allclose(read(tmp_path, scp(sections)).signal_mv, signal * 2.5e-3)


def test_a_subtracted_beat_that_the_record_lacks_is_refused(tmp_path, signal):
    beats = struct.pack("<HHHHIII", 1000, 200, 1, 0, 1, 200, 400)
    sections = {3: leads(signal, flags=1), 4: beats, 6: rhythm(plain(signal))}
    with pytest.raises(ECGFileError, match="reference beat"):
        read(tmp_path, scp(sections))
    sections[4] = struct.pack("<HHH", 1000, 200, 0)  # subtracted nowhere
    np.testing.assert_allclose(read(tmp_path, scp(sections)).signal_mv, signal * 2.5e-3)


@pytest.mark.parametrize("absent", [3, 6])
def test_a_record_without_leads_or_rhythm_is_refused(tmp_path, signal, absent):
    sections = {3: leads(signal), 6: rhythm(plain(signal))}
    del sections[absent]
    with pytest.raises(ECGFileError, match=f"has no section {absent}"):
        read(tmp_path, scp(sections))


@pytest.mark.parametrize("stated", [400, 401])  # of 400: from 0 to 399, and to 400
def test_samples_may_be_counted_from_zero(tmp_path, signal, stated):
    definition = leads(signal, firsts=[0, 0], lengths=[stated, stated])
    record = read(tmp_path, scp({3: definition, 6: rhythm(plain(signal))}))
    np.testing.assert_allclose(record.signal_mv, signal * 2.5e-3)


def test_coded_samples_counted_from_zero_are_as_many_as_the_last_number(tmp_path, signal):
    definition = leads(signal, firsts=[0, 0], lengths=[401, 401])
    record = read(tmp_path, scp({2: DEFAULT, 3: definition, 6: rhythm(huffman(signal, 2), 2)}))
    np.testing.assert_allclose(record.signal_mv, signal * 2.5e-3)


@pytest.mark.parametrize(
    ("lead_options", "rhythm_options", "message"),
    [
        ({}, {"order": 3}, "differences of order 3"),
        ({}, {"amplitude": 0}, "0 nV a count"),
        ({}, {"interval": 0}, "0 us a sample"),
        ({"lengths": [2**31, 400]}, {}, "cut short"),
        ({"firsts": [1, 2**31]}, {}, "cut short"),
        ({"firsts": [401, 1], "lengths": [0, 400]}, {}, "from sample 401 to 400"),
    ],
)
def test_senseless_definitions_are_refused(tmp_path, signal, lead_options, rhythm_options, message):
    sections = {3: leads(signal, **lead_options), 6: rhythm(plain(signal), **rhythm_options)}
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, scp(sections))


def test_a_changed_bit_is_noticed(tmp_path, signal):
    content = scp({3: leads(signal), 6: rhythm(plain(signal))})
    for at in (0, 25, 90, len(content) - 1):
        damaged = bytearray(content)
        damaged[at] ^= 16
        with pytest.raises(ECGFileError):
            read(tmp_path, bytes(damaged))


def test_a_wrong_checksum_of_a_section_is_named(tmp_path, signal):
    content = bytearray(scp({3: leads(signal), 6: rhythm(plain(signal))}))
    content[-1] ^= 16
    with pytest.raises(ECGFileError, match="checksum of section 6"):
        read(tmp_path, with_crc(bytes(content[2:])))


def test_a_file_that_was_cut_short_is_refused(tmp_path, signal):
    content = scp({3: leads(signal), 6: rhythm(plain(signal))})
    for kept in (10, 33, 60, len(content) // 2, len(content) - 1):
        with pytest.raises(ECGFileError):
            read(tmp_path, content[:kept])


def test_bytes_after_the_record_do_no_harm(tmp_path, signal):
    content = scp({3: leads(signal), 6: rhythm(plain(signal))}) + b"anything"
    np.testing.assert_allclose(read(tmp_path, content).signal_mv, signal * 2.5e-3)


def test_files_that_only_resemble_the_standard_are_refused(tmp_path, signal):
    content = scp({3: leads(signal), 6: rhythm(plain(signal))}, first_index=6)
    with pytest.raises(ECGFileError, match="Healforce"):
        read(tmp_path, content)
