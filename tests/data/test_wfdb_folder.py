import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, List, Value, load_dataset

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder import wfdb_folder
from modeling_enecg.data.folder.parquet import main
from modeling_enecg.data.folder.wfdb_folder import FEATURES, WFDBFolder
from modeling_enecg.data.rows import signal_array
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.ecg_folder import noise, patients, write_folder, write_record, write_settings, write_table

RECORD = "records/03"  # of row 4, patient p3, fold 3: where the faults are put
ROW = 4


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory) -> Path:
    """Twelve records of noise, not to be changed."""
    return write_folder(tmp_path_factory.mktemp("sound") / "ecgs", patients())


@pytest.fixture
def folder(sound_folder, tmp_path) -> Path:
    """A copy of `sound_folder` to change at will."""
    return Path(shutil.copytree(sound_folder, tmp_path / "ecgs"))


@pytest.fixture
def build(tmp_path) -> Callable[..., WFDBFolder]:
    """A function that prepares a dataset, with a cache of its own for each test."""

    def build(data_dir: Path, num_proc: int | None = None, **options: str) -> WFDBFolder:
        options = {"cache_dir": str(tmp_path / "cache")} | options
        builder = WFDBFolder(data_dir=str(data_dir), **options)
        builder.download_and_prepare(num_proc=num_proc)
        return builder

    return build


def all_rows(builder: WFDBFolder) -> list[dict]:
    return [row for split in builder.as_dataset().values() for row in split]


def column(builder: WFDBFolder, name: str) -> list:
    """A column in the order of the table, whose records are numbered."""
    return [row[name] for row in sorted(all_rows(builder), key=lambda row: row["ecg_id"])]


def labelled(tmp_path: Path, cells: list[str], labels: object = ("task",)) -> Path:
    labels = list(labels) if isinstance(labels, tuple) else labels
    return write_folder(tmp_path / "ecgs", patients(len(cells), task=cells), labels=labels, fold=None)


# What comes through


def test_signals_patients_and_folds_come_through(folder, build):
    splits = build(folder).as_dataset()
    assert {name: split["ecg_id"][:] for name, split in splits.items()} == {
        "train": [f"records/{number:02d}" for number in (*range(1, 9), 11, 12)],
        "validation": ["records/09"],
        "test": ["records/10"],
    }
    assert splits["train"].features == FEATURES | {"sex": ClassLabel(names=["f", "m"])}
    for index, row in enumerate(splits["train"].select(range(8))):
        assert (row["patient_id"], row["strat_fold"]) == (f"p{index + 1}", index + 1)
        assert (row["sampling_rate"], row["lead_names"]) == (100.0, list(STANDARD_LEADS))
        assert signal_array(row).dtype == np.int16
        np.testing.assert_array_equal(signal_array(row), np.rint(noise(seed=index) * 1000))


def test_lengths_rates_and_leads_may_differ_between_records(folder, build):
    signal = noise(num_leads=3, num_samples=70)
    write_record(folder / RECORD, signal, rate=250, leads=["V1", "aVR", "II"])
    row = build(folder).as_dataset(split="train")[2]
    assert (row["sampling_rate"], row["lead_names"]) == (250.0, ["II", "aVR", "V1"])
    np.testing.assert_array_equal(signal_array(row), np.rint(signal[[2, 1, 0]] * 1000))


def test_other_leads_and_leads_without_samples_are_left_out_and_told_once(folder, build, caplog):
    signal = noise(num_leads=4)
    signal[1] = np.nan
    for number in ("02", "03"):
        write_record(folder / f"records/{number}", signal, leads=["I", "II", "V7", "V2"])
    with caplog.at_level(logging.WARNING):
        row = build(folder).as_dataset(split="train")[2]
    assert row["lead_names"] == ["I", "V2"]
    np.testing.assert_array_equal(signal_array(row), np.rint(signal[[0, 3]] * 1000))
    assert [message for message in caplog.messages if "V7" in message] == [
        "records/02: left out the leads ['V7'], here and elsewhere."
    ]


