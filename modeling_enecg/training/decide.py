"""What is decided on the validation records at the end of a run, and travels with the model."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..configuration_enecg import Task
from ..evaluation.scoring import has_targets
from ..evaluation.thresholds import f1_thresholds
from ..runs.files import write_text
from ..runs.predictions import Predictions


def decide(tasks: Sequence[Task], predicted: Predictions) -> dict[str, dict[str, Any]]:
    """Choose by predicted records what turns a task's outputs into findings.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        predicted (`Predictions`): What was predicted on records that the model did not train on.

    Returns:
        `dict[str, dict[str, Any]]`: By task, fields of [`Task`]: `thresholds` of a multi-label one.
    """
    decisions: dict[str, dict[str, Any]] = {}
    for task in tasks:
        given = has_targets(task, predicted.targets[task.name])
        if task.problem_type == "multi_label_classification" and given.any():
            targets, outputs = predicted.targets[task.name][given], predicted.outputs[task.name][given]
            decisions[task.name] = {"thresholds": f1_thresholds(targets, outputs)}
    return decisions


def write_tasks(tasks: Sequence[Task], paths: Iterable[Path]) -> None:
    """Write the tasks into JSON files that have them, such as a model's `config.json`."""
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["tasks"] = [task.to_dict() for task in tasks]
        write_text(path, json.dumps(content, indent=2) + "\n")


__all__ = ["decide", "write_tasks"]
