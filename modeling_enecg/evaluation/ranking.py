"""Ranking scores, such as AUROC, of many resamples and labels at once, exact with ties.

A resample is a count per record, not a copy of records: each label is sorted once, and running totals of the counts
give the score of every resample. Totals are whole numbers, hence exact in float64.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_CHUNK_ELEMENTS = 200_000  # counts held at once: few enough for the processor cache, which makes it faster


class _Ranking(NamedTuple):
    """One label's records by falling score, cut into groups of equal score; groups without a positive are dropped.

    Attributes:
        order (`np.ndarray` of shape `(num_records,)`): Record indices by falling score.
        positives (`np.ndarray` of shape `(num_positives,)`): Those of the positive records.
        starts (`np.ndarray` of shape `(num_groups,)`): Number of records ranked before each group.
        ends (`np.ndarray` of shape `(num_groups,)`): The same with the group included.
        positive_ends (`np.ndarray` of shape `(num_groups,)`): Number of positives among these.
    """

    order: np.ndarray
    positives: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    positive_ends: np.ndarray


class Totals(NamedTuple):
    """One label's resamples as running totals over groups of equal score, by falling score.

    Groups without a positive record are left out: they change no score below.

    Attributes:
        gained (`np.ndarray` of shape `(num_resamples, num_groups)`): Positives in each group.
        true_after (`np.ndarray` of the same shape): Positives down to the group's end.
        false_before, false_after (`np.ndarray` of the same shape): Negatives down to its start and to its end.
        num_positives, num_negatives (`np.ndarray` of shape `(num_resamples,)`): All of them; positives are nan where
            a resample holds one class only.
    """

    gained: np.ndarray
    true_after: np.ndarray
    false_before: np.ndarray
    false_after: np.ndarray
    num_positives: np.ndarray
    num_negatives: np.ndarray


def auroc(totals: Totals) -> np.ndarray:
    """Return the Mann-Whitney statistic with half a win for a tie, as scikit-learn's `roc_auc_score`."""
    losses = (totals.false_before + totals.false_after) / 2
    wins = totals.gained * (totals.num_negatives[:, None] - losses)
    area: np.ndarray = wins.sum(axis=1) / (totals.num_positives * totals.num_negatives)
    return area


def average_precision(totals: Totals) -> np.ndarray:
    """Return the AUPRC without interpolation, as scikit-learn's `average_precision_score`."""
    precision = totals.true_after / np.maximum(totals.true_after + totals.false_after, 1)
    mean: np.ndarray = (totals.gained * precision).sum(axis=1) / totals.num_positives
    return mean


def score_resamples(
    targets: np.ndarray,
    scores: np.ndarray,
    counts: np.ndarray,
    functions: Sequence[Callable[[Totals], np.ndarray]],
) -> np.ndarray:
    """Compute ranking scores of every label in every resample.

    Args:
        targets (`np.ndarray` of shape `(num_records, num_labels)`): True for positive records.
        scores (`np.ndarray` of shape `(num_records, num_labels)`): Real numbers, higher for more likely.
        counts (`np.ndarray` of shape `(num_resamples, num_records)`): How often each resample holds each record.
        functions (`Sequence[Callable]`): From `Totals` to one score per resample.

    Returns:
        `np.ndarray` of shape `(num_functions, num_resamples, num_labels)`; nan where a resample holds one class only.
    """
    num_records, num_labels = targets.shape
    rankings = [_rank(target, score) for target, score in zip(targets.T, scores.T, strict=True)]
    values = np.empty((len(functions), len(counts), num_labels))
    chunk = max(1, _CHUNK_ELEMENTS // num_records)
    for start in range(0, len(counts), chunk):
        rows = slice(start, start + chunk)
        chunk_counts = counts[rows].astype(np.float64)
        for label, ranking in enumerate(rankings):
            totals = _totals(ranking, chunk_counts)
            for index, function in enumerate(functions):
                values[index, rows, label] = function(totals)
    return values


def _rank(targets: np.ndarray, scores: np.ndarray) -> _Ranking:
    """Rank the records of one label."""
    order = np.argsort(-scores)
    scores, targets = scores[order], targets[order]
    bounds = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1], True])
    positives_before = np.r_[0, np.cumsum(targets)][bounds]
    kept = np.flatnonzero(np.diff(positives_before))
    return _Ranking(order, order[targets], bounds[kept], bounds[kept + 1], positives_before[kept + 1])


def _running_total(counts: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Sum up the counts of `records` one after the other, from 0: an array of shape `(num_resamples, 1 + n)`."""
    total = np.zeros((len(counts), 1 + len(records)))
    np.cumsum(np.take(counts, records, axis=1), axis=1, out=total[:, 1:])
    return total


def _totals(ranking: _Ranking, counts: np.ndarray) -> Totals:
    """Return the running totals of one label in some resamples."""
    drawn = _running_total(counts, ranking.order)
    true_positives = _running_total(counts, ranking.positives)[:, np.r_[0, ranking.positive_ends]]
    num_positives = true_positives[:, -1]
    num_negatives = drawn[:, -1] - num_positives
    return Totals(
        gained=np.diff(true_positives),
        true_after=true_positives[:, 1:],
        false_before=drawn[:, ranking.starts] - true_positives[:, :-1],
        false_after=drawn[:, ranking.ends] - true_positives[:, 1:],
        num_positives=np.where((num_positives > 0) & (num_negatives > 0), num_positives, np.nan),
        num_negatives=num_negatives,
    )
