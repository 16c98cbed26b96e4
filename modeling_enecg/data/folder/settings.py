"""The few lines of YAML that say what the columns of a table of ECGs mean."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import yaml

from ...settings import load_yaml, suggest
from ...tasks import check_module_name
from ..errors import DatasetError
from .recordings import SETTINGS_FILE

LABEL_TYPES = ("multi_label", "single_label", "regression")
# Columns of every dataset, which no task can be called.
RECORD_COLUMNS = ("ecg_id", "patient_id", "strat_fold", "signal", "sampling_rate", "lead_names")

LabelType = str | list[str] | None


def folder_error(file: str, row: int | None, field: str, reason: str) -> DatasetError:
    """Return the error of the record in a row of the table, or of a whole file where `row` is None."""
    return DatasetError(file, None if row is None else f"row {row}", field, reason)


@dataclass(frozen=True)
class FolderSettings:
    """What `dataset.yaml` says.

    Attributes:
        folder (`Path`): The folder of the YAML file; all paths are relative to it.
        file (`str`): The YAML file's name.
        table (`str`): The CSV file.
        record (`str`): The column with each record's path.
        labels (`dict[str, str | list[str] | None]`, *optional*): By task: its column's type, of `LABEL_TYPES`, None
            where it is to be inferred; or a list of columns that hold 0 or 1. Without labels the records can be
            predicted only.
        patient (`str`, *optional*): The column with each record's patient; without it, each record is a patient's only
            one.
        fold (`str`, *optional*): The column with each record's fold, 1 to 10, or split; without it, a hash of the
            patient gives the fold.
        separator (`str`, *optional*, defaults to `";"`): What stands between the labels of a multi-label cell.
        sampling_rate (`float`, *optional*): In Hz; see `read_ecg`, as for the next two.
        unit (`str` or `float`, *optional*): Unit of the amplitudes.
        lead_names (`list[str]`, *optional*): The channels of each file.
    """

    folder: Path
    file: str
    table: str
    record: str
    labels: dict[str, LabelType] = field(default_factory=dict)
    patient: str | None = None
    fold: str | None = None
    separator: str = ";"
    sampling_rate: float | None = None
    unit: str | float | None = None
    lead_names: list[str] | None = None


def settings_file(data_dir: str | Path) -> Path:
    """Return the settings of a folder, `dataset.yaml` in it; a file stands for itself."""
    path = Path(data_dir)
    return path / SETTINGS_FILE if path.is_dir() else path


def read_settings(data_dir: str | Path) -> FolderSettings:
    """Read and check the settings of a folder of ECGs.

    Args:
        data_dir (`str` or `Path`): The folder, or its YAML file.

    Raises:
        DatasetError: if the file cannot be read, a key is unknown or missing, or a value is not legal.
    """
    path = settings_file(data_dir)
    try:
        content = load_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = f"cannot be read ({error}); expected YAML in UTF-8, for instance 'table: labels.csv'"
        raise folder_error(path.name, None, "file", reason) from error
    if not isinstance(content, dict):
        raise folder_error(path.name, None, "file", f"got {content!r}; expected keys with values")
    _check_keys(path.name, content)
    labels = content.pop("labels", {})
    labels = dict.fromkeys(labels) if isinstance(labels, list) else labels
    for task in labels:
        _check_task_name(path.name, task)
    return FolderSettings(folder=path.parent, file=path.name, labels=labels, **content)


def is_inside(path: str) -> bool:
    """Whether a path is relative and leads nowhere but down, as far as it tells itself, on any system."""
    kinds = (PurePosixPath(path), PureWindowsPath(path))
    return "\0" not in path and all(kind.parts and not kind.anchor and ".." not in kind.parts for kind in kinds)


class Key(NamedTuple):
    """A key of the settings: which values it may have, in code and in words."""

    accepts: Callable[[Any], bool]
    expected: str
    required: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_table(value: Any) -> bool:
    return _is_text(value) and is_inside(value) and "\\" not in value


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_unit(value: Any) -> bool:
    return _is_text(value) or _is_positive(value)


def _are_columns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_labels(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_text, value)) and all(map(_is_label_type, value.values()))
    return _are_columns(value)


def _is_label_type(value: Any) -> bool:
    return value is None or value in LABEL_TYPES or _are_columns(value)


_COLUMN = "the name of a column (in quotes where YAML would read it as a number or as yes or no)"
KEYS = {
    "table": Key(_is_table, "the path of a CSV file, inside this folder, with / between folders", required=True),
    "record": Key(_is_text, _COLUMN, required=True),
    "labels": Key(
        _are_labels,
        "different columns as a list, or as keys with one of multi_label, single_label, regression or a list of 0/1 "
        "columns each (in quotes where YAML would read a name as a number or as yes or no)",
    ),
    "patient": Key(_is_text, _COLUMN),
    "fold": Key(_is_text, _COLUMN),
    "separator": Key(_is_text, "the text between the labels of a cell"),
    "sampling_rate": Key(_is_positive, "a number, in Hz"),
    "unit": Key(_is_unit, "nV, uV, mV, V, or how many mV one count is"),
    "lead_names": Key(_are_columns, "different names, in the files' order"),
}


def _check_keys(file: str, content: Mapping[Any, Any]) -> None:
    for name, value in content.items():
        if name not in KEYS:
            hint = suggest(name, list(KEYS)) or f" Expected some of {', '.join(KEYS)}."
            raise folder_error(file, None, str(name), f"unknown key.{hint}")
        if not KEYS[name].accepts(value):
            raise folder_error(file, None, name, f"got {value!r}; expected {KEYS[name].expected}")
    for name, key in KEYS.items():
        if key.required and name not in content:
            raise folder_error(file, None, name, f"missing; expected {key.expected}")


def _check_task_name(file: str, name: str) -> None:
    """Refuse here what a model's task cannot be called."""
    try:
        check_module_name(name, "task")
    except ValueError as error:
        reason = f"{error} Rename the column {name!r} in the table and here."
        raise folder_error(file, None, "labels", reason) from error
    if name in RECORD_COLUMNS:
        raise folder_error(file, None, "labels", f"got {name!r}, a column of every dataset; rename it")
