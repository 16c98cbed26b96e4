"""Scores of a model's tasks, whatever their type: plain ones for training, with intervals for reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..configuration_enecg import Task
from ..decisions import activated
from .bootstrap import Bootstrap, Resamples
from .intervals import interval, share_interval, too_few, undefined_as_nan
from .metrics import CLASSES, MAIN_METRICS, find_metric, headline_metrics, is_few, main_metric, metrics_of
from .multilabel import multilabel_scores
from .rates import count_decisions, macro_f1
from .regression import regression_scores
from .samples import headline_samples, why_no_intervals
from .scored import Scored, has_targets
from .singlelabel import predicted_classes, singlelabel_scores


def predicted_outputs(task: Task, logits: np.ndarray) -> np.ndarray:
    """Return probabilities, or a regression's values, in float64, where logits that differ rarely become equal."""
    return activated(task.problem_type, np.asarray(logits, dtype=np.float64))


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
    wanted = {task.is_regression: headline_metrics(task) for task in tasks}  # of a regression, errors have a unit each
    for metric in [*wanted.get(False, ()), *(MAIN_METRICS[1:] if True in wanted else ())]:
        own = [task for task in tasks if task.problem_type in find_metric(metric).problem_types]
        result[metric] = _mean([scores[task.name].get(metric, np.nan) for task in own])
    result["score"] = _mean([scores[task.name].get(main_metric(task), np.nan) for task in tasks])
    if len(tasks) > 1:
        result |= {f"{name}_{metric}": value for name, score in scores.items() for metric, value in score.items()}
    return result


def evaluate_task(scored: Scored, bootstrap: Bootstrap) -> dict[str, Any]:
    """Score one task with bootstrap intervals over patients, or over records.

    Args:
        scored (`Scored`): The task's records.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: each metric as `point`, `lower` and `upper` (None where undefined, and see
            `interval`); `num_records`, alone if it is 0; `resampled_by`, what was drawn, `"patient"` or `"record"`;
            and for classification `per_label`, from a label to `auroc`, `auprc`, `num_positives` and `few_positives`
            (whether these are fewer than `MIN_POSITIVES`), and `undefined`, the labels that occur in none or all of
            the records and are left out of macro means.
    """
    if not len(scored):
        return {"num_records": 0}
    task, resamples, confidence = scored.task, bootstrap.resamples(scored), bootstrap.confidence
    result: dict[str, Any] = {"num_records": len(scored), "resampled_by": resamples.resampled_by}
    if task.problem_type == "single_label_classification":
        result |= _class_scores(scored, resamples, confidence)
    headline, (reason, reasons) = headline_samples(scored, resamples), why_no_intervals(scored, resamples)
    result |= {metric: interval(values.overall, confidence, reason) for metric, values in headline.items()}
    if task.is_regression:
        return result
    num_positives = scored.is_positive.sum(axis=0).tolist()
    result["per_label"] = {
        label: {
            "num_positives": num_positives[index],
            "few_positives": is_few(num_positives[index]),
            **{
                metric.removeprefix("macro_"): interval(values.per_output[:, index], confidence, reasons[index])
                for metric, values in headline.items()
            },
        }
        for index, label in enumerate(task.labels)
    }
    counts = zip(task.labels, num_positives, strict=True)
    return {**result, "undefined": [label for label, count in counts if count in (0, len(scored))]}


def _class_scores(scored: Scored, resamples: Resamples, confidence: float) -> dict[str, Any]:
    """Return what is scored of the decision for one class per record."""
    counts = count_decisions(scored.is_positive, predicted_classes(scored.outputs), resamples.counts)
    everyone, reason = np.ones(len(scored), dtype=bool), too_few(resamples)
    scores = {}
    for metric in metrics_of(CLASSES):
        samples = metric.compute(counts)
        scores[metric.name] = (
            share_interval(samples, confidence, resamples, everyone)
            if metric.is_share
            else interval(samples, confidence, reason)
        )
    return scores | {"macro_f1": interval(macro_f1(counts), confidence, reason)}


def _mean(values: Sequence[float]) -> float:
    with undefined_as_nan():
        return float(np.nanmean(values))


def _point_scores(task: Task, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    given = has_targets(task, targets)
    if not given.any():
        return {}
    truth, outputs = targets[given], predicted_outputs(task, logits[given])
    if task.is_regression:
        return regression_scores(truth.reshape(outputs.shape), outputs)
    scores = singlelabel_scores if task.problem_type == "single_label_classification" else multilabel_scores
    return {name: value for name, value in scores(truth, outputs).items() if isinstance(value, float)}
