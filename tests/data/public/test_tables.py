"""Public data sets whose labels stand in tables: which columns say what, and what their codes mean."""

import csv
from importlib.resources import files

import numpy as np
import pytest

from modeling_enecg.data.builder import SPLIT_FOLDS
from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder.statements import statement_table
from modeling_enecg.data.ptbxl.labels import SCP_STATEMENTS, TASK_LABELS
from modeling_enecg.data.public.definition import public_sets
from modeling_enecg.data.public.public_ecgs import PublicECGs, find_public_set
from modeling_enecg.data.rows import signal_array
from tests.helpers.public_sets import (
    LUDB_COLUMNS,
    rows_of,
    simulated_mv,
    write_code15,
    write_code_test,
    write_ludb,
    write_sph,
)

CODE = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")


def exam(number: int, *findings: str, part: int = 0, normal: bool = False, patient: int | None = None) -> dict:
    flags = {name: str(name in findings) for name in CODE}
    about = {"exam_id": 100 + number, "age": 50 + number, "is_male": str(number % 2 == 0)}
    file = {"patient_id": number if patient is None else patient, "trace_file": f"exams_part{part}.hdf5"}
    return about | flags | file | {"normal_ecg": str(normal)}


def test_sph_has_patients_statements_and_modifiers(tmp_path):
    codes = ["1", "22;23", "60+310;147", "104", "1;1", "160"] * 4
    patients = [f"S{number // 2}" for number in range(24)]
    rows = rows_of(write_sph(tmp_path / "sph", codes, patients), tmp_path / "cache")
    row = rows["records/A00002.h5"]
    assert row["dx"] == {"Ventricular premature complex(es)", "T-wave abnormality"}
    assert (row["scp"], row["superdiagnostic"]) == ({"PVC"}, {"STTC"})
    assert (row["patient_id"], row["age"], row["sex"], row["sampling_rate"]) == ("S1", 42.0, "male", 500.0)
    assert rows["records/A00000.h5"]["superdiagnostic"] == rows["records/A00004.h5"]["scp"] == {"NORM"}
    splits = {}
    for row in rows.values():
        splits.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(len(each) == 1 for each in splits.values())
    np.testing.assert_allclose(signal_array(row) / 1000, simulated_mv(), atol=0.002)  # of float16


def test_code15_leaves_open_what_it_does_not_annotate(tmp_path):
    exams = [exam(0, normal=True), exam(1, "RBBB", "AF"), exam(2), exam(3, "ST", part=1), exam(4, normal=True)]
    rows = rows_of(write_code15(tmp_path / "code", exams), tmp_path / "cache")
    assert set(rows) == {f"exams_part0.hdf5/{number}" for number in (100, 101, 102, 104)}  # the part that is there
    normal, block, other = (rows[f"exams_part0.hdf5/{number}"] for number in (100, 101, 102))
    assert (normal["scp"], normal["superdiagnostic"], normal["superdiagnostic_unknown"]) == ({"NORM"}, {"NORM"}, set())
    assert (block["scp"], block["superdiagnostic"]) == ({"CRBBB", "AFIB"}, {"CD"})
    assert (other["scp"], other["superdiagnostic"], other["superdiagnostic_unknown"]) == (set(), set(), {"CD"})
    assert (other["age"], other["sex"], other["sampling_rate"], other["num_samples"]) == (52.0, "male", 400.0, 4000)


def test_code_test_is_for_testing_and_has_its_leads_by_name(tmp_path):
    rows = [{name: int(index == number) for index, name in enumerate(CODE)} for number in range(8)]
    found = rows_of(write_code_test(tmp_path / "code", rows), tmp_path / "cache")
    assert {row["split"] for row in found.values()} == {"test"}
    row = found["ecg_tracings.hdf5/1"]
    assert (row["scp"], row["age"], row["sex"]) == ({"CRBBB"}, 51.0, "female")
    assert "superdiagnostic" not in row  # nobody is known to be without a conduction disturbance
    np.testing.assert_allclose(signal_array(row)[5], np.rint(simulated_mv()[5, :4000] * 1100), atol=1)  # aVF


def test_tables_that_belong_together_have_as_many_rows(tmp_path):
    rows = [dict.fromkeys(CODE, 0)] * 3
    folder = write_code_test(tmp_path / "code", rows, num_attributes=2)
    with pytest.raises(DatasetError, match=r"gold_standard.csv: rows: got .*attributes.csv': 2.* expected as many"):
        rows_of(folder, tmp_path / "cache")


