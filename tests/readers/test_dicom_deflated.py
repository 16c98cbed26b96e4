import io
import zlib

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg

pytest.importorskip("pydicom")
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tests.helpers import dicom_files as dicom


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, size=(2, 500)).astype("<i2")


def written(samples, syntax=DeflatedExplicitVRLittleEndian) -> bytes:
    stream = io.BytesIO()
    groups = [dicom.group(samples, [dicom.channel(dicom.LEAD_I), dicom.channel(dicom.LEAD_II)])]
    dicom.dicom(stream, groups, syntax=syntax)
    return stream.getvalue()


def read(tmp_path, content):
    path = tmp_path / "ecg.dcm"
    path.write_bytes(content)
    return read_ecg(path)


def information_end(content: bytes) -> int:
    return 144 + int.from_bytes(content[140:144], "little")


def test_a_deflated_file_reads_as_one_that_is_not(tmp_path, samples):
    plain = read(tmp_path, written(samples, ExplicitVRLittleEndian))
    deflated = read(tmp_path, written(samples))
    np.testing.assert_array_equal(deflated.signal_mv, plain.signal_mv)
    np.testing.assert_allclose(deflated.signal_mv, samples * 0.0025, rtol=1e-12)
    assert deflated.lead_names == ["I", "II"]
    assert deflated.sampling_rate == 500


def test_deflated_data_that_end_early_or_are_damaged_are_refused(tmp_path, samples):
    content = written(samples)
    begin = information_end(content)
    for kept in (140, begin, begin + 10, len(content) - 10):
        with pytest.raises(ECGFileError):
            read(tmp_path, content[:kept])
    with pytest.raises(ECGFileError, match="damaged deflated data"):
        read(tmp_path, content[:begin] + b"\xff" * 40)


def test_data_that_inflate_to_far_more_than_an_ecg_are_refused(tmp_path, samples):
    content = written(samples)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(60_000_000)) + packer.flush()
    with pytest.raises(ECGFileError, match="without an end"):
        read(tmp_path, content[: information_end(content)] + bomb)


def test_data_that_are_deflated_twice_are_refused(tmp_path, samples):
    content = written(samples)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    twice = packer.compress(content[132:]) + packer.flush()
    with pytest.raises(ECGFileError, match="deflated twice"):
        read(tmp_path, content[: information_end(content)] + twice)


def test_the_syntax_must_stand_in_the_information_of_the_file(tmp_path, samples):
    content = written(samples, ExplicitVRLittleEndian)
    with pytest.raises(ECGFileError, match="outside its file information"):
        read(tmp_path, content + b"1.2.840.10008.1.2.1.99")
    with pytest.raises(ECGFileError, match="without the length"):
        read(tmp_path, written(samples)[132:])
