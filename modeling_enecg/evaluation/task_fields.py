"""Fields of a task that validation records decide: calibration, thresholds, intervals."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .calibration import calibrated_outputs, choose_calibration
from .conformal import fit_conformal
from .scored import Scored
from .thresholds import LEAST_POSITIVES, f1_thresholds


def fitted_fields(
    task: Task, targets: np.ndarray, outputs: np.ndarray, patients: ArrayLike | None = None
) -> dict[str, Any]:
    """Return the fields of a task that validation records decide on; none where no record has labels.

    A classification gets the calibration that `choose_calibration` finds and, if it is multi-label, the thresholds of
    the best F1 on its calibrated probabilities, 0.5 for a label with fewer than `LEAST_POSITIVES`; a regression or a
    single-label task what holds the truth in 90 % of records.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): The model's probabilities, or values.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient.
    """
    scored = Scored(task, targets, outputs, patients)
    if not len(scored):
        return {}
    targets, outputs = scored.targets, scored.outputs
    fitted: dict[str, Any] = {}
    if not task.is_regression:
        fitted["calibration"] = choose_calibration(task, targets, outputs, scored.patients).for_task()
        outputs = calibrated_outputs(task.with_fields(**fitted), outputs)
    if task.is_multi_label:
        fitted["thresholds"] = f1_thresholds(targets, outputs, LEAST_POSITIVES)
    return fitted | {"conformal": fit_conformal(task, targets, outputs)}
