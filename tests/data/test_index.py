"""A folder of recordings becomes a data set of one's own."""

import base64
import csv
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder.index import COLUMNS, index_folder, joined, recordings
from modeling_enecg.data.folder.settings import read_settings
from modeling_enecg.data.folder.statements import superclasses, understand
from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from modeling_enecg.leads import STANDARD_LEADS

HEADER = """{name} 12 500 1000 05-May-2020 14:50:55
{signals}
#Age: {age}
#Sex: {sex}
#Dx: {dx}
"""


def write_record(folder: Path, name: str, age: str = "61", sex: str = "Female", dx: str = "426783006") -> None:
    """A record as the PhysioNet Challenges publish them, with a header that names its findings."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    signal = rng.integers(-500, 500, (1000, 12)).astype("<i2")
    signal.tofile(folder / f"{name}.dat")
    signals = "\n".join(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in STANDARD_LEADS)
    text = HEADER.format(name=name, signals=signals, age=age, sex=sex, dx=dx)
    (folder / f"{name}.hea").write_text(text)


@pytest.fixture
def folder(tmp_path):
    for number in range(24):
        dx = ["426783006", "164889003", "164889003,713427006", "39732003"][number % 4]
        write_record(tmp_path / "ward", f"r{number:02d}", str(40 + number), ["Male", "Female"][number % 2], dx)
    (tmp_path / "notes.md").write_text("# nothing to read")
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "labels.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_the_files_say_stands_in_the_table(folder):
    index = index_folder(folder)
    assert not index.unreadable
    first = rows_of(folder)[2]
    assert tuple(first) == COLUMNS
    assert first["file"] == "ward/r02"
    assert (first["dx"], first["scp"], first["superdiagnostic"]) == ("AF;CRBBB", "AFIB;CRBBB", "CD")
    assert (first["sex"], first["age"], first["sampling_rate"], first["duration_s"]) == ("male", "42", "500", "2")
    assert first["recorded_at"] == "2020-05-05 14:50:55"


def test_a_statement_of_no_superclass_is_none_and_a_silent_file_is_unknown(folder):
    write_record(folder, "silent", dx="Unknown")
    write_record(folder, "axis", dx="39732003")
    index_folder(folder)
    by_file = {row["file"]: row["superdiagnostic"] for row in rows_of(folder)}
    assert by_file["axis"] == "none"
    assert by_file["silent"] == ""


def test_the_folder_is_then_a_data_set(folder, tmp_path_factory):
    labels = index_folder(folder).labels
    assert yaml.safe_load((folder / "dataset.yaml").read_text())["labels"] == labels
    builder = WFDBFolder(data_dir=str(folder), cache_dir=str(tmp_path_factory.mktemp("cache")))
    builder.download_and_prepare()
    splits = builder.as_dataset()
    assert sum(map(len, splits.values())) == 24
    assert {"superdiagnostic", "scp", "dx", "sex", "age"} <= set(splits["train"].column_names)


def test_every_label_is_about_equally_frequent_in_the_folds(folder):
    index_folder(folder)
    rows = rows_of(folder)
    tested = [row for row in rows if row["fold"] in ("9", "10")]
    assert 2 <= sum("AF" in row["dx"].split(";") for row in tested) <= 4  # 12 of 24 have it


def test_several_processes_write_the_same_table(folder):
    index_folder(folder)
    alone = (folder / "labels.csv").read_text()
    index_folder(folder, num_proc=2, overwrite=True)
    assert (folder / "labels.csv").read_text() == alone


def test_a_file_that_cannot_be_read_is_named_with_the_reason(folder):
    (folder / "broken.xml").write_text("<RestingECG><")
    index = index_folder(folder)
    assert list(index.unreadable) == ["broken.xml"]
    with open(folder / "unreadable.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["file"] == "broken.xml"
    assert row["reason"]


def test_signal_files_hidden_files_and_documents_are_no_recordings(folder):
    (folder / ".hidden.csv").write_text("1,2\n")
    assert list(recordings(folder)) == [f"ward/r{number:02d}" for number in range(24)]


MUSE = """<?xml version="1.0"?><RestingECG><PatientDemographics><PatientID>{patient}</PatientID></PatientDemographics>
<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase><SampleExponent>0</SampleExponent>{leads}
</Waveform></RestingECG>"""
LEAD = """<LeadData><LeadSampleCountTotal>1000</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>4.88
</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID>
<WaveFormData>{data}</WaveFormData></LeadData>"""


def write_muse(path: Path, patient: str) -> None:
    data = base64.b64encode(np.arange(1000, dtype="<i2").tobytes()).decode()
    leads = "".join(LEAD.format(lead=lead, data=data) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
    path.write_text(MUSE.format(patient=patient, leads=leads))


def test_patients_numbers_become_stable_pseudonyms_unless_they_are_asked_for(tmp_path):
    write_muse(tmp_path / "one.xml", "12345")
    write_muse(tmp_path / "two.xml", "12345")
    index_folder(tmp_path)
    first = {row["patient"] for row in rows_of(tmp_path)}
    assert len(first) == 1
    assert "12345" not in (tmp_path / "labels.csv").read_text()
    index_folder(tmp_path, overwrite=True)
    assert {row["patient"] for row in rows_of(tmp_path)} == first
    assert os.stat(tmp_path / ".pseudonym_salt").st_mode & 0o077 == 0
    index_folder(tmp_path, overwrite=True, clear_ids=True)
    assert {row["patient"] for row in rows_of(tmp_path)} == {"12345"}


def test_a_table_that_is_there_is_not_replaced_unasked(folder):
    (folder / "labels.csv").write_text("mine")
    with pytest.raises(DatasetError, match=r"labels\.csv: is there already; pass --overwrite"):
        index_folder(folder)
    assert (folder / "labels.csv").read_text() == "mine"


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="none was found"):
        index_folder(tmp_path)
    with pytest.raises(DatasetError, match="there is no folder"):
        index_folder(tmp_path / "nowhere")


def test_normal_stands_alone():
    assert understand("Normal ECG").superclass == "NORM"
    assert superclasses([understand("normal ecg"), understand("713427006")]) == ["CD"]
    assert understand("426783006").superclass is None  # sinus rhythm is no normal ECG


def test_the_challenges_hospitals_are_indexed_whole(challenge_dir, tmp_path):
    for file in challenge_dir.glob("[A-Z]*.[hm][ea][at]"):
        (tmp_path / file.name).symlink_to(file)
    index = index_folder(tmp_path)
    assert len(index.rows) == 66
    assert not index.unreadable
    assert list(index.labels) == ["superdiagnostic", "scp", "dx", "sex", "age"]


def test_recordings_that_say_nothing_become_a_data_set_that_can_be_predicted(tmp_path):
    for number in range(3):
        write_record(tmp_path, f"r{number}", age="NaN", sex="Unknown", dx="Unknown")
    assert index_folder(tmp_path).labels == {}
    assert read_settings(tmp_path).labels == {}


@pytest.mark.parametrize("num_patients", range(3, 11))
def test_few_patients_still_give_all_three_splits(tmp_path, num_patients):
    for number in range(num_patients):
        write_record(tmp_path, f"r{number}", age=str(40 + number))
    index_folder(tmp_path)
    folds = [int(row["fold"]) for row in rows_of(tmp_path)]
    assert sorted(folds)[-2:] == [9, 10]
    assert len(folds) - 2 == sum(fold < 9 for fold in folds) > 0


def test_a_broken_link_is_named_as_a_file_that_cannot_be_read(tmp_path):
    write_record(tmp_path, "r0")
    (tmp_path / "gone.edf").symlink_to(tmp_path / "nowhere.edf")
    index = index_folder(tmp_path)
    assert [row["file"] for row in rows_of(tmp_path)] == ["r0"]
    assert list(index.unreadable) == ["gone.edf"]


def test_a_finding_that_is_called_none_is_no_label_beside_others():
    said = [understand(text) for text in ("None", "164889003")]
    assert _cell(said) == "AF"
    assert _cell(said[:1]) == "none"


def _cell(said):
    return joined(sorted({each.name for each in said}), said)
