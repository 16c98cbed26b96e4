import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.ptbxl import ptbxl
from modeling_enecg.data.ptbxl.ptbxl import PTBXL

FAULTY = 3  # the ecg_id of the record into which the faults are put

Change = Callable[[Path], None]


def set_field(column: str, value: str, ecg_id: int = FAULTY) -> Change:
    def change(folder: Path) -> None:
        table = pd.read_csv(folder / "ptbxl_database.csv", dtype=str)
        table.loc[ecg_id - 1, column] = value
        table.to_csv(folder / "ptbxl_database.csv", index=False)

    return change


def edit_header(old: str, new: str) -> Change:
    return lambda folder: edit(record_file(folder, ".hea"), old, new)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def record_file(folder: Path, suffix: str) -> Path:
    return folder / f"records100/00000/{FAULTY:05d}_lr{suffix}"


def remove(suffix: str) -> Change:
    return lambda folder: record_file(folder, suffix).unlink()


def resize(change: int) -> Change:
    return lambda folder: os.truncate(record_file(folder, ".dat"), 24000 + change)


def flip_sample(position: int) -> Change:
    def change(folder: Path) -> None:
        file = record_file(folder, ".dat")
        samples = np.fromfile(file, dtype="<i2")
        samples[position] ^= 1
        samples.tofile(file)

    return change


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.dat"
    record_file(folder, ".dat").rename(outside)
    record_file(folder, ".dat").symlink_to(outside)


FAULTS = {
    "missing header": (remove(".hea"), "file", "00003_lr.hea"),
    "missing signals": (remove(".dat"), "file", "00003_lr.dat"),
    "truncated signals": (resize(-1), "file size", "truncated, got 23999 bytes; expected 24000"),
    "overlong signals": (resize(1), "file size", "overlong, got 24001 bytes; expected 24000"),
    "record name": (edit_header("00003_lr 12", "00004_lr 12"), "record name", "got '00004_lr'; expected '00003_lr'"),
    "sampling rate": (edit_header("12 100 ", "12 500 "), "sampling rate", "got 500.0; expected 100"),
    "length": (edit_header("100 1000\n", "100 999\n"), "number of samples", "got 999; expected 1000"),
    "lead count": (edit_header("lr 12 ", "lr 8 "), "number of leads", "got 8; expected 12"),
    "lead name": (edit_header(" AVR\n", " X\n"), "lead names", "'X'"),
    "signal file elsewhere": (edit_header("00003_lr.dat", "../../other.dat"), "signal file", "../../other.dat"),
    "checksum": (flip_sample(13), "checksum", "lead II"),
    "initial value": (flip_sample(1), "initial value", "lead II"),
    "unknown SCP code": (set_field("scp_codes", "{'FOO': 100.0}"), "scp_codes", "'FOO'"),
    "unparsable SCP codes": (set_field("scp_codes", "{'NORM': "), "scp_codes", "expected a dict"),
    "executable SCP codes": (set_field("scp_codes", "__import__('os').getcwd()"), "scp_codes", "expected a dict"),
    "SCP codes as a list": (set_field("scp_codes", "['NORM']"), "scp_codes", "expected a dict"),
    "no SCP codes": (set_field("scp_codes", ""), "scp_codes", "expected a value"),
    "fold not a number": (
        set_field("strat_fold", "three"),
        "strat_fold",
        "got 'three'; expected a whole",
    ),
    "number as in Python": (set_field("nurse", "1_0"), "nurse", "got '1_0'; expected a whole number"),
    "digits of another script": (set_field("height", "١٧٠"), "height", "got '١٧٠'; expected a number"),
    "fold not whole": (
        set_field("strat_fold", "3.5"),
        "strat_fold",
        "got '3.5'; expected a whole",
    ),
    "fold 0": (set_field("strat_fold", "0"), "strat_fold", "got '0'; expected a whole number from 1 to 10"),
    "fold 11": (set_field("strat_fold", "11"), "strat_fold", "got '11'; expected a whole number from 1 to 10"),
    "sex": (set_field("sex", "2"), "sex", "got '2'; expected a whole number from 0 to 1"),
    "age": (set_field("age", "-1"), "age", "got '-1'; expected 0 to 120 years"),
    "height": (set_field("height", "tall"), "height", "got 'tall'; expected a number"),
    "nurse": (set_field("nurse", "1.5"), "nurse", "got '1.5'; expected a whole number"),
    "second opinion": (set_field("second_opinion", "maybe"), "second_opinion", "expected True or False"),
    "absolute filename": (set_field("filename_lr", "/etc/passwd"), "filename_lr", "'/etc/passwd'"),
    "filename outside": (set_field("filename_lr", "records100/../../x"), "filename_lr", "expected a path inside"),
    "other filename outside": (set_field("filename_hr", "../x"), "filename_hr", "expected a path inside records500/"),
    "link outside": (link_out, "filename_lr", "outside.dat"),
}


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def faulty_release(request, release) -> tuple[Path, str, str]:
    put_fault, field, fragment = request.param
    put_fault(release)
    return release, field, fragment


