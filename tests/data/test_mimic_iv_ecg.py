import gzip
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.mimic_iv_ecg import mimic_iv_ecg
from modeling_enecg.data.mimic_iv_ecg import potassium as mimic_potassium
from modeling_enecg.data.mimic_iv_ecg.metadata import MEASUREMENTS, patient_fold
from modeling_enecg.data.mimic_iv_ecg.mimic_iv_ecg import FEATURES, MIMICIVECG
from modeling_enecg.data.rows import signal_array
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.mimic_release import (
    MEASURED,
    MIMIC_LEADS,
    PATIENTS,
    lab,
    set_field,
    signal_of,
    write_csv,
    write_labs,
    write_mimic_iv,
    write_record,
    write_release,
)

FIRST = 40000000
FIRST_TIME = "2180-07-10 08:44:00"
TASKS = ["rr_interval", "age", "sex", "potassium_abnormality", "arrhythmia"]


@pytest.fixture(scope="session")
def sound_mimic(tmp_path_factory) -> Path:
    """A folder with `ecg` and `iv`, not to be changed."""
    folder = tmp_path_factory.mktemp("sound_mimic")
    write_release(folder / "ecg")
    write_mimic_iv(folder / "iv")
    return folder


@pytest.fixture
def mimic(sound_mimic, tmp_path) -> Path:
    """A copy of `sound_mimic` to change at will."""
    return Path(shutil.copytree(sound_mimic, tmp_path / "mimic"))


@pytest.fixture
def build(tmp_path) -> Callable[..., MIMICIVECG]:
    """A function that prepares a dataset, with a cache of its own for each test."""

    def build(folder: Path, num_proc: int | None = None, with_iv: bool = True, **options: object) -> MIMICIVECG:
        options = {"cache_dir": str(tmp_path / "cache")} | options
        if with_iv:
            options["mimic_iv_dir"] = str(folder / "iv")
        builder = MIMICIVECG(data_dir=str(folder / "ecg"), **options)
        builder.download_and_prepare(num_proc=num_proc)
        return builder

    return build


def rows_of(builder: MIMICIVECG) -> dict[int, dict]:
    rows = [row for split in builder.as_dataset().values() for row in split]
    return {row["ecg_id"]: row for row in sorted(rows, key=lambda row: row["ecg_id"])}


def record_file(folder: Path, suffix: str) -> Path:
    return folder / f"ecg/files/p1000/p10000032/s{FIRST}/{FIRST}{suffix}"


def test_signals_and_labels_come_through(sound_mimic, build):
    builder = build(sound_mimic)
    rows = rows_of(builder)
    assert list(rows) == list(range(FIRST, FIRST + 20))
    assert builder.info.features == FEATURES
    assert builder.available_tasks() == TASKS
    row = rows[FIRST]
    assert (row["patient_id"], row["ecg_time"]) == (10000032, "2180-07-10T08:44:00")
    assert (row["age"], row["age_over_89"], row["rr_interval"], row["potassium"]) == (52.0, False, 659.0, 4.2)
    names = {name: FEATURES[name].int2str(row[name]) for name in ("sex", "potassium_abnormality", "arrhythmia")}
    assert names == {"sex": "female", "potassium_abnormality": "normal", "arrhythmia": "sinus rhythm"}
    assert row["report"] == "Sinus rhythm\nPossible right atrial abnormality\nBorderline ECG"
    assert {name: row[name] for name in MEASUREMENTS} == MEASURED
    assert (row["cart_id"], row["bandwidth"], row["sampling_rate"]) == (6848296, "0.005-150 Hz", 500.0)


def test_leads_are_matched_by_name_and_units_become_microvolts(sound_mimic, build):
    for ecg_id, row in rows_of(build(sound_mimic)).items():
        signal = signal_array(row)
        assert (signal.dtype, signal.shape) == (np.int16, (12, 5000))
        stored = dict(zip(MIMIC_LEADS, signal_of(ecg_id), strict=True))
        np.testing.assert_array_equal(signal, 5 * np.array([stored[lead] for lead in STANDARD_LEADS]))


