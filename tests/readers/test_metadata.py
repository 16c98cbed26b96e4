"""What files say besides their signals."""

import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.io import read_ecg
from modeling_enecg.metadata_values import hl7_time, in_years, measured, sex_of, statements, years_between
from modeling_enecg.recording import Metadata
from tests.helpers.edf_files import channel, edf, records_of
from tests.helpers.ishne_files import ishne
from tests.helpers.scp_files import leads, plain, rhythm, scp
from tests.helpers.xml_files import eight_leads, muse, muse_waves

COUNTS = np.random.default_rng(0).integers(-900, 900, size=(8, 100), dtype=np.int16)
NAME = "Nowhere"


def read(path: Path, content: bytes | str) -> Metadata:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    metadata = read_ecg(path).metadata
    assert NAME not in repr(metadata)
    return metadata


def test_the_comments_of_a_challenge_header_tell_patient_and_findings(tmp_path):
    (tmp_path / "A1.dat").write_bytes(COUNTS[0].tobytes())
    lines = ("A1 1 500 100 05-May-2020 14:50:55", "A1.dat 16 1000/mV 16 0 0 0 0 I")
    comments = ("#Age: 76", "#Sex: Male", "#Dx: 428750005,39732003", "#Rx: Unknown")
    metadata = read(tmp_path / "A1.hea", "\n".join((*lines, *comments)))
    assert metadata == Metadata(
        recorded_at=datetime(2020, 5, 5, 14, 50, 55),
        age_years=76.0,
        sex="male",
        statements=("428750005", "39732003"),
    )


def test_a_muse_record_tells_patient_measurements_and_lines_of_the_diagnosis(tmp_path):
    said = (
        f"<PatientDemographics><PatientID>P-17</PatientID><PatientAge>6</PatientAge><AgeUnits>MONTHS</AgeUnits>"
        f"<Gender>FEMALE</Gender><PatientLastName>{NAME}</PatientLastName></PatientDemographics>"
        "<TestDemographics><AcquisitionDevice>MAC55</AcquisitionDevice><AcquisitionTime>08:09:10</AcquisitionTime>"
        "<AcquisitionDate>11-22-2018</AcquisitionDate></TestDemographics>"
        "<RestingECGMeasurements><VentricularRate>48</VentricularRate><PRInterval>-1</PRInterval>"
        "<QTCorrected>403</QTCorrected><RAxis>-20</RAxis></RestingECGMeasurements>"
        "<Diagnosis><DiagnosisStatement><StmtText>Sinus</StmtText></DiagnosisStatement><DiagnosisStatement>"
        "<StmtFlag>ENDSLINE</StmtFlag><StmtText>bradycardia</StmtText></DiagnosisStatement><DiagnosisStatement>"
        "<StmtText>Normal ECG</StmtText></DiagnosisStatement></Diagnosis>"
    )
    text = muse(muse_waves(eight_leads(COUNTS))).replace("<RestingECG>", f"<RestingECG>{said}")
    assert read(tmp_path / "muse.xml", text) == Metadata(
        patient_id="P-17",
        recorded_at=datetime(2018, 11, 22, 8, 9, 10),
        age_years=0.5,
        sex="female",
        device="MAC55",
        heart_rate_bpm=48.0,
        qtc_ms=403.0,
        qrs_axis_deg=-20.0,
        statements=("Sinus bradycardia", "Normal ECG"),
    )


def test_edf_plus_tells_a_patient_and_plain_edf_none(tmp_path):
    content = edf([channel("ECG I", 100)], records_of(COUNTS[0]), kind="EDF+C")
    content = content.replace(b"X X X X".ljust(80), f"MCH-023 F 02-MAY-1951 {NAME}".encode().ljust(80))
    recording = b"Startdate 01-JAN-2020 X X Recorder_3".ljust(80)
    content = content[:88] + recording + content[168:]
    metadata = read(tmp_path / "plus.edf", content)
    assert metadata == Metadata("MCH-023", datetime(2020, 1, 1), age_years=68.0, sex="female", device="Recorder 3")
    plain_edf = content.replace(b"EDF+C", b"     ")
    assert read(tmp_path / "plain.edf", plain_edf) == Metadata(recorded_at=datetime(2020, 1, 1))


