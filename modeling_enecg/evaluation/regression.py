"""Scores of regression tasks."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array
from .metrics import REGRESSION, metrics_of


def regression_scores(targets: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Compute the errors of predicted numbers, averaged over the outputs where there are several.

    Args:
        targets (`ArrayLike` of shape `(num_records,)` or `(num_records, num_outputs)`): The true values.
        predictions (`ArrayLike` of the same shape): The predicted values.

    Returns:
        `dict[str, float]`: `mae`, `rmse` (both in the unit of the targets) and `r2`, the share of the variance
        explained; `r2` is nan if an output's targets are all equal.

    Raises:
        ValueError: if the shapes differ, are neither 1-D nor 2-D or are empty, or a value is not finite.
    """
    truth, guess = finite_array("targets", targets), finite_array("predictions", predictions)
    if truth.ndim not in (1, 2) or truth.shape != guess.shape or not truth.size:
        raise ValueError(
            f"Got targets of shape {truth.shape} and predictions of shape {guess.shape}; "
            "both must be (num_records,) or (num_records, num_outputs) and not empty."
        )
    columns = truth.reshape(len(truth), -1).T, guess.reshape(len(guess), -1).T
    return {
        metric.name: float(np.mean([metric.compute(*column) for column in zip(*columns, strict=True)]))
        for metric in metrics_of(REGRESSION)
    }