def test_only_a_lead_beyond_int16_loses_its_offset(folder, build):
    signal = noise(num_samples=51)
    offset = np.zeros((12, 1))
    offset[0], offset[1] = 20, 100
    write_record(folder / RECORD, signal + offset)
    microvolts = signal_array(build(folder).as_dataset(split="train")[2])
    expected = np.rint(signal * 1000)
    np.testing.assert_array_equal(microvolts[0], expected[0] + 20_000)
    np.testing.assert_array_equal(microvolts[1], expected[1] - np.median(expected[1]))
    np.testing.assert_array_equal(microvolts[2:], expected[2:])


def test_what_a_file_does_not_say_comes_from_the_settings(folder, build):
    rows = patients()
    for row in rows:
        row["file"] = f"{row['file']}.npy"
        np.save(folder / row["file"], noise(num_leads=2, num_samples=500) * 1000)
    write_table(folder / "labels.csv", rows)
    write_settings(folder, sampling_rate=250, unit="uV", lead_names=["V5", "I"])
    for file in (*folder.glob("records/*.hea"), *folder.glob("records/*.dat")):
        file.unlink()
    row = build(folder).as_dataset(split="train")[2]
    assert (row["sampling_rate"], row["lead_names"]) == (250.0, ["I", "V5"])
    np.testing.assert_array_equal(signal_array(row)[::-1], np.rint(noise(num_leads=2, num_samples=500) * 1000))


# Labels


@pytest.mark.parametrize(
    ("cells", "feature", "values"),
    [
        (["m", "f", "", "m"], ClassLabel(names=["f", "m"]), [1, 0, None, 1]),
        (["0", "1", "NA", "1"], ClassLabel(names=["0", "1"]), [0, 1, None, 1]),
        (["0.0", "1.0", "nan", "1.0"], ClassLabel(names=["0", "1"]), [0, 1, None, 1]),
        (["60.5", "35", ""], Value("float64"), [60.5, 35.0, None]),
        ([str(age) for age in range(40, 52)], Value("float64"), [float(age) for age in range(40, 52)]),
        ([str(grade) for grade in range(4)], ClassLabel(names=["0", "1", "2", "3"]), [0, 1, 2, 3]),
        (["b; a", "b", "none", "", "a;b;"], List(ClassLabel(names=["a", "b"])), [[0, 1], [1], [], None, [0, 1]]),
    ],
    ids=["texts", "0 and 1", "0.0 and 1.0", "decimals", "many numbers", "few numbers", "lists"],
)
def test_the_type_of_a_column_is_inferred_from_its_cells(tmp_path, build, cells, feature, values):
    builder = build(labelled(tmp_path, cells))
    assert builder.info.features["task"] == feature
    assert column(builder, "task") == values


@pytest.mark.parametrize(
    ("type_", "cells", "feature", "values"),
    [
        ("regression", ["1", "2", "2"], Value("float64"), [1.0, 2.0, 2.0]),
        ("multi_label", ["a", "b", "None"], List(ClassLabel(names=["a", "b"])), [[0], [1], []]),
        ("single_label", ["a;b", "b", "a;b"], ClassLabel(names=["a;b", "b"]), [0, 1, 0]),
        (None, ["x", "y", "x"], ClassLabel(names=["x", "y"]), [0, 1, 0]),
    ],
)
def test_a_given_type_wins_over_the_inferred_one(tmp_path, build, type_, cells, feature, values):
    builder = build(labelled(tmp_path, cells, {"task": type_}))
    assert builder.info.features["task"] == feature
    assert column(builder, "task") == values


def test_another_separator_may_stand_between_labels(tmp_path, build):
    folder = labelled(tmp_path, ["a|b", "b;c", ""])
    builder = build(write_settings(folder, labels=["task"], fold=None, separator="|"))
    assert builder.info.features["task"].feature.names == ["a", "b", "b;c"]


