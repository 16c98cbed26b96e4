"""Records and rows that `WFDBFolder` refuses or leaves out."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.builders import all_rows
from tests.helpers.ecg_folder import noise, patients, write_record, write_settings, write_table
from tests.helpers.wfdb_folder import RECORD, ROW, Change, column, remove


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
    "a list of Python's": (set_cells(findings="['a']"), TABLE, "findings", "got \"['a']\"; expected labels with ';'"),
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