def test_ludb_says_it_in_words_and_leaves_some_open(tmp_path):
    rows = [
        {"Sex": "F", "Age": "51", "Rhythms": "Sinus bradycardia", "Hypertrophies": "Left ventricular hypertrophy"},
        {
            "Sex": "M",
            "Age": ">89",
            "Rhythms": "Atrial flutter, typical",
            "Ischemia": "STEMI: septal\nIschemia: apical",
        },
        {
            "Sex": "M",
            "Age": "60",
            "Rhythms": "Sinus rhythm",
            "Ischemia": "Undefined ischemia/scar/supp.NSTEMI: apical",
        },
        {"Sex": "F", "Age": "70", "Rhythms": "Sinus rhythm", "Cardiac pacing": "Biventricular pacing"},
        {"Sex": "F", "Age": "70", "Rhythms": "Sinus rhythm", "Other states": "Something new"},
    ]
    found = rows_of(write_ludb(tmp_path / "ludb", rows), tmp_path / "cache")
    first, second, third, paced, new = (found[f"data/{number}"] for number in range(1, 6))
    assert (first["scp"], first["superdiagnostic"]) == ({"SBRAD", "LVH"}, {"HYP"})
    assert (second["scp"], second["superdiagnostic"], second["age"]) == ({"AFLT", "ISC_"}, {"MI", "STTC"}, None)
    assert (third["superdiagnostic"], third["superdiagnostic_unknown"]) == (set(), {"MI", "STTC"})
    assert paced["scp"] == {"SR", "PACE"}
    assert new["superdiagnostic_unknown"] == {"HYP", "MI", "STTC"}
    assert first["lead_names"][:4] == ["I", "II", "III", "aVR"]


@pytest.mark.parametrize(
    ("change", "message", "num_left"),
    [
        ({"patient_id": ""}, "exams.csv, row 2: patient_id: got ''; expected a patient", 3),
        ({"AF": "maybe"}, "exams.csv, row 2: AF: got 'maybe'; expected 0 or 1", 3),
        (
            {"exam_id": 101},
            "exams.csv, row 3: record: got 'exams_part0.hdf5/101' again; expected it once",
            2,
        ),  # neither can be read by it
    ],
)
def test_a_faulty_row_is_named_or_left_out(tmp_path, change, message, num_left):
    folder = write_code15(tmp_path / "code", [exam(0) | change, exam(1, "AF"), exam(2, "ST"), exam(3)])
    with pytest.raises(DatasetError, match=message.replace("(", r"\(")):
        rows_of(folder, tmp_path / "cache")
    assert len(rows_of(folder, tmp_path / "cache", on_error="skip")) == num_left


def test_tables_of_other_columns_are_no_public_set(tmp_path):
    (tmp_path / "metadata.csv").write_text("name,age\na,1\n")
    assert find_public_set(tmp_path) is None
    with pytest.raises(DatasetError, match=r"holds none of the sets .*SPH"):
        PublicECGs(data_dir=str(tmp_path))


@pytest.mark.parametrize("name", sorted(public_sets()))
def test_a_definition_says_where_its_set_comes_from_and_in_known_words(name):
    public = public_sets()[name]
    assert public.source.startswith("https://doi.org/")
    assert public.headers != bool(public.tables)
    assert public.split in {None, *SPLIT_FOLDS}
    meanings = public.meanings()
    assert {each.scp_code for each in meanings.values()} - {None} <= {each.code for each in SCP_STATEMENTS}
    classes = {each.superclass for each in meanings.values()} | {
        open_ for e in meanings.values() for open_ in e.leaves_open
    }
    assert classes - {None} <= set(TASK_LABELS["superdiagnostic"])
    assert set(public.flags) <= set(meanings)


def test_every_table_of_codes_has_each_code_once():
    for file in (files("modeling_enecg.data.public") / "sets").iterdir():
        if file.name.endswith(".csv"):
            rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
            assert len(statement_table(file.read_text(encoding="utf-8"))) == len(rows)


def test_the_columns_of_ludb_are_those_of_its_table():
    assert public_sets()["ludb"].columns <= set(LUDB_COLUMNS)
