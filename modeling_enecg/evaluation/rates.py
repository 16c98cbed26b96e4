"""Counts of right and wrong decisions, and the rates that follow from them, in many resamples at once."""

from typing import NamedTuple

import numpy as np

from .intervals import defined_mean


class DecisionCounts(NamedTuple):
    """Records by truth and decision, each an array of shape `(num_resamples, num_labels)`."""

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    true_negatives: np.ndarray


def count_decisions(is_positive: np.ndarray, is_yes: np.ndarray, counts: np.ndarray) -> DecisionCounts:
    """Count the decisions on each label in each resample.

    Args:
        is_positive (`np.ndarray` of shape `(num_records, num_labels)`): True where the label is there.
        is_yes (`np.ndarray` of the same shape): True where it is decided to be there.
        counts (`np.ndarray` of shape `(num_resamples, num_records)`): How often each resample holds each record.
    """
    drawn = counts.astype(np.float64)
    kinds = (is_positive & is_yes, ~is_positive & is_yes, is_positive & ~is_yes, ~is_positive & ~is_yes)
    return DecisionCounts(*(drawn @ kind.astype(np.float64) for kind in kinds))


# The rates of each label, of the counts' shape; nan where the denominator is 0.


def f1(counts: DecisionCounts) -> np.ndarray:
    """Return the harmonic mean of sensitivity and PPV."""
    hits, false_alarms, misses, _ = counts
    return _share(2 * hits, 2 * hits + false_alarms + misses)


def sensitivity(counts: DecisionCounts) -> np.ndarray:
    """Return the share of the positives that is decided right."""
    return _share(counts.true_positives, counts.true_positives + counts.false_negatives)


def specificity(counts: DecisionCounts) -> np.ndarray:
    """Return the share of the negatives that is decided right."""
    return _share(counts.true_negatives, counts.true_negatives + counts.false_positives)


def ppv(counts: DecisionCounts) -> np.ndarray:
    """Return the share of the yes that is right."""
    return _share(counts.true_positives, counts.true_positives + counts.false_positives)


def npv(counts: DecisionCounts) -> np.ndarray:
    """Return the share of the no that is right."""
    return _share(counts.true_negatives, counts.true_negatives + counts.false_negatives)


# Scores of decisions for exactly one class per record, of shape `(num_resamples,)`.


def accuracy(counts: DecisionCounts) -> np.ndarray:
    """Return the share of the records whose class is decided right."""
    hits = counts.true_positives.sum(axis=1)
    return _share(hits, hits + counts.false_negatives.sum(axis=1))


def balanced_accuracy(counts: DecisionCounts) -> np.ndarray:
    """Return the mean sensitivity of the classes that occur."""
    return defined_mean(sensitivity(counts), axis=1)


def macro_f1(counts: DecisionCounts) -> np.ndarray:
    """Return the mean F1 of the classes that occur or are decided for."""
    return defined_mean(f1(counts), axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
