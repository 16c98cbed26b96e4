"""From a task's logits to probabilities and calibrated ones, of tensors; `decisions` goes on from arrays."""

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
    if task.is_regression:
        return logits
    return logits.sigmoid() if task.is_multi_label else logits.softmax(dim=-1)


def calibrated_probabilities(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """Apply a task's calibration, if it has one, and its output activation; see `output_probabilities`."""
    calibration = task.calibration
    if calibration is not None and calibration["method"] == "temperature":
        logits = logits / calibration["temperature"]
    elif calibration is not None:
        logits = logits * logits.new_tensor(calibration["slopes"]) + logits.new_tensor(calibration["intercepts"])
    return output_probabilities(task, logits)


__all__ = [
    "calibrated_probabilities",
    "full_precision",
    "in_own_unit",
    "output_probabilities",
]
