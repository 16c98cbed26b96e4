"""What validation records tell a model of its own outputs, for its tasks to keep: calibration, thresholds, intervals.

Intervals are those of split conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005; arXiv
2107.07511): they hold the truth in a wanted share of further records of the same kind, whatever the model is like.
"""

from typing import Any

import numpy as np

from ..configuration_enecg import Task
from .calibration import calibrated_outputs, fit_calibration
from .records import has_targets, with_targets
from .thresholds import f1_thresholds

COVERAGE = 0.9


def fitted_fields(task: Task, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
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


def fit_conformal(
    task: Task, targets: np.ndarray, outputs: np.ndarray, coverage: float = COVERAGE
) -> dict[str, Any] | None:
    """Fit what a [`Task`] keeps as `conformal`.

    Args:
        task (`Task`): A regression or a single-label task.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Values, or calibrated probabilities.
        coverage (`float`, *optional*, defaults to 0.9): Share of records whose truth is to be inside.

    Returns:
        `dict`, *optional*: None for a multi-label task, and where the records are too few: fewer than
            `coverage / (1 - coverage)`.

    Raises:
        ValueError: if `coverage` is not between 0 and 1, or shapes do not fit.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, for instance 0.9; got {coverage}.")
    if task.is_multi_label:
        return None
    if not task.is_regression:
        targets, outputs, _ = with_targets(task, targets, outputs)
        surprise = 1 - outputs[np.arange(len(targets)), targets.astype(int)]
        quantile = _quantile(surprise, coverage)
        return None if quantile is None else {"coverage": coverage, "quantile": quantile}
    errors = np.abs(targets.reshape(outputs.shape) - outputs)
    half_widths = [_quantile(column[~np.isnan(column)], coverage) for column in errors.T]
    return None if None in half_widths else {"coverage": coverage, "half_widths": half_widths}


def _quantile(values: np.ndarray, coverage: float) -> float | None:
    """Return the value that a share of further ones does not exceed, for as many draws as there are and one more."""
    rank = int(np.ceil(round((len(values) + 1) * coverage, 9)))
    return float(np.sort(values)[rank - 1]) if 1 <= rank <= len(values) else None
