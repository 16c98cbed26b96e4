import struct
from datetime import datetime

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.recording import Metadata
from tests.helpers import mfer as m

EIGHT = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
MV = 0.00125


@pytest.fixture
def eight(counts) -> np.ndarray:
    return counts[:8]


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "ecg.mwf"
        path.write_bytes(content)
        return read_ecg(path)

    return read


def test_the_leads_of_an_electrocardiograph_are_in_volts_times_a_power_of_ten(read, eight):
    record = read(m.mfer(m.item(m.NAME, b"Nobody"), m.recording(eight)))
    assert record.lead_names == EIGHT
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, eight * MV, rtol=1e-12)


@pytest.mark.parametrize("preamble", [b"MFR Monitoring Waveform\0\0", b" MFER Standard 12 Leads ECG     "])
def test_other_makers_write_other_preambles(read, eight, preamble):
    np.testing.assert_allclose(read(m.mfer(m.recording(eight), preamble=preamble)).signal_mv, eight * MV, rtol=1e-12)


def test_a_file_may_begin_with_its_byte_order(read, eight):
    content = m.LITTLE + m.number(m.CHANNELS, 8) + m.recording(eight)
    np.testing.assert_allclose(read(content).signal_mv, eight * MV, rtol=1e-12)


def test_numbers_are_big_endian_unless_the_file_says_otherwise(read, counts):
    parts = [
        *(m.item(0x40, m.PREAMBLE), m.number(m.CHANNELS, 2, order="big"), m.number(m.BLOCK, 50, order="big")),
        *(m.item(m.INTERVAL, b"\0\2\0\5"), m.item(m.SENSITIVITY, b"\0\xfa\0\4")),  # 5e2 Hz and 4 uV
        *(m.channel(index, m.item(m.LEAD, bytes([0, code]))) for index, code in enumerate((2, 64))),
        *(m.item(m.DATA, counts[:2].astype(">i2").tobytes()), m.END),
    ]
    record = read(b"".join(parts))
    assert record.lead_names == ["II", "aVF"]
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, counts[:2] * 0.004, rtol=1e-12)


def test_a_monitor_stores_blocks_of_each_channel_in_turn_with_pressures_and_status_bits_among_them(read, counts):
    """The definitions are those of a recording of Nihon Kohden's CNS-6000."""
    mv, pressure, status = counts[:2, :40], counts[2, :20], counts[3, :40]
    ecg = [m.item(m.SAMPLE, b"\0"), m.number(m.BLOCK, 10), m.item(m.INTERVAL, b"\x01\xfd\x04")]
    volts = m.item(m.SENSITIVITY, b"\x00\xfa\x02\x00")
    slower = [m.item(m.SAMPLE, b"\0"), m.number(m.BLOCK, 5), m.item(m.INTERVAL, b"\x01\xfd\x08")]
    blocks = [
        row[..., begin : begin + size].astype("<i2").tobytes()
        for step in range(4)
        for row, begin, size in (
            *((mv[0], 10 * step, 10), (mv[1], 10 * step, 10)),
            *((pressure, 5 * step, 5), (status, 10 * step, 10)),
        )
    ]
    content = m.mfer(
        *(m.item(m.WAVEFORM, b"\x14"), m.item(m.INTERVAL, b"\x01\xfd\x01"), m.number(m.SEQUENCES, 4, 2)),
        *(m.number(m.CHANNELS, 4, 1), m.item(m.MISSING, b"\x00\x80")),
        *(m.lead(0, 2, *ecg, volts), m.lead(1, 7, *ecg, volts)),
        m.lead(2, 0xC00A, *slower, m.item(m.SENSITIVITY, b"\x01\xfd\x7d\x00")),
        m.lead(3, 0x1040, m.item(m.SAMPLE, b"\4"), *ecg[1:]),
        m.item(m.DATA, b"".join(blocks)),
        preamble=b"MFR Monitoring Waveform".ljust(32, b"\0"),
    )
    record = read(content)
    assert record.lead_names == ["II", "V5"]
    assert record.sampling_rate == 250
    np.testing.assert_allclose(record.signal_mv, mv * 0.002, rtol=1e-12)
    assert record.left_out == {"lead code 49162": "in another unit than volts", "lead code 4160": "status bits"}


