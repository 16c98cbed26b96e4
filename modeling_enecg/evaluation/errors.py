"""Errors of probabilities, in many resamples at once, and of one output's predicted numbers."""

import numpy as np
from scipy.special import xlogy

MOST_BINS, LEAST_BIN_RECORDS = 10, 20


# Of probabilities: targets and probabilities of shape `(num_records, num_labels)`, counts `(num_resamples,
# num_records)`; the result `(num_resamples, num_labels)`.


def brier(targets: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean squared distance of probability and truth."""
    return _means((probabilities - targets) ** 2, counts)


def log_loss(targets: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of minus the natural logarithm of the truth's probability; 0 and 1 count as 2.2e-16 inside."""
    inside = inside_unit(probabilities)
    return _means(-xlogy(targets, inside) - xlogy(1 - targets, 1 - inside), counts)


def calibration_error(targets: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean distance of observed from predicted frequency over bins, weighted by their records.

    The bins are those of the data as given, see `bin_of_each`.
    """
    drawn = counts.astype(np.float64)
    errors = []
    for truth, chances in zip(targets.T, probabilities.T, strict=True):
        bins = bin_of_each(chances)
        gaps = (chances - truth)[:, None] * (bins[:, None] == np.arange(bins.max(initial=0) + 1))
        errors.append(np.abs(drawn @ gaps).sum(axis=1) / drawn.sum(axis=1))
    return np.stack(errors, axis=1)


def bin_of_each(chances: np.ndarray) -> np.ndarray:
    """Return the bin of each record, of shape `(num_records,)`.

    Bins hold about equally many records by rising probability: 10 bins, or fewer where each would hold fewer than 20
    records. Equal probabilities share a bin.
    """
    num_bins = int(np.clip(len(chances) // LEAST_BIN_RECORDS, 1, MOST_BINS))
    return np.searchsorted(np.quantile(chances, np.linspace(0, 1, num_bins + 1)[1:-1]), chances)


def inside_unit(chances: np.ndarray) -> np.ndarray:
    """Return probabilities of which none is 0 or 1."""
    nearest = np.finfo(np.float64).eps
    return np.clip(chances, nearest, 1 - nearest)


# Of one output's true and predicted values, each of shape `(num_records,)`.


def mae(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(truth - predicted)))


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance that is explained; nan where all true values are equal."""
    if np.ptp(truth) == 0:
        return float("nan")
    return float(1 - np.mean((truth - predicted) ** 2) / np.var(truth))


def _means(losses: np.ndarray, counts: np.ndarray) -> np.ndarray:
    means: np.ndarray = counts @ losses / counts.sum(axis=1)[:, None]
    return means
