"""The worth of features before anything is built on them: a linear probe, and their effective rank."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..configuration_enecg import Task
from .scored import has_targets
from .scoring import score_predictions

PENALTIES = np.logspace(-3, 3, 13)  # of a probe's squared weights, per training record
ROUNDING = 1e-6  # of float32


def probe_scores(
    tasks: Sequence[Task],
    features: np.ndarray,
    targets: Mapping[str, np.ndarray],
    other_features: np.ndarray,
    other_targets: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Fit a linear probe of each task on some records' features, and score it on others.

    Args:
        tasks (`Sequence[Task]`): The tasks, each with a target in both.
        features (`np.ndarray` of shape `(num_records, feature_size)`): Of the records that fit.
        targets (`Mapping[str, np.ndarray]`): Each task's labels of theirs, as in `task_loss`; records without are left
            out.
        other_features (`np.ndarray`): Of the records that are scored.
        other_targets (`Mapping[str, np.ndarray]`): Their labels.

    Returns:
        `dict[str, float]`: What `score_predictions` gives.
    """
    outputs = {}
    for task in tasks:
        given = has_targets(task, targets[task.name])
        known = targets[task.name][given]
        if task.problem_type == "single_label_classification":
            known = np.eye(task.num_outputs)[known.astype(int)]
        outputs[task.name] = linear_probe(features[given], known.reshape(len(known), -1), other_features)
    return score_predictions(tasks, outputs, other_targets)


def linear_probe(features: np.ndarray, targets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Predict by ridge regression on standardised features, with the penalty that predicts left-out records best.

    Args:
        features (`np.ndarray` of shape `(num_records, feature_size)`): Of the records that fit.
        targets (`np.ndarray` of shape `(num_records, num_outputs)`): Numbers, or 0 and 1.
        others (`np.ndarray` of shape `(num_others, feature_size)`): Features of the records to predict.

    Returns:
        `np.ndarray` of shape `(num_others, num_outputs)`.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), RidgeCV(len(features) * PENALTIES))
    predicted = probe.fit(features.astype(np.float64), targets).predict(others.astype(np.float64))
    return np.asarray(predicted).reshape(len(others), targets.shape[1])


def effective_rank(features: np.ndarray) -> float:
    """Return in how many directions records differ: the exponential of the entropy of the singular values.

    Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007; it tells a collapse
    without labels (as RankMe, arXiv 2210.02885, does, which however leaves the mean of all records in). Features that
    are equal for all records, but for rounding, have the rank 0.

    Args:
        features (`np.ndarray` of shape `(num_records, feature_size)`): The features.
    """
    features = features.astype(np.float64)
    singular = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    if singular.max(initial=0) <= ROUNDING * np.abs(features).max(initial=0) * np.sqrt(features.size):
        return 0.0
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


__all__ = ["effective_rank", "linear_probe", "probe_scores"]
