"""From a task's logits to probabilities, calibrated probabilities, intervals and decisions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .tasks import Task

DEFAULT_THRESHOLD = 0.5


def full_precision(values: torch.Tensor) -> torch.Tensor:
    """Return half-precision numbers in float32, and others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_own_unit(task: Task, outputs: torch.Tensor) -> torch.Tensor:
    """Bring a regression's standardised outputs into the target's unit, in float32 at least; leave others as they are.

    In half precision, whose steps grow with the number, 140 mmol/L would have neighbours 1 mmol/L away.
    """
    if not task.is_regression:
        return outputs
    outputs = full_precision(outputs)
    return outputs * outputs.new_tensor(task.target_std) + outputs.new_tensor(task.target_mean)


def output_probabilities(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """Apply a task's output activation: sigmoid, softmax over the last axis, or nothing for a regression."""
    return activated(task.problem_type, logits)


def calibrated_probabilities(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """Apply a task's calibration, if it has one, and its output activation; see `output_probabilities`."""
    return activated(task.problem_type, calibrated_logits(logits, task.calibration))


def activated(problem_type: str, logits: torch.Tensor) -> torch.Tensor:
    """Apply the output activation of a problem type."""
    if problem_type == "regression":
        return logits
    return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(dim=-1)


def calibrated_logits(logits: torch.Tensor, calibration: Mapping[str, Any] | None) -> torch.Tensor:
    """Apply a calibration as a [`Task`] keeps it.

    Args:
        logits (`torch.FloatTensor` of shape `(..., num_outputs)`): Logits; of a single-label task the logarithms of
            probabilities will do as well.
        calibration (`Mapping`, *optional*): The calibration; without one the logits stay.
    """
    if calibration is None:
        return logits
    if calibration["method"] == "temperature":
        return logits / calibration["temperature"]
    return logits * logits.new_tensor(calibration["slopes"]) + logits.new_tensor(calibration["intercepts"])


def findings(task: Task, logits: torch.Tensor) -> list[dict[str, Any]]:
    """Return what a task says of one record.

    Args:
        task (`Task`): The task.
        logits (`torch.FloatTensor` of shape `(num_outputs,)`): The record's.

    Returns:
        `list[dict[str, Any]]`: For a regression by output `label`, `value` and `unit`, with `lower` and `upper` where
            the task has a conformal interval. For a classification by label, highest score first: `label`; `score`,
            the calibrated probability; `raw_score`, the model's own; `threshold`, which the score has to reach (None
            in a single-label task, whose most probable class is the one); `present`, the decision; and `possible`,
            whether the class is in the prediction set, where the task has one.
    """
    logits = logits.double()  # in which scores that differ rarely become equal
    if task.is_regression:
        return _quantities(task, logits.tolist())
    raw = output_probabilities(task, logits).tolist()
    scores = calibrated_probabilities(task, logits).tolist()
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
    "activated",
    "calibrated_logits",
    "calibrated_probabilities",
    "findings",
    "full_precision",
    "in_own_unit",
    "output_probabilities",
]
