"""From a task's logits to probabilities and calibrated ones, of tensors; `decisions` goes on from arrays."""

from collections.abc import Mapping
from typing import Any

import torch

from .tasks import Task


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
    return _activated(task.problem_type, logits)


def calibrated_probabilities(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """Apply a task's calibration, if it has one, and its output activation; see `output_probabilities`."""
    return _activated(task.problem_type, _calibrated_logits(logits, task.calibration))


def _activated(problem_type: str, logits: torch.Tensor) -> torch.Tensor:
    """Apply the output activation of a problem type."""
    if problem_type == "regression":
        return logits
    return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(dim=-1)


def _calibrated_logits(logits: torch.Tensor, calibration: Mapping[str, Any] | None) -> torch.Tensor:
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


__all__ = [
    "calibrated_probabilities",
    "full_precision",
    "in_own_unit",
    "output_probabilities",
]
