"""Intervals and sets that hold the truth in a wanted share of records: split conformal prediction.

Vovk et al., "Algorithmic Learning in a Random World", 2005; Angelopoulos and Bates, arXiv 2107.07511. Fitted on
records that the model was not trained on, they hold for further records of the same kind, whatever the model is like.
"""

from typing import Any

import numpy as np

from ..configuration_enecg import Task
from .records import with_targets

COVERAGE = 0.9


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
