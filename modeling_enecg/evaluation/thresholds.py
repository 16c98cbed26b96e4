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
    return [_f1_threshold(*label) for label in _labels(targets, probabilities)]


def sensitivity_thresholds(targets: ArrayLike, probabilities: ArrayLike, at_least: float) -> list[float]:
    """Return, label by label, the highest probability from which a yes finds a given share of the positives.

    A label that occurs in none of the records keeps 0.5.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1].
        at_least (`float`): The sensitivity to reach, above 0 and at most 1.

    Raises:
        ValueError: as `f1_thresholds` does, or if `at_least` is out of range.
    """
    _check_share(at_least)
    return [_sensitivity_threshold(*label, at_least) for label in _labels(targets, probabilities)]


def specificity_thresholds(targets: ArrayLike, probabilities: ArrayLike, at_least: float) -> list[float]:
    """Return, label by label, the lowest probability from which a yes spares a given share of the negatives.

    It is the probability of a record, or just above the highest of them if no other spares enough. A label that all
    of the records have keeps 0.5.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1].
        at_least (`float`): The specificity to reach, above 0 and at most 1.

    Raises:
        ValueError: as `f1_thresholds` does, or if `at_least` is out of range.
    """
    _check_share(at_least)
    return [_specificity_threshold(*label, at_least) for label in _labels(targets, probabilities)]


def _labels(targets: ArrayLike, probabilities: ArrayLike) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, label by label, which records are positive and their probabilities."""
    truth, scores = finite_array("targets", targets), finite_array("probabilities", probabilities)
    if truth.ndim != 2 or truth.shape != scores.shape or not truth.size:
        raise ValueError(
            f"Got targets of shape {truth.shape} and probabilities of shape {scores.shape}; "
            "both must be (num_records, num_labels) and not empty."
        )
    return list(zip(truth.T == 1, scores.T, strict=True))


def _check_share(at_least: float) -> None:
    if not 0 < at_least <= 1:
        raise ValueError(f"at_least must be above 0 and at most 1, for instance 0.9; got {at_least}.")


def _f1_threshold(is_positive: np.ndarray, scores: np.ndarray) -> float:
    if not is_positive.any():
        return UNINFORMED
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    f1 = 2 * np.cumsum(is_positive[order]) / (np.arange(1, len(order) + 1) + is_positive.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0  # a threshold cannot lie between equal scores
    return float(ranked[np.argmax(f1)])


def _sensitivity_threshold(is_positive: np.ndarray, scores: np.ndarray, at_least: float) -> float:
    ranked = np.sort(scores[is_positive])[::-1]
    found = np.arange(1, len(ranked) + 1) / max(len(ranked), 1)
    return float(ranked[np.argmax(found >= at_least)]) if len(ranked) else UNINFORMED


def _specificity_threshold(is_positive: np.ndarray, scores: np.ndarray, at_least: float) -> float:
    negatives = np.sort(scores[~is_positive])
    if not len(negatives):
        return UNINFORMED
    candidates = np.r_[np.unique(scores), np.nextafter(scores.max(), np.inf)]
    spared = np.searchsorted(negatives, candidates) / len(negatives)
    return float(candidates[np.argmax(spared >= at_least)])
