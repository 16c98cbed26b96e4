"""Intervals of scores, and when there is none to tell.

A percentile bootstrap knows only what the records show. Where they show nothing of how a score varies, its interval
would be a lie: of one positive record it is as narrow as if that record were all there is, and of a share that is 1
in the data it is 1 in every resample. So a share has Wilson's interval where its records are independent, and a score
of fewer than `MIN_UNITS` patients (of positives, of negatives, of all) has none.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from .bootstrap import Resamples

MIN_UNITS = 5  # patients, or records where each is drawn by itself: of fewer, resampling tells nothing
NO_INTERVAL = "no_interval"  # the key of the reason why a score has none

_ALL_EQUAL = "no resample differs"


def has_interval(score: Mapping[str, Any]) -> bool:
    """Whether a score can be told with its interval: without one it is no more than what these few records gave."""
    return None not in (score.get("point"), score.get("lower"), score.get("upper"))


def interval(samples: np.ndarray, confidence: float, reason: str = "") -> dict[str, Any]:
    """Return `point`, `lower` and `upper` of a score, ready for JSON.

    Args:
        samples (`np.ndarray` of shape `(1 + num_resamples,)`): The score of the data as given and of the resamples.
        confidence (`float`): Share of the resamples inside the interval.
        reason (`str`, *optional*): Why no interval can be told, as `too_few` gives it.

    Returns:
        `dict`: All three None where the score is undefined. `lower` and `upper` are None where no interval can be
            told, or no resample differs from the data as given; `no_interval` then says why.
    """
    if not np.isnan(samples[0]) and not reason and len(samples) > 2 and (samples == samples[0]).all():
        reason = _ALL_EQUAL
    return difference_interval(samples, confidence, reason)


def difference_interval(samples: np.ndarray, confidence: float, reason: str = "") -> dict[str, Any]:
    """Return the same of a difference, which may be the same in every resample: that of a model and its copy is 0."""
    if reason and not np.isnan(samples[0]):
        return {"point": plain_number(samples[0]), "lower": None, "upper": None, NO_INTERVAL: reason}
    return plain_interval(percentile_interval(samples[0], samples[1:], confidence))


def share_interval(
    samples: np.ndarray, confidence: float, resamples: Resamples, counted: np.ndarray
) -> dict[str, Any]:
    """Return the interval of a share of records, such as a sensitivity.

    It is Wilson's where records are drawn by themselves. Where patients have several, it is the bootstrap's; but of a
    share of 0 or 1, whose resamples are all the same, it is Wilson's over the patients, each of whom agrees with
    itself.

    Args:
        samples (`np.ndarray` of shape `(1 + num_resamples,)`): The share in the data as given and in the resamples.
        confidence (`float`): Of the interval.
        resamples (`Resamples`): Of these records.
        counted (`np.ndarray` of shape `(num_records,)`): True for the records of which it is a share.
    """
    share, num_units = float(samples[0]), resamples.num_units(counted)
    if not np.isnan(share) and (resamples.is_independent or share in (0.0, 1.0)):
        lower, upper = wilson_interval(share, num_units, confidence)
        return {"point": share, "lower": lower, "upper": upper}
    return interval(samples, confidence, too_few(resamples, counted))


def too_few(resamples: Resamples, chosen: np.ndarray | None = None, what: str = "") -> str:
    """Return why records are too few for an interval, or an empty text.

    Args:
        resamples (`Resamples`): Of the records.
        chosen (`np.ndarray` of shape `(num_records,)`, *optional*): True for the records that count; all by default.
        what (`str`, *optional*): What these are called, for instance `"positives"`.
    """
    if resamples.num_units(chosen) >= MIN_UNITS:
        return ""
    if resamples.is_independent:
        return f"fewer than {MIN_UNITS} {what or 'records'}"
    return f"{what} of fewer than {MIN_UNITS} patients" if what else f"fewer than {MIN_UNITS} patients"


def too_few_of_class(resamples: Resamples, is_positive: np.ndarray) -> str:
    """Return why a label's positives or negatives are too few for an interval, or an empty text."""
    return too_few(resamples, is_positive, "positives") or too_few(resamples, ~is_positive, "negatives")


def wilson_interval(share: float, num_records: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share that was observed in independent records."""
    z = norm.ppf((1 + confidence) / 2)
    centre = share + z**2 / (2 * num_records)
    half = z * np.sqrt(share * (1 - share) / num_records + z**2 / (4 * num_records**2))
    whole = 1 + z**2 / num_records
    return max(0.0, float((centre - half) / whole)), min(1.0, float((centre + half) / whole))


def percentile_interval(point: np.ndarray | float, samples: np.ndarray, confidence: float) -> dict[str, Any]:
    """Summarise resamples, which run along the first axis of `samples`.

    Raises:
        ValueError: if `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for instance 0.95; got {confidence}.")
    tail = (1 - confidence) / 2
    with undefined_as_nan():
        lower, upper = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    mean = defined_mean(samples, axis=0)
    return {"point": point, "mean": mean, "lower": lower, "upper": upper, "samples": samples}


def plain_interval(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return point and interval as plain numbers, None for nan."""
    return {key: plain_number(values[key]) for key in ("point", "lower", "upper")}


def plain_number(value: float) -> float | None:
    """Return a number ready for JSON, None for nan."""
    return None if np.isnan(value) else float(value)


def defined_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Average over the values that are not nan; nan where there is none."""
    with undefined_as_nan():
        return np.nanmean(values, axis=axis)


def undefined_as_nan() -> warnings.catch_warnings:
    """Keep NumPy from warning that a mean or quantile of nothing is nan, which is what we mean by undefined."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)
