"""The table of a folder of ECGs: what its label columns hold, and the records it describes."""

import csv
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from datasets import ClassLabel, List, Value

from ...reading_wfdb import find_header
from ...strict_numbers import number_or_none
from ..builder import SPLIT_FOLDS
from ..errors import DatasetError
from ..rows import unknown_column
from .settings import FolderSettings, folder_error, is_inside

UNKNOWN = {"", "na", "n/a", "nan", "null"}  # how spreadsheets and statistics packages write an empty cell
NO_LABEL = "none"
FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
FEW_NUMBERS = 10  # up to as many different whole numbers are classes
MOST_CLASSES = 50  # that are inferred
NUM_FOLDS = 10

Cells = dict[str, str]


@dataclass(frozen=True)
class LabelTask:
    """One task that the table has labels for.

    Attributes:
        name (`str`): Its name, and its column's in the dataset.
        type (`str`): `"multi_label"`, `"single_label"` or `"regression"`.
        columns (`list[str]`): Its columns in the table; several, where each is a label with 0 or 1.
        labels (`list[str]`): The labels, sorted; none for a regression.
        origin (`str`): Where the type comes from, in words.
        separator (`str`, *optional*): What stands between the labels of a cell; None where the columns hold 0 or 1.
        is_partly_known (`bool`, *optional*, defaults to False): Whether of some records only some labels are known; a
            column `unknown_column` names the others.
    """

    name: str
    type: str
    columns: list[str]
    labels: list[str]
    origin: str
    separator: str | None
    is_partly_known: bool = False

    @property
    def features(self) -> dict[str, Any]:
        """The types of its columns in the dataset."""
        own = {self.name: self.feature}
        return own | ({unknown_column(self.name): self.feature} if self.is_partly_known else {})

    @property
    def feature(self) -> Any:
        """The type of the column with its values."""
        if self.type == "regression":
            return Value("float64")
        label = ClassLabel(names=self.labels)
        return List(label) if self.type == "multi_label" else label

    def parse(self, row: Cells) -> Any:
        """Turn a row's cells into a value of `feature`; None where the label is not known.

        Raises:
            ValueError: if a cell holds something else, with what was seen and expected.
        """
        cells = [row[column] for column in self.columns]
        if not any(cells):
            return None
        if self.type == "regression":
            return _number(cells[0])
        if self.type == "single_label":
            return self.labels.index(_class_name(cells[0]))
        return [self.labels.index(name) for name in sorted(self._names(cells))]

    def _names(self, cells: Sequence[str]) -> set[str]:
        """Return the labels that cells of a multi-label task name."""
        if self.separator is None:
            return {column for column, cell in zip(self.columns, cells, strict=True) if _flag(column, cell)}
        return _listed_names(cells[0], self.separator)


class TableRow(NamedTuple):
    """A sound row of the table.

    Attributes:
        number (`int`): Its line in the file.
        values (`dict[str, Any]`): `ecg_id`, `patient_id`, `strat_fold`, and the value of each task.
    """

    number: int
    values: dict[str, Any]


class LabelTable(NamedTuple):
    """What the table of a folder holds.

    Attributes:
        tasks (`list[LabelTask]`): In the settings' order.
        rows (`list[TableRow]`): In the file's order.
        errors (`list[DatasetError]`): The first fault of each other row.
    """

    tasks: list[LabelTask]
    rows: list[TableRow]
    errors: list[DatasetError]


def read_label_table(settings: FolderSettings) -> LabelTable:
    """Read and check the table of a folder; infer the types of its labels.

    Where a record is given twice, the first sound row counts.

    Raises:
        DatasetError: if the table or a column of it is missing, a type cannot be inferred, a task has nothing to
            learn, or a patient is in several splits.
    """
    table, errors = _read_cells(settings)
    tasks = [_task(settings, name, [cells for _, cells in table]) for name in settings.labels]
    rows: dict[Path, TableRow] = {}
    for number, cells in table:
        try:
            values = _parse_row(settings, tasks, number, cells)
            file = record_file(settings.folder, values["ecg_id"])
            if file in rows:
                seen = f"got {values['ecg_id']!r}, which row {rows[file].number} gives already"
                raise folder_error(settings.table, number, settings.record, f"{seen}; expected one row a record")
        except DatasetError as error:
            errors[number] = error
        else:
            rows[file] = TableRow(number, values)
    _check_patients(settings, rows.values())
    return LabelTable(tasks, list(rows.values()), [errors[number] for number in sorted(errors)])


