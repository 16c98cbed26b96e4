"""What validation records tell a model of its own outputs, for it to keep: calibration, thresholds and intervals."""

from typing import Any

import numpy as np

from ..configuration_enecg import Task
from .calibration import calibrated_outputs, fit_calibration
from .conformal import fit_conformal
from .records import has_targets
from .thresholds import f1_thresholds


def decisions(task: Task, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """Return the fields of a task that validation records decide on; none where no record has labels.

    A classification gets a temperature and, if it is multi-label, the thresholds of the best F1 on its calibrated
    probabilities; a regression or a single-label task what holds the truth in 90 % of records.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): The model's probabilities, or values.
    """
    given = has_targets(task, targets)
    if not given.any():
        return {}
    targets, outputs = targets[given], outputs[given]
    fitted: dict[str, Any] = {}
    if not task.is_regression:
        fitted["calibration"] = fit_calibration(task, targets, outputs).for_task()
        outputs = calibrated_outputs(task.with_fields(**fitted), outputs)
    if task.is_multi_label:
        fitted["thresholds"] = f1_thresholds(targets, outputs)
    return fitted | {"conformal": fit_conformal(task, targets, outputs)}
