"""Scores of tasks with exactly one class per record."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array
from .metrics import CLASSES, metrics_of
from .multilabel import multilabel_scores
from .rates import count_decisions, macro_f1


def singlelabel_scores(
    targets: ArrayLike, scores: ArrayLike, label_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Compute accuracy, balanced accuracy, macro F1 and the one-versus-rest scores of every class.

    Args:
        targets (`ArrayLike` of shape `(num_records,)`): Class indices.
        scores (`ArrayLike` of shape `(num_records, num_classes)`): Probabilities or logits; the highest is the
            predicted class. Softmax changes how records compare within a class, and with it AUROC and AUPRC: give
            probabilities for the usual values.
        label_names (`Sequence[str]`, *optional*, defaults to `"0"`, `"1"`, ...): One name per class.

    Returns:
        `dict[str, Any]`: What `multilabel_scores` returns for each class against the rest, and
            - **accuracy** (`float`): Share of the records whose class is predicted.
            - **balanced_accuracy** (`float`): Mean recall of the classes that occur.
            - **macro_f1** (`float`): Mean F1 of the classes that occur or are predicted.

    Raises:
        ValueError: if the shapes do not fit or are empty, a target is no class index, a score is not finite, or the
            label names repeat or differ in number from the classes.
    """
    classes, values = _check_singlelabel(targets, scores)
    columns = classes[:, None] == np.arange(values.shape[1])
    counts = count_decisions(columns, predicted_classes(values), np.ones((1, len(classes))))
    return {
        **{metric.name: float(metric.compute(counts)[0]) for metric in metrics_of(CLASSES)},
        "macro_f1": float(macro_f1(counts)[0]),
        **multilabel_scores(columns, values, label_names),
    }


def predicted_classes(scores: np.ndarray) -> np.ndarray:
    """Return the class of the highest score of each record, as bool of the scores' shape; the first of equals."""
    is_predicted: np.ndarray = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
    return is_predicted


def _check_singlelabel(targets: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return checked targets as int64 and scores as float64."""
    classes, values = np.asarray(targets), finite_array("scores", scores)
    if classes.ndim != 1 or values.ndim != 2 or len(classes) != len(values) or not values.size:
        raise ValueError(
            f"Got targets of shape {classes.shape} and scores of shape {values.shape}; "
            "need (num_records,) and (num_records, num_classes), not empty."
        )
    wrong = classes[~np.isin(classes, np.arange(values.shape[1]))]
    if wrong.size:
        raise ValueError(
            f"targets must be class indices from 0 to {values.shape[1] - 1}; "
            f"got {wrong.size} others, the first of them {wrong[0]}."
        )
    return classes.astype(np.int64), values
