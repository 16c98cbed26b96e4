"""How far a regression's predictions lie from the truth: Bland-Altman analysis with bootstrap intervals."""

from typing import Any

import numpy as np

from .bootstrap import Bootstrap, Resamples
from .intervals import interval, too_few
from .metrics import REGRESSION, metrics_of
from .samples import resample_metrics
from .scored import Scored

LIMIT_Z = 1.959963984540054  # of a normal distribution, 95 % lies within so many standard deviations


def bland_altman(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return bias and limits of agreement of one output.

    Args:
        targets (`np.ndarray` of shape `(num_records,)`): The true values.
        predictions (`np.ndarray` of shape `(num_records,)`): The predicted values.

    Returns:
        `dict[str, float]`, in the unit of the targets: `bias`, the mean of prediction minus truth; `std`, the
            differences' standard deviation (with n - 1; nan of a single record); `lower_limit` and `upper_limit`,
            between which 95 % of normally distributed differences lie.
    """
    difference = predictions - targets
    bias = difference.mean()
    std = difference.std(ddof=1) if len(difference) > 1 else np.nan
    return {
        "bias": float(bias),
        "std": float(std),
        "lower_limit": float(bias - LIMIT_Z * std),
        "upper_limit": float(bias + LIMIT_Z * std),
    }


def agreement(scored: Scored, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compute Bland-Altman statistics and errors of every output, with bootstrap intervals.

    The differences of all records count alike; with patients, those of one patient are drawn together, so that the
    intervals know of their likeness. The limits of agreement are for 95 % whatever the confidence.

    Args:
        scored (`Scored`): A regression's records.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `per_output`, from an
            output to what `bland_altman` and `regression_scores` give, as `point`, `lower` and `upper` (None where
            undefined, and see `interval`).

    Raises:
        ValueError: if the task is no regression.
    """
    task = scored.task
    if not task.is_regression:
        raise ValueError(f"Task {task.name!r} is a {task.problem_type}; Bland-Altman statistics are of a regression.")
    if not len(scored):
        return {"num_records": 0}
    resamples = bootstrap.resamples(scored)
    reason = too_few(resamples)
    metrics = {metric.name: metric.compute for metric in metrics_of(REGRESSION)}
    per_output = {}
    for name, column in zip(task.output_names, scored.columns, strict=True):
        samples = _bland_altman_samples(*column, resamples) | resample_metrics(metrics, *column, resamples)
        per_output[name] = {key: interval(values, bootstrap.confidence, reason) for key, values in samples.items()}
    return {"num_records": len(scored), "resampled_by": resamples.resampled_by, "per_output": per_output}


def _bland_altman_samples(truth: np.ndarray, predicted: np.ndarray, resamples: Resamples) -> dict[str, np.ndarray]:
    drawn = [bland_altman(truth[rows], predicted[rows]) for rows in [np.arange(len(truth)), *resamples.records]]
    return {key: np.array([each[key] for each in drawn]) for key in drawn[0]}