def test_the_stated_missing_value_is_no_sample_and_an_offset_is_added(read, eight):
    eight[3, 7] = -32768
    offset = m.item(m.OFFSET, struct.pack("<h", -40))
    record = read(m.mfer(m.recording(eight, extra=m.item(m.MISSING, b"\x00\x80") + offset)))
    expected = np.where(eight == -32768, np.nan, (eight.astype(float) - 40) * MV)
    np.testing.assert_allclose(record.signal_mv, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(1, "<u2"), (2, "<i4"), (3, "u1"), (5, "i1"), (6, "<u4"), (7, "<f4"), (8, "<f8")]
)
def test_samples_may_be_of_other_types(read, counts, kind, dtype):
    rows = (counts[:2] % 100).astype(dtype)
    header = [m.number(m.CHANNELS, 2), m.number(m.BLOCK, 50), m.item(m.SAMPLE, bytes([kind]))]
    scale = [m.item(m.INTERVAL, m.HZ_500), m.item(m.SENSITIVITY, m.UV_1_25)]
    content = m.mfer(*header, *scale, m.lead(0, 1), m.lead(1, 2), m.item(m.DATA, rows.tobytes()))
    np.testing.assert_allclose(read(content).signal_mv, rows.astype(float) * MV, rtol=1e-12)


def test_dominant_beats_behind_the_rhythm_are_left_out(read, eight):
    record = read(m.mfer(m.recording(eight), m.recording(eight[:, ::2], kind=9)))
    np.testing.assert_allclose(record.signal_mv, eight * MV, rtol=1e-12)


def test_channels_may_be_described_in_groups_and_without_a_length(read, counts):
    described = b"\x3f\x00\x80" + m.item(m.LEAD, b"\x01") + b"\0\0"
    others = m.item(m.GROUP, m.channel(1, m.item(m.GROUP, m.item(m.LEAD, b"\x02"))))
    parts = [
        m.number(m.CHANNELS, 2),
        m.number(m.BLOCK, 50),
        m.item(m.INTERVAL, m.HZ_500),
        m.item(m.SENSITIVITY, m.UV_1_25),
    ]
    record = read(m.mfer(*parts, described, others, m.item(m.DATA, counts[:2].astype("<i2").tobytes())))
    assert record.lead_names == ["I", "II"]


def test_leads_without_a_code_have_their_text_or_must_be_given(read, counts, tmp_path):
    parts = [
        m.number(m.CHANNELS, 1),
        m.number(m.BLOCK, 50),
        m.item(m.INTERVAL, m.HZ_500),
        m.item(m.SENSITIVITY, m.UV_1_25),
    ]
    data = m.item(m.DATA, counts[:1].astype("<i2").tobytes())
    assert read(m.mfer(*parts, m.channel(0, m.item(m.LEAD, b"\0\0CM5")), data)).lead_names == ["CM5"]
    assert read(m.mfer(*parts, m.item(m.LEAD, b"\x02"), data)).lead_names == ["II"]
    with pytest.raises(ECGFileError, match="does not name its 1 leads"):
        read(m.mfer(*parts, data))