def record_file(folder: Path, record: str) -> Path:
    """Return the file that a record's path means: a WFDB record's header, else the file itself."""
    path = Path(os.path.normpath(folder / record))
    return find_header(path) or path


def split_of(fold: int) -> str:
    """Return the split that a fold belongs to."""
    return next(split for split, folds in SPLIT_FOLDS.items() if fold in folds)


def _read_cells(settings: FolderSettings) -> tuple[list[tuple[int, Cells]], dict[int, DatasetError]]:
    """Return the line and the cells of each row, empty where unknown; and by line the faults of others."""
    (_, names), *lines = _read_lines(settings)
    _check_columns(settings, names)
    rows, errors = [], {}
    for number, line in lines:
        if len(line) == len(names):
            known = ["" if cell.lower() in UNKNOWN else cell for cell in line]
            rows.append((number, dict(zip(names, known, strict=True))))
        elif any(line):
            reason = f"got {len(line)}; expected {len(names)}, as in the first row (quotes keep a cell together)"
            errors[number] = folder_error(settings.table, number, "number of cells", reason)
    return rows, errors


def _read_lines(settings: FolderSettings) -> list[tuple[int, list[str]]]:
    """Return number and cells of each line; the first are the columns' names."""
    try:
        with open(settings.folder / settings.table, encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            delimiter = max(",;\t", key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = f"cannot be read ({error}); expected a CSV file in UTF-8"
        raise folder_error(settings.table, None, "file", reason) from error
    return lines or [(1, [])]


def _check_columns(settings: FolderSettings, names: Sequence[str]) -> None:
    """Make sure that the table has each column of the settings, once."""
    needed = [column for column in (settings.record, settings.patient, settings.fold) if column is not None]
    for task, given in settings.labels.items():
        needed += given if isinstance(given, list) else [task]
    for column in needed:
        if names.count(column) != 1:
            reason = f"found {names.count(column)} times; expected once among {', '.join(map(repr, names))}"
            raise folder_error(settings.table, None, f"column {column!r}", reason)


def _task(settings: FolderSettings, name: str, rows: Sequence[Cells]) -> LabelTask:
    """Return a task with the labels that the table has for it."""
    given = settings.labels[name]
    columns = given if isinstance(given, list) else [name]
    known = [row for row in rows if any(row[column] for column in columns)]
    if not known:
        raise folder_error(settings.table, None, name, "got only empty cells; expected labels of some records")
    if isinstance(given, list):
        return LabelTask(name, "multi_label", columns, sorted(columns), "columns of 0 and 1", None)
    cells = {row[name] for row in known}
    type_, origin = (given, "as given") if given else _inferred_type(settings, name, cells)
    if type_ == "regression":
        return LabelTask(name, type_, columns, [], origin, None)
    if type_ == "multi_label":
        labels = sorted({label for cell in cells for label in _sound_names(cell, settings.separator)})
    else:
        labels = sorted({_class_name(cell) for cell in cells})
    if len(labels) < (1 if type_ == "multi_label" else 2):
        reason = f"got {', '.join(map(repr, cells))} only; expected at least one label, or two classes"
        raise folder_error(settings.table, None, name, reason)
    return LabelTask(name, type_, columns, labels, origin, settings.separator)


def _inferred_type(settings: FolderSettings, name: str, cells: set[str]) -> tuple[str, str]:
    """Return the type that different cells tell, and why."""
    if any(settings.separator in cell or _is_python_list(cell) for cell in cells):
        return "multi_label", f"inferred: cells with {settings.separator!r}"
    numbers = {cell for cell in cells if math.isfinite(_float(cell))}
    others = sorted(cells - numbers)
    if not others and not all(_float(cell).is_integer() for cell in numbers):
        return "regression", "inferred: decimal numbers"
    if not others and len(numbers) > FEW_NUMBERS:
        return "regression", f"inferred: {len(numbers)} different numbers"
    if len(numbers) > FEW_NUMBERS or len(cells) > MOST_CLASSES:
        seen = f"got {len(cells)} different values, {len(numbers)} of them numbers, and {others[0]!r}"
        reason = f"{seen}; correct the cells, or give the type, as in labels: {{{name}: regression}}"
        raise folder_error(settings.table, None, name, reason)
    return "single_label", f"inferred: {len(cells)} different values"


def _parse_row(settings: FolderSettings, tasks: Iterable[LabelTask], number: int, cells: Cells) -> dict[str, Any]:
    """Turn a row's cells into the dataset's values."""

    def parsed(field: str, parse: Callable[[Any], Any], text: str | Cells) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise folder_error(settings.table, number, field, str(error)) from error

    record = parsed(settings.record, _record_path, cells[settings.record])
    patient = parsed(settings.patient, _patient, cells[settings.patient]) if settings.patient else record
    fold = parsed(settings.fold, _fold, cells[settings.fold]) if settings.fold else _hashed_fold(patient)
    labels = {task.name: parsed(task.name, task.parse, cells) for task in tasks}
    return {"ecg_id": record, "patient_id": patient, "strat_fold": fold, **labels}


def _check_patients(settings: FolderSettings, rows: Iterable[TableRow]) -> None:
    """Refuse a table that lets a model be tested on patients it was trained on."""
    first: dict[str, TableRow] = {}
    for row in rows:
        patient, split = row.values["patient_id"], split_of(row.values["strat_fold"])
        other = first.setdefault(patient, row)
        other_split = split_of(other.values["strat_fold"])
        if split != other_split:
            seen = f"patient {patient!r} is in {split}, and in {other_split} in row {other.number}"
            raise folder_error(settings.table, row.number, str(settings.fold), f"{seen}; expected one split")


def _record_path(cell: str) -> str:
    if "\\" in cell:
        raise ValueError(f"got {cell!r}; expected / between folders, not a backslash")
    if not is_inside(cell):
        raise ValueError(f"got {cell!r}; expected the path of a record inside the folder, relative to it")
    return cell


def _patient(cell: str) -> str:
    if not cell:
        raise ValueError("got ''; expected a patient: records of unknown ones might be in several splits")
    return cell


def _hashed_fold(patient: str) -> int:
    return int.from_bytes(hashlib.sha256(patient.encode()).digest(), "big") % NUM_FOLDS + 1


def _fold(cell: str) -> int:
    if cell.lower() in SPLIT_FOLDS:
        return SPLIT_FOLDS[cell.lower()][0]
    number = _float(cell)
    if number not in range(1, NUM_FOLDS + 1):
        raise ValueError(f"got {cell!r}; expected a whole number from 1 to {NUM_FOLDS}, or {', '.join(SPLIT_FOLDS)}")
    return int(number)


def _float(cell: str) -> float:
    value = number_or_none(cell)
    return math.nan if value is None else value


def _number(cell: str) -> float:
    number = _float(cell)
    if not math.isfinite(number):
        raise ValueError(f"got {cell!r}; expected a number, with a decimal point if any")
    return number


def _class_name(cell: str) -> str:
    """Return a class without the `.0` that programs append to whole numbers in columns with empty cells."""
    return re.sub(r"^(-?\d+)\.0$", r"\1", cell)


def _listed_names(cell: str, separator: str) -> set[str]:
    names = {name.strip() for name in cell.split(separator)} - {""}
    if {name.lower() for name in names} == {NO_LABEL}:
        return set()
    if _is_python_list(cell) or not names or NO_LABEL in {name.lower() for name in names}:
        raise ValueError(f"got {cell!r}; expected labels with {separator!r} between them, or {NO_LABEL}")
    return names


def _is_python_list(cell: str) -> bool:
    """Whether a cell holds a list as pandas writes it, `['AF', 'PVC']`: brackets and quotes would become labels."""
    return cell.startswith("[") and cell.endswith("]")


def _sound_names(cell: str, separator: str) -> set[str]:
    """Return the labels of a cell; of a faulty one, none: its row is reported."""
    try:
        return _listed_names(cell, separator)
    except ValueError:
        return set()


def _flag(column: str, cell: str) -> bool:
    if cell.lower() not in FLAGS:
        hint = "" if cell else "; where not every label is known, make each column a task of its own"
        raise ValueError(f"got {cell!r} in column {column!r}; expected 0 or 1{hint}")
    return FLAGS[cell.lower()]
