"""Thresholds that turn probabilities into yes or no, chosen on validation records."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array

UNINFORMED = 0.5


def f1_thresholds(targets: ArrayLike, probabilities: ArrayLike) -> list[float]:
    """Return, label by label, the probability from which a yes gives the highest F1.

    Of equal F1 the highest threshold counts. A label that occurs in none of the records keeps 0.5.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1].

    Raises:
        ValueError: if the shapes differ or are not 2-D, there is no record, or a value is not finite.
    """
    truth, scores = finite_array("targets", targets), finite_array("probabilities", probabilities)
    if truth.ndim != 2 or truth.shape != scores.shape or not truth.size:
        raise ValueError(
            f"Got targets of shape {truth.shape} and probabilities of shape {scores.shape}; "
            "both must be (num_records, num_labels) and not empty."
        )
    return [_threshold(truth[:, label] == 1, scores[:, label]) for label in range(truth.shape[1])]


def _threshold(is_positive: np.ndarray, scores: np.ndarray) -> float:
    if not is_positive.any():
        return UNINFORMED
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    f1 = 2 * np.cumsum(is_positive[order]) / (np.arange(1, len(order) + 1) + is_positive.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0  # a threshold cannot lie between equal scores
    return float(ranked[np.argmax(f1)])