def test_patient_and_device_are_kept_and_unknown_fields_are_not(read, eight):
    stated = [
        m.item(0x17, b"NIHON KOHDEN^CNS6000^0, 5, 0, 9\0"),
        m.item(0x82, b"12345" + bytes(12)),
        m.item(0x83, b"\0\0\0" + struct.pack("<HBB", 1950, 6, 20)),
        m.item(0x84, b"\2"),
        m.item(0x85, struct.pack("<H9B", 2019, 6, 19, 13, 20, 5, *bytes(4))),
    ]
    metadata = read(m.mfer(m.item(m.NAME, b"Nobody"), *stated, m.recording(eight))).metadata
    assert metadata == Metadata("12345", datetime(2019, 6, 19, 13, 20, 5), 68.0, "female", "NIHON KOHDEN CNS6000")
    unknown = [m.item(0x83, b"\xff" * 7), m.item(0x84, b"\0"), m.item(0x85, bytes(11)), m.item(0x82, bytes(4))]
    assert read(m.mfer(*unknown, m.recording(eight))).metadata == Metadata()


@pytest.mark.parametrize(("lacking", "asked"), [("interval", "sampling_rate"), ("sensitivity", "unit")])
def test_what_the_file_does_not_say_is_asked_for(read, eight, lacking, asked):
    with pytest.raises(ECGFileError, match=f"give {asked}"):
        read(m.mfer(m.recording(eight, **{lacking: b""})))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (m.item(m.COMPRESSION, b"\1\0"), "compressed MFER"),
        (m.item(m.SAMPLE, b"\x09"), "samples of the type 9, compressed or unknown"),
        (m.item(m.BYTE_ORDER, b"\2"), "byte order 02"),
        (m.item(m.INTERVAL, b"\x02\0\1"), "the unit 2, which is no time"),
        (m.item(m.INTERVAL, b"\x01\xfd\xfa"), "sampling interval of the bytes 01fdfa"),
        (m.item(m.SENSITIVITY, b"\x00\xfa"), "resolution of the bytes 00fa"),
        (m.item(m.SENSITIVITY, b"\x01\xfa\1"), "none of its 8 channels is in volts"),
        (m.item(m.MISSING, b"\0"), "missing value of 1 bytes for samples of 2"),
        (m.item(m.OFFSET, b"\0\0\0"), "offset of 3 bytes for samples of 2"),
        (m.number(m.CHANNELS, 0), "declares 0 channels"),
        (m.number(m.CHANNELS, 1 << 31), "declares 2147483648 channels"),
        (m.number(m.BLOCK, 51), "declares 816 bytes of waveforms, and holds 800"),
        (m.number(m.BLOCK, 0), "declares 0 bytes of waveforms"),
        (m.number(m.SEQUENCES, (1 << 32) - 1), "cut short"),
        (m.number(m.BLOCK, 0, 9), "definition 0x04 of 9 bytes"),
        (m.lead(8, 1), "channel 8, counted from 0, of 8"),
        (m.lead(7, 1), "names a lead twice, of I, II, V1"),
        (m.channel(3, m.number(m.BLOCK, 51)), "declares 802 bytes"),
        (m.channel(3, m.item(m.INTERVAL, b"\1\xfd\1")), "channels of different rates"),
        (m.channel(3, m.number(m.SEQUENCES, 2)), "different numbers of sequences"),
        (m.item(m.WAVEFORM, b"\x28"), "holds 0 waveforms of the type of an ECG"),
        (m.item(m.DATA, bytes(800)), "holds 2 waveforms"),
        (m.item(m.WAVEFORM, b"\x09") + m.item(m.DATA, b"") * 1001, "more than 1000 waveforms"),
        (m.item(m.GROUP, m.item(m.GROUP, m.item(m.GROUP, m.item(m.GROUP, m.item(m.GROUP, b""))))), "deeper than 4"),
        (b"\x04\x80", "of no length"),
        (b"\x04\x85" + bytes(5), "no length at byte"),
    ],
)
def test_what_makes_no_sense_is_refused(read, eight, extra, message):
    with pytest.raises(ECGFileError, match=message):
        read(m.mfer(m.recording(eight, extra=extra)))


def test_a_file_that_was_cut_short_is_refused(read, eight):
    content = m.mfer(m.recording(eight))
    for kept in range(30, len(content) - 2, 17):
        with pytest.raises(ECGFileError):
            read(content[:kept])