def test_a_patient_s_fold_is_a_fixed_property_of_the_id():
    assert [patient_fold(patient) for patient in (10000032, 10000117, 19999987)] == [7, 3, 9]
    counts = np.bincount([patient_fold(patient) for patient in range(10_000_000, 10_020_000)], minlength=11)[1:]
    assert counts.min() > 1850
    assert counts.max() < 2150


def test_splits_follow_folds_and_all_ecgs_of_a_patient_share_one(sound_mimic, build):
    for split, records in build(sound_mimic).as_dataset().items():
        folds = {"train": range(1, 9), "validation": [9], "test": [10]}[split]
        for row in records:
            assert row["strat_fold"] == patient_fold(row["patient_id"])
            assert row["strat_fold"] in folds


@pytest.mark.parametrize(
    ("column", "code"),
    [("p_onset", 29999), ("t_end", 29999), ("p_axis", 32767), ("t_axis", -32768), ("rr_interval", 65535)]
    + [("rr_interval", value) for value in (29999, 0, 249, 3001, "")]
    + [("p_end", "")],
)
def test_what_the_machine_did_not_measure_is_none(mimic, build, column, code):
    set_field(mimic / "ecg/machine_measurements.csv", column, code)
    rows = rows_of(build(mimic))
    assert rows[FIRST][column] is None
    assert rows[FIRST + 1][column] == ({"rr_interval": 659} | MEASURED)[column]


def test_a_record_the_machine_did_not_report_on_has_no_labels_of_it(mimic, build):
    file = mimic / "ecg/machine_measurements.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if f",{FIRST}," not in line))
    rows = rows_of(build(mimic))
    assert len(rows) == 20
    columns = ("rr_interval", "arrhythmia", "report", "cart_id", "p_onset")
    assert [rows[FIRST][name] for name in columns] == [None] * 5
    assert rows[FIRST]["age"] == 52.0


@pytest.mark.parametrize(
    ("anchor_age", "anchor_year", "age", "over_89"),
    [
        (50, 2180, 50.0, False),
        (50, 2182, 48.0, False),
        (85, 2176, 89.0, False),
        (85, 2175, 90.0, True),
        (91, 2180, 90.0, True),
        (91, 2170, 90.0, True),
        (91, 2181, None, None),
        ("", 2180, None, None),
    ],
)
def test_age_is_that_at_the_ecg_and_withheld_over_89(mimic, build, anchor_age, anchor_year, age, over_89):
    file = mimic / "iv/hosp/patients.csv"
    set_field(file, "anchor_age", anchor_age)
    set_field(file, "anchor_year", anchor_year)
    row = rows_of(build(mimic))[FIRST]
    assert (row["age"], row["age_over_89"]) == (age, over_89)


def test_a_patient_who_is_not_in_mimic_iv_has_no_age_and_sex(mimic, build):
    set_field(mimic / "iv/hosp/patients.csv", "subject_id", 19999999)
    row = rows_of(build(mimic))[FIRST]
    assert (row["age"], row["age_over_89"], row["sex"]) == (None, None, None)


@pytest.mark.parametrize(
    ("labs", "potassium", "abnormal"),
    [
        ([], None, None),
        ([("2180-07-10 07:44:00", 3.0, "abnormal")], 3.0, 1),  # an hour before
        ([("2180-07-10 09:44:00", 6.1, "abnormal")], 6.1, 1),  # an hour after
        ([("2180-07-10 07:43:59", 3.0, "abnormal")], None, None),
        ([("2180-07-10 09:44:01", 3.0, "abnormal")], None, None),
        ([("2180-07-10 08:14:00", 3.0, "abnormal"), ("2180-07-10 08:54:00", 4.0, "")], 4.0, 0),
        ([("2180-07-10 08:54:00", 4.0, ""), ("2180-07-10 08:34:00", 3.0, "abnormal")], 3.0, 1),  # as near: the earlier
        ([("2180-07-10 08:44:00", 4.5, "", 50822)], 4.5, 0),  # whole blood
        ([("2180-07-10 08:44:00", 140.0, "", 50983)], None, None),  # sodium
        ([("2180-07-10 08:44:00", "", "abnormal"), ("2180-07-10 09:00:00", 4.1, "")], 4.1, 0),
        ([("2180-07-10 08:44:00", 999999, ""), ("2180-07-10 09:00:00", 4.1, "")], 4.1, 0),
        ([("2180-07-10 08:44:00", 0, "")], None, None),
        ([("", 4.1, "")], None, None),
    ],
)
def test_potassium_is_the_nearest_value_within_the_window(mimic, build, labs, potassium, abnormal):
    others = [lab(PATIENTS[1], FIRST_TIME, 5.0), lab(10000033, FIRST_TIME, 5.0)]
    write_labs(mimic / "iv", [*others, *(lab(PATIENTS[0], *values) for values in labs)])
    rows = rows_of(build(mimic))
    assert (rows[FIRST]["potassium"], rows[FIRST]["potassium_abnormality"]) == (potassium, abnormal)
    assert rows[FIRST + 1]["potassium"] is None
    assert rows[FIRST + 2]["potassium"] == 5.0