def test_columns_of_0_and_1_become_one_task(tmp_path, build):
    rows = patients(4, STEMI=["1", "0", "", "true"], AF=["1.0", "0", "", "False"])
    builder = build(write_folder(tmp_path / "ecgs", rows, labels={"findings": ["STEMI", "AF"]}))
    assert builder.info.features["findings"] == List(ClassLabel(names=["AF", "STEMI"]))
    assert column(builder, "findings") == [[0, 1], [], None, [1]]


@pytest.mark.parametrize(
    ("cells", "fragment"),
    [
        (["", "", "NA"], "only empty cells"),
        (["m", "m", ""], "got 'm' only; expected at least one label, or two classes"),
        (
            [*map(str, range(40, 52)), "55o"],
            "got 13 different values, 12 of them numbers, and '55o'; correct the cells",
        ),
        ([f"text {number}" for number in range(51)], "got 51 different values, 0 of them numbers"),
    ],
    ids=["nothing known", "one class", "a typing error among numbers", "free text"],
)
def test_a_column_that_cannot_be_learnt_or_inferred_is_refused(tmp_path, cells, fragment):
    with pytest.raises(DatasetError, match=r"labels.csv: task: ") as caught:
        WFDBFolder(data_dir=str(labelled(tmp_path, cells)), cache_dir=str(tmp_path))
    assert fragment in str(caught.value)


# Folds


def test_splits_by_name_are_the_folds_1_9_and_10(tmp_path, build):
    rows = patients(4)
    for row, split in zip(rows, ("train", "Validation", "test", "7"), strict=True):
        row["fold"] = split
    assert column(build(write_folder(tmp_path / "ecgs", rows)), "strat_fold") == [1, 9, 10, 7]


def test_without_a_column_a_patient_s_fold_is_the_same_in_any_table(tmp_path, build):
    rows = patients(30, patient=[f"p{number // 2}" for number in range(30)])
    builder = build(write_folder(tmp_path / "all", rows, fold=None))
    fold_of = {row["patient_id"]: row["strat_fold"] for row in all_rows(builder)}
    assert len(fold_of) == 15
    assert all(row["strat_fold"] == fold_of[row["patient_id"]] for row in all_rows(builder))
    assert set(fold_of.values()) <= set(range(1, 11))
    assert len(set(fold_of.values())) > 5
    some = build(write_folder(tmp_path / "some", rows[:5:-3], fold=None))
    assert all(row["strat_fold"] == fold_of[row["patient_id"]] for row in all_rows(some))
    assert fold_of["p0"] == 3  # the hash is the same on every machine, for ever


def test_without_a_column_each_record_is_its_own_patient(folder, build):
    assert [row["patient_id"] == row["ecg_id"] for row in all_rows(build(write_settings(folder, patient=None)))] == [
        True
    ] * 12


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_patient_in_two_splits_is_refused(tmp_path, build, on_error):
    rows = patients()
    rows[8]["patient"] = "p3"
    with pytest.raises(DatasetError) as caught:
        build(write_folder(tmp_path / "ecgs", rows), on_error=on_error)
    assert str(caught.value) == (
        "labels.csv, row 10: fold: patient 'p3' is in validation, and in train in row 4; expected one split"
    )


def test_a_patient_in_two_folds_of_one_split_is_welcome(tmp_path, build):
    rows = patients()
    rows[7]["patient"] = "p3"
    assert len(all_rows(build(write_folder(tmp_path / "ecgs", rows)))) == 12


# The table and the settings


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_any_usual_kind_are_read(folder, build, delimiter, encoding):
    rows = patients(sex=["männlich; sicher, ja", "weiblich"] * 6)
    write_table(folder / "labels.csv", rows, delimiter, encoding)
    write_settings(folder, labels={"sex": "single_label"})
    builder = build(folder)
    assert builder.info.features["sex"].names == ["männlich; sicher, ja", "weiblich"]
    assert len(all_rows(builder)) == 12


def test_the_settings_may_have_another_name(folder, build):
    (folder / "dataset.yaml").rename(folder / "by_cardiologist.yml")
    assert len(all_rows(build(folder / "by_cardiologist.yml"))) == 12


