"""PTB-XL's two CSV files: their columns, what each may hold, and the records they describe.

The layout is that of PTB-XL 1.0.3 (Wagner et al., doi 10.13026/kfzx-aw45, CC BY 4.0).
"""

import ast
import csv
import hashlib
import math
import os
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from datasets import ClassLabel, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from .labels import SCP_STATEMENTS, TASK_LABELS, TASK_NAMES, task_labels

DATABASE_CSV = "ptbxl_database.csv"
STATEMENTS_CSV = "scp_statements.csv"
STATEMENT_COLUMNS = ("", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
RECORD_FOLDERS = {"filename_lr": "records100", "filename_hr": "records500"}
NUM_FOLDS = 10

OVER_89 = 300.0  # how the release writes an age it withholds
OLDEST = 120.0

Row = dict[str, Any]


class PTBXLError(DatasetGenerationError, ValueError):
    """Something in a copy of PTB-XL that is not as the release documents it.

    It is a `DatasetGenerationError` because `datasets` lets only those through unwrapped, also from worker processes.

    Attributes:
        ecg_id (`int` or `str`, *optional*): The record at fault, or the line of its CSV file where it has no usable
            `ecg_id`; None where the fault is not one record's.
        field (`str`): A CSV column, or what is wrong in a record's files, for instance `"checksum"`.
        reason (`str`): What was seen and what would be right.
    """

    def __init__(self, ecg_id: int | str | None, field: str, reason: str):
        super().__init__(ecg_id, field, reason)  # all three, so that the error survives pickling between processes
        self.ecg_id, self.field, self.reason = ecg_id, field, reason

    def __str__(self) -> str:
        where = "PTB-XL" if self.ecg_id is None else f"PTB-XL, ecg_id {self.ecg_id}"
        return f"{where}: {self.field}: {self.reason}"


class Column(NamedTuple):
    """A column of `ptbxl_database.csv`.

    Attributes:
        feature (`Value` or `ClassLabel`): Its type in the dataset.
        parse (`Callable`): Turns its text into a value; raises a `ValueError` that says what was expected.
        required (`bool`): Whether it must not be empty. An empty value is None.
    """

    feature: Any
    parse: Callable[[str], Any]
    required: bool = False


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str) -> float:
    number = _float(text)
    if not math.isfinite(number):
        raise ValueError("expected a number")
    return number


def _integer(text: str) -> int:
    number = _float(text)
    if not number.is_integer():
        raise ValueError("expected a whole number")
    return int(number)


def _integer_in(allowed: range) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = _float(text)
        if number not in allowed:
            raise ValueError(f"expected a whole number from {allowed[0]} to {allowed[-1]}")
        return int(number)

    return parse


def _age(text: str) -> float:
    age = _float(text)
    if not (0 <= age <= OLDEST or age == OVER_89):
        raise ValueError(f"expected 0 to {OLDEST:g} years, or {OVER_89:g} for over 89")
    return age


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError("expected True or False")
    return text == "True"


@cache  # many records share their codes
def _scp_codes(text: str) -> dict[str, float]:
    try:
        codes = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # as `literal_eval` documents
        codes = None
    if not isinstance(codes, dict) or not all(map(_is_likelihood, codes.items())):
        raise ValueError("expected a dict from SCP code to likelihood, such as {'NORM': 100.0}")
    return codes


def _is_likelihood(item: tuple[Any, Any]) -> bool:
    code, likelihood = item
    return isinstance(code, str) and isinstance(likelihood, int | float)


TEXT = Column(Value("string"), str)
NUMBER = Column(Value("float64"), _number)
INTEGER = Column(Value("int64"), _integer)
BOOLEAN = Column(Value("bool"), _boolean)
FILENAME = Column(Value("string"), str, required=True)

COLUMNS = {
    "ecg_id": Column(Value("int64"), _integer, required=True),
    "patient_id": INTEGER,
    "age": Column(Value("float64"), _age),
    "sex": Column(ClassLabel(names=["male", "female"]), _integer_in(range(2))),
    "height": NUMBER,
    "weight": NUMBER,
    "nurse": INTEGER,
    "site": INTEGER,
    "device": TEXT,
    "recording_date": TEXT,
    "report": TEXT,
    "scp_codes": Column(List({"code": Value("string"), "likelihood": Value("float64")}), _scp_codes, required=True),
    "heart_axis": TEXT,
    "infarction_stadium1": TEXT,
    "infarction_stadium2": TEXT,
    "validated_by": INTEGER,
    "second_opinion": BOOLEAN,
    "initial_autogenerated_report": BOOLEAN,
    "validated_by_human": BOOLEAN,
    "baseline_drift": TEXT,
    "static_noise": TEXT,
    "burst_noise": TEXT,
    "electrodes_problems": TEXT,
    "extra_beats": TEXT,
    "pacemaker": TEXT,
    "strat_fold": Column(Value("int64"), _integer_in(range(1, NUM_FOLDS + 1)), required=True),
    "filename_lr": FILENAME,
    "filename_hr": FILENAME,
}

METADATA_FEATURES = Features(
    {name: column.feature for name, column in COLUMNS.items()}
    | {"age_over_89": Value("bool")}
    | {task: List(ClassLabel(names=list(TASK_LABELS[task]))) for task in TASK_NAMES}
)