def test_the_labs_are_read_in_blocks_whatever_their_comments_break(mimic, build, monkeypatch):
    monkeypatch.setattr(mimic_potassium, "BLOCK_SIZE", 500)
    labs = [lab(PATIENTS[index % 10], "2180-07-11 08:44:00", 4 + index / 10) for index in range(10)]
    write_labs(mimic / "iv", labs)
    rows = rows_of(build(mimic))
    assert [rows[FIRST + 2 * index + 1]["potassium"] for index in range(10)] == [4 + index / 10 for index in range(10)]


def test_the_potassium_window_is_an_option(mimic, build):
    write_labs(mimic / "iv", [lab(PATIENTS[0], "2180-07-10 11:44:00", 3.9)])
    values = [rows_of(build(mimic, potassium_window=hours))[FIRST]["potassium"] for hours in (2.9, 3.0)]
    assert values == [None, 3.9]
    with pytest.raises(ValueError, match="potassium_window is -1; expected hours, 0 or more"):
        build(mimic, potassium_window=-1)


def test_without_mimic_iv_its_tasks_are_none_and_a_message_says_what_they_need(sound_mimic, build, caplog):
    with caplog.at_level(logging.WARNING):
        builder = build(sound_mimic, with_iv=False)
    assert builder.available_tasks() == ["rr_interval", "arrhythmia"]
    row = rows_of(builder)[FIRST]
    missing = ("age", "age_over_89", "sex", "potassium", "potassium_abnormality")
    assert [row[name] for name in missing] == [None] * 5
    assert (row["rr_interval"], row["arrhythmia"]) == (659.0, 0)
    messages = [message for message in caplog.messages if message.startswith("No labels of")]
    assert [message.split()[3] for message in messages] == ["age:", "sex:", "potassium_abnormality:"]
    assert "labevents.csv (or labevents.csv.gz), looked for in mimic_iv_dir" in messages[2]


@pytest.mark.parametrize(
    ("file", "left"),
    [
        ("ecg/machine_measurements.csv", ["age", "sex", "potassium_abnormality"]),
        ("iv/hosp/patients.csv", ["rr_interval", "potassium_abnormality", "arrhythmia"]),
        ("iv/hosp/labevents.csv.gz", ["rr_interval", "age", "sex", "arrhythmia"]),
    ],
)
def test_a_missing_file_disables_its_tasks_only(mimic, build, file, left):
    (mimic / file).unlink()
    builder = build(mimic)
    assert builder.available_tasks() == left
    row = rows_of(builder)[FIRST]
    assert [task for task in TASKS if row[task] is not None] == left


def test_plain_and_compressed_files_in_the_folder_or_in_hosp_read_the_same(mimic, build):
    expected = rows_of(build(mimic))
    iv = mimic / "iv"
    (iv / "labevents.csv").write_bytes(gzip.decompress((iv / "hosp/labevents.csv.gz").read_bytes()))
    (iv / "patients.csv.gz").write_bytes(gzip.compress((iv / "hosp/patients.csv").read_bytes()))
    shutil.rmtree(iv / "hosp")
    for name in ("record_list", "machine_measurements"):
        file = mimic / f"ecg/{name}.csv"
        Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert rows_of(build(mimic)) == expected


def missing_sample(folder: Path) -> None:
    signal = signal_of(FIRST)
    signal[4, 1000] = -32768
    write_record(record_file(folder, ""), signal)


