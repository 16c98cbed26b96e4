import json
import os
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.ptbxl import ptbxl
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
from modeling_enecg.data.rows import signal_array
from tests.helpers.builders import all_rows

FAULTY_SIGNALS = "records100/00000/00003_lr.dat"


def set_age(folder: Path, ecg_id: int, age: str) -> None:
    file = folder / "ptbxl_database.csv"
    row = f"\n{ecg_id},{1000 + ecg_id}.0,"
    file.write_text(file.read_text().replace(f"{row}{30.0 + ecg_id},", f"{row}{age},"))


@pytest.mark.parametrize(("config_name", "rate"), [("100hz", 100), ("500hz", 500)])
def test_signals_labels_and_folds_come_through(sound_release, build, config_name, rate):
    builder = build(sound_release, config_name)
    assert builder.config.sampling_rate == rate
    splits = builder.as_dataset()
    assert {name: split["ecg_id"][:] for name, split in splits.items()} == {
        "train": [1, 2, 3, 4, 5, 6, 7, 8, 11, 12],
        "validation": [9],
        "test": [10],
    }
    features = splits["train"].features
    for task, labels in TASK_LABELS.items():
        assert features[task].feature.names == list(labels)
    for row in splits["train"]:
        signal = signal_array(row)
        assert (signal.dtype, signal.shape) == (np.int16, (12, 10 * rate))
        frames = np.fromfile(sound_release / f"{row[builder.config.filename_column]}.dat", dtype="<i2")
        np.testing.assert_array_equal(signal, frames.reshape(-1, 12).T)
    first = splits["train"][0]
    assert features["superdiagnostic"].feature.int2str(first["superdiagnostic"]) == ["NORM"]
    assert features["all"].feature.int2str(first["all"]) == ["NORM", "SR"]
    assert first["form"] == []
    assert features["sex"].int2str(first["sex"]) == "female"
    assert first["scp_codes"] == [{"code": "NORM", "likelihood": 100.0}, {"code": "SR", "likelihood": 0.0}]
    assert (first["patient_id"], first["age"], first["validated_by_human"]) == (1001, 31.0, True)
    assert (first["weight"], first["nurse"], first["report"], first["second_opinion"]) == (None, None, None, None)


def test_age_300_means_over_89_and_a_missing_age_stays_missing(release, build):
    for ecg_id, age in ((1, "300.0"), (2, ""), (3, "89.0")):
        set_age(release, ecg_id, age)
    rows = build(release).as_dataset(split="train").select(range(3))
    assert list(zip(rows["age"], rows["age_over_89"], strict=True)) == [(90.0, True), (None, None), (89.0, False)]


def test_a_split_without_records_is_absent(release, build):
    file = release / "ptbxl_database.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("9,")))
    splits = build(release).as_dataset()
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "test": 1}


def test_the_same_inputs_are_served_from_the_cache_with_their_list_of_skipped_records(release, build, monkeypatch):
    (release / FAULTY_SIGNALS).unlink()
    first = build(release, on_error="skip")
    monkeypatch.setattr(ptbxl, "read_metadata", None)
    second = build(release, on_error="skip")
    assert second.cache_dir == first.cache_dir
    assert second.skipped_records() == first.skipped_records()
    assert all_rows(second) == all_rows(first)


def test_a_changed_csv_file_or_record_file_is_built_anew(release, build):
    assert all_rows(build(release))[2]["age"] == 33.0
    set_age(release, 3, "50.0")
    assert all_rows(build(release))[2]["age"] == 50.0
    (release / FAULTY_SIGNALS).write_bytes(bytes(24_000))
    with pytest.raises(DatasetError, match="initial value"):
        build(release)


def test_an_interrupted_build_leaves_nothing_that_a_later_one_trusts(release, build, tmp_path, monkeypatch):
    (release / FAULTY_SIGNALS).unlink()
    monkeypatch.setattr(ptbxl, "CHUNK_SIZE", 4)
    read_records = ptbxl.read_records

    def interrupt_second_chunk(paths, *arguments):
        if not paths[0].endswith("00001_lr"):
            raise KeyboardInterrupt
        return read_records(paths, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ptbxl, "read_records", interrupt_second_chunk)
        with pytest.raises(KeyboardInterrupt):
            build(release, on_error="skip")
    builder = PTBXL(data_dir=str(release), cache_dir=str(tmp_path / "cache"), on_error="skip")
    assert not Path(builder.cache_dir).exists()
    killed = Path(f"{builder.cache_dir}.incomplete")
    killed.mkdir(parents=True)
    (killed / "skipped-00001.jsonl").write_text('{"ecg_id": 7}\n')
    (killed / "ptbxl-train.arrow").write_bytes(b"half a file")
    builder.download_and_prepare()
    assert [skipped["record"] for skipped in builder.skipped_records()] == ["ecg_id 3"]
    assert len(all_rows(builder)) == 11


def test_two_processes_build_what_one_builds(release, build, tmp_path, monkeypatch):
    monkeypatch.setattr(ptbxl, "CHUNK_SIZE", 3)
    (release / FAULTY_SIGNALS).unlink()
    one, two = (build(release, num_proc=n, on_error="skip", cache_dir=str(tmp_path / f"cache of {n}")) for n in (1, 2))
    assert len(two.info.splits["train"].shard_lengths) == 2
    assert all_rows(one) == all_rows(two)
    assert one.skipped_records() == two.skipped_records()


def test_streaming_gives_the_same_records_and_leaves_the_cache_alone(release, build):
    (release / FAULTY_SIGNALS).unlink()
    builder = build(release, on_error="skip")
    streamed = list(builder.as_streaming_dataset(split="train"))
    assert streamed == list(builder.as_dataset(split="train"))
    assert len(builder.skipped_records()) == 1


@pytest.fixture(scope="session")
def real_records(tmp_path_factory) -> list[dict]:
    if "PTBXL_DIR" not in os.environ:
        pytest.skip("PTBXL_DIR is not set to a copy of PTB-XL")
    cache = tmp_path_factory.mktemp("real")
    builder = PTBXL(config_name="100hz", data_dir=os.environ["PTBXL_DIR"], cache_dir=str(cache))
    builder.download_and_prepare()
    return all_rows(builder)


def test_real_labels_equal_the_benchmark_s_own(real_records):
    file = Path(os.environ["PTBXL_DIR"]).parent / "labels" / "ptbxl-400.json"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    for task, truth in json.loads(file.read_text()).items():
        assert truth["classes"] == list(TASK_LABELS[task])
        built = {str(row["ecg_id"]): [TASK_LABELS[task][label] for label in row[task]] for row in real_records}
        assert {ecg_id: sorted(labels) for ecg_id, labels in truth["labels"].items()} == built


def test_real_metadata_come_through(real_records):
    first = min(real_records, key=lambda row: row["ecg_id"])
    assert [first[name] for name in ("ecg_id", "patient_id", "age", "sex", "strat_fold")] == [1, 15709, 56.0, 1, 3]
    assert first["report"] == "sinusrhythmus periphere niederspannung"
    assert first["recording_date"] == "1984-11-09 09:17:34"
