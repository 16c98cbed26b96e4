"""What comes through of a folder of records and its table: signals, labels, folds."""

import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, List, Value

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder.wfdb_folder import FEATURES, WFDBFolder
from modeling_enecg.data.rows import signal_array
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.builders import all_rows
from tests.helpers.ecg_folder import noise, patients, write_folder, write_record, write_settings, write_table
from tests.helpers.wfdb_folder import RECORD, column


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
        ({"lables": ["sex"]}, "lables", "unknown key. Did you mean labels?"),
        ({"xyz": 1}, "xyz", "unknown key. Expected some of table, record, labels"),
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
        ({"table": "tables\\labels.csv"}, "table", "got 'tables\\\\labels.csv'; expected the path of a CSV file"),
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
