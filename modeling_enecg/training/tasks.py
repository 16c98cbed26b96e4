"""What PTB-XL can be trained on: its six label tasks, age, sex and RR interval."""

from collections.abc import Mapping, Sequence

import datasets
import numpy as np

from ..configuration_enecg import Task
from ..labels import TASK_LABELS, TASK_NAMES

PTBXL_TASKS = (*TASK_NAMES, "age", "sex", "rr_interval")


def ptbxl_tasks(names: Sequence[str], loss_weights: Mapping[str, float] | None = None) -> list[Task]:
    """Return tasks on PTB-XL as tasks of a model.

    Args:
        names (`Sequence[str]`): Of `PTBXL_TASKS`.
        loss_weights (`Mapping[str, float]`, *optional*): A task's share in the summed loss; 1 by default.
    """
    loss_weights = loss_weights or {}
    return [_task(name, float(loss_weights.get(name, 1.0))) for name in names]


def _task(name: str, loss_weight: float) -> Task:
    if name == "age":
        return Task(name, "regression", unit="years", loss_weight=loss_weight)
    if name == "rr_interval":
        return Task(name, "regression", unit="ms", loss_weight=loss_weight)
    if name == "sex":
        return Task(name, "single_label_classification", ["male", "female"], loss_weight=loss_weight)
    return Task(name, "multi_label_classification", list(TASK_LABELS[name]), loss_weight=loss_weight)


def ptbxl_targets(records: datasets.Dataset, name: str) -> np.ndarray:
    """Return the targets of one task, as `task_loss` takes them.

    Args:
        records (`datasets.Dataset`): Rows of the builder `PTBXL`.
        name (`str`): Of `PTBXL_TASKS`.

    Returns:
        `np.ndarray`, float32: for a label task 0 and 1 of shape `(num_records, num_labels)`, NaN for a record without
        a statement of that kind; otherwise of shape `(num_records,)`, NaN where the value is not known. The release
        withholds ages over 89: those are not known.
    """
    if name in TASK_NAMES:
        return _multi_hot(records[name][:], len(TASK_LABELS[name]))
    values = np.array([np.nan if value is None else value for value in records[name][:]], dtype=np.float32)
    if name == "age":
        values[np.array(records["age_over_89"][:], dtype=bool)] = np.nan
    return values


def _multi_hot(classes_by_record: Sequence[Sequence[int]], num_labels: int) -> np.ndarray:
    targets = np.zeros((len(classes_by_record), num_labels), dtype=np.float32)
    for row, classes in enumerate(classes_by_record):
        targets[row, classes] = 1.0
    targets[targets.sum(axis=1) == 0] = np.nan
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
