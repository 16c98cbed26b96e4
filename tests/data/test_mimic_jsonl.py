import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.mimic_iv_ecg.jsonl import read_jsonl
from modeling_enecg.data.mimic_iv_ecg.metadata import patient_fold
from modeling_enecg.data.mimic_iv_ecg.mimic_iv_ecg import FEATURES, MIMICIVECG
from modeling_enecg.data.rows import signal_array
from tests.helpers.mimic_release import signal_of, write_release

PATH = "files/p1000/p10000032/s40000000/40000000"
RECORD = {
    "subject_id": 10000032,
    "ecg_path": f"/somebody/mimic-iv-ecg/1.0/{PATH}",
    "rr_interval": 659.0,
    "age": 52,
    "gender": 1,
    "flag": 0,
    "report_label": 6,
    "question": "unknown keys are passed over",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A copy of MIMIC-IV-ECG's folder, not to be changed."""
    return write_release(tmp_path_factory.mktemp("release_of_jsonl") / "ecg")


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    def write(*records: dict | str) -> Path:
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (tmp_path / "mimic_ecg.jsonl").write_text("\n".join(lines) + "\n")
        return tmp_path / "mimic_ecg.jsonl"

    return write


def first_row(file: Path) -> dict:
    table, errors = read_jsonl(file)
    assert errors == []
    return table.to_pylist()[0]


def test_records_and_labels_of_the_file_come_through_with_their_signals(release, write, tmp_path):
    second = {"subject_id": "10000117", "ecg_path": "files/p1000/p10000117/s40000003/40000003", "rr_interval": 29999}
    builder = MIMICIVECG(data_dir=str(release), jsonl=str(write(RECORD, second)), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    assert builder.available_tasks() == ["rr_interval", "age", "sex", "potassium_abnormality", "arrhythmia"]
    splits = builder.as_dataset()
    rows = {row["ecg_id"]: row for split in splits.values() for row in split}
    assert rows.keys() == {40000000, 40000003}
    row = rows[40000000]
    assert (row["patient_id"], row["strat_fold"]) == (10000032, patient_fold(10000032))
    assert (row["rr_interval"], row["age"], row["age_over_89"]) == (659.0, 52.0, False)
    names = {name: FEATURES[name].int2str(row[name]) for name in ("sex", "potassium_abnormality", "arrhythmia")}
    assert names["sex"] == "female"
    assert names["potassium_abnormality"] == "normal"
    assert names["arrhythmia"] == "atrial fibrillation with rapid ventricular response"
    assert (row["report"], row["ecg_time"], row["potassium"], row["p_onset"]) == (None, None, None, None)
    np.testing.assert_array_equal(signal_array(row)[0], 5 * signal_of(40000000)[0])
    assert [rows[40000003][name] for name in ("rr_interval", "age", "sex", "arrhythmia")] == [None] * 4


def test_a_task_without_a_key_is_told(release, write, tmp_path, caplog):
    record = {key: value for key, value in RECORD.items() if key not in ("flag", "age")}
    builder = MIMICIVECG(data_dir=str(release), jsonl=str(write(record)), cache_dir=str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        builder.download_and_prepare()
    assert builder.available_tasks() == ["rr_interval", "sex", "arrhythmia"]
    assert [message.split(":")[0] for message in caplog.messages] == [
        "No labels of age",
        "No labels of potassium_abnormality",
    ]


@pytest.mark.parametrize(
    ("key", "value", "column", "expected"),
    [
        ("rr_interval", 29999, "rr_interval", None),
        ("rr_interval", 0, "rr_interval", None),
        ("rr_interval", "812", "rr_interval", 812.0),
        ("age", 91, "age", 90.0),
        ("age", 91, "age_over_89", True),
        ("age", 89, "age", 89.0),
        ("age", None, "age_over_89", None),
        ("gender", 0, "sex", 0),
        ("flag", 1.0, "potassium_abnormality", 1),
        ("flag", float("nan"), "potassium_abnormality", None),
        ("report_label", 14, "arrhythmia", 14),
    ],
)
def test_values_mean_what_the_form_says(write, key, value, column, expected):
    assert first_row(write(RECORD | {key: value}))[column] == expected


FAULTS = {
    "no JSON": ("{'subject_id': 1}", "in line 2: line: got .*expected a JSON object"),
    "no object": ("[1]", "in line 2: line: got .*expected a JSON object"),
    "no path": ({"age": 3}, "in line 2: ecg_path: got None; expected a path that ends like files/"),
    "path elsewhere": ({"ecg_path": "/etc/passwd"}, "in line 2: ecg_path: got '/etc/passwd'"),
    "subject": (RECORD | {"subject_id": 7}, "40000000: subject_id: got 7; its ecg_path says 10000032"),
    "class": (RECORD | {"report_label": 15}, "40000000: report_label: got 15; expected a whole number from 0 to 14"),
    "fraction": (RECORD | {"gender": 0.5}, "40000000: gender: got 0.5; expected a whole number from 0 to 1"),
    "word": (RECORD | {"flag": "abnormal"}, "40000000: flag: got 'abnormal'; expected a whole number from 0 to 1"),
    "age": (RECORD | {"age": -3}, "40000000: age: got -3; expected a number from 0 to 120"),
}


@pytest.mark.parametrize(("line", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_its_line_or_record_and_leaves_the_others(write, line, message):
    other = RECORD | {"ecg_path": "files/p1000/p10000032/s40000001/40000001"}
    table, (error,) = read_jsonl(write(other, line))
    assert table["ecg_id"].to_pylist() == [40000001]
    with pytest.raises(DatasetError, match=message):
        raise error


def test_a_record_given_twice_counts_once(write):
    table, (error,) = read_jsonl(write(RECORD, RECORD | {"age": 3}))
    assert table["age"].to_pylist() == [52.0]
    assert "given twice, again in line 2" in str(error)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.jsonl: cannot be read"):
        read_jsonl(tmp_path / "nowhere.jsonl")
