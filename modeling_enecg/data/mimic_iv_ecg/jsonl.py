"""EnECG's own subset of MIMIC-IV-ECG: a `.jsonl` file with one record a line, for instance

    {"subject_id": 10000032, "ecg_path": "files/p1000/p10000032/s40689238/40689238", "rr_interval": 659.0, "age": 52,
     "gender": 1, "flag": 0, "report_label": 0}

(on one line). The form is what the authors' loaders read (github.com/yuhaoxu99/EnECG); like them, we pass over other
keys. `ecg_path` may begin anywhere, for instance at the authors' own folder: its end counts, from `files/p` on. A
label that is missing or null is unknown. Their loaders take the first line of each `subject_id` only, and the first
30,000 subjects; here every line is a record.

| key | column here | meaning |
|---|---|---|
| `rr_interval` | `rr_interval` | ms; 29999 means "not measured" |
| `age` | `age`, `age_over_89` | years, 91 for everybody over 89 |
| `gender` | `sex` | 0 male, 1 female |
| `flag` | `potassium_abnormality` | 0 normal, 1 abnormal |
| `report_label` | `arrhythmia` | the number in `ARRHYTHMIA_CLASSES` |
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ..errors import DatasetError
from .metadata import OLDEST, SCHEMA, folds, metadata_table, mimic_error, plausible_rr, record_path, without_codes
from .rhythm import ARRHYTHMIA_CLASSES

RECORD_PATH = re.compile(r"(?:^|/)files/p\d+/p(\d+)/s(\d+)/\d+$")


class Label(NamedTuple):
    """A task's key in the file, its column here, and the highest value it may have; the lowest is 0."""

    key: str
    column: str
    highest: float
    is_class: bool


LABELS = (
    Label("rr_interval", "rr_interval", math.inf, False),
    Label("age", "age", OLDEST, False),
    Label("gender", "sex", 1, True),
    Label("flag", "potassium_abnormality", 1, True),
    Label("report_label", "arrhythmia", len(ARRHYTHMIA_CLASSES) - 1, True),
)


def read_jsonl(file: str | Path) -> tuple[pa.Table, list[DatasetError]]:
    """Read the records and labels of an EnECG file.

    Args:
        file (`str` or `Path`): The `.jsonl` file.

    Returns:
        `tuple[pa.Table, list[DatasetError]]`: The sound records, with the columns of `METADATA_FEATURES`,
        None for what the file does not have; and the fault of each other line. Where a record is given twice, the
        first sound line counts.

    Raises:
        DatasetError: if the file cannot be read.
    """
    rows: dict[int, dict[str, Any]] = {}
    errors = []
    for number, line in _lines(Path(file)):
        try:
            row = _read_line(line, f"in line {number}")
            if row["ecg_id"] in rows:
                raise mimic_error(row["ecg_id"], "ecg_path", f"given twice, again in line {number}; expected once")
        except DatasetError as error:
            errors.append(error)
        else:
            rows[row["ecg_id"]] = row
    return _table(list(rows.values())), errors


def labelled_tasks(file: str | Path) -> list[str]:
    """Return the tasks that an EnECG file's first line has a key for."""
    for _, line in _lines(Path(file)):
        keys = _parse(line, "in line 1")
        return [label.column for label in LABELS if label.key in keys]
    return []


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with open(file, encoding="utf-8") as stream:
            yield from ((number, line) for number, line in enumerate(stream, start=1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise mimic_error(None, file.name, f"cannot be read ({error}); expected one JSON object a line") from error


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise mimic_error(place, "line", f"got {line[:60].strip()!r}; expected a JSON object")
    return record


def _read_line(line: str, place: str) -> dict[str, Any]:
    """Return a line's record as columns and values of `METADATA_FEATURES`."""
    record = _parse(line, place)
    path = RECORD_PATH.search(str(record.get("ecg_path")))
    if path is None:
        expected = f"a path that ends like {record_path(10000032, 40689238)}"
        raise mimic_error(place, "ecg_path", f"got {record.get('ecg_path')!r}; expected {expected}")
    patient_id, ecg_id = int(path.group(1)), int(path.group(2))
    if str(record.get("subject_id", patient_id)) != str(patient_id):
        raise mimic_error(ecg_id, "subject_id", f"got {record['subject_id']!r}; its ecg_path says {patient_id}")
    labels = {label.column: _label(record, label, ecg_id) for label in LABELS}
    age = labels["age"]
    return labels | {
        "ecg_id": ecg_id,
        "patient_id": patient_id,
        "path": record_path(patient_id, ecg_id),
        "age": None if age is None else min(age, 90.0),
        "age_over_89": None if age is None else age > 89,
    }


def _label(record: dict[str, Any], label: Label, ecg_id: int) -> float | int | None:
    value = record.get(label.key)
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if math.isnan(number):
        return None
    if not 0 <= number <= label.highest or (label.is_class and not number.is_integer()):
        kind = (
            f"a whole number from 0 to {label.highest:g}"
            if label.is_class
            else f"a number from 0 to {label.highest:g}"
        )
        raise mimic_error(ecg_id, label.key, f"got {value!r}; expected {kind}")
    return int(number) if label.is_class else number


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: pa.array([row.get(name) for row in rows], SCHEMA.field(name).type) for name in SCHEMA.names}
    columns["strat_fold"] = folds(columns["patient_id"])
    columns["rr_interval"] = plausible_rr(without_codes(columns["rr_interval"]))
    return metadata_table(columns, len(rows))