def test_a_fault_stops_the_build_with_one_clear_error(faulty_release, build):
    folder, field, fragment = faulty_release
    with pytest.raises(DatasetError) as caught:
        build(folder)
    assert (caught.value.record, caught.value.field) == (f"ecg_id {FAULTY}", field)
    assert f"ecg_id {FAULTY}: {field}: " in str(caught.value)
    assert fragment in str(caught.value)


def test_with_skip_a_faulty_record_is_left_out_logged_and_listed(faulty_release, build, caplog):
    folder, field, fragment = faulty_release
    with caplog.at_level(logging.WARNING):
        builder = build(folder, on_error="skip")
    (skipped,) = builder.skipped_records()
    assert (skipped["record"], skipped["field"]) == (f"ecg_id {FAULTY}", field)
    assert fragment in skipped["reason"]
    assert any(f"ecg_id {FAULTY}: {field}" in message for message in caplog.messages)
    assert builder.as_dataset(split="train")["ecg_id"][:] == [1, 2, 4, 5, 6, 7, 8, 11, 12]


def test_an_ecg_id_given_twice_is_refused_and_with_skip_counts_once(release, build):
    set_field("ecg_id", str(FAULTY), ecg_id=FAULTY + 1)(release)
    with pytest.raises(DatasetError, match="ecg_id 3: ecg_id: given twice"):
        build(release)
    builder = build(release, on_error="skip")
    assert [skipped["field"] for skipped in builder.skipped_records()] == ["ecg_id"]
    assert builder.as_dataset(split="train")["ecg_id"][:] == [1, 2, 3, 5, 6, 7, 8, 11, 12]


def test_a_record_without_a_usable_ecg_id_is_named_by_its_row(release, build):
    set_field("ecg_id", "abc")(release)
    with pytest.raises(DatasetError, match="in row 3: ecg_id: got 'abc'; expected a whole number"):
        build(release)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("name", ["ptbxl_database.csv", "scp_statements.csv"])
def test_a_missing_csv_file_is_named(release, build, name, on_error):
    (release / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: cannot be read"):
        build(release, on_error=on_error)


@pytest.mark.parametrize(
    ("name", "column"),
    [("ptbxl_database.csv", "scp_codes"), ("ptbxl_database.csv", "age"), ("scp_statements.csv", "diagnostic_class")],
)
def test_a_missing_csv_column_is_named(release, build, name, column):
    pd.read_csv(release / name).rename(columns={"Unnamed: 0": ""}).drop(columns=column).to_csv(
        release / name, index=False
    )
    with pytest.raises(DatasetError, match=f"{name}: has no column '{column}'"):
        build(release)


def test_a_missing_data_dir_is_named(tmp_path, build):
    with pytest.raises(DatasetError, match="nowhere' is no folder"):
        build(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="data_dir: not given"):
        PTBXL(config_name="100hz", cache_dir=str(tmp_path)).download_and_prepare()


def test_statements_that_disagree_with_our_label_tables_are_refused(release, build):
    edit(release / "scp_statements.csv", "IMI,,1.0,,,MI,IMI", "IMI,,1.0,,,MI,AMI")
    with pytest.raises(DatasetError, match=r"'IMI': got .*'AMI'.*; expected .*'IMI'"):
        build(release)


def test_a_clear_error_also_comes_out_of_a_worker_process(release, build, monkeypatch):
    monkeypatch.setattr(ptbxl, "CHUNK_SIZE", 3)
    remove(".dat")(release)
    with pytest.raises(DatasetError, match="ecg_id 3: file: cannot be read") as caught:
        build(release, num_proc=2)
    assert (caught.value.record, caught.value.field) == (f"ecg_id {FAULTY}", "file")
