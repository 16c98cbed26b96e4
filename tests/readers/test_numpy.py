import io
import zipfile

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS

STATED = {"sampling_rate": 500, "unit": "uV", "lead_names": STANDARD_LEADS}


@pytest.fixture
def counts():
    return np.random.default_rng(0).integers(-2000, 2000, (12, 100)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ecg.npz"


def save(path, array):
    with open(path, "wb") as stream:  # `np.save` would add an ending
        np.save(stream, array)
    return path


def npy_header(shape, descr="<i2"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["<i2", ">i4", "<f4", "<f8", "<u2"])
@pytest.mark.parametrize("arrange", [np.asarray, np.transpose, np.asfortranarray])
def test_an_array_reads_in_both_orientations(path, counts, arrange, kind):
    counts = abs(counts)
    record = read_ecg(save(path, arrange(counts.astype(kind))), **STATED)
    np.testing.assert_allclose(record.signal_mv, counts / 1000, rtol=1e-6)
    assert (record.sampling_rate, tuple(record.lead_names)) == (500, STANDARD_LEADS)


def test_one_dimension_is_one_lead(path, counts):
    record = read_ecg(save(path, counts[0]), **STATED | {"lead_names": ["II"]})
    np.testing.assert_allclose(record.signal_mv, counts[:1] / 1000)


@pytest.mark.parametrize("lacking", list(STATED))
def test_what_the_file_does_not_say_is_asked_for(path, counts, lacking):
    save(path, counts)
    with pytest.raises(ECGFileError, match=f"give {lacking}"):
        read_ecg(path, **{name: value for name, value in STATED.items() if name != lacking})


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_archive_may_state_everything(path, counts, write):
    write(path, signal=counts.T, **STATED)
    record = read_ecg(path)
    np.testing.assert_allclose(record.signal_mv, counts / 1000)
    assert (record.sampling_rate, tuple(record.lead_names)) == (500, STANDARD_LEADS)
    with pytest.raises(ECGFileError, match=r"states a sampling_rate of 500; it is given as 250"):
        read_ecg(path, sampling_rate=250)


def test_units_may_be_numbers_or_one_a_lead(path, counts):
    np.savez(path, counts, sampling_rate=500.0, unit=0.005, lead_names=STANDARD_LEADS)
    np.testing.assert_allclose(read_ecg(path).signal_mv, counts * 0.005)
    np.savez(path, signal=counts, sampling_rate=500, unit=["mV"] + ["uV"] * 11, lead_names=STANDARD_LEADS)
    np.testing.assert_allclose(read_ecg(path).signal_mv, counts * np.array([[1.0]] + [[0.001]] * 11))


def test_an_archive_may_use_the_names_of_other_packages(path, counts):
    np.savez(path, ecg=counts, fs=500, units="uV", sig_name=STANDARD_LEADS)
    record = read_ecg(path)
    np.testing.assert_allclose(record.signal_mv, counts / 1000)
    assert (record.sampling_rate, tuple(record.lead_names)) == (500, STANDARD_LEADS)


@pytest.mark.parametrize("unit", [0, -1.0, np.inf, [1.0, 2.0]])
def test_impossible_numbers_as_units_are_refused(path, counts, unit):
    np.savez(path, counts, sampling_rate=500, unit=unit, lead_names=STANDARD_LEADS)
    with pytest.raises(ECGFileError, match="one positive number of mV a count, or one a lead"):
        read_ecg(path)


def test_nan_is_a_missing_sample(path, counts):
    signal = np.where(counts == counts[3, 5], np.nan, counts)
    np.testing.assert_allclose(read_ecg(save(path, signal), **STATED).signal_mv, signal / 1000)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array(["a", "b", "c"]),
        np.ones((2, 9)) * 1j,
        np.ones((2, 9), bool),
        np.zeros(9, dtype=[("I", "f4"), ("II", "f4")]),
        np.ones((9, 9)),
        np.ones((2, 3, 4)),
        np.ones((0, 4)),
        np.float64(1.0),
    ],
    ids=["objects", "texts", "complex", "bool", "structured", "square", "three_dimensions", "empty", "scalar"],
)
def test_what_is_no_signal_is_refused_and_nothing_is_unpickled(path, array):
    with pytest.raises(ECGFileError, match=str(path)):
        read_ecg(save(path, array), **STATED | {"lead_names": None})
    np.savez(path, signal=array)
    with pytest.raises(ECGFileError, match=str(path)):
        read_ecg(path, **STATED | {"lead_names": None})


@pytest.mark.parametrize("shape", [(12, 10**12), (10**6, 10**6), (12, -100), (12, 101), (-12, -100)])
def test_a_declared_shape_beyond_the_file_is_refused(path, counts, shape):
    path.write_bytes(npy_header(shape) + counts.tobytes())
    with pytest.raises(ECGFileError, match=r"expected numbers that fit in|describes no array|cannot be read by numpy"):
        read_ecg(path, **STATED)


