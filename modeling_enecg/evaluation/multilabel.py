"""Ranking scores of multi-label predictions, and their bootstrap intervals, in plain NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import Resamples, draw_resamples, given_resamples
from .checks import check_label_names, finite_array
from .intervals import defined_mean, percentile_interval, plain_number
from .metrics import RANKING, metrics_of
from .ranking import score_resamples


def multilabel_scores(
    targets: ArrayLike, scores: ArrayLike, label_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Compute AUROC and AUPRC of every label and their macro means.

    AUROC counts a tie as half a win and AUPRC is average precision, both as in scikit-learn. They depend on the order
    of the scores alone: logits and probabilities score the same unless rounding makes probabilities equal.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        scores (`ArrayLike` of shape `(num_records, num_labels)`): Logits or probabilities.
        label_names (`Sequence[str]`, *optional*, defaults to `"0"`, `"1"`, ...): One name per label.

    Returns:
        `dict[str, Any]`, ready for JSON unless every label is undefined:
            - **macro_auroc**, **macro_auprc** (`float`): Means over the labels with both classes; nan without any.
            - **per_label** (`dict`): By label name, a dict of `auroc` and `auprc` (`float`, or `None` where undefined)
              and `num_positives` (`int`).
            - **undefined** (`list[str]`): The labels with one class only, which the means leave out.

    Raises:
        ValueError: if the shapes differ or are not 2-D, there is no record or label, a target is not 0 or 1, a score
            is not finite, or the label names repeat or differ in number from the labels.
    """
    positive, ranked = _check_multilabel(targets, scores)
    names = check_label_names(label_names, positive.shape[1])
    scores_of = _score_labels(positive, ranked, np.ones((1, len(positive))))
    values = {name: samples[0] for name, samples in scores_of.items()}
    return {
        **{f"macro_{name}": float(defined_mean(each, axis=0)) for name, each in values.items()},
        "per_label": {
            label: {
                **{name: plain_number(each[index]) for name, each in values.items()},
                "num_positives": int(positive[:, index].sum()),
            }
            for index, label in enumerate(names)
        },
        "undefined": [label for label, value in zip(names, values["auroc"], strict=True) if np.isnan(value)],
    }


def bootstrap_scores(
    targets: ArrayLike,
    scores: ArrayLike,
    indices: ArrayLike | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Compute percentile intervals of AUROC and AUPRC by resampling records, or patients, with replacement.

    A label that a resample holds one class of is left out of that resample's macro mean. Resamples are not redrawn
    until each label is there, as the PTB-XL benchmark does: that draws rare positives more often than they are, and
    hardly ends with many rare labels. To follow that protocol, give its resamples as `indices`.

    Either way the resamples' AUPRC of a rare label lies high: a positive drawn twice nearly doubles the precision at
    its rank, and one not drawn takes its label out. With many rare labels the macro AUPRC may lie below its interval.

    The same seed draws the same resamples for any model on the same records, so that the difference of two models'
    `samples` is a paired comparison.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        scores (`ArrayLike` of shape `(num_records, num_labels)`): Logits or probabilities.
        indices (`ArrayLike` of shape `(num_resamples, num_records)`, *optional*): The records of each resample;
            overrides `num_resamples`, `seed` and `patients`.
        num_resamples (`int`, *optional*, defaults to 1000): How many resamples to draw.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside the interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`:
            - **macro_auroc**, **macro_auprc** (`dict`): `point` (the score of the data as given), `mean`, `lower` and
              `upper` (`float`), and `samples` (`np.ndarray` of shape `(num_resamples,)`).
            - **per_label** (`dict`): `auroc` and `auprc`, each a dict of the same keys with one value per label: shape
              `(num_labels,)`, `samples` `(num_resamples, num_labels)`, in the order of the columns.

        Undefined values are nan; means and intervals are over the resamples in which a value is defined.

    Raises:
        ValueError: as `multilabel_scores` does, or if the indices are not whole numbers of existing records in the
            right shape, `num_resamples` is below 1, there is not one patient per record, or `confidence` does not lie
            between 0 and 1.
    """
    num_records = len(_check_multilabel(targets, scores)[0])
    if indices is None:
        resamples = draw_resamples(num_records, num_resamples, seed, patients)
    else:
        resamples = given_resamples(_check_indices(indices, num_records), num_records)
    intervals: dict[str, Any] = {f"macro_{metric.name}": {} for metric in metrics_of(RANKING)} | {"per_label": {}}
    for name, samples in ranking_samples(targets, scores, resamples).items():
        intervals["per_label"][name] = percentile_interval(samples[0], samples[1:], confidence)
        macro = defined_mean(samples, axis=1)
        intervals[f"macro_{name}"] = percentile_interval(macro[0], macro[1:], confidence)
    return intervals


def ranking_samples(targets: ArrayLike, scores: ArrayLike, resamples: Resamples) -> dict[str, np.ndarray]:
    """Compute the ranking metrics of every label, `auroc` and `auprc`, in the data as given and in each resample.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        scores (`ArrayLike` of shape `(num_records, num_labels)`): Logits or probabilities.
        resamples (`Resamples`): Of these records.

    Returns:
        `dict[str, np.ndarray]`: Each of shape `(1 + num_resamples, num_labels)`, the data as given first; nan where
            one class only is there.

    Raises:
        ValueError: as `multilabel_scores` does.
    """
    positive, ranked = _check_multilabel(targets, scores)
    # Apart, so that the data as given score the same, to the last digit, whether there are resamples or not.
    given, drawn = (_score_labels(positive, ranked, part) for part in (resamples.counts[:1], resamples.counts[1:]))
    return {name: np.concatenate([given[name], drawn[name]]) for name in given}


def _score_labels(positive: np.ndarray, ranked: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return each ranking metric of every label in every resample, of shape `(num_resamples, num_labels)`."""
    metrics = metrics_of(RANKING)
    values = score_resamples(positive, ranked, counts, [metric.compute for metric in metrics])
    return {metric.name: each for metric, each in zip(metrics, values, strict=True)}


def _check_multilabel(targets: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return checked targets as bool and scores as float64."""
    classes, values = np.asarray(targets), finite_array("scores", scores)
    if classes.ndim != 2 or classes.shape != values.shape or not classes.size:
        raise ValueError(
            f"Got targets of shape {classes.shape} and scores of shape {values.shape}; "
            "both must be (num_records, num_labels) and not empty."
        )
    wrong = classes[~np.isin(classes, (0, 1))]
    if wrong.size:
        raise ValueError(f"targets must be 0 or 1; got {wrong.size} others, the first of them {wrong[0]}.")
    return classes.astype(bool), values


def _check_indices(indices: ArrayLike, num_records: int) -> np.ndarray:
    draws = np.asarray(indices)
    if draws.ndim != 2 or draws.shape[1] != num_records or not draws.size:
        raise ValueError(f"indices must be of shape (num_resamples, {num_records}); got {draws.shape}.")
    if not np.issubdtype(draws.dtype, np.integer) or draws.min() < 0 or draws.max() >= num_records:
        raise ValueError(
            f"indices must be whole numbers from 0 to {num_records - 1}; "
            f"got {draws.dtype} from {draws.min()} to {draws.max()}."
        )
    return draws
