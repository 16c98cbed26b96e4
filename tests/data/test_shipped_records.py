"""The records of the shipped model: two sources as one folder of own data."""

import csv

import numpy as np
import pytest

from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from modeling_enecg.data.rows import signal_array
from modeling_enecg.data.shipped_records import write_shipped_records
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.io import read_ecg
from tests.helpers.builders import all_rows
from tests.helpers.ecg_folder import write_folder


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return simulate_ptbxl(tmp_path_factory.mktemp("release") / "ptbxl", num_records=20)


@pytest.fixture(scope="module")
def joined(release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")
    stated = {"rhythm": "SR", "superdiagnostic": "NORM", "subdiagnostic": "NORM", "form": "PVC", "sex": "male"}
    unstated = {"subdiagnostic": "", "form": "", "age": "", "sex": "female"}
    rows = [
        {"file": f"records/{number:05d}_lr", "patient": f"p{number}", "fold": fold, **stated, "age": 50.5} | changes
        for number, fold, changes in ((1, 1, {}), (20001, 9, unstated), (20002, 10, {}))
    ]
    kinds = dict.fromkeys(("superdiagnostic", "subdiagnostic", "form", "rhythm"), "multi_label")
    labels = kinds | {"sex": "single_label", "age": "regression"}
    filtered = write_folder(folder / "filtered", rows, labels=labels)
    return write_shipped_records(release, filtered, folder / "joined")


def cells(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_a_record_of_both_sources_is_taken_from_the_release(release, joined):
    table = cells(joined)
    assert len(table) == 22
    raw = read_ecg(release / "records500/00000/00001_hr").signal_mv
    np.testing.assert_allclose(read_ecg(joined / "records/00001").signal_mv, raw, atol=5e-4)


def test_the_folder_holds_what_the_release_says(release, joined):
    table = cells(joined)
    with (release / "ptbxl_database.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            ours = table[f"records/{int(row['ecg_id']):05d}"]
            assert ours["patient"] == f"p{float(row['patient_id']):.0f}"
            assert ours["fold"] == row["strat_fold"]
            assert ours["sex"] == ["male", "female"][int(row["sex"])]
            assert set(ours["rhythm"].split(";")) - {""} <= set(row["scp_codes"].replace("'", " ").split())


def test_what_is_not_stated_is_unknown_but_for_a_kind_that_is_complete(joined):
    further = cells(joined)["records/20001"]
    assert (further["form"], further["subdiagnostic"], further["age"]) == ("none", "", "")


def test_it_is_a_dataset_that_trains(joined):
    builder = WFDBFolder(data_dir=str(joined), cache_dir=str(joined.parent / "cache"))
    builder.download_and_prepare()
    rows = all_rows(builder)
    assert {row["sampling_rate"] for row in rows} == {100, 500}
    assert all(signal_array(row).shape[0] == 12 for row in rows)
    assert sum(row["rr_interval"] is not None for row in rows) >= 20
