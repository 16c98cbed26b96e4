import numpy as np
import pytest
import scipy.io

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import Metadata
from tests.helpers.matlab import cpsc, save_73

STATED = {"sampling_rate": 500, "unit": "mV", "lead_names": STANDARD_LEADS}


@pytest.fixture
def mv() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 90))


@pytest.fixture(params=["5", "5 compressed", "7.3"])
def save(request, tmp_path):
    """A function that writes variables in one of the versions, and returns the file's path."""

    def save(**variables):
        path = tmp_path / "A0001.mat"
        if request.param == "7.3":
            return save_73(path, variables)
        scipy.io.savemat(path, variables, do_compression="compressed" in request.param)
        return path

    return save


def test_the_only_structure_is_read_as_its_only_matrix(save, mv):
    record = read_ecg(save(**cpsc(mv)), **STATED)
    np.testing.assert_array_equal(record.signal_mv, mv)
    assert record.lead_names == list(STANDARD_LEADS)
    assert record.metadata == Metadata(sex="male", age_years=74.0)


@pytest.mark.parametrize(
    "stated", [{"sex": "unknown", "age": np.nan}, {"sex": 1.0, "age": "old"}, {"sex": "", "age": 700.0}]
)
def test_what_is_no_sex_or_age_is_left_out(save, mv, stated):
    assert read_ecg(save(**cpsc(mv, **stated)), **STATED).metadata == Metadata()


def test_a_structure_may_state_the_rate(save, mv):
    path = save(**cpsc(mv, fs=250.0))
    assert read_ecg(path, unit="mV", lead_names=STANDARD_LEADS).sampling_rate == 250
    with pytest.raises(ECGFileError, match="states a sampling_rate of 250"):
        read_ecg(path, **STATED)


def test_a_matrix_beside_a_structure_is_read(save, mv):
    np.testing.assert_array_equal(read_ecg(save(val=mv, about={"other": -mv}), **STATED).signal_mv, mv)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32])
def test_matrices_of_all_types_are_read_in_either_orientation(save, mv, dtype):
    counts = (mv * 50).clip(0).astype(dtype)
    for matrix in (counts, counts.T):
        np.testing.assert_array_equal(read_ecg(save(val=matrix), **STATED).signal_mv, counts.astype(np.float64))


def test_the_lowest_count_is_missing(save):
    counts = np.arange(-500, 580, dtype=np.int16).reshape(12, 90)
    counts[3, 5] = -32768
    assert np.argwhere(np.isnan(read_ecg(save(val=counts), **STATED).signal_mv)).tolist() == [[3, 5]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ECG": {"data": np.ones((12, 90)), "median": np.ones((12, 60))}}, r"found data \(double, 12x90\), median"),
        ({"ECG": {"sex": "Male", "age": 74.0}}, r"sex \(char"),
        ({"one": {"data": np.ones((12, 90))}, "two": {"data": np.ones((12, 90))}}, r"found one \(struct, 1x1\), two"),
        ({"ECG": {"deep": {"data": np.ones((12, 90))}}}, r"found deep \(struct"),
        ({"val": "text"}, r"found val \(char"),
    ],
)
def test_what_does_not_say_which_matrix_it_is_is_refused(save, variables, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(save(**variables), **STATED)


def test_a_file_that_is_cut_short_is_refused(save, mv):
    path = save(**cpsc(mv))
    content = path.read_bytes()
    for end in range(20, len(content) - 1, 1 + len(content) // 30):
        path.write_bytes(content[:end])
        with pytest.raises(ECGFileError):
            read_ecg(path, **STATED)
