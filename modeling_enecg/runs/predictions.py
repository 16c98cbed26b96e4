"""Predictions of labelled records, and the one schema of the table that keeps them, `predictions.parquet`.

A row per record: `split`, `ecg_id`, `patient_id`, and what reports group records by; then by task each output's
`<task>.<output>.target` and `<task>.<output>.predicted`, and each expert's `<task>.<expert>.gate_weight`. The targets
of a single-label task are one column of class indices, `<task>.target`. A task's columns have a dot in their names,
so that a task `sex` and the column `sex` stand side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..configuration_enecg import Task
from ..evaluation import Scored
from ..evaluation.checks import finite_array, probability_array
from ..tasks import MISSING

IDS = ("ecg_id", "patient_id")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicted on the records of one split; dicts are keyed by task.

    Attributes:
        records (`pd.DataFrame`): `ecg_id` and `patient_id` of each record, and as far as they are known what a report
            groups records by: `sex`, `age`, `device` and `site`.
        targets (`dict[str, np.ndarray]`): Labels as in `task_loss`.
        outputs (`dict[str, np.ndarray]`): Probabilities as the model gives them, before any calibration, or a
            regression's values, of shape `(num_records, num_outputs)`.
        gate_weights (`dict[str, np.ndarray]`): Of shape `(num_records, num_experts)`.
        expert_logits (`dict[str, np.ndarray]`): Of shape `(num_records, num_experts, num_outputs)`; not in the table.
    """

    records: pd.DataFrame
    targets: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    gate_weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    expert_logits: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def scored(self, task: Task) -> Scored:
        """Return the records that have a task's targets."""
        ids = (self.records[name].to_numpy() for name in ("patient_id", "ecg_id"))
        return Scored(task, self.targets[task.name], self.outputs[task.name], *ids)

    def to_frame(self, split: str, tasks: Sequence[Task], experts: Sequence[str] = ()) -> pd.DataFrame:
        """Return the table's rows.

        Args:
            split (`str`): The records' split.
            tasks (`Sequence[Task]`): The tasks.
            experts (`Sequence[str]`, *optional*): The experts' names, in the order of the gate weights.
        """
        columns: dict[str, Any] = {"split": split, **{str(name): values for name, values in self.records.items()}}
        for task in tasks:
            targets, outputs = self.targets[task.name], self.outputs[task.name]
            columns |= dict(zip(target_columns(task), targets.reshape(len(targets), -1).T, strict=True))
            columns |= dict(zip(predicted_columns(task), outputs.T, strict=True))
            if task.name in self.gate_weights:
                weights = zip(experts, self.gate_weights[task.name].T, strict=True)
                columns |= {f"{task.name}.{expert}.gate_weight": values for expert, values in weights}
        return pd.DataFrame(columns)


def target_columns(task: Task) -> list[str]:
    """Return the names of the columns that hold a task's targets."""
    if task.problem_type == "single_label_classification":
        return [f"{task.name}.target"]
    return [f"{task.name}.{output}.target" for output in task.output_names]


def predicted_columns(task: Task) -> list[str]:
    """Return the names of the columns that hold a task's outputs."""
    return [f"{task.name}.{output}.predicted" for output in task.output_names]


def read_predictions(path: Path, tasks: Sequence[Task], splits: Sequence[str]) -> dict[str, Predictions]:
    """Read the table of a run or of an evaluation.

    Args:
        path (`Path`): The Parquet file.
        tasks (`Sequence[Task]`): The tasks that it must hold.
        splits (`Sequence[str]`): Which splits; of them only `test` must have records.

    Raises:
        ValueError: if the file is missing or damaged, lacks a column or test records, holds a record twice, or values
            that cannot be.
    """
    frame = _read_frame(path)
    return {split: _read_split(path, frame, split, tasks) for split in splits}


def _read_frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(
            f"{path.parent} has no {path.name}; it stays where a run was made, so ask for the report there."
        )
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


def _read_split(path: Path, frame: pd.DataFrame, split: str, tasks: Sequence[Task]) -> Predictions:
    _check_columns(path, frame, ["split", *IDS])
    rows = frame[frame["split"] == split].reset_index(drop=True)
    if rows.empty and split == "test":  # without validation records nothing is calibrated
        raise ValueError(f"{path}: column 'split' has no {split!r}; a report needs test records.")
    twice = rows.loc[rows["ecg_id"].duplicated(), "ecg_id"]
    if len(twice):
        raise ValueError(f"{path}: column 'ecg_id' holds {twice.iloc[0]} more than once among the {split} records.")
    records = rows[[name for name in map(str, rows) if "." not in name and name != "split"]]
    targets = {task.name: _read_targets(path, rows, task) for task in tasks}
    outputs = {task.name: _read_outputs(path, rows, task) for task in tasks}
    return Predictions(records, targets, outputs)


def _read_targets(path: Path, rows: pd.DataFrame, task: Task) -> np.ndarray:
    """Return a task's targets, float64, nan where missing."""
    columns = target_columns(task)
    if task.problem_type == "single_label_classification":
        return _read_columns(path, rows, columns, range(task.num_outputs))[:, 0]
    return _read_columns(path, rows, columns, None if task.is_regression else range(2))


def _read_columns(path: Path, rows: pd.DataFrame, columns: list[str], allowed: range | None) -> np.ndarray:
    targets = _numbers(path, rows, columns)
    known = np.isfinite(targets) & (targets != MISSING)
    wrong = np.isinf(targets) if allowed is None else known & ~np.isin(targets, allowed)
    for column, values, is_wrong in zip(columns, targets.T, wrong.T, strict=True):
        if is_wrong.any():
            expected = "finite numbers" if allowed is None else f"whole numbers from 0 to {allowed[-1]}"
            raise ValueError(f"{path}: column {column!r} holds {values[is_wrong][0]:g}; expected {expected}.")
    return targets


def _read_outputs(path: Path, rows: pd.DataFrame, task: Task) -> np.ndarray:
    columns = predicted_columns(task)
    outputs = _numbers(path, rows, columns)
    check = partial(finite_array, "predictions") if task.is_regression else probability_array
    for column, values in zip(columns, outputs.T, strict=True):
        try:
            check(values)
        except ValueError as error:
            raise ValueError(f"{path}: column {column!r}: {error}") from error
    return outputs


def _numbers(path: Path, rows: pd.DataFrame, columns: list[str]) -> np.ndarray:
    _check_columns(path, rows, columns)
    for column in columns:
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise ValueError(f"{path}: column {column!r} is of type {rows[column].dtype}; expected numbers.")
    return rows[columns].to_numpy(dtype=np.float64, na_value=np.nan)


def _check_columns(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{path} has no column {missing[0]!r}{more}; it does not fit the tasks in config.json.")


__all__ = ["IDS", "Predictions", "predicted_columns", "read_predictions", "target_columns"]
