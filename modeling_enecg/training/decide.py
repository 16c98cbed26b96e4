"""Decisions by the validation records at the end of a run, which travel with the model."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..evaluation.task_fields import fitted_fields
from ..modeling_enecg import EnECGModel
from ..runs.files import write_text
from ..runs.predictions import Predictions


def decide(model: EnECGModel, predicted: Predictions) -> None:
    """Set what turns each task's outputs into findings, in place: calibration, thresholds and intervals.

    Args:
        model ([`EnECGModel`]): The model.
        predicted (`Predictions`): What was predicted on records that did not train: those of validation, or out of
            fold.
    """
    for name, task in model.tasks.items():
        patients = predicted.records["patient_id"]
        model.update_task(name, **fitted_fields(task, predicted.targets[name], predicted.outputs[name], patients))


def write_tasks(model: EnECGModel, paths: Iterable[Path]) -> None:
    """Write a model's tasks into JSON files that have them, such as its `config.json`."""
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["tasks"] = model.config.tasks
        write_text(path, json.dumps(content, indent=2) + "\n")


__all__ = ["decide", "write_tasks"]
