"""Targets of a dataset: its columns as tasks, and their values as numbers to train on."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from ..configuration_enecg import Task
from ..settings import suggest
from .errors import DatasetError
from .ptbxl.labels import TASK_NAMES
from .rows import unknown_column

UNITS = {"age": "years", "rr_interval": "ms", "potassium": "mmol/L"}
_NO_TASKS = {"ecg_id", "patient_id", "strat_fold", "signal", "sampling_rate", "lead_names"}


def dataset_tasks(
    features: datasets.Features, names: Sequence[str], loss_weights: Mapping[str, float] | None = None
) -> list[Task]:
    """Return columns of a dataset as tasks of a model.

    A list of class labels is a multi-label task, a class label a single-label one, a number a regression.

    Args:
        features (`datasets.Features`): The dataset's columns.
        names (`Sequence[str]`): The wanted ones.
        loss_weights (`Mapping[str, float]`, *optional*): A task's share in the summed loss; 1 by default.

    Raises:
        DatasetError: if there is no column of that name, or it holds neither labels nor numbers.
    """
    not_tasks = _NO_TASKS | {unknown_column(name) for name in features}
    known = [name for name, feature in features.items() if name not in not_tasks and _problem_type(feature)]
    unknown = [name for name in names if name not in known]
    if unknown:
        name, choices = unknown[0], ", ".join(known)
        reason = f"the dataset has no labels {name!r}; there are {choices}.{suggest(name, known)}"
        raise DatasetError(None, None, "tasks", reason)
    weights = loss_weights or {}
    return [_task(name, features[name], float(weights.get(name, 1.0))) for name in names]


def _problem_type(feature: Any) -> str | None:
    if isinstance(feature, datasets.List | datasets.LargeList) and isinstance(feature.feature, datasets.ClassLabel):
        return "multi_label_classification"
    if isinstance(feature, datasets.ClassLabel):
        return "single_label_classification"
    is_number = isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float"))
    return "regression" if is_number else None


def _task(name: str, feature: Any, loss_weight: float) -> Task:
    problem_type = _problem_type(feature)
    assert problem_type is not None  # `dataset_tasks` saw to it
    if problem_type == "regression":
        return Task(name, problem_type, unit=UNITS.get(name), loss_weight=loss_weight)
    classes = feature if problem_type == "single_label_classification" else feature.feature
    return Task(name, problem_type, list(classes.names), loss_weight=loss_weight)


def read_targets(records: datasets.Dataset, task: Task) -> np.ndarray:
    """Return the targets of one task, as `task_loss` takes them.

    Args:
        records (`datasets.Dataset`): Rows with the task's column, whose values may be None.
        task (`Task`): A task that `dataset_tasks` gave.

    Returns:
        `np.ndarray`, float32, NaN where the value is not known: for a multi-label task 0 and 1 of shape
        `(num_records, num_labels)`; otherwise of shape `(num_records,)`. Where a dataset has `age_over_89`, such ages
        are withheld: not known. In PTB-XL a record without a statement of a kind is not known to have none. Nor are
        labels known that `unknown_column` names.

    Raises:
        DatasetError: if a class is none of the task's.
    """
    values = records[task.name][:]
    if not task.is_regression:
        _check_classes(values, task)
    if task.problem_type == "multi_label_classification":
        is_silent_unknown = task.name in TASK_NAMES and "scp_codes" in records.column_names
        targets = _multi_hot(values, task.num_outputs, is_silent_unknown)
        if unknown_column(task.name) in records.column_names:
            for row, labels in enumerate(records[unknown_column(task.name)][:]):
                targets[row, labels or []] = np.nan
        return targets
    targets = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    if task.name == "age" and "age_over_89" in records.column_names:
        targets[np.array(records["age_over_89"][:], dtype=bool)] = np.nan
    return targets


def _check_classes(values: Sequence[Any], task: Task) -> None:
    """Refuse numbers that no label has, as other programs may have written them."""
    for value in values:
        for number in (value if isinstance(value, list) else [value]) if value is not None else ():
            if number is None or not 0 <= number < task.num_outputs:
                reason = f"holds {number}; its {task.num_outputs} labels are numbered from 0."
                raise DatasetError(None, None, task.name, reason)


def _multi_hot(
    classes_by_record: Sequence[Sequence[int] | None], num_labels: int, is_silent_unknown: bool
) -> np.ndarray:
    targets = np.zeros((len(classes_by_record), num_labels), dtype=np.float32)
    for row, classes in enumerate(classes_by_record):
        if classes is None or (is_silent_unknown and not classes):
            targets[row] = np.nan
        else:
            targets[row, classes] = 1.0
    return targets


def balanced_class_weights(task: Task, targets: np.ndarray) -> list[float]:
    """Return weights that make rare labels count as much as common ones.

    Multi-label: negatives / positives of each label, 1 without a positive. Single-label: the records an average class
    has / those of each class, 1 for a class without any.
    """
    if task.problem_type == "single_label_classification":
        counts = (targets[:, None] == np.arange(task.num_outputs)).sum(axis=0)
        return np.where(counts > 0, counts.mean() / np.maximum(counts, 1), 1.0).tolist()
    positives = np.nansum(targets, axis=0)
    negatives = np.sum(~np.isnan(targets), axis=0) - positives
    return np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0).tolist()


def target_statistics(targets: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of a regression's targets, with which a model standardises them.

    Raises:
        ValueError: if fewer than two targets are known, or all are equal.
    """
    columns = targets.reshape(len(targets), -1).astype(np.float64)
    counts = np.sum(~np.isnan(columns), axis=0)
    if counts.min() < 2:
        raise ValueError(f"a regression needs at least two known targets in the training fold; got {counts.min()}")
    mean, deviation = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
    if deviation.min() == 0:
        raise ValueError(f"all targets of the training fold are equal ({mean.tolist()}); nothing can be learnt")
    return mean.tolist(), deviation.tolist()
