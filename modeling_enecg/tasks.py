"""A task: the meaning of one set of a model's outputs, and what was measured of it."""

import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any

try:
    from torch.nn import ModuleDict
except ImportError:
    ModuleDict = object  # type: ignore[assignment, misc]  # an ONNX file, predicted without torch, names no modules

PROBLEM_TYPES = ("multi_label_classification", "single_label_classification", "regression")
CALIBRATIONS = ("temperature", "platt")
MISSING = -100  # a class that was not given, in torch's losses, too
_NUMBERS = ("class_weights", "target_mean", "target_std", "thresholds")  # one an output


@dataclass(frozen=True)
class Task:
    """What one set of outputs means.

    Args:
        name (`str`): Letters, digits, `_` and `-`.
        problem_type (`str`): `"multi_label_classification"`, `"single_label_classification"` or `"regression"`.
        labels (`list[str]`, *optional*): Name of each output. May be left out for a regression with one output.
        loss_weight (`float`, *optional*, defaults to 1.0): The task's share in the summed loss.
        class_weights (`list[float]`, *optional*): Weight of each label in the loss: of its positives
            (multi-label), or of its records (single-label).
        target_mean (`list[float]`, *optional*): Regression: mean of each target over the training records; 0 by
            default.
        target_std (`list[float]`, *optional*): Regression: standard deviation of each target; 1 by default.
        unit (`str`, *optional*): Regression: the targets' unit, for instance `"years"`.
        calibration (`dict`, *optional*): Classification: what makes its probabilities mean frequencies, fitted on
            validation records. `{"method": "temperature", "temperature": t}` divides logits; multi-label tasks may
            have `{"method": "platt", "slopes": [...], "intercepts": [...]}` instead, a line of each label's logit.
        thresholds (`list[float]`, *optional*): Multi-label: the calibrated probability from which each label counts as
            present.
        conformal (`dict`, *optional*): What holds the truth in a share `coverage` of records, from validation records.
            Regression: `{"coverage": c, "half_widths": [...]}`, of the interval around each value. Single-label:
            `{"coverage": c, "quantile": q}`; possible is each class whose calibrated probability is at least 1 - q.
        measured (`dict`, *optional*): Scores on the test records of the run that made the model, by lead set and
            metric; they travel for whoever reads them, and decide nothing.
        trained_sampling_rate (`float`, *optional*): Samples per second (Hz) at which its training records were read,
            of a dataset that has several rates; so other records of such a dataset are read for it.

    Raises:
        ValueError: if the fields do not fit each other.
    """

    name: str
    problem_type: str
    labels: list[str] = field(default_factory=list)
    loss_weight: float = 1.0
    class_weights: list[float] | None = None
    target_mean: list[float] | None = None
    target_std: list[float] | None = None
    unit: str | None = None
    calibration: dict[str, Any] | None = None
    thresholds: list[float] | None = None
    conformal: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None
    trained_sampling_rate: float | None = None

    def __post_init__(self) -> None:
        check_module_name(self.name, "task")
        if self.problem_type not in PROBLEM_TYPES:
            raise ValueError(
                f"Task {self.name!r}: problem_type must be one of {', '.join(PROBLEM_TYPES)}; "
                f"got {self.problem_type!r}."
            )
        self._check_labels()
        if self.is_regression:
            self._set(target_mean=self.target_mean or [0.0] * self.num_outputs)
            self._set(target_std=self.target_std or [1.0] * self.num_outputs)
        for name in _NUMBERS:
            if getattr(self, name) is not None:
                self._set(**{name: self._numbers(name, getattr(self, name))})
        if self.is_regression and min(self.target_std or []) <= 0:
            raise ValueError(f"Task {self.name!r}: target_std must be positive; got {self.target_std}.")
        if self.calibration is not None:
            self._check_calibration(self.calibration)
        if self.conformal is not None:
            self._check_conformal(self.conformal)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_labels(self) -> None:
        if not isinstance(self.labels, list | tuple):
            raise ValueError(f"Task {self.name!r}: labels must be a list; got {self.labels!r}.")
        self._set(labels=list(self.labels))
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"Task {self.name!r}: labels must differ from each other; got {self.labels}.")
        if not self.is_regression and len(self.labels) < (1 if self.is_multi_label else 2):
            raise ValueError(f"Task {self.name!r}: a {self.problem_type} needs labels; got {self.labels}.")

    def _numbers(self, name: str, values: Any) -> list[float]:
        """Return one number an output."""
        if not isinstance(values, list | tuple):
            raise ValueError(f"Task {self.name!r}: {name} must be a list; got {values!r}.")
        if len(values) != self.num_outputs:
            raise ValueError(f"Task {self.name!r}: {name} needs {self.num_outputs} numbers; got {values}.")
        for value in values:
            self._number(name, value)
        return list(values)

    def _number(self, name: str, value: Any) -> Any:
        if not isinstance(value, Real) or math.isnan(value):
            raise ValueError(f"Task {self.name!r}: {name} must be a number; got {value!r}.")
        return value

    def _fields_of(self, what: str, given: dict[str, Any], wanted: set[str]) -> None:
        if not isinstance(given, dict) or set(given) != wanted:
            raise ValueError(f"Task {self.name!r}: {what} needs {', '.join(sorted(wanted))}; got {given}.")

    def _check_calibration(self, given: dict[str, Any]) -> None:
        methods = {"multi_label_classification": CALIBRATIONS, "single_label_classification": CALIBRATIONS[:1]}
        possible = methods.get(self.problem_type, ())
        if not isinstance(given, dict) or given.get("method") not in possible:
            raise ValueError(
                f"Task {self.name!r}: calibration of a {self.problem_type} has the method "
                f"{' or '.join(possible) or 'None: it has no probabilities'}; got {given}."
            )
        if given["method"] == "temperature":
            self._fields_of("calibration", given, {"method", "temperature"})
            if not self._number("temperature", given["temperature"]) > 0:
                raise ValueError(f"Task {self.name!r}: temperature must be positive; got {given['temperature']}.")
        else:
            self._fields_of("calibration", given, {"method", "slopes", "intercepts"})
            for name in ("slopes", "intercepts"):
                self._numbers(f"calibration's {name}", given[name])

    def _check_conformal(self, given: dict[str, Any]) -> None:
        if self.is_multi_label:
            raise ValueError(f"Task {self.name!r}: conformal is for regressions and single-label tasks.")
        self._fields_of("conformal", given, {"coverage", "half_widths" if self.is_regression else "quantile"})
        if not 0 < self._number("coverage", given["coverage"]) < 1:
            raise ValueError(f"Task {self.name!r}: coverage must be between 0 and 1; got {given['coverage']}.")
        if self.is_regression:
            self._numbers("conformal's half_widths", given["half_widths"])

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are quantities."""
        return self.problem_type == "regression"

    @property
    def is_multi_label(self) -> bool:
        """Whether a record may have several of the labels, or none."""
        return self.problem_type == "multi_label_classification"

    @property
    def num_outputs(self) -> int:
        """Number of outputs: one per label, and one for a regression without labels."""
        return max(len(self.labels), 1)

    @property
    def output_names(self) -> list[str]:
        """Name of each output; a regression without labels has the task's name."""
        return self.labels or [self.name]

    def of_labels(self, labels: list[str]) -> "Task":
        """Return the multi-label task of some of the labels, with what belongs to each.

        Raises:
            ValueError: if the task is of another type, or lacks a label.
        """
        if not self.is_multi_label or not set(labels) <= set(self.labels):
            raise ValueError(f"Task {self.name!r} has no labels {labels} of its own to be taken apart.")
        rows = [self.labels.index(label) for label in labels]

        def chosen(values: list[float] | None) -> list[float] | None:
            return None if values is None else [values[row] for row in rows]

        calibration = self.calibration
        if calibration is not None and calibration["method"] == "platt":
            calibration = calibration | {name: chosen(calibration[name]) for name in ("slopes", "intercepts")}
        return replace(
            self,
            labels=labels,
            class_weights=chosen(self.class_weights),
            thresholds=chosen(self.thresholds),
            calibration=calibration,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def with_fields(self, **changes: Any) -> "Task":
        """Return the task with other values of some fields.

        Raises:
            ValueError: if a field is unknown, or the values do not fit each other.
        """
        _check_fields(self.name, changes)
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> "Task":
        """Build a task from a dict of its fields.

        Raises:
            ValueError: if a field is unknown or does not fit, or `name` or `problem_type` is missing.
        """
        if not isinstance(task, dict):
            raise ValueError(f"A task is a mapping of its fields; got {task!r}.")
        _check_fields(task.get("name"), task)
        missing = [key for key in ("name", "problem_type") if key not in task]
        if missing:
            raise ValueError(f"Task {task} lacks {' and '.join(missing)}.")
        return cls(**task)


def _check_fields(task: Any, given: dict[str, Any]) -> None:
    known = [item.name for item in fields(Task)]
    for key in given:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            raise ValueError(
                f"Task {task!r}: unknown field {key!r}; "
                + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}.")
            )


def check_module_name(name: Any, what: str) -> None:
    """Raise a `ValueError` unless `name` can name a sub-module."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError(f"Illegal {what} name {name!r}: use letters, digits, _ and -, a letter first.")
    if hasattr(ModuleDict, name):
        raise ValueError(f"Illegal {what} name {name!r}: torch needs it itself; choose another.")


__all__ = ["CALIBRATIONS", "MISSING", "PROBLEM_TYPES", "Task", "check_module_name"]