def test_an_archive_that_unpacks_to_far_more_than_an_ecg_is_refused(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signal.npy", "w") as member:
        member.write(npy_header((12, 10**6), "|i1"))
        member.write(bytes(12 * 10**6))
    with pytest.raises(ECGFileError, match="more than a signal is compressed to"):
        read_ecg(path, **STATED)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"one": np.ones((2, 9)), "two": np.ones((2, 9))}, "found one, two"),
        ({"sampling_rate": 500}, "found sampling_rate"),
        ({"ecg": np.ones((2, 9)), "fs": 250, "sampling_rate": 500}, "found ecg, fs, sampling_rate"),
        ({"signal": np.ones((2, 9)), "sampling_rate": [500, 500]}, "expected one number, in Hz"),
        ({"signal": np.ones((2, 9)), "sampling_rate": "fast"}, "expected one number, in Hz"),
        ({"signal": np.ones((2, 9)), "unit": np.array([None])}, "declares object"),
    ],
)
def test_an_archive_that_cannot_be_understood_is_refused(path, arrays, message):
    np.savez(path, **arrays)
    with pytest.raises(ECGFileError, match=message):
        read_ecg(path, **STATED | {"lead_names": ["I", "II"]})


def test_another_kind_of_archive_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sheet.xml", "<xml/>")
    with pytest.raises(ECGFileError, match="is a zip archive without NumPy arrays: unpack it"):
        read_ecg(path)


def test_a_file_that_is_cut_short_is_refused(path, counts):
    np.savez_compressed(path, signal=counts, **STATED)
    archive = path.read_bytes()
    for content in (save(path, counts).read_bytes(), archive):
        for end in range(8, len(content), 97):
            path.write_bytes(content[:end])
            with pytest.raises(ECGFileError):
                read_ecg(path, **STATED)


def test_a_file_with_inserted_bytes_is_refused(path, counts):
    content = save(path, counts).read_bytes()
    path.write_bytes(content[:300] + b"\r" + content[300:])
    with pytest.raises(ECGFileError, match=r"declares int16 of shape \(.*\), and holds 1 bytes more"):
        read_ecg(path, **STATED)


@pytest.mark.parametrize("code", [0x110000, 0xD800])
def test_names_of_no_characters_are_refused(path, counts, code):
    names = np.array(["I", "II"]).view("<u4")
    names[0] = code
    np.savez(path, **STATED | {"signal": counts[:2], "lead_names": names.view("<U2")})
    with pytest.raises(ECGFileError, match="UnicodeDecodeError"):
        read_ecg(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("volts", [1e308, np.inf])
def test_amplitudes_beyond_all_numbers_are_one_error_without_warnings(path, volts):
    with pytest.raises(ECGFileError, match="infinite"):
        read_ecg(save(path, np.full((2, 9), volts)), **STATED | {"unit": "V", "lead_names": ["I", "II"]})


def test_a_damaged_header_is_one_error_without_warnings(path, counts, recwarn):
    content = save(path, counts).read_bytes()
    path.write_bytes(content.replace(b"'descr'", rb"'de\cr'"))
    with pytest.raises(ECGFileError, match="describes no array"):
        read_ecg(path, **STATED)
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<f8"])
def test_the_lowest_code_of_16_bits_is_a_missing_sample_in_any_numbers(path, counts, kind):
    counts[6, 10:13] = -32768
    record = read_ecg(save(path, counts.astype(kind)), **STATED)
    assert np.argwhere(np.isnan(record.signal_mv)).tolist() == [[6, 10], [6, 11], [6, 12]]


def test_the_lowest_code_of_16_bits_is_a_value_among_larger_numbers(path, counts):
    large = counts.astype("<i4")
    large[6, 10:13], large[0, 0] = -32768, -40000
    assert np.isfinite(read_ecg(save(path, large), **STATED | {"unit": 1e-5}).signal_mv).all()


def test_a_header_of_nested_operators_is_refused_with_a_reason(path):
    text = b"{'descr': '<i2', 'fortran_order': False, 'shape': (" + b"-" * 3000 + b"1,)}"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(ECGFileError, match="has a header that describes no array"):
        read_ecg(path, **STATED)


def test_an_excel_workbook_is_named_with_the_way_on(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ECGFileError, match="is an Excel workbook, which is not read: save the sheet as CSV"):
        read_ecg(path)


def test_a_member_that_is_not_needed_is_not_unpacked(path, counts):
    np.savez(path, signal=counts, **STATED)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("notes.npy", bytes(10**6))
    np.testing.assert_allclose(read_ecg(path).signal_mv, read_ecg(save(path, counts), **STATED).signal_mv)


def test_more_channels_than_any_recording_has_are_refused(tmp_path):
    np.save(tmp_path / "ecg.npy", np.zeros((1025, 2000)))
    with pytest.raises(ECGFileError, match="holds 1025 channels; at most 1024 are read"):
        read_ecg(tmp_path / "ecg.npy", sampling_rate=500, unit="mV")