def read_metadata(data_dir: str | Path) -> tuple[list[Row], list[PTBXLError]]:
    """Read and check `ptbxl_database.csv` and `scp_statements.csv`.

    Args:
        data_dir (`str` or `Path`): PTB-XL's folder.

    Returns:
        `tuple[list[Row], list[PTBXLError]]`: One dict of `METADATA_FEATURES` for each sound record, in file order,
        with class labels as integers; and the first fault of each other record. Where an `ecg_id` is given twice, the
        first sound row counts.

    Raises:
        PTBXLError: if the folder, a CSV file or a column of it is missing, or `scp_statements.csv` and
            `modeling_enecg.data.ptbxl.labels` disagree.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise PTBXLError(None, "data_dir", f"{str(folder)!r} is no folder; expected the one with {DATABASE_CSV}")
    _check_statements(_read_csv(folder / STATEMENTS_CSV, STATEMENT_COLUMNS))
    real_path = lru_cache(maxsize=None)(os.path.realpath)
    rows: dict[int, Row] = {}
    errors: list[PTBXLError] = []
    for line, texts in enumerate(_read_csv(folder / DATABASE_CSV, COLUMNS), start=1):
        try:
            row = _parse_row(texts, line)
            if row["ecg_id"] in rows:
                raise PTBXLError(
                    row["ecg_id"], "ecg_id", f"given twice, again in row {line}; expected one row a record"
                )
            for column in RECORD_FOLDERS:
                _check_filename(folder, row, column, real_path)
        except PTBXLError as error:
            errors.append(error)
        else:
            rows[row["ecg_id"]] = row
    return list(rows.values()), errors


def input_fingerprint(data_dir: str | Path, filename_column: str) -> str:
    """Return a hash of what a build reads: both CSV files' contents, and each record file's name, size and mtime.

    What is missing is left out: reading it later gives the clear error.

    Args:
        data_dir (`str` or `Path`): PTB-XL's folder.
        filename_column (`str`): `"filename_lr"` (100 Hz) or `"filename_hr"` (500 Hz).
    """
    digest = hashlib.sha256(repr(METADATA_FEATURES).encode())
    for name in (DATABASE_CSV, STATEMENTS_CSV):
        file = Path(data_dir, name)
        digest.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    for folder, subfolders, files in os.walk(Path(data_dir, RECORD_FOLDERS[filename_column])):
        subfolders.sort()
        for file_name in sorted(files):
            status = os.lstat(os.path.join(folder, file_name))
            digest.update(f"{folder}/{file_name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _read_csv(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PTBXLError(None, file.name, f"cannot be read ({error}); expected the release's CSV file") from error
    missing = [repr(column) for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise PTBXLError(None, file.name, f"has no column {', '.join(missing)}; expected the columns of PTB-XL 1.0.3")
    return rows


def _check_statements(rows: list[dict[str, str]]) -> None:
    """Make sure that the release aggregates SCP codes into labels the way `modeling_enecg.data.ptbxl.labels` does."""
    statements = {statement.code: statement for statement in SCP_STATEMENTS}
    for row in rows:
        code = row[""]
        if code not in statements:
            raise PTBXLError(None, STATEMENTS_CSV, f"unknown SCP code {code!r}; PTB-XL 1.0.3 has {len(statements)}")
        kinds = tuple(kind for kind in ("diagnostic", "form", "rhythm") if row[kind])
        seen = (kinds, row["diagnostic_class"] or None, row["diagnostic_subclass"] or None)
        expected = (statements[code].kinds, statements[code].superclass, statements[code].subclass)
        if seen != expected:
            raise PTBXLError(None, STATEMENTS_CSV, f"SCP code {code!r}: got {seen}; expected {expected}")


def _parse_row(texts: dict[str, str], line: int) -> Row:
    """Turn one row's texts into values of `METADATA_FEATURES`."""
    ecg_id = _parse_field(texts, "ecg_id", f"in row {line}")
    row: Row = {name: _parse_field(texts, name, ecg_id) for name in COLUMNS}
    if row["age"] is None:
        row["age_over_89"] = None
    else:
        row["age_over_89"] = row["age"] > 89
        row["age"] = 90.0 if row["age"] == OVER_89 else row["age"]
    for task in TASK_NAMES:
        row[task] = _labels(tuple(row["scp_codes"]), task, ecg_id)
    row["scp_codes"] = [{"code": code, "likelihood": float(value)} for code, value in row["scp_codes"].items()]
    return row


def _parse_field(texts: dict[str, str], name: str, ecg_id: int | str) -> Any:
    column, text = COLUMNS[name], texts[name]
    if not text and not column.required:
        return None
    try:
        if not text:
            raise ValueError("expected a value")
        return column.parse(text)
    except ValueError as error:
        raise PTBXLError(ecg_id, name, f"got {text!r}; {error}") from error


def _labels(codes: tuple[str, ...], task: str, ecg_id: int | str) -> list[int]:
    try:
        return _label_numbers(codes, task)
    except ValueError as error:
        raise PTBXLError(ecg_id, "scp_codes", str(error)) from error


@cache
def _label_numbers(codes: tuple[str, ...], task: str) -> list[int]:
    return METADATA_FEATURES[task].feature.str2int(task_labels(codes, task))


def _check_filename(folder: Path, row: Row, column: str, real_path: Callable[[str], str]) -> None:
    """Make sure that a record's files lie in their folder of the release, whatever links lead there."""
    root = os.path.join(real_path(str(folder)), RECORD_FOLDERS[column])
    path = os.path.join(folder, row[column])
    stem = os.path.join(real_path(os.path.dirname(path)), os.path.basename(path))
    for file in (f"{stem}.hea", f"{stem}.dat"):
        target = os.path.realpath(file) if os.path.islink(file) else file
        if not target.startswith(root + os.sep):
            reason = f"got {row[column]!r}, which leads to {target}; expected a path inside {RECORD_FOLDERS[column]}/"
            raise PTBXLError(row["ecg_id"], column, reason)