def test_an_ishne_header_tells_its_patient(tmp_path):
    content = bytearray(ishne(COUNTS[:3]))
    content[8:10] = bytes(2)  # no checksum
    content[28:35], content[108:112] = NAME.encode(), b"H-12"
    struct.pack_into("<h", content, 128, 2)
    struct.pack_into("<6h", content, 132, 17, 6, 1950, 2, 1, 2020)
    struct.pack_into("<3h", content, 150, 10, 11, 12)
    metadata = read(tmp_path / "holter.ecg", bytes(content))
    assert (metadata.patient_id, metadata.sex, metadata.age_years) == ("H-12", "female", 69.0)
    assert metadata.recorded_at == datetime(2020, 1, 2, 10, 11, 12)


def test_an_scp_record_tells_its_patient_and_findings(tmp_path):
    fields = {0: NAME.encode() + b"\0", 2: b"S-3\0", 5: struct.pack("<HBB", 1953, 5, 8), 8: b"\1"}
    fields |= {14: bytes(8) + b"ELI250" + bytes(20), 25: struct.pack("<HBB", 2002, 11, 22), 26: b"\x09\x0a\x00"}
    patient = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in fields.items()) + b"\xff\0\0"
    text = b"sinus rhythm\0"
    findings = bytes(8) + b"\1" + struct.pack("<BH", 1, len(text)) + text
    sections = {1: patient, 3: leads(COUNTS[:2]), 6: rhythm(plain(COUNTS[:2])), 8: findings}
    assert read(tmp_path / "ecg.scp", scp(sections)) == Metadata(
        patient_id="S-3",
        recorded_at=datetime(2002, 11, 22, 9, 10),
        age_years=49.0,
        sex="male",
        device="ELI250",
        statements=("sinus rhythm",),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("muse_xml/braveheart_example1.xml", {"heart_rate_bpm": 48, "pr_ms": 138, "qrs_axis_deg": 20}),
        ("aecg/fda_example_aecg.xml", {"patient_id": "SBJ-123", "age_years": 46, "pr_ms": 148, "qtc_ms": 443}),
        ("philips_xml/sierra_1_03.xml", {"age_years": 50, "sex": "male", "heart_rate_bpm": 41, "qtc_ms": 393}),
        ("schiller_xml/schiller_at110_sema.xml", {"device": "Schiller AT-110", "pr_ms": 214, "t_axis_deg": -30}),
        ("dicom/waveform_ecg.dcm", {"age_years": 42, "sex": "female", "qt_ms": 368, "p_axis_deg": 74}),
    ],
)
def test_sample_files_tell_what_is_printed_in_them(formats_dir, name, expected):
    metadata = read_ecg(formats_dir / name).metadata
    assert {field: getattr(metadata, field) for field in expected} == expected


def test_values_without_sense_are_left_out():
    assert measured(pr_ms="-1", qrs_ms="1_00", qt_ms="nan", qtc_ms="403", heart_rate_bpm=None) == {"qtc_ms": 403.0}
    assert (in_years("042", "Y"), in_years("18", "M"), in_years("x", "Y"), in_years("300", "Y")) == (
        42,
        1.5,
        None,
        None,
    )
    assert (sex_of(" M "), sex_of("Female"), sex_of("unknown"), sex_of(None)) == ("male", "female", None, None)
    assert hl7_time("20021122091000.000+0100") == datetime(2002, 11, 22, 9, 10)
    assert hl7_time("2002") is hl7_time("20021399") is None
    assert years_between(datetime(1951, 5, 2), datetime(2020, 5, 1)) == 68.0
    assert years_between(datetime(2021, 1, 1), datetime(2020, 1, 1)) is None
    assert statements(["a\x1b[31m b", " ", None]) == ("a [31m b",)


@pytest.mark.parametrize("name", ["aecg", "dicom"])
def test_a_newborn_is_no_year_old(tmp_path, formats_dir, name):
    """A stated age of 0 is an age, though no date of birth is given."""
    sample, stated, newborn = {
        "aecg": ("aecg/fda_example_aecg.xml", b'value="46" unit="a"', b'value="0" unit="a"'),
        "dicom": ("dicom/waveform_ecg.dcm", b"042Y", b"000D"),
    }[name]
    content = (formats_dir / sample).read_bytes()
    path = tmp_path / Path(sample).name
    path.write_bytes(content.replace(stated, newborn))
    assert path.read_bytes() != content
    assert read_ecg(path).metadata.age_years == 0
