import zlib
from datetime import datetime

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import Metadata
from tests.helpers.atc import atc, block, lead_blocks, stated_format

INFO = block(b"info", b"2018-10-10T11:13:11-0700".ljust(264, b"\0"))
FORMAT = block(b"fmt ", stated_format())


def read(tmp_path, content):
    path = tmp_path / "kardia.atc"
    path.write_bytes(content)
    return read_ecg(path)


@pytest.mark.parametrize("num_leads", [1, 6, 12])
def test_leads_are_in_units_of_the_stated_nanovolts(tmp_path, counts, num_leads):
    record = read(tmp_path, atc(INFO, FORMAT, *lead_blocks(counts[:num_leads])))
    assert record.lead_names == list(STANDARD_LEADS[:num_leads])
    assert record.sampling_rate == 300
    np.testing.assert_allclose(record.signal_mv, counts[:num_leads] * 0.0005, rtol=1e-12)


def test_blocks_may_come_in_any_order(tmp_path, counts):
    blocks = [INFO, *lead_blocks(counts[:6]), block(b"fmt ", stated_format(rate=600, resolution=250))]
    record = read(tmp_path, atc(*blocks[::-1]))
    assert record.lead_names == list(STANDARD_LEADS[:6])
    assert record.sampling_rate == 600
    np.testing.assert_allclose(record.signal_mv, counts[:6] * 0.00025, rtol=1e-12)


def test_the_time_and_the_recorder_are_kept(tmp_path, counts):
    info = b"2018-10-10T11:13:11-0700".ljust(180, b"\0") + b"triangle hw1".ljust(84, b"\0")
    metadata = read(tmp_path, atc(block(b"info", info), FORMAT, *lead_blocks(counts[:1]))).metadata
    assert metadata == Metadata(recorded_at=datetime(2018, 10, 10, 11, 13, 11), device="AliveCor triangle hw1")


def test_averaged_beats_annotations_and_blocks_of_later_versions_are_left_out(tmp_path, counts):
    others = [block(name, b"\1\0" * 7) for name in (b"avg ", b"med2", b"ann ", b"acc ", b"new ")]
    record = read(tmp_path, atc(FORMAT, *others[:2], *lead_blocks(counts[:2]), *others[2:], version=5))
    assert record.signal_mv.shape == (2, 50)


def test_a_checksum_may_be_the_crc_of_the_specification(tmp_path, counts):
    content = atc(block(b"fmt ", stated_format(), zlib.crc32), *lead_blocks(counts[:1], checksum=zlib.crc32))
    np.testing.assert_allclose(read(tmp_path, content).signal_mv, counts[:1] * 0.0005, rtol=1e-12)


@pytest.mark.parametrize("at", [20, 300, 330])
def test_a_changed_byte_is_noticed(tmp_path, counts, at):
    content = bytearray(atc(INFO, FORMAT, *lead_blocks(counts[:1])))
    content[at] ^= 4
    with pytest.raises(ECGFileError, match=r"the checksum of the block (info|fmt|ecg) is 0x"):
        read(tmp_path, bytes(content))


def test_a_file_that_was_cut_short_is_refused(tmp_path, counts):
    content = atc(INFO, FORMAT, *lead_blocks(counts[:2]))
    for kept in range(8, len(content), 11):
        with pytest.raises(ECGFileError):
            read(tmp_path, content[:kept])


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([FORMAT], "holds no ECG block"),
        ([block(b"ecg ", b"\1\0")], "format block of 0 bytes"),
        ([FORMAT, FORMAT], "the block fmt twice"),
        ([FORMAT, block(b"ecg ", b"\1\0\1")], "no whole number of 16-bit samples"),
        ([FORMAT, block(b"ecg ", b"")], "must be positive"),
        ([FORMAT, block(b"ecg ", b"\1\0"), block(b"ecg2", b"\1\0" * 2)], "leads of 1 and of 2 samples"),
        ([block(b"fmt ", stated_format(kind=2)), block(b"ecg ", b"\1\0")], "samples of the format 2"),
        ([block(b"fmt ", stated_format(flags=3)), block(b"ecg ", b"\1\0")], "polarity"),
        ([block(b"fmt ", stated_format(rate=0)), block(b"ecg ", b"\1\0")], "0 Hz and 500 nV"),
        ([block(b"fmt ", stated_format(resolution=0)), block(b"ecg ", b"\1\0")], "300 Hz and 0 nV"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, blocks, message):
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, atc(*blocks))
