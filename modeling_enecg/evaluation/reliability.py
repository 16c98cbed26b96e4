"""How far probabilities can be trusted: Brier score, log loss, calibration error and the calibration curve."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import Bootstrap
from .checks import probability_array
from .errors import bin_of_each, inside_unit
from .intervals import defined_mean, interval, too_few_of_class, wilson_interval
from .metrics import PROBABILITIES, is_few, metrics_of
from .samples import why_no_intervals
from .scored import Scored


def calibration_scores(scored: Scored, bootstrap: Bootstrap) -> dict[str, Any]:
    """Score a classification's probabilities, with bootstrap intervals over patients, or over records.

    Each label, or class against the rest, has its own scores. The expected calibration error (`ece`) is the mean
    distance of observed from predicted frequency over the curve's bins, weighted by their records. Chance makes it
    larger than 0 for the best of models, and larger in resamples than in the data as given, which might lie below
    their interval; so its interval is the resamples' moved by what their mean is too high. It tells how far the error
    varies, not that there is one.

    Args:
        scored (`Scored`): The records; outputs are probabilities.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; `macro_brier`,
            `macro_log_loss` (natural logarithm) and `macro_ece`, means over the labels, as `point`, `lower` and
            `upper` (see `interval`); for a single-label task also `log_loss`, the cross-entropy over its classes;
            `per_label`, from a label to `brier`, `log_loss`, `ece`, `num_positives`, `few_positives` and `curve`, what
            `calibration_curve` gives.

    Raises:
        ValueError: if the task is a regression, or a probability is not in [0, 1].
    """
    if scored.task.is_regression:
        raise ValueError(f"Task {scored.task.name!r} is a regression: it has no probabilities.")
    if not len(scored):
        return {"num_records": 0}
    truth, chances = scored.is_positive.astype(np.float64), probability_array(scored.outputs)
    resamples, confidence = bootstrap.resamples(scored), bootstrap.confidence
    samples = {metric.name: metric.compute(truth, chances, resamples.counts) for metric in metrics_of(PROBABILITIES)}
    reason, _ = why_no_intervals(scored, resamples)
    result: dict[str, Any] = {
        "num_records": len(scored),
        "resampled_by": resamples.resampled_by,
        **{
            f"macro_{name}": _interval(name, defined_mean(each, axis=1), confidence, reason)
            for name, each in samples.items()
        },
    }
    if scored.task.problem_type == "single_label_classification":
        losses = -np.log(inside_unit(chances[scored.is_positive]))
        result["log_loss"] = interval(resamples.counts @ losses / resamples.counts.sum(axis=1), confidence, reason)
    result["per_label"] = {}
    for index, label in enumerate(scored.task.labels):
        is_positive = scored.is_positive[:, index]
        own_reason = too_few_of_class(resamples, is_positive)
        result["per_label"][label] = {
            "num_positives": int(is_positive.sum()),
            "few_positives": is_few(is_positive.sum()),
            **{name: _interval(name, each[:, index], confidence, own_reason) for name, each in samples.items()},
            "curve": calibration_curve(is_positive, chances[:, index], confidence),
        }
    return result


def calibration_curve(
    targets: ArrayLike, probabilities: ArrayLike, confidence: float = 0.95
) -> list[dict[str, float]]:
    """Compare predicted and observed frequency of one label in bins of about equally many records.

    There are 10 bins, or fewer where each would hold fewer than 20 records. Equal probabilities share a bin, so that
    bins may hold unequally many records.

    Args:
        targets (`ArrayLike` of shape `(num_records,)`): 0 or 1.
        probabilities (`ArrayLike` of shape `(num_records,)`): In [0, 1].
        confidence (`float`, *optional*, defaults to 0.95): Of the intervals.

    Returns:
        `list[dict[str, float]]`, ready for JSON: One dict per bin, by rising probability: `num_records`; `predicted`,
            their mean probability; `observed`, the share of positives among them, and `lower` and `upper`, its Wilson
            interval. That one, unlike a bootstrap's, has a width where no record of a bin is positive; it takes
            records for independent.

    Raises:
        ValueError: if a probability is not in [0, 1].
    """
    truth, chances = np.asarray(targets, dtype=np.float64), probability_array(probabilities)
    bins = bin_of_each(chances)
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


def _interval(metric: str, samples: np.ndarray, confidence: float, reason: str) -> dict[str, Any]:
    if metric == "ece":
        samples = np.r_[samples[0], np.maximum(samples[1:] - (samples[1:].mean() - samples[0]), 0)]
    return interval(samples, confidence, reason)
