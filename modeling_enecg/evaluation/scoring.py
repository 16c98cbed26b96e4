"""Scores of a model's tasks, whatever their type: plain ones for training, with intervals for reports."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..configuration_enecg import Task
from ..losses import MISSING
from ..modeling_enecg import output_probabilities
from .metrics import bootstrap_scores, multilabel_scores, percentile_interval, undefined_as_nan
from .regression import regression_scores
from .singlelabel import singlelabel_scores


def predicted_outputs(task: Task, logits: np.ndarray) -> np.ndarray:
    """Return probabilities, or a regression's values, in float64, where logits that differ rarely become equal."""
    return output_probabilities(task, torch.from_numpy(np.asarray(logits, dtype=np.float64))).numpy()


def has_targets(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return which records have all of a task's targets, as a bool array of shape `(num_records,)`."""
    missing: np.ndarray = np.isnan(targets.astype(np.float64))
    if not task.is_regression:
        missing = missing | (targets == MISSING)
    return np.logical_not(missing if missing.ndim == 1 else missing.any(axis=1))


def label_columns(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return a classification's targets as one column a label, of shape `(num_records, num_labels)`."""
    is_single = task.problem_type == "single_label_classification"
    return targets[:, None] == np.arange(task.num_outputs) if is_single else targets


def score_predictions(
    tasks: Sequence[Task], logits: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Score every task without intervals.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        logits (`Mapping[str, np.ndarray]`): Each task's logits of shape `(num_records, num_outputs)`.
        targets (`Mapping[str, np.ndarray]`): Each task's labels as in `task_loss`; records without are left out.

    Returns:
        `dict[str, float]`: `macro_auroc` and `macro_auprc`, the means over the classification tasks that have them;
            `r2`, that over the regressions; `score`, the mean over all tasks of macro AUROC or R², which picks the
            best epoch (nan where no task has one); for several tasks also each task's scores as `<task>_<metric>`.
    """
    scores = {task.name: _point_scores(task, logits[task.name], targets[task.name]) for task in tasks}
    result = {}
    for metric in ("macro_auroc", "macro_auprc", "r2"):
        values = [scores[task.name].get(metric, np.nan) for task in tasks if task.is_regression == (metric == "r2")]
        if values:
            result[metric] = _mean(values)
    result["score"] = _mean([score.get("r2", score.get("macro_auroc", np.nan)) for score in scores.values()])
    if len(tasks) > 1:
        result |= {f"{name}_{metric}": value for name, score in scores.items() for metric, value in score.items()}
    return result


def _mean(values: Sequence[float]) -> float:
    with undefined_as_nan():
        return float(np.nanmean(values))


def _point_scores(task: Task, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    given = has_targets(task, targets)
    return _metrics(task)(targets[given], predicted_outputs(task, logits[given])) if given.any() else {}


def _metrics(task: Task) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Return the function from targets and outputs to a task's metrics."""
    scores: Callable[[np.ndarray, np.ndarray], dict[str, Any]] = {
        "multi_label_classification": multilabel_scores,
        "single_label_classification": singlelabel_scores,
        "regression": lambda targets, outputs: regression_scores(targets.reshape(outputs.shape), outputs),
    }[task.problem_type]
    return lambda targets, outputs: {
        name: value for name, value in scores(targets, outputs).items() if isinstance(value, float)
    }


def evaluate_task(
    task: Task,
    targets: np.ndarray,
    outputs: np.ndarray,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Score one task with bootstrap intervals over records.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.

    Returns:
        `dict[str, Any]`, ready for JSON: each metric as `point`, `lower` and `upper` (None where undefined);
            `num_records`, alone if it is 0; and for classification `per_label`, from a label to `auroc`, `auprc` and
            `num_positives`, and `undefined`, the labels that occur in none or all of the records and are left out of
            macro means.
    """
    given = has_targets(task, targets)
    targets, outputs = targets[given], outputs[given]
    if not len(targets):
        return {"num_records": 0}
    if task.is_regression:
        return {
            "num_records": len(targets),
            **_bootstrap(_metrics(task), targets, outputs, num_resamples, seed, confidence),
        }
    if task.problem_type == "single_label_classification":
        plain = _bootstrap(_metrics(task), targets, outputs, num_resamples, seed, confidence)
    else:
        plain = {}
    targets = label_columns(task, targets)
    points = multilabel_scores(targets, outputs, task.labels)
    intervals = bootstrap_scores(targets, outputs, num_resamples=num_resamples, seed=seed, confidence=confidence)
    return {
        "num_records": len(targets),
        **plain,
        **{metric: plain_interval(intervals[metric]) for metric in ("macro_auroc", "macro_auprc")},
        "per_label": {
            label: {
                "num_positives": points["per_label"][label]["num_positives"],
                **{
                    metric: plain_interval({key: values[key][index] for key in ("point", "lower", "upper")})
                    for metric, values in intervals["per_label"].items()
                },
            }
            for index, label in enumerate(task.labels)
        },
        "undefined": points["undefined"],
    }


def _bootstrap(
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    targets: np.ndarray,
    outputs: np.ndarray,
    num_resamples: int,
    seed: int,
    confidence: float,
) -> dict[str, dict[str, float | None]]:
    resampled = bootstrap_metrics(metrics, targets, outputs, num_resamples, seed)
    return {
        name: plain_interval(percentile_interval(point, samples, confidence))
        for name, (point, samples) in resampled.items()
    }


def bootstrap_metrics(
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    targets: np.ndarray,
    outputs: np.ndarray,
    num_resamples: int,
    seed: int,
) -> dict[str, tuple[float, np.ndarray]]:
    """Return each metric of the records as given, and of as many resamples, shape `(num_resamples,)`.

    Equal seeds draw equal resamples of equally many records.
    """
    draws = np.random.default_rng(seed).integers(len(targets), size=(num_resamples, len(targets)))
    samples = [metrics(targets[draw], outputs[draw]) for draw in draws]
    return {
        name: (point, np.array([sample[name] for sample in samples]))
        for name, point in metrics(targets, outputs).items()
    }


def plain_interval(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Return point and interval as plain numbers, None for nan."""
    return {key: None if np.isnan(values[key]) else float(values[key]) for key in ("point", "lower", "upper")}
