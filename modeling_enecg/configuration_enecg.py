"""Configuration of an EnECG model: its experts, its tasks, its heads."""

import re
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig

PROBLEM_TYPES = ("multi_label_classification", "single_label_classification", "regression")


@dataclass
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

    def __post_init__(self) -> None:
        check_module_name(self.name, "task")
        if self.problem_type not in PROBLEM_TYPES:
            raise ValueError(
                f"Task {self.name!r}: problem_type must be one of {', '.join(PROBLEM_TYPES)}; "
                f"got {self.problem_type!r}."
            )
        for name in ("labels", "class_weights", "target_mean", "target_std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) and (name == "labels" or values is not None):
                raise ValueError(f"Task {self.name!r}: {name} must be a list; got {values!r}.")
        self.labels = list(self.labels)
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"Task {self.name!r}: labels must differ from each other; got {self.labels}.")
        if self.is_regression:
            self.target_mean = self.target_mean or [0.0] * self.num_outputs
            self.target_std = self.target_std or [1.0] * self.num_outputs
            if min(self.target_std) <= 0:
                raise ValueError(f"Task {self.name!r}: target_std must be positive; got {self.target_std}.")
        elif len(self.labels) < (1 if self.problem_type == "multi_label_classification" else 2):
            raise ValueError(f"Task {self.name!r}: a {self.problem_type} needs labels; got {self.labels}.")
        for name in ("class_weights", "target_mean", "target_std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_outputs:
                raise ValueError(f"Task {self.name!r}: {name} needs {self.num_outputs} numbers; got {values}.")

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are quantities."""
        return self.problem_type == "regression"

    @property
    def num_outputs(self) -> int:
        """Number of outputs: one a label, and one for a regression without labels."""
        return max(len(self.labels), 1)

    @property
    def output_names(self) -> list[str]:
        """Name of each output; a regression without labels has the task's name."""
        return self.labels or [self.name]

    @classmethod
    def from_dict(cls, task: dict[str, Any]) -> "Task":
        """Build a task from a dict of its fields.

        Raises:
            ValueError: if a field is unknown or does not fit, or `name` or `problem_type` is missing.
        """
        known = [item.name for item in fields(cls)]
        for key in task:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                raise ValueError(
                    f"Task {task.get('name')!r}: unknown field {key!r}; "
                    + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}.")
                )
        missing = [key for key in ("name", "problem_type") if key not in task]
        if missing:
            raise ValueError(f"Task {task} lacks {' and '.join(missing)}.")
        return cls(**task)


@strict
class EnECGConfig(PreTrainedConfig):
    """Configuration of an [`EnECGModel`].

    Args:
        experts (`dict[str, dict]`): From an expert's name to its backbone's configuration, with `model_type`.
        expert_order (`list[str]`, *optional*, defaults to the order of `experts`): The experts' order in gate weights,
            expert logits and lists of inputs; kept apart because JSON files sort their keys.
        tasks (`list[dict]`): The fields of each [`Task`].
        head_hidden_sizes (`list[int]`, *optional*): Hidden layers of every expert's head. By default none (a linear
            head) with one expert, and two of 256 with several, as in EnECG (arXiv 2511.22935).
        head_dropout (`float`, *optional*, defaults to 0.0): Dropout on what enters each of a head's linear layers.
    """

    model_type = "enecg"
    keys_to_ignore_at_inference = ["expert_logits"]

    experts: dict[str, Any] = field(default_factory=dict)
    expert_order: list[str] | None = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    head_hidden_sizes: list[int] | None = None
    head_dropout: int | float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Put the experts in order, and fill in every task's fields and the head's default."""
        if self.expert_order is None:
            self.expert_order = list(self.experts)
        if sorted(self.expert_order) != sorted(self.experts):
            raise ValueError(f"expert_order {self.expert_order} does not name the experts {sorted(self.experts)}.")
        self.experts = {name: self.experts[name] for name in self.expert_order}
        self.tasks = [asdict(Task.from_dict(task)) for task in self.tasks]
        if self.head_hidden_sizes is None:
            self.head_hidden_sizes = [] if len(self.experts) <= 1 else [256, 256]
        super().__post_init__(**kwargs)

    def validate_names(self) -> None:
        """Refuse expert names that cannot name a module, and tasks of the same name."""
        for name in self.experts:
            check_module_name(name, "expert")
        names = [task["name"] for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"Task names must differ from each other; got {names}.")

    def get_tasks(self) -> list[Task]:
        """Return the tasks as objects."""
        return [Task.from_dict(task) for task in self.tasks]


def check_module_name(name: Any, what: str) -> None:
    """Raise a `ValueError` unless `name` can name a sub-module."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError(f"Illegal {what} name {name!r}: use letters, digits, _ and -, a letter first.")
    if hasattr(nn.ModuleDict, name):
        raise ValueError(f"Illegal {what} name {name!r}: torch needs it itself; choose another.")


__all__ = ["EnECGConfig", "Task"]
