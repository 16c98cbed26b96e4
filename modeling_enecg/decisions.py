"""From a task's logits to probabilities, calibrated ones, intervals and decisions, of arrays.

`probabilities` does to tensors what has to stay on their device.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, softmax

from .findings import Findings, Note
from .tasks import Task

DEFAULT_THRESHOLD = 0.5
LEVELS = (*np.linspace(0, 0.95, 20), 0.99, 1.0)  # of the quantiles of validation records' distances
NOVEL_RANK = 0.99  # beyond which a recording is unlike the records that the model knows
NOVEL = "unlike the records that the model knows"


def activated(problem_type: str, logits: np.ndarray) -> np.ndarray:
    """Apply the output activation of a problem type: sigmoid, softmax over the last axis, or nothing."""
    if problem_type == "regression":
        return logits
    probabilities: np.ndarray = expit(logits) if problem_type == "multi_label_classification" else softmax(logits, -1)
    return probabilities


def calibrated_logits(logits: np.ndarray, calibration: Mapping[str, Any] | None) -> np.ndarray:
    """Apply a calibration as a [`Task`] keeps it.

    Args:
        logits (`np.ndarray` of shape `(..., num_outputs)`): Logits; of a single-label task the logarithms of
            probabilities will do as well.
        calibration (`Mapping`, *optional*): The calibration; without one the logits stay.
    """
    if calibration is None:
        return logits
    if calibration["method"] == "temperature":
        return logits / calibration["temperature"]
    return logits * np.asarray(calibration["slopes"]) + np.asarray(calibration["intercepts"])


def findings(task: Task, logits: ArrayLike) -> list[dict[str, Any]]:
    """Return what a task says of one record.

    Args:
        task (`Task`): The task.
        logits (`np.ndarray` of shape `(num_outputs,)`): The record's.

    Returns:
        `list[dict[str, Any]]`: For a regression by output `label`, `value` and `unit`, with `lower` and `upper` where
            the task has a conformal interval. For a classification by label, highest score first: `label`; `score`,
            the calibrated probability; `raw_score`, the model's own; `threshold`, which the score has to reach (None
            in a single-label task, whose most probable class is the one); `present`, the decision; and `possible`,
            whether the class is in the prediction set, where the task has one.
    """
    values = np.asarray(logits, dtype=np.float64)  # in which scores that differ rarely become equal
    if task.is_regression:
        return _quantities(task, values.tolist())
    raw = activated(task.problem_type, values).tolist()
    scores = activated(task.problem_type, calibrated_logits(values, task.calibration)).tolist()
    thresholds: Sequence[float | None] = [None] * task.num_outputs
    if task.is_multi_label:
        thresholds = task.thresholds or [DEFAULT_THRESHOLD] * task.num_outputs
    found: list[dict[str, Any]] = [
        {
            "label": label,
            "score": score,
            "raw_score": raw_score,
            "threshold": threshold,
            "present": index == scores.index(max(scores)) if threshold is None else score >= threshold,
        }
        for index, (label, score, raw_score, threshold) in enumerate(
            zip(task.labels, scores, raw, thresholds, strict=True)
        )
    ]
    if task.conformal is not None:
        for finding in found:
            finding["possible"] = 1 - finding["score"] <= task.conformal["quantile"]
    return sorted(found, key=lambda finding: -finding["score"])


def rank_among(distances: ArrayLike, quantiles: ArrayLike) -> np.ndarray:
    """Return the share of validation records that lie nearer, between the quantiles of theirs, at `LEVELS`, linear."""
    return np.asarray(np.interp(np.asarray(distances, np.float64), np.asarray(quantiles, np.float64), LEVELS))


def recording_findings(
    tasks: Mapping[str, Task],
    experts: Sequence[str],
    note: Note,
    outputs: Mapping[str, np.ndarray] | None,
    quantiles: ArrayLike | None = None,
) -> Findings:
    """Return all that a model finds in one recording; where leads are missing, without intervals and prediction sets.

    Args:
        tasks (`Mapping[str, Task]`): The tasks by name.
        experts (`Sequence[str]`): The experts' names.
        note (`Note`): The verdict on the recording, and its leads.
        outputs (`Mapping[str, np.ndarray]`, *optional*): The means over its windows: of each task `logits.<task>` and
            `gate_weights.<task>`, and `distance` of a model that tells novelty. None of one that was not scored.
        quantiles (`ArrayLike`, *optional*): Those of the validation records' distances.

    Raises:
        ValueError: if an output is no number.
    """
    if outputs is None:
        return Findings({name: [] for name in tasks}, *note, {name: {} for name in tasks})
    broken = [name for name, values in outputs.items() if np.isnan(values).any()]
    if broken:
        raise ValueError(f"the model's {broken[0]} are no numbers (nan): its weights are damaged, or it diverged.")
    novelty = None
    if "distance" in outputs and quantiles is not None:
        distance = float(outputs["distance"])
        novelty = {"distance": distance, "rank": float(rank_among(distance, quantiles))}
        if novelty["rank"] > NOVEL_RANK:
            note = note._replace(quality=note.quality.with_doubt(NOVEL))
    found = {name: findings(task, outputs[f"logits.{name}"]) for name, task in tasks.items()}
    if note.missing_leads:  # intervals and sets hold for records such as they were measured on
        found = {name: [_without_coverage(each) for each in task] for name, task in found.items()}
    weights = {name: dict(zip(experts, outputs[f"gate_weights.{name}"].tolist(), strict=True)) for name in tasks}
    return Findings(found, *note, weights, novelty)


def _without_coverage(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in finding.items() if key not in ("lower", "upper", "possible")}


def _quantities(task: Task, values: Sequence[float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"label": name, "value": value, "unit": task.unit}
        for name, value in zip(task.output_names, values, strict=True)
    ]
    if task.conformal is not None:
        for finding, half_width in zip(found, task.conformal["half_widths"], strict=True):
            finding |= {"lower": finding["value"] - half_width, "upper": finding["value"] + half_width}
    return found


__all__ = [
    "DEFAULT_THRESHOLD",
    "LEVELS",
    "NOVEL",
    "activated",
    "calibrated_logits",
    "findings",
    "rank_among",
    "recording_findings",
]
