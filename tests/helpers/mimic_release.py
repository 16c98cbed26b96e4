"""A fabricated copy of MIMIC-IV-ECG and of the two tables of MIMIC-IV, in the releases' layout."""

import csv
import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from modeling_enecg.data.mimic_iv_ecg.metadata import MEASUREMENTS, REPORT_LINES

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")  # aVF before aVL
UNITS_PER_MV = 200

PATIENTS = [10000032, 10000117, 10000248, 10000560, 10000635, 10000719, 10000764, 10000826, 10000935, 10000980]
MEASURED = dict(zip(MEASUREMENTS, (40, 128, 170, 258, 518, 81, 77, 79), strict=True))


def records(patients: Sequence[int] = PATIENTS) -> list[dict[str, object]]:
    """Two ECGs of each patient: 40000000 ... 40000019, a day apart."""
    return [
        {
            "subject_id": patient,
            "study_id": 40000000 + 2 * index + day,
            "file_name": 40000000 + 2 * index + day,
            "ecg_time": f"2180-07-{10 + day} 08:44:00",
            "path": f"files/p{str(patient)[:4]}/p{patient}/s{40000000 + 2 * index + day}/{40000000 + 2 * index + day}",
        }
        for index, patient in enumerate(patients)
        for day in range(2)
    ]


def signal_of(ecg_id: int) -> np.ndarray:
    """Noise in the release's units, 200 a millivolt, of shape (12, 5000), leads in its order."""
    return np.random.default_rng(ecg_id).integers(-500, 500, size=(12, 5000)).astype("<i2")


def write_release(folder: Path, patients: Sequence[int] = PATIENTS) -> Path:
    """Write MIMIC-IV-ECG's folder with two records of each patient."""
    rows = records(patients)
    for row in rows:
        write_record(folder / str(row["path"]), signal_of(int(str(row["study_id"]))))
    write_csv(folder / "record_list.csv", rows)
    write_csv(folder / "machine_measurements.csv", [measure(row) for row in rows])
    return folder


def measure(record: dict[str, object]) -> dict[str, object]:
    reports = dict.fromkeys(REPORT_LINES, "")
    reports |= {
        "report_0": "Sinus rhythm",
        "report_1": "Possible right atrial abnormality",
        "report_3": "Borderline ECG",
    }
    return (
        {"subject_id": record["subject_id"], "study_id": record["study_id"], "cart_id": 6848296}
        | {"ecg_time": record["ecg_time"]}
        | reports
        | {"bandwidth": "0.005-150 Hz", "filtering": "60 Hz notch Baseline filter", "rr_interval": 659}
        | MEASURED
    )


def write_record(path: Path, signal: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".dat").write_bytes(signal.T.tobytes())
    lines = [f"{path.name} 12 500 5000 08:44:00 10/07/2180"]
    for name, lead in zip(MIMIC_LEADS, signal, strict=True):
        checksum = int(lead.sum(dtype=np.int64)) % 65536
        lines.append(f"{path.name}.dat 16 200.0(0)/mV 16 0 {lead[0]} {checksum} 0 {name}")
    path.with_suffix(".hea").write_text("\n".join([*lines, "# <subject_id>: 10000032"]) + "\n")


def write_mimic_iv(folder: Path, patients: Sequence[int] = PATIENTS) -> Path:
    """Write MIMIC-IV's folder: everybody 52 in 2180, every other one female, a potassium of 4.2 at each first ECG."""
    people = [
        {"subject_id": patient, "gender": "FM"[index % 2], "anchor_age": 50, "anchor_year": 2178}
        | {"anchor_year_group": "2014 - 2016", "dod": ""}
        for index, patient in enumerate(patients)
    ]
    (folder / "hosp").mkdir(parents=True)
    write_csv(folder / "hosp" / "patients.csv", people)
    write_labs(folder, [lab(patient, "2180-07-10 08:50:00", 4.2) for patient in patients])
    return folder


def lab(patient: int, time: str, value: object, flag: str = "", itemid: int = 50971) -> dict[str, object]:
    return (
        {"labevent_id": 1, "subject_id": patient, "hadm_id": "", "specimen_id": 7, "itemid": itemid}
        | {"order_provider_id": "P00A1", "charttime": time, "storetime": time, "value": value, "valuenum": value}
        | {"valueuom": "mEq/L", "ref_range_lower": 3.3, "ref_range_upper": 5.1, "flag": flag, "priority": "STAT"}
        | {"comments": 'a "quoted" comment,\nof two lines'}
    )


def write_labs(folder: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write `labevents.csv.gz`, compressed as the release has it."""
    write_csv(folder / "labevents.csv", rows)
    (folder / "hosp" / "labevents.csv.gz").write_bytes(gzip.compress((folder / "labevents.csv").read_bytes()))
    (folder / "labevents.csv").unlink()


def write_csv(file: Path, rows: Iterable[dict[str, object]]) -> None:
    rows = list(rows)
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def set_field(file: Path, column: str, value: object, row: int = 0) -> None:
    """Change one value of a CSV file."""
    with open(file, newline="", encoding="utf-8") as stream:
        rows: list[dict[str, object]] = list(csv.DictReader(stream))
    rows[row][column] = value
    write_csv(file, rows)