@pytest.mark.parametrize(
    ("change", "field", "fragment"),
    [
        ({"lables": ["sex"]}, "lables", "unknown key; did you mean labels?"),
        ({"xyz": 1}, "xyz", "unknown key; expected some of table, record, labels"),
        ({"record": None}, "record", "missing; expected the name of a column"),
        ({"fold": False}, "fold", "got False; expected the name of a column (in quotes"),
        ({"labels": []}, "labels", "got []; expected different columns"),
        ({"labels": ["sex", "sex"]}, "labels", "expected different columns"),
        ({"labels": {"sex": "binary"}}, "labels", "one of multi_label, single_label, regression"),
        ({"labels": ["LVEF (%)"]}, "labels", "'LVEF (%)'"),
        ({"labels": ["signal"]}, "labels", "got 'signal', a column of every dataset"),
        ({"labels": ["age"]}, "column 'age'", "found 0 times; expected once among 'file', 'patient', 'fold', 'sex'"),
        ({"sampling_rate": "fast"}, "sampling_rate", "got 'fast'; expected a number, in Hz"),
        ({"separator": ""}, "separator", "got ''"),
        ({"table": "../labels.csv"}, "table", "inside this folder"),
        ({"table": "nowhere.csv"}, "file", "cannot be read"),
    ],
)
def test_faulty_settings_name_key_and_value(folder, tmp_path, change, field, fragment):
    with pytest.raises(DatasetError) as caught:
        WFDBFolder(data_dir=str(write_settings(folder, **change)), cache_dir=str(tmp_path))
    assert (caught.value.record, caught.value.field) == (None, field)
    assert fragment in caught.value.reason


