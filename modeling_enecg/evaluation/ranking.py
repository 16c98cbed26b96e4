"""AUROC and AUPRC of many resamples and labels at once, exact with ties.

A resample is a count per record, not a copy of records: each label is sorted once, and running totals of the counts
give the score of every resample. Totals are whole numbers, hence exact in float64.
"""

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


def score_resamples(targets: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUROC and AUPRC of every label in every resample.

    AUROC is the Mann-Whitney statistic with half a win for a tie, AUPRC the average precision without interpolation;
    both equal scikit-learn's `roc_auc_score` and `average_precision_score`.

    Args:
        targets (`np.ndarray` of shape `(num_records, num_labels)`): True for positive records.
        scores (`np.ndarray` of shape `(num_records, num_labels)`): Real numbers, higher for more likely.
        counts (`np.ndarray` of shape `(num_resamples, num_records)`): How often each resample holds each record.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: AUROC and AUPRC, each of shape `(num_resamples, num_labels)`; nan where a
        resample holds one class only.
    """
    num_records, num_labels = targets.shape
    rankings = [_rank(target, score) for target, score in zip(targets.T, scores.T, strict=True)]
    values = np.empty((2, len(counts), num_labels))
    chunk = max(1, _CHUNK_ELEMENTS // num_records)
    for start in range(0, len(counts), chunk):
        rows = slice(start, start + chunk)
        chunk_counts = counts[rows].astype(np.float64)
        for label, ranking in enumerate(rankings):
            values[:, rows, label] = _score(ranking, chunk_counts)
    return values[0], values[1]


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


def _score(ranking: _Ranking, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and AUPRC of one label, each of shape `(num_resamples,)`."""
    drawn = _running_total(counts, ranking.order)
    true_positives = _running_total(counts, ranking.positives)[:, np.r_[0, ranking.positive_ends]]
    num_positives = true_positives[:, -1]
    num_negatives = drawn[:, -1] - num_positives
    num_positives = np.where((num_positives > 0) & (num_negatives > 0), num_positives, np.nan)

    gained = np.diff(true_positives)
    false_before = drawn[:, ranking.starts] - true_positives[:, :-1]
    false_after = drawn[:, ranking.ends] - true_positives[:, 1:]
    wins = gained * (num_negatives[:, None] - (false_before + false_after) / 2)
    precision = true_positives[:, 1:] / np.maximum(drawn[:, ranking.ends], 1)
    return wins.sum(axis=1) / (num_positives * num_negatives), (gained * precision).sum(axis=1) / num_positives
