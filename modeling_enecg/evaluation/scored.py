"""The records that a task is scored on, checked once, and their targets as columns."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from ..losses import MISSING
from .checks import finite_array
from .patients import number_patients


def has_targets(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return which records have all of a task's targets, as a bool array of shape `(num_records,)`."""
    missing: np.ndarray = np.isnan(targets.astype(np.float64))
    if not task.is_regression:
        missing = missing | (targets == MISSING)
    return np.logical_not(missing if missing.ndim == 1 else missing.any(axis=1))


def label_columns(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return a classification's targets as one column per label, of shape `(num_records, num_labels)`."""
    is_single = task.problem_type == "single_label_classification"
    return targets[:, None] == np.arange(task.num_outputs) if is_single else targets


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says of a task's records; records without targets are left out when it is made.

    Args:
        task (`Task`): The task.
        targets (`ArrayLike`): Its labels as in `task_loss`.
        outputs (`ArrayLike` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, a number or a text; one
            of None or nan is a patient of its own.
        ids (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's name.

    Attributes:
        given (`np.ndarray` of bool): Which of the records that it was made of have targets. All other attributes are
            of these alone.

    Raises:
        ValueError: if targets do not fit the task, or outputs, patients or ids the targets, in shape.
    """

    task: Task
    targets: np.ndarray
    outputs: np.ndarray
    patients: np.ndarray | None = None
    ids: np.ndarray | None = None
    given: np.ndarray = field(init=False)

    def __init__(
        self,
        task: Task,
        targets: ArrayLike,
        outputs: ArrayLike,
        patients: ArrayLike | None = None,
        ids: ArrayLike | None = None,
    ) -> None:
        truth, values = np.asarray(targets), np.asarray(outputs)
        _check_targets(task, truth)
        if values.shape != (len(truth), task.num_outputs):
            raise ValueError(
                f"Task {task.name!r}: outputs must be of shape (num_records, num_outputs), here "
                f"{(len(truth), task.num_outputs)}; got {values.shape}."
            )
        given = has_targets(task, truth)
        fields = {
            "task": task,
            "targets": truth[given],
            "outputs": values[given],
            "patients": None if patients is None else _checked("patients", patients, given)[given],
            "ids": None if ids is None else _checked("ids", ids, given)[given],
            "given": given,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def is_positive(self) -> np.ndarray:
        """A classification's targets as bool, of shape `(num_records, num_labels)`."""
        is_positive: np.ndarray = label_columns(self.task, self.targets) == 1
        return is_positive

    @cached_property
    def columns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """A regression's true and predicted values in float64, output by output, each of shape `(num_records,)`."""
        truth = finite_array("targets", self.targets).reshape(self.outputs.shape)
        return list(zip(truth.T, finite_array("predictions", self.outputs).T, strict=True))

    @cached_property
    def patient_numbers(self) -> np.ndarray | None:
        """The number of each record's patient, from 0 in order of appearance; None where patients are not known."""
        return None if self.patients is None else number_patients(self.patients, len(self))

    def with_outputs(self, outputs: np.ndarray) -> "Scored":
        """Return the same records with other outputs, one row per record that is scored."""
        return Scored(self.task, self.targets, outputs, self.patients, self.ids)

    def within(self, chosen: np.ndarray) -> "Scored":
        """Return some of the records, those where `chosen` is true or that it numbers."""
        parts = (None if each is None else each[chosen] for each in (self.patients, self.ids))
        return Scored(self.task, self.targets[chosen], self.outputs[chosen], *parts)

    def of_given(self, name: str, values: ArrayLike) -> np.ndarray:
        """Return what is scored of values of all records that this was made of, along their first axis.

        Raises:
            ValueError: if there is not one per record; the message calls them by `name`.
        """
        array = np.asarray(values)
        if not array.ndim or len(array) != len(self.given):
            raise ValueError(f"{name} must be of shape (num_records,), here {self.given.shape}; got {array.shape}.")
        return array[self.given]


def _check_targets(task: Task, targets: np.ndarray) -> None:
    flat, columns = ("(num_records,)", 1), (f"(num_records, {task.num_outputs})", 2)
    legal = {
        "multi_label_classification": [columns],
        "single_label_classification": [flat],
        "regression": [flat, columns] if task.num_outputs == 1 else [columns],
    }[task.problem_type]
    width = targets.shape[1] if targets.ndim == 2 else task.num_outputs
    if targets.ndim not in [ndim for _, ndim in legal] or width != task.num_outputs:
        shapes = " or ".join(shape for shape, _ in legal)
        raise ValueError(f"Task {task.name!r}: targets must be of shape {shapes}; got {targets.shape}.")


def _checked(name: str, values: ArrayLike, given: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != given.shape:
        raise ValueError(f"{name} must be of shape (num_records,), here {given.shape}; got {array.shape}.")
    return array
