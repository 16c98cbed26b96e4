"""How far probabilities can be trusted: Brier score, log loss, calibration error and the calibration curve."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy
from scipy.stats import norm

from ..configuration_enecg import Task
from .checks import probability_array
from .metrics import MIN_POSITIVES, defined_mean
from .records import label_columns, with_targets
from .resampling import Resamples, draw_resamples
from .samples import sample_interval

NUM_BINS = 10


def calibration_scores(
    task: Task,
    targets: np.ndarray,
    probabilities: np.ndarray,
    num_bins: int = NUM_BINS,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Score a classification's probabilities, with bootstrap intervals over patients, or over records.

    Each label, or class against the rest, has its own scores. The expected calibration error (`ece`) is the mean
    distance of observed from predicted frequency over the curve's bins, weighted by their records. Chance makes it
    larger than 0 for the best of models, and larger in resamples than in the data as given, which might lie below
    their interval; so its interval is the resamples' moved by what their mean is too high. It tells how far the error
    varies, not that there is one.

    Args:
        task (`Task`): A classification.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        probabilities (`np.ndarray` of shape `(num_records, num_labels)`): The model's.
        num_bins (`int`, *optional*, defaults to 10): Bins of the curve and of the calibration error.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `num_bins`; `macro_brier`,
            `macro_log_loss` (natural logarithm) and `macro_ece`, means over the labels, as `point`, `lower` and
            `upper`; for a single-label task also `log_loss`, the cross-entropy over its classes; `per_label`, from a
            label to `brier`, `log_loss`, `ece`, `num_positives`, `few_positives` and `curve`, what
            `calibration_curve` gives.

    Raises:
        ValueError: if the task is a regression, a probability is not in [0, 1], `num_bins` is below 1, or as
            `evaluate_task` does.
    """
    if task.is_regression:
        raise ValueError(f"Task {task.name!r} is a regression: it has no probabilities.")
    targets, probabilities, patients = with_targets(task, targets, probabilities, patients)
    if not len(targets):
        return {"num_records": 0}
    is_positive = label_columns(task, targets) == 1
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)
    samples = calibration_samples(is_positive, probabilities, resamples, num_bins)
    result: dict[str, Any] = {
        "num_records": len(targets),
        "resampled_by": resamples.resampled_by,
        "num_bins": num_bins,
        **{f"macro_{name}": _interval(name, defined_mean(each, axis=1), confidence) for name, each in samples.items()},
    }
    if task.problem_type == "single_label_classification":
        chances = probabilities[is_positive][:, None]
        result["log_loss"] = sample_interval(_means(-np.log(_inside(chances)), resamples)[:, 0], confidence)
    num_positives = is_positive.sum(axis=0).tolist()
    result["per_label"] = {
        label: {
            "num_positives": num_positives[index],
            "few_positives": num_positives[index] < MIN_POSITIVES,
            **{name: _interval(name, each[:, index], confidence) for name, each in samples.items()},
            "curve": calibration_curve(is_positive[:, index], probabilities[:, index], num_bins, confidence),
        }
        for index, label in enumerate(task.labels)
    }
    return result


def calibration_samples(
    targets: ArrayLike, probabilities: ArrayLike, resamples: Resamples, num_bins: int = NUM_BINS
) -> dict[str, np.ndarray]:
    """Compute `brier`, `log_loss` and `ece` of every label, in the data as given and in each resample.

    The bins of the calibration error are those of the data as given.

    Args:
        targets (`ArrayLike` of shape `(num_records, num_labels)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records, num_labels)`): In [0, 1]; in the log loss 0 and 1 count as
            the numbers 2.2e-16 inside.
        resamples (`Resamples`): Of these records.
        num_bins (`int`, *optional*, defaults to 10): Bins of the calibration error.

    Returns:
        `dict[str, np.ndarray]`: Each of shape `(1 + num_resamples, num_labels)`, the data as given first.

    Raises:
        ValueError: if a probability is not in [0, 1], or `num_bins` is below 1.
    """
    truth, chances = np.asarray(targets, dtype=np.float64), probability_array(probabilities)
    inside = _inside(chances)
    losses = -xlogy(truth, inside) - xlogy(1 - truth, 1 - inside)
    drawn = resamples.counts.astype(np.float64)
    errors = []
    for label in range(chances.shape[1]):
        bins = _bin_of_each(chances[:, label], num_bins)
        gaps = (chances[:, label] - truth[:, label])[:, None] * (bins[:, None] == np.arange(num_bins))
        errors.append(np.abs(drawn @ gaps).sum(axis=1) / drawn.sum(axis=1))
    return {
        "brier": _means((chances - truth) ** 2, resamples),
        "log_loss": _means(losses, resamples),
        "ece": np.stack(errors, axis=1),
    }


def calibration_curve(
    targets: ArrayLike, probabilities: ArrayLike, num_bins: int = NUM_BINS, confidence: float = 0.95
) -> list[dict[str, float]]:
    """Compare predicted and observed frequency of one label in bins of about equally many records.

    Equal probabilities share a bin, so that bins may hold unequally many records, or be fewer.

    Args:
        targets (`ArrayLike` of shape `(num_records,)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records,)`): In [0, 1].
        num_bins (`int`, *optional*, defaults to 10): How many bins to make.
        confidence (`float`, *optional*, defaults to 0.95): Of the intervals.

    Returns:
        `list[dict[str, float]]`, ready for JSON: One dict a bin, by rising probability: `num_records`; `predicted`,
            their mean probability; `observed`, the share of positives among them, and `lower` and `upper`, its Wilson
            interval. That one, unlike a bootstrap's, has a width where no record of a bin is positive; it takes
            records for independent.

    Raises:
        ValueError: if a probability is not in [0, 1], or `num_bins` is below 1.
    """
    truth, chances = np.asarray(targets, dtype=np.float64), probability_array(probabilities)
    bins = _bin_of_each(chances, num_bins)
    curve = []
    for index in np.unique(bins):
        chosen = bins == index
        num_records, observed = int(np.count_nonzero(chosen)), float(truth[chosen].mean())
        lower, upper = wilson_interval(observed, num_records, confidence)
        predicted = float(chances[chosen].mean())
        curve.append(
            {"num_records": num_records, "predicted": predicted, "observed": observed, "lower": lower, "upper": upper}
        )
    return curve


def wilson_interval(share: float, num_records: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share that was observed in independent records."""
    z = norm.ppf((1 + confidence) / 2)
    centre = share + z**2 / (2 * num_records)
    half = z * np.sqrt(share * (1 - share) / num_records + z**2 / (4 * num_records**2))
    whole = 1 + z**2 / num_records
    return max(0.0, float((centre - half) / whole)), min(1.0, float((centre + half) / whole))


def _interval(metric: str, samples: np.ndarray, confidence: float) -> dict[str, float | None]:
    if metric == "ece":
        samples = np.r_[samples[0], np.maximum(samples[1:] - (samples[1:].mean() - samples[0]), 0)]
    return sample_interval(samples, confidence)


def _means(losses: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Average each column over the records, in the data as given and in each resample."""
    means: np.ndarray = resamples.counts @ losses / resamples.counts.sum(axis=1)[:, None]
    return means


def _bin_of_each(chances: np.ndarray, num_bins: int) -> np.ndarray:
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1; got {num_bins}.")
    return np.searchsorted(np.quantile(chances, np.linspace(0, 1, num_bins + 1)[1:-1]), chances)


def _inside(chances: np.ndarray) -> np.ndarray:
    nearest = np.finfo(np.float64).eps
    return np.clip(chances, nearest, 1 - nearest)
