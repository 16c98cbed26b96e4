"""Integrated gradients: what each sample adds to an output, against a flat line.

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", arXiv 1703.01365. The path from the baseline to the
recording is straight, through all inputs of the model at once; the integral is a sum over steps that grow from there.
"""

import numpy as np
import torch

from .scored_record import ScoredRecord, batches

NUM_STEPS = 64
_POWER = 4
_STILL_FLAT = 1e-5  # a share of the path up to which a lead may be flat to rounding


def integrated_gradients(record: ScoredRecord, num_steps: int = NUM_STEPS) -> np.ndarray:
    """Return what each cell of the grid adds to the output.

    Args:
        record ([`ScoredRecord`]): The recording before the model.
        num_steps (`int`, *optional*, defaults to 64): Of the sum.

    Returns:
        `np.ndarray` of shape `(num_leads, num_columns)`: Signed, in the output's unit. The sum is about the output of
            the recording less that of the baseline.

    Raises:
        ValueError: if a gradient is not finite.
    """
    grid = np.zeros(record.is_seen.shape)
    for index in range(len(record.windows)):
        for name, values in _of_window(record, index, num_steps).items():
            grid += record.on_grid(index, name, values) / len(record.windows)
    if not np.isfinite(grid).all():
        raise ValueError("The model's gradients are not finite for this recording; it cannot be explained by them.")
    return grid


def _of_window(record: ScoredRecord, index: int, num_steps: int) -> dict[str, np.ndarray]:
    window, baselines = record.windows[index], record.baselines[index]
    differences = {name: window[name] - baseline for name, baseline in baselines.items()}
    totals = {name: torch.zeros_like(each[0], dtype=torch.float64) for name, each in differences.items()}
    shares, lengths = _path(num_steps, record.model.device)
    for part in batches(num_steps, record.batch_size):
        share = shares[part, None, None]
        inputs = {name: each.expand(len(share), *each.shape[1:]) for name, each in window.items()}
        points = {
            name: (baseline + share.to(baseline) * differences[name]).requires_grad_()
            for name, baseline in baselines.items()
        }
        with torch.enable_grad():
            score = record.logits(inputs | points).sum()
            gradients = torch.autograd.grad(score, list(points.values()), allow_unused=True)
        for name, gradient in zip(points, gradients, strict=True):
            if gradient is not None:  # an input that a sparse gate leaves out adds nothing
                gradient = torch.where(gradient.isfinite() | (share > _STILL_FLAT), gradient, 0.0)
                totals[name] += (gradient.double() * lengths[part, None, None]).sum(dim=0)
    return {name: (differences[name][0].double() * total).cpu().numpy() for name, total in totals.items()}


def _path(num_steps: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the points of the path at which gradients are taken, from 0 to 1, and the lengths that they stand for.

    Many backbones normalise their input: next to a flat line all of their output changes within a millionth of the
    path. So the steps grow with the fourth power of their number. Where a lead is flat yet, to rounding, a deviation
    has no derivative; such gradients count as 0, and the completeness error tells what was lost.
    """
    edges = (torch.arange(num_steps + 1, dtype=torch.float64) / num_steps) ** _POWER
    middles = ((torch.arange(num_steps, dtype=torch.float64) + 0.5) / num_steps) ** _POWER
    return middles.to(device), edges.diff().to(device)


__all__ = ["NUM_STEPS", "integrated_gradients"]
