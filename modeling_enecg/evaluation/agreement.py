"""How far a regression's predictions lie from the truth: Bland-Altman analysis with bootstrap intervals."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .records import with_targets
from .regression import regression_scores
from .resampling import draw_resamples
from .samples import resample_metrics, sample_interval

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


def agreement(
    task: Task,
    targets: np.ndarray,
    outputs: np.ndarray,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Compute Bland-Altman statistics and errors of every output, with bootstrap intervals.

    The differences of all records count alike; with `patients`, those of one patient are drawn together, so that the
    intervals know of their likeness.

    Args:
        task (`Task`): A regression.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): The predicted values.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval. The limits of
            agreement are for 95 % whatever the confidence.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `per_output`, from an
            output to what `bland_altman` and `regression_scores` give, as `point`, `lower` and `upper` (None where
            undefined).

    Raises:
        ValueError: if the task is no regression, or as `evaluate_task` does.
    """
    if not task.is_regression:
        raise ValueError(f"Task {task.name!r} is a {task.problem_type}; Bland-Altman statistics are of a regression.")
    targets, outputs, patients = with_targets(task, targets, outputs, patients)
    if not len(targets):
        return {"num_records": 0}
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)
    columns = zip(task.output_names, targets.reshape(outputs.shape).T, outputs.T, strict=True)
    samples = {name: resample_metrics(_statistics, truth, values, resamples) for name, truth, values in columns}
    return {
        "num_records": len(targets),
        "resampled_by": resamples.resampled_by,
        "per_output": {
            name: {statistic: sample_interval(values, confidence) for statistic, values in by_statistic.items()}
            for name, by_statistic in samples.items()
        },
    }


def _statistics(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    return bland_altman(targets, predictions) | regression_scores(targets, predictions)
