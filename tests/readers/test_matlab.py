import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.expected_formats import assert_read_as_expected, cases_of

STATED = {"sampling_rate": 500, "unit": 0.001, "lead_names": STANDARD_LEADS}


@pytest.fixture
def counts():
    return np.random.default_rng(0).integers(-2000, 2000, (12, 100)).astype(np.int16)


def save(path: Path, version: str = "5", **variables) -> Path:
    scipy.io.savemat(path, variables, format=version, do_compression=version == "5")
    return path


def test_challenge_records_read_as_expected(formats_dir):
    cases = cases_of(formats_dir, "challenge_mat/")
    for name, case in cases.items():
        assert_read_as_expected(formats_dir / name, case)
        assert_read_as_expected((formats_dir / name).with_suffix(".mat"), case)


def test_a_challenge_file_without_its_header_asks_for_what_the_header_says(formats_dir, tmp_path):
    path = Path(shutil.copy(formats_dir / "challenge_mat" / "E07500.mat", tmp_path))
    with pytest.raises(ECGFileError, match="give sampling_rate"):
        read_ecg(path)
    whole = read_ecg(formats_dir / "challenge_mat" / "E07500")
    np.testing.assert_allclose(read_ecg(path, **STATED).signal_mv, whole.signal_mv, atol=1e-12)


@pytest.mark.parametrize("version", ["4", "5"])
def test_both_orientations_read_the_same(tmp_path, counts, version):
    for matrix in (counts, counts.T):
        record = read_ecg(save(tmp_path / "ecg.mat", version, val=matrix), **STATED)
        np.testing.assert_allclose(record.signal_mv, counts / 1000, atol=1e-12)
        assert tuple(record.lead_names) == STANDARD_LEADS


@pytest.mark.parametrize("lacking", list(STATED))
def test_what_the_file_does_not_say_is_asked_for(tmp_path, counts, lacking):
    path = save(tmp_path / "ecg.mat", val=counts)
    with pytest.raises(ECGFileError, match=f"give {lacking}"):
        read_ecg(path, **{name: value for name, value in STATED.items() if name != lacking})


def test_the_lowest_count_and_nan_are_missing(tmp_path, counts):
    counts[3, 5] = -32768
    expected = np.where(counts == -32768, np.nan, counts / 1000)
    for matrix in (counts, np.where(counts == -32768, np.nan, counts)):
        record = read_ecg(save(tmp_path / "ecg.mat", val=matrix), **STATED)
        np.testing.assert_allclose(record.signal_mv, expected, atol=1e-12)


def test_val_is_preferred_and_a_single_matrix_needs_no_name(tmp_path, counts):
    for variables in ({"val": counts, "other": -counts}, {"ecg": counts, "gain": 7, "note": "text"}):
        record = read_ecg(save(tmp_path / "ecg.mat", **variables), **STATED)
        np.testing.assert_allclose(record.signal_mv, counts / 1000, atol=1e-12)


@pytest.mark.parametrize(("name", "version"), [("fs", "5"), ("Fs", "4"), ("sampling_rate", "5")])
def test_a_single_number_may_state_the_rate(tmp_path, counts, name, version):
    path = save(tmp_path / "ecg.mat", version, ecg=counts, **{name: 250.0}, gain=1000.0)
    assert read_ecg(path, unit=0.001, lead_names=STANDARD_LEADS).sampling_rate == 250
    with pytest.raises(ECGFileError, match="states a sampling_rate of 250; it is given as 500"):
        read_ecg(path, **STATED)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"one": np.ones((2, 9)), "two": np.ones((2, 9))}, r"found one \(double, 2x9\), two"),
        ({"ECG": np.array([(1.0, 2.0)] * 2, dtype=[("age", "f8"), ("rate", "f8")])}, r"found ECG \(struct"),
        ({"val": np.array([1, "a"], dtype=object)}, r"found val \(cell"),
        ({"val": "text"}, r"found val \(char"),
        ({"val": np.ones((9, 9))}, r"shape \(9, 9\); expected \(leads, samples\)"),
        ({"val": np.ones((2, 3, 4))}, r"shape \(2, 3, 4\)"),
        ({"val": np.ones((2, 9)) * 1j}, r"found val \(complex"),
        ({"val": np.zeros((0, 9))}, "found val"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(tmp_path, variables, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(save(tmp_path / "ecg.mat", **variables), **STATED)


def test_a_matrix_that_unpacks_to_far_more_than_an_ecg_is_refused(tmp_path, counts):
    path = save(tmp_path / "ecg.mat", val=counts)
    content = path.read_bytes()
    array = bytearray(zlib.decompress(content[136:]))
    array[32:40] = (50_000).to_bytes(4, "little") * 2  # rows and columns
    packed = zlib.compress(bytes(array))
    path.write_bytes(content[:132] + len(packed).to_bytes(4, "little") + packed)
    with pytest.raises(ECGFileError, match="declares 2500000000 values"):
        read_ecg(path, **STATED)


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, counts, version):
    path = save(tmp_path / "ecg.mat", version, val=counts)
    content = path.read_bytes()
    for end in range(20, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(ECGFileError):
            read_ecg(path, **STATED)
