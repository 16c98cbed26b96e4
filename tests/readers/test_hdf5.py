import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS

h5py = pytest.importorskip("h5py")

STATED = {
    "sampling_rate": 400,
    "unit": "mV",
    "lead_names": ["DI", "DII", "DIII", "AVR", "AVL", "AVF", *STANDARD_LEADS[6:]],
}
IDS = [590673, 1169160, 2873686]


@pytest.fixture
def tracings() -> np.ndarray:
    """Three records of 60 samples, padded with zeros to 80 on both sides."""
    records = np.random.default_rng(0).normal(size=(3, 60, 12)).astype(np.float32)
    return np.pad(records, ((0, 0), (8, 12), (0, 0)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exams_part0.hdf5"


def write(path, arrays, attributes=None, **options):
    """Write arrays, those of several values with the given options."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **(options if np.ndim(array) > 1 else {}))
        file.attrs.update(attributes or {})
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (1, 80, 12), "compression": "gzip"},
        {"chunks": (2, 32, 5), "compression": "gzip", "shuffle": True},
        {"chunks": True, "shuffle": True},
    ],
)
def test_a_record_of_code_15_is_named_by_its_exam_id(path, tracings, options):
    write(path, {"exam_id": np.array(IDS), "tracings": tracings}, **options)
    for row, exam in enumerate(IDS):
        record = read_ecg(path / str(exam), **STATED)
        np.testing.assert_array_equal(record.signal_mv, tracings[row, 8:68].T.astype(np.float64))
        assert record.lead_names == list(STANDARD_LEADS)
        assert record.sampling_rate == 400


def test_without_ids_records_are_named_by_their_place(path, tracings):
    write(path, {"tracings": tracings})
    np.testing.assert_array_equal(read_ecg(path / "2", **STATED).signal_mv, tracings[2, 8:68].T)
    with pytest.raises(ECGFileError, match=r"names 0 of the 3 records of exams_part0\.hdf5; name one by its place"):
        read_ecg(path / "3", **STATED)


def test_a_file_of_many_records_says_how_to_name_one(path, tracings):
    write(path, {"exam_id": np.array(IDS), "tracings": tracings})
    with pytest.raises(
        ECGFileError, match=r"holds 3 records; name one by its exam_id, as in exams_part0\.hdf5/590673"
    ):
        read_ecg(path, **STATED)


@pytest.mark.parametrize("record", ["1", "-1", "one", "590673.0", "9" * 30])
def test_a_record_that_is_not_there_is_refused(path, tracings, record):
    write(path, {"exam_id": np.array(IDS), "tracings": tracings})
    with pytest.raises(ECGFileError, match=r"names 0 of the 3 records .*it begins 590673, 1169160, 2873686"):
        read_ecg(path / record, **STATED)


def test_an_id_that_is_not_unique_is_refused(path, tracings):
    write(path, {"exam_id": np.array([7, 7, 8]), "tracings": tracings})
    with pytest.raises(ECGFileError, match="names 2 of the 3 records"):
        read_ecg(path / "7", **STATED)


def test_the_only_record_needs_no_name(path, tracings):
    write(path, {"tracings": tracings[:1]})
    np.testing.assert_array_equal(read_ecg(path, **STATED).signal_mv, tracings[0, 8:68].T)


def test_a_record_of_zeros_is_refused(path, tracings):
    tracings[1] = 0
    write(path, {"tracings": tracings})
    with pytest.raises(ECGFileError, match="nothing but zeros at place 1"):
        read_ecg(path / "1", **STATED)


@pytest.mark.parametrize("lacking", list(STATED))
def test_what_the_file_does_not_say_is_asked_for(path, tracings, lacking):
    write(path, {"tracings": tracings})
    with pytest.raises(ECGFileError, match=f"give {lacking}"):
        read_ecg(path / "0", **{name: value for name, value in STATED.items() if name != lacking})


@pytest.mark.parametrize(
    "arrays", [{"signal": np.eye(12, 90), "mask": np.eye(2, 9)}, {"ecg": np.eye(90, 12), "fs": 250}]
)
def test_a_file_may_hold_one_signal(path, arrays):
    options = {name: value for name, value in STATED.items() if name != "sampling_rate"}
    write(path, arrays, {"fs": 250.0} if "fs" not in arrays else {"source": "x"})
    record = read_ecg(path, **options)
    assert record.sampling_rate == 250
    np.testing.assert_array_equal(record.signal_mv, np.eye(12, 90))
    with pytest.raises(ECGFileError, match="holds one signal; leave 3 out"):
        read_ecg(path / "3", **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "found none"),
        ({"one": np.eye(2, 9), "two": np.eye(2, 9)}, r"found one \(2, 9\), two"),
        ({"one": np.ones((2, 9, 3)), "two": np.ones((2, 9, 3))}, "several arrays of records: one, two"),
        ({"tracings": np.ones((0, 9, 3))}, "holds 0 records"),
        ({"tracings": np.ones((1, 9, 9))}, "fewer leads than samples"),
        ({"tracings": np.ones((2, 9, 3)), "exam_id": [1, 2, 3]}, r"exam_id is int64 of shape \(3,\)"),
        ({"tracings": np.ones((2, 9, 3), dtype=complex)}, "found none"),
    ],
)
def test_what_is_no_signal_is_refused(path, arrays, message):
    write(path, arrays)
    with pytest.raises(ECGFileError, match=message):
        read_ecg(path / "0" if len(arrays) == 2 and "exam_id" in arrays else path, **STATED)


def test_values_in_other_files_are_not_followed(path, tmp_path, tracings):
    other = write(tmp_path / "other.hdf5", {"tracings": tracings})
    (tmp_path / "raw").write_bytes(tracings.tobytes())
    layout = h5py.VirtualLayout(tracings.shape, tracings.dtype)
    layout[:] = h5py.VirtualSource(other, "tracings", tracings.shape)
    with h5py.File(path, "w") as file:
        file["tracings"] = h5py.ExternalLink("other.hdf5", "/tracings")
    with pytest.raises(ECGFileError, match="found none"):
        read_ecg(path, **STATED)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("tracings", layout)
    with pytest.raises(ECGFileError, match="stored in other files"):
        read_ecg(path / "0", **STATED)
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", tracings.shape, "f4", external=[(str(tmp_path / "raw"), 0, tracings.nbytes)])
    with pytest.raises(ECGFileError, match="stored in other files"):
        read_ecg(path / "0", **STATED)


def test_values_that_are_not_there_are_not_read_as_zeros(path, tracings):
    for options in ({}, {"chunks": (1, 80, 12)}):
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("tracings", tracings.shape, "f4", **options)
            if options:
                dataset[0] = tracings[0]
        with pytest.raises(ECGFileError):
            read_ecg(path / "1", **STATED)


def test_other_compressions_are_refused_with_the_way_out(path, tracings):
    write(path, {"tracings": tracings}, compression="lzf", chunks=(1, 80, 12))
    with pytest.raises(ECGFileError, match="stored with lzf; repack it with gzip"):
        read_ecg(path / "0", **STATED)


def test_chunks_that_unpack_to_far_more_than_a_record_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", (100_000, 4096, 12), "f4", chunks=(10_000, 4096, 12), compression="gzip")
    with pytest.raises(ECGFileError, match="in 1 chunks of 1966080000 bytes"):
        read_ecg(path / "0", **STATED)


def test_a_file_that_is_cut_short_or_damaged_is_refused(path, tracings):
    write(path, {"tracings": tracings}, chunks=(1, 80, 12), compression="gzip")
    content = path.read_bytes()
    for kept in range(8, len(content), 997):
        path.write_bytes(content[:kept])
        with pytest.raises(ECGFileError):
            read_ecg(path / "0", **STATED)


def test_a_record_within_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "ecg.csv"
    path.write_text("I,II\n1,2\n3,4\n")
    with pytest.raises(ECGFileError, match=r"names a record within ecg\.csv, which holds one; leave 7 out"):
        read_ecg(path / "7", sampling_rate=500, unit="mV")
