"""The median beat of a recording: its beats aligned by cross-correlation, those of another shape left out."""

from dataclasses import dataclass

import numpy as np

BEFORE_S, AFTER_S = 0.25, 0.45  # about the R peak, where the RR interval is long enough
MIN_BEATS = 3

_SHARE_BEFORE = 0.4  # of the RR interval, where it is short
_LARGEST_LAG_S = 0.03
_ROUNDS = 3
_LEAST_CORRELATION = 0.8


@dataclass(frozen=True, eq=False)
class MedianBeat:
    """A beat per lead.

    Attributes:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): In mV, about each lead's median; NaN where too
            few beats were recorded.
        sampling_rate (`float`): Samples per second (Hz).
        r_peak (`int`): The sample at which the R peak was measured.
        num_used (`int`): How many beats it is the median of.
        num_found (`int`): How many lie in the recording as a whole.
    """

    signal_mv: np.ndarray
    sampling_rate: float
    r_peak: int
    num_used: int
    num_found: int


def median_beat(
    signal_mv: np.ndarray,
    sampling_rate: float,
    beats: np.ndarray,
    before_s: float = BEFORE_S,
    after_s: float = AFTER_S,
) -> MedianBeat | None:
    """Return the median of a recording's beats of the most frequent shape.

    Every beat is moved by up to 30 ms to where it correlates best with the median of all, over the leads without a
    gap, three times; those that correlate by less than 0.8 then, as an ectopic beat does, are left out. A beat lasts
    from `before_s` before the R peak to `after_s` after it, or from 40 % of the median RR interval to 60 % if that is
    less.

    Args:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): In mV; NaN where a sample is missing.
        sampling_rate (`float`): In Hz.
        beats (`np.ndarray` of shape `(num_beats,)`): When the R peaks are, in seconds from the beginning, ascending.
        before_s (`float`, *optional*, defaults to 0.25): How long it lasts before the R peak, in seconds.
        after_s (`float`, *optional*, defaults to 0.45): How long after it.

    Returns:
        [`MedianBeat`], *optional*: None where fewer than 3 beats lie in the recording as a whole, or have one shape.
    """
    if len(beats) < MIN_BEATS:
        return None
    rr = float(np.median(np.diff(beats)))
    before = round(min(before_s, _SHARE_BEFORE * rr) * sampling_rate)
    after = round(min(after_s, (1 - _SHARE_BEFORE) * rr) * sampling_rate)
    reach = round(_LARGEST_LAG_S * sampling_rate)
    peaks = np.rint(np.asarray(beats) * sampling_rate).astype(int)
    peaks = peaks[(peaks >= before + reach) & (peaks < signal_mv.shape[1] - after - reach)]
    is_whole = np.isfinite(signal_mv).all(axis=1)
    if len(peaks) < MIN_BEATS or not is_whole.any():
        return None
    lags, correlations = _align(signal_mv[is_whole], peaks, before, after, reach)
    used = correlations >= _LEAST_CORRELATION
    if used.sum() < MIN_BEATS:
        return None
    lags -= round(float(np.median(lags[used])))  # so that the peaks as measured lie on average where the mark is
    cut = _windows(signal_mv, (peaks + lags.clip(-reach, reach))[used], before, after)
    beat = _median_of_known(cut - _median_of_known(cut, axis=2)[:, :, None], axis=0)
    return MedianBeat(beat, sampling_rate, before, int(used.sum()), len(peaks))


def _align(
    signal: np.ndarray, peaks: np.ndarray, before: int, after: int, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how many samples to move each beat, and how well it correlates with the median of all then."""
    shifts = np.arange(-reach, reach + 1)
    lags = np.zeros(len(peaks), dtype=int)
    best = np.zeros(len(peaks))
    for _ in range(_ROUNDS):
        template = np.median(_windows(signal, peaks + lags, before, after), axis=0)
        target = _unit(template[None])[0]
        correlations = np.stack([_unit(_windows(signal, peaks + shift, before, after)) @ target for shift in shifts])
        lags, best = shifts[correlations.argmax(axis=0)], correlations.max(axis=0)
    return lags, best


def _windows(signal: np.ndarray, peaks: np.ndarray, before: int, after: int) -> np.ndarray:
    """Return the beats, of shape `(num_beats, num_leads, num_samples)`."""
    places = peaks[:, None] + np.arange(-before, after)
    return np.moveaxis(signal[:, places], 0, 1)


def _unit(beats: np.ndarray) -> np.ndarray:
    """Return each beat about its leads' means as a vector of length 1; one that is flat throughout as zeros."""
    rows = (beats - beats.mean(axis=2, keepdims=True)).reshape(len(beats), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _median_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the median without NaN, and NaN where there is nothing else."""
    masked = np.ma.masked_invalid(values)
    return np.asarray(np.ma.median(masked, axis=axis).filled(np.nan), dtype=np.float64)


__all__ = ["MIN_BEATS", "MedianBeat", "median_beat"]
