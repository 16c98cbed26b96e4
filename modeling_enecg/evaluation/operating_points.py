"""What yes or no makes of probabilities: counts of right and wrong decisions, and the rates that follow from them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .checks import finite_array
from .metrics import MIN_POSITIVES, defined_mean
from .records import label_columns, with_targets
from .resampling import draw_resamples
from .samples import sample_interval


class DecisionCounts(NamedTuple):
    """Records by truth and decision, each an array of shape `(num_resamples, num_labels)`."""

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    true_negatives: np.ndarray


def count_decisions(is_positive: np.ndarray, is_yes: np.ndarray, counts: np.ndarray) -> DecisionCounts:
    """Count the decisions on each label in each resample.

    Args:
        is_positive (`np.ndarray` of shape `(num_records, num_labels)`): True where the label is there.
        is_yes (`np.ndarray` of the same shape): True where it is decided to be there.
        counts (`np.ndarray` of shape `(num_resamples, num_records)`): How often each resample holds each record.
    """
    drawn = counts.astype(np.float64)
    kinds = (is_positive & is_yes, ~is_positive & is_yes, is_positive & ~is_yes, ~is_positive & ~is_yes)
    return DecisionCounts(*(drawn @ kind.astype(np.float64) for kind in kinds))


def decision_rates(counts: DecisionCounts) -> dict[str, np.ndarray]:
    """Return the rates of counted decisions, each of the counts' shape; nan where the denominator is 0.

    Returns:
        `dict[str, np.ndarray]`: `f1`; `sensitivity`, of the positives, and `specificity`, of the negatives, the share
            that is decided right; `ppv` and `npv`, of the yes and of the no, the share that is right.
    """
    hits, false_alarms, misses, rejections = counts
    return {
        "f1": _share(2 * hits, 2 * hits + false_alarms + misses),
        "sensitivity": _share(hits, hits + misses),
        "specificity": _share(rejections, rejections + false_alarms),
        "ppv": _share(hits, hits + false_alarms),
        "npv": _share(rejections, rejections + misses),
    }


def operating_points(
    task: Task,
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Sequence[float] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Score the decisions of a classification, with bootstrap intervals over patients, or over records.

    A multi-label probability that reaches its label's threshold is a yes. Thresholds are taken as they are: choose
    them on other records, see `thresholds.py`. Of a single-label task the class with the highest probability is the
    yes, as in `singlelabel_scores`.

    Args:
        task (`Task`): A classification.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        probabilities (`np.ndarray` of shape `(num_records, num_labels)`): The model's.
        thresholds (`Sequence[float]`, *optional*): One a label, for a multi-label task; the task's own by default.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `macro_f1`,
            `macro_sensitivity`, `macro_specificity`, `macro_ppv` and `macro_npv`, means over the labels that have
            them, as `point`, `lower` and `upper` (None where undefined); `per_label`, from a label to the five
            without `macro_`, `num_positives`, `few_positives`, `true_positives`, `false_positives`,
            `false_negatives`, `true_negatives`, and for a multi-label task `threshold`; for a single-label task
            `confusion`, records by true class (row) and decided class (column), both in the labels' order.

    Raises:
        ValueError: if the task is a regression, there is not one finite threshold a label, thresholds are given for a
            single-label task, or as `evaluate_task` does.
    """
    if task.is_regression:
        raise ValueError(f"Task {task.name!r} is a regression: it has no yes or no; score a classification.")
    limits = _check_thresholds(task, thresholds)
    targets, probabilities, patients = with_targets(task, targets, probabilities, patients)
    if not len(targets):
        return {"num_records": 0}
    is_positive = label_columns(task, targets) == 1
    values = finite_array("probabilities", probabilities)
    chosen = values.argmax(axis=1)
    is_yes = chosen[:, None] == np.arange(task.num_outputs) if limits is None else values >= limits
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)
    counts = count_decisions(is_positive, is_yes, resamples.counts)
    rates = decision_rates(counts)
    result: dict[str, Any] = {
        "num_records": len(targets),
        "resampled_by": resamples.resampled_by,
        **{f"macro_{name}": sample_interval(defined_mean(rate, axis=1), confidence) for name, rate in rates.items()},
        "per_label": {label: _label_row(index, counts, rates, confidence) for index, label in enumerate(task.labels)},
    }
    if limits is None:
        cells = np.bincount(targets.astype(np.int64) * task.num_outputs + chosen, minlength=task.num_outputs**2)
        return {**result, "confusion": cells.reshape(task.num_outputs, task.num_outputs).tolist()}
    for row, threshold in zip(result["per_label"].values(), limits.tolist(), strict=True):
        row["threshold"] = threshold
    return result


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _label_row(label: int, counts: DecisionCounts, rates: dict[str, np.ndarray], confidence: float) -> dict[str, Any]:
    given = {name: int(count[0, label]) for name, count in counts._asdict().items()}
    num_positives = given["true_positives"] + given["false_negatives"]
    return {
        "num_positives": num_positives,
        "few_positives": num_positives < MIN_POSITIVES,
        **given,
        **{name: sample_interval(rate[:, label], confidence) for name, rate in rates.items()},
    }


def _check_thresholds(task: Task, thresholds: Sequence[float] | None) -> np.ndarray | None:
    """Return a multi-label task's thresholds, one a label; None for a single-label task."""
    if task.problem_type == "single_label_classification":
        if thresholds is not None:
            raise ValueError(
                f"Task {task.name!r} has one class a record, the one of the highest probability; give no thresholds."
            )
        return None
    limits = finite_array("thresholds", thresholds or task.thresholds or [])
    if limits.shape != (task.num_outputs,):
        raise ValueError(
            f"Task {task.name!r}: need {task.num_outputs} thresholds, one a label, chosen on validation records; "
            f"got {limits.size}."
        )
    return limits