FAULTS = {
    "study_id": ("study_id", "x1", "study_id", "got 'x1'; expected a whole number"),
    "subject_id": ("subject_id", "", "subject_id", "got None; expected a whole number"),
    "time": ("ecg_time", "2180-07-10", "ecg_time", "got '2180-07-10'; expected a time such as"),
    "path outside": ("path", "files/../../x", "path", "got 'files/../../x'; expected a path like files/p1000/"),
    "path of another": ("path", "files/p1000/p10000032/s40000001/40000001", "path", "expected a path like"),
    "study of another row": ("study_id", FIRST + 1, "path", "expected a path like"),
}


@pytest.mark.parametrize(("column", "value", "field", "fragment"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_record_list_stops_the_build_or_skips_the_record(mimic, build, column, value, field, fragment):
    set_field(mimic / "ecg/record_list.csv", column, value)
    with pytest.raises(DatasetError) as caught:
        build(mimic)
    assert caught.value.field == field
    assert fragment in str(caught.value)
    builder = build(mimic, on_error="skip")
    (skipped,) = builder.skipped_records()
    assert skipped["field"] == field
    assert list(rows_of(builder)) == list(range(FIRST + 1, FIRST + 20))


OTHER_FAULTS = {
    "RR interval": ("ecg/machine_measurements.csv", "rr_interval", "fast", "got 'fast'; expected a number"),
    "cart": ("ecg/machine_measurements.csv", "cart_id", "1.5", "got '1.5'; expected a whole number"),
    "anchor age": ("iv/hosp/patients.csv", "anchor_age", "old", "got 'old'; expected a whole number"),
    "gender": ("iv/hosp/patients.csv", "gender", "X", "got 'X'; expected M or F"),
}


@pytest.mark.parametrize(("file", "column", "value", "fragment"), OTHER_FAULTS.values(), ids=OTHER_FAULTS)
def test_a_fault_of_a_label_names_record_and_column(mimic, build, file, column, value, fragment):
    set_field(mimic / file, column, value)
    with pytest.raises(DatasetError, match=f"ecg_id {FIRST}: {column}: {fragment}"):
        build(mimic)


def test_an_age_before_birth_is_a_fault(mimic, build):
    set_field(mimic / "iv/hosp/patients.csv", "anchor_year", 2300)
    with pytest.raises(DatasetError, match=r"age: got -70\.0; expected 0 to 120 years at the ECG"):
        build(mimic)


def test_a_study_given_twice_counts_once(mimic, build):
    file = mimic / "ecg/record_list.csv"
    again = file.read_text().splitlines(True)[1].replace("08:44:00", "09:00:00")
    file.write_text(file.read_text() + again)
    with pytest.raises(DatasetError, match=f"ecg_id {FIRST}: study_id: .*given twice"):
        build(mimic)
    rows = rows_of(build(mimic, on_error="skip"))
    assert list(rows) == list(range(FIRST, FIRST + 20))
    assert rows[FIRST]["ecg_time"] == "2180-07-10T08:44:00"


@pytest.mark.parametrize(
    ("put_fault", "field", "fragment"),
    [
        (lambda folder: record_file(folder, ".hea").unlink(), "file", "No such file"),
        (lambda folder: record_file(folder, ".dat").unlink(), "file", "No such file"),
        (lambda folder: os.truncate(record_file(folder, ".dat"), 119_998), "file size", "truncated"),
        (missing_sample, "amplitude", "a sample marked as missing"),
    ],
    ids=["no header", "no signals", "truncated", "missing sample"],
)
def test_a_faulty_record_stops_the_build_or_is_skipped_and_listed(mimic, build, caplog, put_fault, field, fragment):
    put_fault(mimic)
    with pytest.raises(DatasetError) as caught:
        build(mimic, num_proc=2)
    assert (caught.value.record, caught.value.field) == (f"ecg_id {FIRST}", field)
    assert fragment in str(caught.value)
    with caplog.at_level(logging.WARNING):
        builder = build(mimic, on_error="skip")
    (skipped,) = builder.skipped_records()
    assert (skipped["record"], skipped["field"]) == (f"ecg_id {FIRST}", field)
    assert any(f"ecg_id {FIRST}: {field}" in message for message in caplog.messages)
    assert list(rows_of(builder)) == list(range(FIRST + 1, FIRST + 20))


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("ecg/record_list.csv", "path"),
        ("ecg/machine_measurements.csv", "report_17"),
        ("iv/hosp/patients.csv", "anchor_year"),
        ("iv/hosp/labevents.csv", "valuenum"),
    ],
)
def test_a_missing_column_is_named_with_its_file(mimic, build, file, column):
    labs = mimic / "iv/hosp/labevents.csv"
    labs.write_bytes(gzip.decompress((mimic / "iv/hosp/labevents.csv.gz").read_bytes()))
    text = (mimic / file).read_text()
    (mimic / file).write_text(text.replace(column, "renamed", 1))
    with pytest.raises(DatasetError, match=rf"{Path(file).name}: .*'?{column}'?.*expected"):
        build(mimic)


