"""Which records a task can be scored on, and their targets as columns."""

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from ..losses import MISSING


def has_targets(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return which records have all of a task's targets, as a bool array of shape `(num_records,)`."""
    missing: np.ndarray = np.isnan(targets.astype(np.float64))
    if not task.is_regression:
        missing = missing | (targets == MISSING)
    return np.logical_not(missing if missing.ndim == 1 else missing.any(axis=1))


def label_columns(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return a classification's targets as one column a label, of shape `(num_records, num_labels)`."""
    is_single = task.problem_type == "single_label_classification"
    return targets[:, None] == np.arange(task.num_outputs) if is_single else targets


def with_targets(
    task: Task, targets: np.ndarray, outputs: np.ndarray, patients: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return targets, outputs and, if given, patients of the records that have all of a task's targets.

    Raises:
        ValueError: if the outputs are not of shape `(num_records, num_outputs)`, or there is not one patient a record.
    """
    if outputs.shape != (len(targets), task.num_outputs):
        raise ValueError(
            f"Task {task.name!r}: outputs must be of shape (num_records, num_outputs), here "
            f"{(len(targets), task.num_outputs)}; got {outputs.shape}."
        )
    given = has_targets(task, targets)
    return targets[given], outputs[given], chosen_patients(patients, given)


def chosen_patients(patients: ArrayLike | None, chosen: np.ndarray) -> np.ndarray | None:
    """Return the patients, if given, of the records that are chosen.

    Args:
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient.
        chosen (`np.ndarray` of shape `(num_records,)`): True for the records to keep.

    Raises:
        ValueError: if there is not one patient a record.
    """
    if patients is None:
        return None
    names = np.asarray(patients)
    if names.shape != chosen.shape:
        raise ValueError(f"patients must be of shape (num_records,), here {chosen.shape}; got {names.shape}.")
    return names[chosen]
