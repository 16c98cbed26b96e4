"""Curves over all thresholds of one label: ROC, precision and recall, and net benefit; how they vary."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_GRID = np.linspace(0, 1, 201)


class Band(NamedTuple):
    """What holds a share of a curve's resamples at each point: from `lower` to `upper` where the curve is `at`."""

    at: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def roc_curve(is_positive: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the false positive rate and the sensitivity at every threshold, from (0, 0) to (1, 1).

    Args:
        is_positive (`ArrayLike` of shape `(num_records,)`): True for positive records; both classes must be there.
        scores (`ArrayLike` of shape `(num_records,)`): Higher for more likely; equal ones share a point.
    """
    hits, false_alarms = _found_by(is_positive, scores)
    return np.r_[0, false_alarms / false_alarms[-1]], np.r_[0, hits / hits[-1]]


def precision_recall_curve(is_positive: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision at every threshold that finds another positive, by rising recall from 0 on.

    The area below it, as steps, is the average precision: the precision of a recall is that of the threshold that
    reaches it, and that of a recall of 0 the first one's.

    Args:
        is_positive (`ArrayLike` of shape `(num_records,)`): True for positive records, of which there must be one.
        scores (`ArrayLike` of shape `(num_records,)`): Higher for more likely; equal ones share a point.
    """
    hits, false_alarms = _found_by(is_positive, scores)
    gains = np.diff(hits, prepend=0) > 0
    recall, precision = hits[gains] / hits[-1], (hits / (hits + false_alarms))[gains]
    return np.r_[0, recall], np.r_[precision[0], precision]


def roc_band(is_positive: ArrayLike, scores: ArrayLike, counts: np.ndarray, confidence: float = 0.95) -> Band:
    """Return the pointwise bootstrap band of sensitivity over the false positive rate.

    Args:
        is_positive (`ArrayLike` of shape `(num_records,)`): True for positive records; both classes must be there.
        scores (`ArrayLike` of shape `(num_records,)`): Higher for more likely.
        counts (`np.ndarray` of shape `(num_resamples, num_records)`): How often each resample draws each record.
            Resamples without both classes are left out.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside the band at each point.
    """
    curves = []
    for hits, false_alarms in _found_in_resamples(is_positive, scores, counts):
        x, y = np.r_[0, false_alarms / false_alarms[-1]], np.r_[0, hits / hits[-1]]
        before = np.searchsorted(x, _GRID, side="right") - 1  # of a vertical step the upper end
        after = np.minimum(before + 1, len(x) - 1)
        width = x[after] - x[before]
        share = np.divide(_GRID - x[before], width, out=np.zeros_like(width), where=width > 0)
        curves.append(y[before] + share * (y[after] - y[before]))
    return _band(curves, confidence)


def precision_recall_band(
    is_positive: ArrayLike, scores: ArrayLike, counts: np.ndarray, confidence: float = 0.95
) -> Band:
    """Return the pointwise bootstrap band of precision over recall; arguments as of `roc_band`."""
    curves = []
    for hits, false_alarms in _found_in_resamples(is_positive, scores, counts):
        gains = np.diff(hits, prepend=0) > 0
        recall, precision = hits[gains] / hits[-1], (hits / np.maximum(hits + false_alarms, 1))[gains]
        curves.append(precision[np.searchsorted(recall, _GRID - 1e-9)])  # rounding must not skip a step
    return _band(curves, confidence)


def net_benefit(is_positive: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Return the net benefit of acting on every record whose probability reaches a threshold.

    That is the share of true positives less the share of false positives weighed by the odds of the threshold: who
    acts from a probability of 10 % on holds nine needless acts for as bad as one omission (Vickers and Elkin, 2006,
    doi 10.1177/0272989X06295361). To act on nobody has a net benefit of 0, to act on everybody that of probabilities
    that are all 1.

    Args:
        is_positive (`ArrayLike` of shape `(num_records,)`): True for positive records.
        probabilities (`ArrayLike` of shape `(num_records,)`): In [0, 1].
        thresholds (`ArrayLike` of shape `(num_thresholds,)`): Above 0 and below 1.
    """
    truth, limits = np.asarray(is_positive, dtype=bool), np.asarray(thresholds, dtype=np.float64)
    is_yes = np.asarray(probabilities)[None] >= limits[:, None]
    true_share, false_share = (is_yes & truth).mean(axis=1), (is_yes & ~truth).mean(axis=1)
    benefit: np.ndarray = true_share - false_share * limits / (1 - limits)
    return benefit


def _found_by(is_positive: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives and the negatives that reach each different score, from the highest on."""
    truth, order, ends = _ranked(is_positive, scores)
    return np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]


def _found_in_resamples(
    is_positive: ArrayLike, scores: ArrayLike, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the same of each resample that has both classes."""
    truth, order, ends = _ranked(is_positive, scores)
    for drawn in counts:
        hits, false_alarms = (np.cumsum((drawn * chosen)[order])[ends] for chosen in (truth, ~truth))
        if hits[-1] and false_alarms[-1]:
            yield hits, false_alarms


def _ranked(is_positive: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the classes as given, the records from the highest score on, and where in these each score ends."""
    truth, values = np.asarray(is_positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    return truth, order, np.flatnonzero(np.r_[values[order][1:] != values[order][:-1], True])


def _band(curves: list[np.ndarray], confidence: float) -> Band:
    if not curves:
        raise ValueError("No resample has both classes; a band needs one at least.")
    lower, upper = np.quantile(curves, ((1 - confidence) / 2, (1 + confidence) / 2), axis=0)
    return Band(_GRID, lower, upper)
