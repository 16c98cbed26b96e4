"""What a run predicted, read back from its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers.utils import CONFIG_NAME

from ..configuration_enecg import Task
from ..evaluation.checks import finite_array, probability_array
from ..losses import MISSING
from ..runs.folder import EXPERTS, LEAD_SETS, METRICS, PREDICTIONS, RUN_INFO
from .run_report import ALL_LEADS

SPLITS = ("validation", "test")  # those that a run predicts

_INFO = (
    *("confidence", "dataset", "device", "experts", "num_parameters", "num_processes", "num_resamples", "recipe"),
    *("stages", "versions"),
)


@dataclass(frozen=True, eq=False)
class PredictedSplit:
    """The predictions on one split; dicts are keyed by task.

    Attributes:
        records (`pd.DataFrame`): `ecg_id` and `patient_id` of each record, and where the run kept them `sex`, `age`,
            `device` and `site`.
        targets (`dict[str, np.ndarray]`): Labels as in `task_loss`.
        outputs (`dict[str, np.ndarray]`): Probabilities, or a regression's values, of shape
            `(num_records, num_outputs)`.
    """

    records: pd.DataFrame
    targets: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, eq=False)
class PredictedRun:
    """A run that ended.

    Attributes:
        folder (`Path`): Its folder.
        name (`str`): What its card calls the model.
        tasks (`list[Task]`): Its tasks, with their thresholds.
        info (`dict[str, Any]`): The content of `run_info.json`.
        splits (`dict[str, PredictedSplit]`): `validation`, which may be empty, and `test`.
        lead_sets (`dict[str, Any]`): By lead set, all 12 leads first, and task the scores of the test records that the
            run computed; empty where it scored no lead sets.
        experts (`dict[str, Any]`): By task, the content of `experts.json`; empty of a run of one expert.
    """

    folder: Path
    name: str
    tasks: list[Task]
    info: Mapping[str, Any]
    splits: Mapping[str, PredictedSplit]
    lead_sets: Mapping[str, Any]
    experts: Mapping[str, Any]

    def task(self, name: str) -> Task:
        """Return the task of a name.

        Raises:
            ValueError: if there is none.
        """
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise ValueError(f"The run in {self.folder} has no task {name!r}; it has {', '.join(tasks)}.")
        return tasks[name]


def read_run(folder: str | Path) -> PredictedRun:
    """Read the description and the predictions of a run, or of an evaluation.

    Args:
        folder (`str` or `Path`): What `train.py` or `enecg evaluate` wrote: `config.json`, `run_info.json` and
            `predictions.parquet`; of a run that scored lead sets also `lead_sets.json` and `metrics.json`, of several
            experts `experts.json`.

    Raises:
        ValueError: if a file is missing or damaged, lacks a column or a split, or holds values that cannot be.
    """
    folder = Path(folder)
    config, info = (_read_json(folder, name) for name in (CONFIG_NAME, RUN_INFO))
    try:
        tasks = [Task.from_dict(fields) for fields in config["tasks"]]
        name = str(info["name"])
        for field in _INFO:
            info[field]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no run of an EnECG model: {error!r} in its description.") from error
    frame = _read_frame(folder / PREDICTIONS)
    splits = {split: _read_split(folder / PREDICTIONS, frame, split, tasks) for split in SPLITS}
    return PredictedRun(
        folder, name, tasks, info, splits, _read_lead_sets(folder, tasks), _read_experts(folder, tasks)
    )


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{folder} is not the folder of a run that ended: it has no {name}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping of names to values.")
    return content


def _read_lead_sets(folder: Path, tasks: list[Task]) -> dict[str, Any]:
    if not (folder / LEAD_SETS).exists():
        return {}
    scores = {ALL_LEADS: _read_json(folder, METRICS).get("test", {}), **_read_json(folder, LEAD_SETS)}
    for name, by_task in scores.items():
        _check_tasks(folder / (METRICS if name == ALL_LEADS else LEAD_SETS), by_task, tasks)
    return scores


def _read_experts(folder: Path, tasks: list[Task]) -> dict[str, Any]:
    if not (folder / EXPERTS).exists():
        return {}
    inside = _read_json(folder, EXPERTS)
    _check_tasks(folder / EXPERTS, inside, tasks)
    return inside


def _check_tasks(path: Path, by_task: Mapping[str, Any], tasks: list[Task]) -> None:
    missing = [task.name for task in tasks if task.name not in by_task]
    if missing:
        raise ValueError(f"{path} lacks the task {missing[0]!r}; it does not fit the tasks in {CONFIG_NAME}.")


def _read_frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(
            f"{path.parent} has no {path.name}; it stays where a run was made, so ask for the report there."
        )
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


def _read_split(path: Path, frame: pd.DataFrame, split: str, tasks: list[Task]) -> PredictedSplit:
    _check_columns(path, frame, ["split", "ecg_id", "patient_id"])
    rows = frame[frame["split"] == split].reset_index(drop=True)
    if rows.empty and split == "test":  # without validation records nothing is calibrated
        raise ValueError(f"{path}: column 'split' has no {split!r}; a report needs test records.")
    twice = rows.loc[rows["ecg_id"].duplicated(), "ecg_id"]
    if len(twice):
        raise ValueError(f"{path}: column 'ecg_id' holds {twice.iloc[0]} more than once among the {split} records.")
    records = rows[[name for name in map(str, rows) if "." not in name and name != "split"]]
    targets = {task.name: _read_targets(path, rows, task) for task in tasks}
    outputs = {task.name: _read_outputs(path, rows, task) for task in tasks}
    return PredictedSplit(records, targets, outputs)


def _read_targets(path: Path, rows: pd.DataFrame, task: Task) -> np.ndarray:
    if task.problem_type == "single_label_classification":
        return _read_columns(path, rows, [f"{task.name}.target"], range(task.num_outputs))[:, 0]
    columns = [f"{task.name}.{output}.target" for output in task.output_names]
    return _read_columns(path, rows, columns, None if task.is_regression else range(2))


def _read_columns(path: Path, rows: pd.DataFrame, columns: list[str], allowed: range | None) -> np.ndarray:
    """Return columns of targets, float64 of shape `(num_records, len(columns))`, nan where missing."""
    targets = _numbers(path, rows, columns)
    known = np.isfinite(targets) & (targets != MISSING)
    wrong = np.isinf(targets) if allowed is None else known & ~np.isin(targets, allowed)
    for column, values, is_wrong in zip(columns, targets.T, wrong.T, strict=True):
        if is_wrong.any():
            expected = "finite numbers" if allowed is None else f"whole numbers from 0 to {allowed[-1]}"
            raise ValueError(f"{path}: column {column!r} holds {values[is_wrong][0]:g}; expected {expected}.")
    return targets


def _read_outputs(path: Path, rows: pd.DataFrame, task: Task) -> np.ndarray:
    columns = [f"{task.name}.{output}.predicted" for output in task.output_names]
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


def _check_columns(path: Path, frame: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{path} has no column {missing[0]!r}{more}; it does not fit the tasks in {CONFIG_NAME}.")