@pytest.mark.parametrize("text", ["table: [", "- table", "", "!!python/object/apply:os.getcwd []"])
def test_settings_that_are_no_plain_mapping_are_refused(folder, tmp_path, text):
    (folder / "dataset.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"dataset.yaml: file: "):
        WFDBFolder(data_dir=str(folder), cache_dir=str(tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: file: cannot be read"):
        WFDBFolder(data_dir=str(tmp_path / "nowhere"), cache_dir=str(tmp_path))
    with pytest.raises(DatasetError, match="data_dir: not given"):
        WFDBFolder(cache_dir=str(tmp_path))


def test_a_table_in_another_encoding_is_refused(folder, tmp_path):
    write_table(folder / "labels.csv", patients(sex=["männlich", "weiblich"] * 6), encoding="latin-1")
    with pytest.raises(DatasetError, match=r"labels.csv: file: cannot be read .*; expected a CSV file in UTF-8"):
        WFDBFolder(data_dir=str(folder), cache_dir=str(tmp_path))


# Faulty records

Change = Callable[[Path], None]


def set_cells(**cells: str) -> Change:
    rows = patients(lvef=[50.5] * 12, findings=["a;b"] * 12, AF=[1] * 12, MI=[0] * 12)
    rows[ROW - 2] |= cells

    def change(folder: Path) -> None:
        write_table(folder / "labels.csv", rows)
        labels = {"sex": None, "lvef": "regression", "findings": None, "flags": ["AF", "MI"]}
        write_settings(folder, labels=labels)

    return change


def set_signal(signal: np.ndarray, leads: tuple[str, ...] = STANDARD_LEADS) -> Change:
    return lambda folder: write_record(folder / RECORD, signal, leads=leads)


def add_cell(folder: Path) -> None:
    file = folder / "labels.csv"
    file.write_text(file.read_text().replace("p3,3,m", "p3,3,m,more"))


def remove(suffix: str) -> Change:
    return lambda folder: (folder / f"{RECORD}{suffix}").unlink()


def link_out(suffix: str) -> Change:
    def change(folder: Path) -> None:
        outside = folder.parent / f"outside{suffix}"
        (folder / f"{RECORD}{suffix}").rename(outside)
        (folder / f"{RECORD}{suffix}").symlink_to(outside)

    return change


def name_outside(name: str) -> Change:
    def change(folder: Path) -> None:
        header = folder / f"{RECORD}.hea"
        header.write_text(header.read_text().replace("03.dat", name))

    return change


def segment_outside(folder: Path) -> None:
    (folder / f"{RECORD}.hea").write_text("03/2 12 100 100\n04 50\n../../outside 50\n")


def with_gap() -> np.ndarray:
    signal = noise()
    signal[6, 10:13] = np.nan
    return signal


TABLE = "labels.csv"
FAULTS = {
    "missing header": (remove(".hea"), RECORD, "file", "there is no WFDB header"),
    "missing signals": (remove(".dat"), RECORD, "file", "03.dat"),
    "some samples missing": (set_signal(with_gap()), RECORD, "samples", "3 of 50 are missing in lead V1"),
    "amplitude": (
        set_signal(noise() * np.arange(50)),
        RECORD,
        "amplitude",
        "in lead I, without its offset; expected -32768",
    ),
    "no standard lead": (
        set_signal(noise(2), ("V7", "V8")),
        RECORD,
        "lead names",
        "got V7, V8; expected one of I, II",
    ),
    "link to a header outside": (link_out(".hea"), RECORD, "path", "outside.hea; expected a file inside the folder"),
    "link to signals outside": (link_out(".dat"), RECORD, "path", "outside.dat; expected a file inside the folder"),
    "signals named outside": (
        name_outside("../../outside.dat"),
        RECORD,
        "path",
        "outside.dat; expected a file inside",
    ),
    "signals named by root": (name_outside("/etc/hostname"), RECORD, "path", "expected a file inside the folder"),
    "segment outside": (segment_outside, RECORD, "path", "expected a file inside the folder"),
    "path upwards": (set_cells(file="../03"), TABLE, "file", "got '../03'; expected the path of a record inside"),
    "path upwards from below": (set_cells(file="records/../../03"), TABLE, "file", "got 'records/../../03'"),
    "Windows path upwards": (set_cells(file="..\\03"), TABLE, "file", "got '..\\\\03'"),
    "absolute path": (set_cells(file="/etc/passwd"), TABLE, "file", "got '/etc/passwd'"),
    "no path": (set_cells(file=""), TABLE, "file", "got ''"),
    "no patient": (set_cells(patient=""), TABLE, "patient", "got ''; expected a patient"),
    "no fold": (set_cells(fold=""), TABLE, "fold", "got ''; expected a whole number from 1 to 10, or train, valid"),
    "fold 0": (set_cells(fold="0"), TABLE, "fold", "got '0'"),
    "fold 2.5": (set_cells(fold="2.5"), TABLE, "fold", "got '2.5'"),
    "fold by another name": (set_cells(fold="dev"), TABLE, "fold", "got 'dev'"),
    "not a number": (set_cells(lvef="55,5"), TABLE, "lvef", "got '55,5'; expected a number, with a decimal point"),
    "infinite": (set_cells(lvef="inf"), TABLE, "lvef", "got 'inf'; expected a number"),
    "none beside labels": (set_cells(findings="none;a"), TABLE, "findings", "got 'none;a'; expected labels with ';'"),
    "no label between separators": (set_cells(findings=";"), TABLE, "findings", "got ';'; expected labels"),
    "neither 0 nor 1": (set_cells(AF="2"), TABLE, "flags", "got '2' in column 'AF'; expected 0 or 1"),
    "partly unknown": (set_cells(AF=""), TABLE, "flags", "got '' in column 'AF'; expected 0 or 1; where not every"),
    "cells too many": (add_cell, TABLE, "number of cells", "got 5; expected 4"),
}


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def faulty_folder(request, folder) -> tuple[Path, str, str, str]:
    put_fault, file, field, fragment = request.param
    put_fault(folder)
    return folder, file, field, fragment


def test_a_fault_stops_the_build_with_one_clear_error(faulty_folder, build):
    folder, file, field, fragment = faulty_folder
    with pytest.raises(DatasetError) as caught:
        build(folder)
    assert (caught.value.place, caught.value.record, caught.value.field) == (file, f"row {ROW}", field)
    assert str(caught.value).startswith(f"{file}, row {ROW}: {field}: ")
    assert fragment in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_with_skip_a_faulty_record_is_left_out_logged_and_listed(faulty_folder, build, caplog):
    folder, file, field, fragment = faulty_folder
    with caplog.at_level(logging.WARNING):
        builder = build(folder, on_error="skip")
    (skipped,) = builder.skipped_records()
    assert (skipped["place"], skipped["record"], skipped["field"]) == (file, f"row {ROW}", field)
    assert fragment in skipped["reason"]
    assert any(f"{file}, row {ROW}: {field}" in message for message in caplog.messages)
    assert column(builder, "patient_id") == [f"p{number}" for number in range(1, 13) if number != 3]


@pytest.mark.parametrize("again", ["records/02", "./records//02", "records/02.hea", "records/02.dat"])
def test_a_record_given_twice_is_refused_and_with_skip_counts_once(folder, build, again):
    set_cells(file=again)(folder)
    with pytest.raises(DatasetError, match="row 3 gives already; expected one row a record") as caught:
        build(folder)
    assert (caught.value.record, caught.value.field) == (f"row {ROW}", "file")
    builder = build(folder, on_error="skip")
    assert len(all_rows(builder)) == 11
    assert [skipped["record"] for skipped in builder.skipped_records()] == [f"row {ROW}"]


def test_a_file_that_contradicts_the_settings_is_refused(folder, build):
    write_settings(folder, sampling_rate=500)
    with pytest.raises(DatasetError, match=r"records/01, row 2: file: states a sampling_rate of 100"):
        build(folder)


# Building


def test_the_same_inputs_are_served_from_the_cache_with_their_list_of_skipped_records(folder, build, monkeypatch):
    remove(".dat")(folder)
    first = build(folder, on_error="skip")
    monkeypatch.setattr(wfdb_folder, "read_signal", None)
    for data_dir in (folder, folder / "dataset.yaml"):
        second = build(data_dir, on_error="skip")
        assert second.cache_dir == first.cache_dir
        assert second.skipped_records() == first.skipped_records()
        assert all_rows(second) == all_rows(first)


def touch_signals(folder: Path) -> None:
    os.utime(folder / f"{RECORD}.dat", (0, 0))


def change_label(folder: Path) -> None:
    write_table(folder / "labels.csv", patients(sex=["x", "y"] * 6))


def change_settings(folder: Path) -> None:
    write_settings(folder, patient=None)


@pytest.mark.parametrize("change", [touch_signals, change_label, change_settings])
def test_a_change_of_any_input_is_built_anew(folder, build, change):
    first = build(folder)
    change(folder)
    assert build(folder).cache_dir != first.cache_dir


def test_what_a_killed_build_left_is_not_listed(folder, build, tmp_path):
    remove(".dat")(folder)
    builder = WFDBFolder(data_dir=str(folder), cache_dir=str(tmp_path / "cache"), on_error="skip")
    killed = Path(f"{builder.cache_dir}.incomplete")
    killed.mkdir(parents=True)
    (killed / "skipped-00000007.jsonl").write_text('{"row": 7}\n')
    builder.download_and_prepare()
    assert [skipped["record"] for skipped in builder.skipped_records()] == [f"row {ROW}"]


def test_two_processes_build_what_one_builds(folder, build, tmp_path, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "CHUNK_SIZE", 3)
    remove(".dat")(folder)
    one, two = (build(folder, num_proc=n, on_error="skip", cache_dir=str(tmp_path / f"cache of {n}")) for n in (1, 2))
    assert len(two.info.splits["train"].shard_lengths) == 2
    assert all_rows(one) == all_rows(two)
    assert one.skipped_records() == two.skipped_records()


def test_a_clear_error_also_comes_out_of_a_worker_process(folder, build, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "CHUNK_SIZE", 3)
    remove(".dat")(folder)
    with pytest.raises(DatasetError, match=r"records/03, row 4: file: .*03.dat") as caught:
        build(folder, num_proc=2)
    assert (caught.value.record, caught.value.field) == (f"row {ROW}", "file")


def test_long_records_are_written_one_by_one(folder, build, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "TABLE_BYTES", 1)
    written = build(folder).as_dataset(split="train").data["signal"]
    assert [len(chunk) for chunk in written.chunks if len(chunk)] == [1] * 10


def test_streaming_gives_the_same_records(folder, build):
    builder = build(folder)
    assert list(builder.as_streaming_dataset(split="train")) == list(builder.as_dataset(split="train"))


# The script


def test_the_script_tells_what_is_in_the_folder(tmp_path, capsys):
    rows = patients(
        findings=["AF;MI", "AF", "none", "", *["MI"] * 8], lvef=["", *(50.5 + number for number in range(11))]
    )
    folder = write_folder(tmp_path / "ecgs", rows[:-3] + rows[-2:], labels=["findings", "lvef", "sex"])
    write_record(folder / RECORD, noise(3, 250), rate=250, leads=("II", "V1", "V2"))
    (folder / "records/02.dat").unlink()
    main(["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--on_error", "skip"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    told = iter(lines)
    for expected in (
        "train validation",
        "records 9 1",
        "patients 9 1",
        "findings: multi_label (inferred: cells with ';')",
        "AF 1 0",
        "MI 7 1",
        "(none of them) 1 0",
        "(not known) 1 0",
        "lvef: regression (inferred: decimal numbers)",
        "lowest 51.5 57.5",
        "(not known) 1 0",
        "sex: single_label (inferred: 2 different values)",
        "m 5 1",
        "sampling rates: 9 × 100 Hz, 1 × 250 Hz",
        "lengths: 9 × 0.5 s, 1 × 1.0 s",
        "leads: 9 × I II III aVR aVL aVF V1 V2 V3 V4 V5 V6, 1 × II V1 V2",
        "no record in test: training needs some in each split",
        "records left out: 1",
    ):
        assert expected in told, (expected, lines)
    assert lines[-1].startswith("records/02, row 3: file: ")


def test_the_parquet_files_load_without_a_script_and_equal_the_builder(folder, build, tmp_path, capsys):
    out = tmp_path / "parquet"
    main(["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(out)])
    assert capsys.readouterr().out.endswith(f"Wrote {out}\n")
    loaded, built = load_dataset(str(out), cache_dir=str(tmp_path / "loaded")), build(folder).as_dataset()
    assert loaded.keys() == built.keys()
    for split in built:
        assert loaded[split].features == built[split].features
        assert loaded[split].to_list() == built[split].to_list()


def test_the_card_of_the_parquet_files_tells_what_the_script_tells(folder, tmp_path, capsys):
    remove(".dat")(folder)
    arguments = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--on_error", "skip"]
    main([*arguments, "--output_dir", str(tmp_path / "parquet")])
    told = capsys.readouterr().out.partition("Wrote ")[0]
    assert "records left out: 1\n  records/03, row 4: file:" in told
    assert f"```text\n{told}```" in (tmp_path / "parquet" / "README.md").read_text("utf-8")


def test_the_script_ends_with_one_line_on_a_fault(folder, tmp_path):
    arguments = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--output_dir"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"error: .*full exists and is not an empty folder"):
        main([*arguments, str(tmp_path / "full")])
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    remove(".dat")(folder)
    with pytest.raises(SystemExit, match=r"error: records/03, row 4: file: .*03.dat"):
        main([*arguments, str(tmp_path / "parquet")])
    assert not (tmp_path / "parquet").exists()


def test_the_script_runs_with_several_processes(folder, tmp_path):
    root = Path(wfdb_folder.__file__).parents[3]
    options = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--num_proc", "2"]
    done = subprocess.run(
        [sys.executable, root / "dataset_scripts" / "wfdb_folder.py", *options],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "records left out: 0" in done.stdout
