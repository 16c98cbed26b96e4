"""Thresholds that turn probabilities into yes or no, chosen on validation records.

A threshold lies midway between the score that decides and the next lower one, so that a record keeps its decision
where its score is computed anew and differs in the last digits; scores that differ no more than that count as equal.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array

UNINFORMED = 0.5
LEAST_POSITIVES = 3  # by fewer the best F1 is a matter of chance, and a model decides as it would without them
_NOISE = 1e-5  # relative: what another batch size, precision or machine may change of a probability
_SINGLE = np.finfo(np.float32).eps


def f1_thresholds(targets: ArrayLike, probabilities: ArrayLike, least_positives: int = 1) -> list[float]:
    """Return, label by label, the probability from which a yes gives the highest F1.

    Of equal F1 the highest threshold counts. A label that occurs in too few of the records keeps 0.5.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1].
        least_positives (`int`, *optional*, defaults to 1): How many records must have a label; what a model keeps is
            chosen by `LEAST_POSITIVES`.

    Raises:
        ValueError: if the shapes differ or are not 2-D, there is no record, or a value is not finite.
    """
    return [_f1_threshold(label, max(least_positives, 1)) for label in _labels(targets, probabilities)]


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
    return [_sensitivity_threshold(label, at_least) for label in _labels(targets, probabilities)]


def specificity_thresholds(targets: ArrayLike, probabilities: ArrayLike, at_least: float) -> list[float]:
    """Return, label by label, the lowest probability from which a yes spares a given share of the negatives.

    If no other spares enough it lies above all of them. A label that all of the records have keeps 0.5.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1].
        at_least (`float`): The specificity to reach, above 0 and at most 1.

    Raises:
        ValueError: as `f1_thresholds` does, or if `at_least` is out of range.
    """
    _check_share(at_least)
    return [_specificity_threshold(label, at_least) for label in _labels(targets, probabilities)]


class _Ranked(NamedTuple):
    """One label's records by score.

    Attributes:
        is_positive (`np.ndarray` of shape `(num_records,)`): True where the label is there.
        levels (`np.ndarray` of shape `(num_records,)`): 0 for the lowest scores; equal for scores that count as equal.
        limits (`np.ndarray` of shape `(num_levels + 1,)`): Below each level, and above all.
    """

    is_positive: np.ndarray
    levels: np.ndarray
    limits: np.ndarray


def _labels(targets: ArrayLike, probabilities: ArrayLike) -> list[_Ranked]:
    truth, scores = finite_array("targets", targets), finite_array("probabilities", probabilities)
    if truth.ndim != 2 or truth.shape != scores.shape or not truth.size:
        raise ValueError(
            f"Got targets of shape {truth.shape} and probabilities of shape {scores.shape}; "
            "both must be (num_records, num_labels) and not empty."
        )
    return [_ranked(*label) for label in zip(truth.T == 1, scores.T, strict=True)]


def _ranked(is_positive: np.ndarray, scores: np.ndarray) -> _Ranked:
    values, places = np.unique(scores, return_inverse=True)
    lower, higher = values[:-1], values[1:]
    noise = np.maximum(_NOISE * np.minimum(higher, 1 - lower), _SINGLE * higher)
    is_new = higher - lower > noise
    between = (lower + higher)[is_new] / 2
    middle = (values[-1] + 1) / 2
    above = middle if middle - values[-1] > _SINGLE else np.nextafter(1.0, 2.0)
    return _Ranked(is_positive, np.r_[0, np.cumsum(is_new)][places], np.r_[values[0] / 2, between, above])


def _check_share(at_least: float) -> None:
    if not 0 < at_least <= 1:
        raise ValueError(f"at_least must be above 0 and at most 1, for instance 0.9; got {at_least}.")


def _f1_threshold(label: _Ranked, least_positives: int) -> float:
    if label.is_positive.sum() < least_positives:
        return UNINFORMED
    order = np.argsort(-label.levels, kind="stable")
    ranked = label.levels[order]
    f1 = 2 * np.cumsum(label.is_positive[order]) / (np.arange(1, len(order) + 1) + label.is_positive.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0  # a threshold cannot lie between equal scores
    return float(label.limits[ranked[np.argmax(f1)]])


def _sensitivity_threshold(label: _Ranked, at_least: float) -> float:
    ranked = np.sort(label.levels[label.is_positive])[::-1]
    found = np.arange(1, len(ranked) + 1) / max(len(ranked), 1)
    return float(label.limits[ranked[np.argmax(found >= at_least)]]) if len(ranked) else UNINFORMED


def _specificity_threshold(label: _Ranked, at_least: float) -> float:
    negatives = np.sort(label.levels[~label.is_positive])
    if not len(negatives):
        return UNINFORMED
    spared = np.searchsorted(negatives, np.arange(len(label.limits))) / len(negatives)
    return float(label.limits[np.argmax(spared >= at_least)])
