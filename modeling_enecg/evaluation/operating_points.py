"""Decisions at a threshold: counts of right and wrong ones, and the rates that follow from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..configuration_enecg import Task
from .bootstrap import Bootstrap, Resamples
from .checks import finite_array
from .intervals import defined_mean, interval, share_interval, too_few_of_class
from .metrics import DECISIONS, Metric, is_few, metrics_of
from .rates import DecisionCounts, count_decisions
from .samples import why_no_intervals
from .scored import Scored
from .singlelabel import predicted_classes


def operating_points(
    scored: Scored, bootstrap: Bootstrap, thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """Score the decisions of a classification, with intervals.

    A multi-label probability that reaches its label's threshold is a yes. Thresholds are taken as they are: choose
    them on other records, see `thresholds.py`. Of a single-label task the class with the highest probability is the
    yes, as in `singlelabel_scores`.

    Args:
        scored (`Scored`): The records; outputs are probabilities.
        bootstrap (`Bootstrap`): How intervals are made. Those of shares are as `share_interval` makes them.
        thresholds (`Sequence[float]`, *optional*): One per label, for a multi-label task; the task's own by default.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `macro_f1`,
            `macro_sensitivity`, `macro_specificity`, `macro_ppv` and `macro_npv`, means over the labels that have
            them, as `point`, `lower` and `upper` (None where undefined, and see `interval`); `per_label`, from a label
            to the five without `macro_`, `num_positives`, `few_positives`, `true_positives`, `false_positives`,
            `false_negatives`, `true_negatives`, and for a multi-label task `threshold`; for a single-label task
            `confusion`, records by true class (row) and decided class (column), both in the labels' order.

    Raises:
        ValueError: if the task is a regression, there is not one finite threshold per label, thresholds are given for
            a single-label task, or a probability is not finite.
    """
    task = scored.task
    if task.is_regression:
        raise ValueError(f"Task {task.name!r} is a regression: it has no yes or no; score a classification.")
    limits = _check_thresholds(task, thresholds)
    if not len(scored):
        return {"num_records": 0}
    values = finite_array("probabilities", scored.outputs)
    is_yes = predicted_classes(values) if limits is None else values >= limits
    resamples, confidence = bootstrap.resamples(scored), bootstrap.confidence
    counts = count_decisions(scored.is_positive, is_yes, resamples.counts)
    rates = {metric: metric.compute(counts) for metric in metrics_of(DECISIONS)}
    reason, _ = why_no_intervals(scored, resamples)
    rows = {
        label: {
            **_counts(counts, index),
            **{
                metric.name: _rate(
                    metric, rate[:, index], scored.is_positive[:, index], is_yes[:, index], resamples, confidence
                )
                for metric, rate in rates.items()
            },
        }
        for index, (label, truth, decided) in enumerate(zip(task.labels, scored.is_positive.T, is_yes.T, strict=True))
    }
    result: dict[str, Any] = {
        "num_records": len(scored),
        "resampled_by": resamples.resampled_by,
        **{metric.key: interval(defined_mean(rate, axis=1), confidence, reason) for metric, rate in rates.items()},
        "per_label": rows,
    }
    if limits is None:
        cells = scored.is_positive.T.astype(np.int64) @ is_yes.astype(np.int64)
        return {**result, "confusion": cells.tolist()}
    for row, threshold in zip(rows.values(), limits.tolist(), strict=True):
        row["threshold"] = threshold
    return result


def _rate(
    metric: Metric,
    samples: np.ndarray,
    is_positive: np.ndarray,
    is_yes: np.ndarray,
    resamples: Resamples,
    confidence: float,
) -> dict[str, Any]:
    """Return a rate of one label with its interval."""
    if metric.is_share:
        of = {"sensitivity": is_positive, "specificity": ~is_positive, "ppv": is_yes, "npv": ~is_yes}
        return share_interval(samples, confidence, resamples, of[metric.name])
    return interval(samples, confidence, too_few_of_class(resamples, is_positive))


def _counts(counts: DecisionCounts, label: int) -> dict[str, Any]:
    given = {name: int(count[0, label]) for name, count in counts._asdict().items()}
    num_positives = given["true_positives"] + given["false_negatives"]
    return {"num_positives": num_positives, "few_positives": is_few(num_positives), **given}


def _check_thresholds(task: Task, thresholds: Sequence[float] | None) -> np.ndarray | None:
    """Return a multi-label task's thresholds, one per label; None for a single-label task."""
    if task.problem_type == "single_label_classification":
        if thresholds is not None:
            raise ValueError(
                f"Task {task.name!r} has one class per record, the one of the highest probability; give no thresholds."
            )
        return None
    limits = finite_array("thresholds", thresholds or task.thresholds or [])
    if limits.shape != (task.num_outputs,):
        raise ValueError(
            f"Task {task.name!r}: need {task.num_outputs} thresholds, one per label, chosen on validation records; "
            f"got {limits.size}."
        )
    return limits
