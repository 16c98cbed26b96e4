"""The layout of the PhysioNet Challenges: what headers say becomes labels, and what they leave open stays unknown."""

import csv
import json
import logging
import shutil
from collections import Counter
from importlib.resources import files

import pytest

from modeling_enecg.data.builder import SPLIT_FOLDS
from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder.parquet import describe_folder, write_parquet
from modeling_enecg.data.folder.statements import snomed_statements
from modeling_enecg.data.ptbxl.labels import SCP_STATEMENTS
from modeling_enecg.data.public.public_ecgs import PublicECGs, find_public_set
from modeling_enecg.data.public.records import cohort_of
from modeling_enecg.data.sources import DatasetOptions, find_source, is_dataset
from modeling_enecg.data.targets import dataset_tasks, read_targets
from tests.helpers.public_sets import (
    AF,
    INFARCTION,
    RBBB,
    SINUS,
    rows_of,
    write_challenge,
    write_challenge_record,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_challenge(tmp_path_factory.mktemp("challenge"))


def test_a_folder_of_headers_with_diagnoses_is_a_data_set(folder, tmp_path):
    assert is_dataset(str(folder))
    source = find_source(DatasetOptions(str(folder), cache_dir=str(tmp_path)))
    assert source.name == "PhysioNet Challenge 2020/2021"
    assert source.labels == ("superdiagnostic", "scp", "dx", "sex", "age")


def test_headers_without_diagnoses_are_none(simulated):
    assert find_public_set(simulated) is None


def test_codes_become_scp_statements_and_superclasses(folder, tmp_path):
    row = rows_of(folder, tmp_path)["georgia/g0/E00003"]
    assert (row["scp"], row["superdiagnostic"], row["dx"]) == ({"SR", "CRBBB"}, {"CD"}, {"NSR", "RBBB"})
    assert (row["sex"], row["age"], row["sampling_rate"], row["num_samples"]) == ("female", 42.0, 500.0, 1000)


def test_records_of_a_folder_are_divided_in_the_same_way_each_time(folder, tmp_path):
    first, again = (rows_of(folder, tmp_path / name) for name in ("a", "b"))
    assert {name: row["strat_fold"] for name, row in first.items()} == {
        name: row["strat_fold"] for name, row in again.items()
    }
    assert Counter(row["split"] for row in first.values()) == {"train": 32, "validation": 4, "test": 4}
    for split in SPLIT_FOLDS:  # the four kinds of record are in each
        assert {frozenset(row["dx"]) for row in first.values() if row["split"] == split} == {
            frozenset(each) for each in ({"NSR"}, {"AF"}, {"NSR", "RBBB"}, {"NSR", "MI"})
        }


def test_what_a_cohort_does_not_annotate_is_not_known_of_its_records(tmp_path):
    names = {"A0001": SINUS, "E00001": SINUS, "E00002": INFARCTION, "JS20000": RBBB, "JS00001": AF, "ward1": SINUS}
    for name, dx in names.items():
        write_challenge_record(tmp_path / "ecgs", name, dx)
    rows = rows_of(tmp_path / "ecgs", tmp_path / "cache")
    # The CPSC has no code of an infarction, Ningbo none of fibrillation; both have bundle branch blocks.
    assert rows["A0001"]["superdiagnostic_unknown"] == {"MI"}
    assert rows["A0001"]["dx_unknown"] == {"MI"}
    assert rows["JS20000"]["scp_unknown"] == {"AFIB"}
    assert rows["JS00001"]["scp_unknown"] == set()
    assert rows["E00001"]["superdiagnostic_unknown"] == {"MI"}  # less than 1 % of Georgia's records state one
    assert rows["E00002"]["superdiagnostic"] == {"MI"}
    assert rows["ward1"]["scp_unknown"] == rows["ward1"]["superdiagnostic_unknown"] == set()  # of no cohort


def test_unknown_labels_are_no_targets(tmp_path):
    for name, dx in {"A0001": SINUS, "Q0001": INFARCTION, "Q0002": RBBB}.items():
        write_challenge_record(tmp_path / "ecgs", name, dx)
    builder = PublicECGs(data_dir=str(tmp_path / "ecgs"), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    by_name = {}
    for records in builder.as_dataset().values():
        (task,) = dataset_tasks(records.features, ["superdiagnostic"])
        for name, target in zip(records["ecg_id"], read_targets(records, task), strict=True):
            by_name[name] = dict(zip(task.labels, target.tolist(), strict=True))
    assert by_name["A0001"]["CD"] == 0
    assert by_name["A0001"]["MI"] != by_name["A0001"]["MI"]  # NaN
    assert by_name["Q0001"] == {"CD": 0, "MI": 1}
    with pytest.raises(DatasetError, match="no labels 'scp_unknown'; there are"):
        dataset_tasks(builder.info.features, ["scp_unknown"])


def test_a_code_that_the_table_lacks_is_told_and_leaves_the_rest_open(tmp_path, caplog):
    for name, dx in {"r1": SINUS, "r2": f"{SINUS},99999", "r3": RBBB}.items():
        write_challenge_record(tmp_path / "ecgs", name, dx)
    with caplog.at_level(logging.WARNING):
        rows = rows_of(tmp_path / "ecgs", tmp_path / "cache")
    assert "codes that the table of PhysioNet Challenge 2020/2021 lacks: 99999 1" in caplog.text
    assert rows["r2"]["dx"] == {"NSR", "99999"}
    assert (rows["r2"]["scp"], rows["r2"]["scp_unknown"]) == ({"SR"}, {"CRBBB"})
    assert rows["r1"]["scp_unknown"] == set()


def test_a_record_that_states_nothing_has_no_labels(tmp_path):
    for name, dx in {"r1": SINUS, "r2": "Unknown", "r3": RBBB}.items():
        write_challenge_record(tmp_path / "ecgs", name, dx)
    row = rows_of(tmp_path / "ecgs", tmp_path / "cache")["r2"]
    assert row["scp"] is row["dx"] is row["superdiagnostic"] is None


def test_cohorts_with_several_records_per_patient_are_in_training_only(tmp_path):
    for number in range(1, 21):
        write_challenge_record(tmp_path / "ecgs", f"I{number:04d}", [SINUS, RBBB][number % 2])
        write_challenge_record(tmp_path / "ecgs", f"JS{number:05d}", [SINUS, RBBB][number % 2])
    rows = rows_of(tmp_path / "ecgs", tmp_path / "cache")
    assert {row["split"] for name, row in rows.items() if name.startswith("I")} == {"train"}
    assert {row["split"] for name, row in rows.items() if name.startswith("JS")} == set(SPLIT_FOLDS)


def test_a_damaged_record_is_named_or_left_out(tmp_path):
    write_challenge(tmp_path / "ecgs", 20)
    header = tmp_path / "ecgs/georgia/g0/E00002.hea"
    header.write_text(header.read_text().replace(" 12 500 ", " 12 -500 "))
    (tmp_path / "ecgs/georgia/g0/E00005.dat").write_bytes(bytes(100))
    with pytest.raises(DatasetError, match="georgia/g0/E00002, row 2: header: "):
        rows_of(tmp_path / "ecgs", tmp_path / "cache")
    rows = rows_of(tmp_path / "ecgs", tmp_path / "cache", on_error="skip")
    assert len(rows) == 18


def test_a_changed_header_is_read_again(tmp_path):
    write_challenge(tmp_path / "ecgs", 20)
    assert rows_of(tmp_path / "ecgs", tmp_path / "cache")["georgia/g0/E00001"]["dx"] == {"NSR"}
    write_challenge_record(tmp_path / "ecgs/georgia/g0", "E00001", f"{SINUS},{AF}")
    assert rows_of(tmp_path / "ecgs", tmp_path / "cache")["georgia/g0/E00001"]["dx"] == {"NSR", "AF"}


@pytest.mark.parametrize(
    ("record", "cohort"),
    [
        *(("A0001", "CPSC"), ("Q3581", "CPSC_Extra"), ("I0075", "StPetersburg"), ("S0549", "PTB")),
        *(("g1/HR21837", "PTB_XL"), ("E10344", "Georgia"), ("JS10646", "Chapman_Shaoxing"), ("JS10647", "Ningbo")),
    ],
)
def test_cohorts_are_told_by_the_names_of_records(record, cohort):
    assert cohort_of(record).name == cohort


@pytest.mark.parametrize("record", ["ward1", "E1", "JS1", "A00001", "00001_lr", "JS00000"])
def test_other_names_are_of_no_cohort(record):
    assert cohort_of(record) is None


def test_the_table_of_codes_speaks_of_known_statements_and_cohorts():
    codes = {statement.code for statement in SCP_STATEMENTS}
    text = (files("modeling_enecg.data.public") / "challenge_cohorts.csv").read_text()
    cohorts = {row["cohort"] for row in csv.DictReader(text.splitlines())}
    table = snomed_statements()
    assert len(table) == 133
    assert {each.scp_code for each in table.values()} - {None} <= codes
    assert set().union(*(each.cohorts for each in table.values())) == cohorts
    assert table[AF].cohorts == tuple(sorted(cohorts - {"Ningbo"}, key=table[AF].cohorts.index))


def test_an_exported_set_comes_with_its_card_and_machine_readable_metadata(folder, tmp_path):
    builder = PublicECGs(data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    out = write_parquet(builder, tmp_path / "parquet")
    card = (out / "README.md").read_text()
    assert describe_folder(builder) in card
    assert "license: cc-by-4.0" in card
    assert "By cohort: Georgia 40." in card
    facts = json.loads((out / "croissant.json").read_text())
    assert facts["url"] == "https://doi.org/10.13026/34va-7q14"
    source = find_source(DatasetOptions(str(out), cache_dir=str(tmp_path / "cache")))
    assert {"scp", "superdiagnostic", "ecg_id", "signal"} <= set(source.features)


def test_real_records_of_the_challenge_are_read(challenge_dir, tmp_path):
    (tmp_path / "ecgs").mkdir()
    for file in [*challenge_dir.glob("*.hea"), *challenge_dir.glob("*.mat")]:
        shutil.copy(file, tmp_path / "ecgs")
    rows = rows_of(tmp_path / "ecgs", tmp_path / "cache")
    assert len(rows) == 66
    assert (rows["E07503"]["dx"], rows["E07503"]["scp"]) == ({"LAA", "STach"}, {"LAO/LAE", "STACH"})
    assert (rows["E07503"]["age"], rows["E07503"]["sex"]) == (77.0, "female")
    assert {row["split"] for row in rows.values()} == set(SPLIT_FOLDS)