def test_a_missing_folder_or_record_list_is_named(mimic, build, tmp_path):
    (mimic / "ecg/record_list.csv").unlink()
    with pytest.raises(DatasetError, match=r"ecg' has no record_list.csv"):
        build(mimic)
    with pytest.raises(DatasetError, match="data_dir: not given"):
        MIMICIVECG(cache_dir=str(tmp_path)).download_and_prepare()


def test_the_same_inputs_are_served_from_the_cache(mimic, build, monkeypatch):
    record_file(mimic, ".dat").unlink()
    first = build(mimic, on_error="skip")
    monkeypatch.setattr(mimic_iv_ecg, "read_metadata", None)
    second = build(mimic, on_error="skip")
    assert second.cache_dir == first.cache_dir
    assert second.skipped_records() == first.skipped_records()
    assert rows_of(second) == rows_of(first)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: set_field(folder / "ecg/machine_measurements.csv", "rr_interval", 700),
        lambda folder: set_field(folder / "iv/hosp/patients.csv", "anchor_age", 51),
        lambda folder: write_labs(folder / "iv", [lab(PATIENTS[0], FIRST_TIME, 3.0)]),
        lambda folder: write_record(record_file(folder, ""), signal_of(1)),
        lambda folder: (folder / "iv/hosp/patients.csv").unlink(),
    ],
    ids=["measurements", "patients", "labs", "record", "missing file"],
)
def test_a_changed_input_is_built_anew(mimic, build, change):
    before = rows_of(build(mimic))
    change(mimic)
    assert rows_of(build(mimic))[FIRST] != before[FIRST]


def test_two_processes_build_what_one_builds(mimic, build, tmp_path, monkeypatch):
    monkeypatch.setattr(mimic_iv_ecg, "CHUNK_SIZE", 3)
    record_file(mimic, ".dat").unlink()
    one, two = (build(mimic, n, on_error="skip", cache_dir=str(tmp_path / f"cache of {n}")) for n in (1, 2))
    assert len(two.info.splits["train"].shard_lengths) == 2
    assert rows_of(one) == rows_of(two)
    assert one.skipped_records() == two.skipped_records()


def test_streaming_gives_the_same_records(sound_mimic, build):
    builder = build(sound_mimic)
    assert list(builder.as_streaming_dataset(split="train")) == list(builder.as_dataset(split="train"))


def test_report_lines_join_in_order_whatever_their_blanks(mimic, build):
    file = mimic / "ecg/machine_measurements.csv"
    for column, line in (("report_0", " Atrial  fibrillation "), ("report_1", ""), ("report_2", "line\nbreak")):
        set_field(file, column, line)
    row = rows_of(build(mimic))[FIRST]
    assert row["report"] == "Atrial fibrillation\nline break\nBorderline ECG"
    assert FEATURES["arrhythmia"].int2str(row["arrhythmia"]) == "atrial fibrillation"


def test_a_labs_file_that_is_no_csv_is_named(mimic, build):
    (mimic / "iv/hosp/labevents.csv.gz").write_bytes(b"not compressed")
    with pytest.raises(DatasetError, match=r"labevents\.csv\.gz: cannot be read"):
        build(mimic)
    write_csv(mimic / "iv/hosp/labevents.csv", [lab(PATIENTS[0], "yesterday", 4.0)])
    with pytest.raises(DatasetError, match=r"labevents.csv: cannot be read .*yesterday"):
        build(mimic)
