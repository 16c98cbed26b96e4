"""Writes small folders in the layout of public data sets, with records of the simulator."""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from modeling_enecg.data.public.public_ecgs import PublicECGs
from modeling_enecg.data.simulator.ecg import simulate_record
from modeling_enecg.leads import STANDARD_LEADS

SHORT = 1000  # samples that WFDB records have: 2 s, written in a moment
SINUS, AF, RBBB, INFARCTION = "426783006", "164889003", "59118001", "164865005"
LUDB_COLUMNS = (
    *("ID", "Sex", "Age", "Rhythms", "Electric axis of the heart", "Conduction abnormalities", "Extrasystolies"),
    *("Hypertrophies", "Cardiac pacing", "Ischemia", "Non-specific repolarization abnormalities", "Other states"),
)


@cache
def simulated_mv(finding: str = "NORM", seed: int = 0) -> np.ndarray:
    """A record of shape `(12, 5000)` in mV, at 500 Hz."""
    return np.asarray(simulate_record([finding], np.random.default_rng(seed)))


def write_wfdb(folder: Path, name: str, finding: str, leads: Sequence[str], comments: Sequence[str]) -> None:
    """A record of format 16 with comments."""
    folder.mkdir(parents=True, exist_ok=True)
    np.rint(simulated_mv(finding)[:, :SHORT].T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
    signals = [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
    lines = [f"{name} 12 500 {SHORT}", *signals, *(f"# {comment}" for comment in comments)]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def write_challenge_record(folder: Path, name: str, dx: str, finding: str = "NORM", age: int = 60) -> None:
    """A record with a header as the PhysioNet Challenges write it."""
    comments = [f"Age: {age}", f"Sex: {['Female', 'Male'][age % 2]}", f"Dx: {dx}", "Rx: Unknown", "Hx: Unknown"]
    write_wfdb(folder, name, finding, STANDARD_LEADS, comments)


def write_challenge(folder: Path, num_records: int = 40) -> Path:
    """Records of Georgia in sub-folders, as the training data of the Challenge lie."""
    kinds = [(SINUS, "NORM"), (AF, "AFIB"), (f"{SINUS},{RBBB}", "CRBBB"), (f"{SINUS},{INFARCTION}", "IMI")]
    for number in range(num_records):
        dx, finding = kinds[number % len(kinds)]
        write_challenge_record(folder / "georgia" / f"g{number // 20}", f"E{number + 1:05d}", dx, finding, 40 + number)
    return folder


def write_rows(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_sph(folder: Path, codes: Sequence[str], patients: Sequence[str] | None = None) -> Path:
    rows = [
        {
            "ECG_ID": f"A{number:05d}",
            "AHA_Code": code,
            "Patient_ID": patients[number] if patients else f"S{number:05d}",
            "Age": 40 + number,
            "Sex": "MF"[number % 2],
            "N": 5000,
            "Date": "2020-01-02",
        }
        for number, code in enumerate(codes)
    ]
    write_rows(folder / "metadata.csv", rows)
    (folder / "records").mkdir()
    for row in rows:
        with h5py.File(folder / "records" / f"{row['ECG_ID']}.h5", "w") as file:
            file["ecg"] = simulated_mv().astype(np.float16)
    return folder


def tracings(num_records: int, order: Sequence[int] = range(12)) -> np.ndarray:
    """An array of shape `(num_records, 4096, 12)` in mV, as CODE keeps its records at 400 Hz, padded with zeros."""
    signals = np.zeros((num_records, 4096, 12), dtype=np.float32)
    for number in range(num_records):
        signals[number, 48:-48] = simulated_mv()[list(order), :4000].T * (1 + number / 10)
    return signals


def write_code15(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """The first part of CODE-15 %; rows may name others, which are not there."""
    write_rows(folder / "exams.csv", rows)
    first = [int(str(row["exam_id"])) for row in rows if row["trace_file"] == "exams_part0.hdf5"]
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = np.array(first), tracings(len(first))
    return folder


def write_code_test(folder: Path, rows: Sequence[Mapping[str, object]], num_attributes: int | None = None) -> Path:
    """CODE's test set, whose leads aVL, aVF and aVR stand in that order."""
    write_rows(folder / "annotations" / "gold_standard.csv", rows)
    ages = [{"age": 50 + number, "sex": "MF"[number % 2]} for number in range(num_attributes or len(rows))]
    write_rows(folder / "attributes.csv", ages)
    with h5py.File(folder / "ecg_tracings.hdf5", "w") as file:
        file["tracings"] = tracings(len(rows), order=(0, 1, 2, 4, 5, 3, 6, 7, 8, 9, 10, 11))
    return folder


def write_ludb(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Cells end in a new line, as in the release, and leads are named in small letters."""
    cells = [{name: f"{row.get(name, '')}\n" if row.get(name) else "" for name in LUDB_COLUMNS} for row in rows]
    for number, row in enumerate(cells, start=1):
        row["ID"] = str(number)
        leads = [name.lower() for name in STANDARD_LEADS]
        write_wfdb(folder / "data", str(number), "NORM", leads, ["<age>: 51", "<sex>: F", "<diagnoses>:"])
    write_rows(folder / "ludb.csv", cells)
    return folder


def rows_of(folder: Path, cache_dir: Path, **options: str) -> dict[str, dict]:
    """Build a public data set and return its rows by record, with labels by name and their split."""
    builder = PublicECGs(data_dir=str(folder), cache_dir=str(cache_dir), **options)
    builder.download_and_prepare()
    found = {}
    for split, records in builder.as_dataset().items():
        for row in records:
            for task in builder.label_table().tasks:
                for column in task.features:
                    row[column] = _named(task.labels, row[column])
            found[row["ecg_id"]] = row | {"split": split}
    return found


def _named(labels: Sequence[str], value: object) -> object:
    if isinstance(value, list):
        return {labels[index] for index in value}
    return labels[value] if labels and isinstance(value, int) else value
