"""Scores of a model's tasks, whatever their type: plain ones for training, with intervals for reports."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from ..probabilities import output_probabilities
from .metrics import MIN_POSITIVES, multilabel_scores, undefined_as_nan
from .records import has_targets, label_columns, with_targets
from .regression import regression_scores
from .resampling import draw_resamples
from .samples import headline_samples, resample_metrics, sample_interval
from .singlelabel import singlelabel_scores


def predicted_outputs(task: Task, logits: np.ndarray) -> np.ndarray:
    """Return probabilities, or a regression's values, in float64, where logits that differ rarely become equal."""
    return output_probabilities(task, torch.from_numpy(np.asarray(logits, dtype=np.float64))).numpy()


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
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Score one task with bootstrap intervals over patients, or over records.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: each metric as `point`, `lower` and `upper` (None where undefined);
            `num_records`, alone if it is 0; `resampled_by`, what was drawn, `"patient"` or `"record"`; and for
            classification `per_label`, from a label to `auroc`, `auprc`, `num_positives` and `few_positives` (whether
            these are fewer than `MIN_POSITIVES`), and `undefined`, the labels that occur in none or all of the
            records and are left out of macro means.

    Raises:
        ValueError: if outputs or patients do not fit the targets, or as `bootstrap_scores` does.
    """
    targets, outputs, patients = with_targets(task, targets, outputs, patients)
    if not len(targets):
        return {"num_records": 0}
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)
    result: dict[str, Any] = {"num_records": len(targets), "resampled_by": resamples.resampled_by}
    if task.problem_type == "single_label_classification":
        samples = resample_metrics(_metrics(task), targets, outputs, resamples)
        result |= {metric: sample_interval(values, confidence) for metric, values in samples.items()}
    headline = headline_samples(task, targets, outputs, resamples)
    result |= {metric: sample_interval(values.overall, confidence) for metric, values in headline.items()}
    if task.is_regression:
        return result
    points = multilabel_scores(label_columns(task, targets), outputs, task.labels)
    result["per_label"] = {
        label: {
            "num_positives": points["per_label"][label]["num_positives"],
            "few_positives": points["per_label"][label]["num_positives"] < MIN_POSITIVES,
            **{
                metric.removeprefix("macro_"): sample_interval(values.per_output[:, index], confidence)
                for metric, values in headline.items()
            },
        }
        for index, label in enumerate(task.labels)
    }
    return {**result, "undefined": points["undefined"]}
