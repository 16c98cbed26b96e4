"""Parquet files that anybody may have written: what is no table of records is refused, and the reason names it."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.rows import row_signal
from modeling_enecg.data.sources import DatasetOptions, find_source
from modeling_enecg.data.targets import dataset_tasks, read_targets
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction.dataset import options_at

CLASSES = datasets.List(datasets.ClassLabel(names=["MI", "NORM"]))


def write(folder, **columns):
    """Three records as a test split, with some columns other than they should be; those that are None are left out."""
    sound = {
        "ecg_id": [1, 2, 3],
        "patient_id": [1, 2, 3],
        "signal": pa.array([np.ones((12, 1000), "<i2").tobytes()] * 3, pa.binary()),
        "finding": pa.array([[0], [1], None], pa.list_(pa.int64())),
    }
    table = pa.table({name: values for name, values in (sound | columns).items() if values is not None})
    features = datasets.Features.from_arrow_schema(table.schema)
    if features["finding"] == datasets.List(datasets.Value("int64")):
        features["finding"] = CLASSES
    folder.mkdir()
    datasets.Dataset(table.cast(features.arrow_schema)).to_parquet(str(folder / "test-00000-of-00001.parquet"))
    return folder


def read(folder):
    source = find_source(DatasetOptions(str(folder), 100, cache_dir=str(folder.parent / "cache")))
    rows = source.read(["test"])["test"]
    targets = read_targets(rows, dataset_tasks(source.features, ["finding"])[0])
    return [row_signal(row, 100) for row in rows], targets


def test_a_sound_table_is_read(tmp_path):
    signals, targets = read(write(tmp_path / "sound"))
    assert signals[0].signal.shape == (12, 1000)
    np.testing.assert_array_equal(targets, [[1, 0], [0, 1], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"signal": None}, "signal: there is no such column"),
        ({"ecg_id": None}, "ecg_id: there is no such column"),
        ({"signal": ["a", "b", "c"]}, "signal: the column must hold bytes"),
        ({"signal": [[[1.0]]] * 3}, "signal: the column must hold bytes"),
        ({"ecg_id": [[1]] * 3}, "ecg_id: the column must hold whole numbers or texts"),
        ({"sampling_rate": ["x"] * 3}, "sampling_rate: the column must hold numbers"),
        ({"num_samples": [[1]] * 3}, "num_samples: the column must hold whole numbers"),
        ({"lead_names": [[1, 2]] * 3}, "lead_names: the column must hold lists of texts"),
        ({"sampling_rate": [0.0] * 3}, "sampling_rate is 0 Hz"),
        ({"sampling_rate": [-100.0] * 3}, "sampling_rate is -100 Hz"),
        ({"sampling_rate": [float("nan")] * 3}, "sampling_rate is nan Hz"),
        ({"sampling_rate": [1e12] * 3}, r"sampling_rate is 1e\+12 Hz"),
        ({"num_samples": [-1] * 3}, "12 leads of -1 samples"),
        ({"num_samples": [2**62] * 3}, "It was cut, or"),
        ({"lead_names": [["I", None] * 6] * 3}, "leads without a name"),
        ({"lead_names": [list(STANDARD_LEADS) * 1000] * 3}, "12000 leads of 1000 samples"),
        ({"signal": pa.array([b"abc"] * 3, pa.binary())}, "got 3 bytes"),
        ({"signal": pa.array([None] * 3, pa.binary())}, "it has no signal"),
        ({"finding": [[7], [0], [1]]}, "finding: holds 7; its 2 labels are numbered from 0"),
        ({"finding": [[-1], [0], [1]]}, "finding: holds -1"),
        ({"finding": pa.array([[None], [0], [1]], pa.list_(pa.int64()))}, "finding: holds None"),
        ({"finding": ["MI", "NORM", "MI"]}, "tasks: the dataset has no labels 'finding'"),
    ],
)
def test_what_is_no_table_of_records_is_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "hostile", **columns))


def test_a_file_that_is_cut_is_named(tmp_path):
    folder = write(tmp_path / "cut")
    (file,) = folder.glob("*.parquet")
    table = pq.read_table(file)
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"test-00000-of-00001\.parquet: data_dir: is no whole Parquet file"):
        read(folder)


@pytest.mark.parametrize("head", ["a: [", "a: " + "[" * 2000, "configs: 5"])
def test_a_card_that_cannot_be_read_is_told_of_its_folder(tmp_path, head):
    folder = write(tmp_path / "card")
    (folder / "README.md").write_text(f"---\n{head}\n---\n")
    with pytest.raises(DatasetError, match=f"data_dir: {folder}: "):
        read(folder)


@pytest.mark.parametrize("rate", [0, -100, float("nan"), float("inf"), 99.5])
def test_a_rate_that_no_dataset_has_is_refused(rate):
    with pytest.raises(ValueError, match="A dataset has a whole number of samples per second; got"):
        options_at({}, DatasetOptions("anywhere"), rate)


def test_a_rate_that_ptbxl_lacks_is_refused(release):
    with pytest.raises(DatasetError, match="sampling_rate: 250 is none of PTB-XL's; there are 100 and 500 Hz"):
        find_source(DatasetOptions(str(release), 250))
