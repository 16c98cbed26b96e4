"""Cutting recordings into windows of the length that a model sees at once."""

from collections.abc import Sequence

import numpy as np
from transformers.utils import logging

from .feature_extraction_ecg import check_shape
from .leads import is_standard_lead

logger = logging.get_logger(__name__)


def num_windows(duration: float, window_seconds: float) -> int:
    """Return into how many windows a recording is cut: as many as fit best, one at least.

    Args:
        duration (`float`): Of the recording, in seconds.
        window_seconds (`float`): What the model sees at once.
    """
    return max(1, int(duration / window_seconds + 0.5))


def cut_windows(signal: np.ndarray, sampling_rate: float, window_seconds: float) -> list[np.ndarray]:
    """Cut a signal into windows that are spread evenly from its beginning to its end, and may overlap.

    A signal below one and a half windows stays whole: a feature extractor takes a part of it or pads it.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): In any unit.
        sampling_rate (`float`): Samples a second (Hz).
        window_seconds (`float`): Length of a window.

    Returns:
        `list[np.ndarray]`: Views of the signal.
    """
    num_samples, length = signal.shape[1], round(window_seconds * sampling_rate)
    count = num_windows(num_samples / sampling_rate, window_seconds)
    if count == 1:
        return [signal]
    starts = np.linspace(0, num_samples - length, count).round().astype(int)
    return [signal[:, start : start + length] for start in starts]


def usable_windows(
    signal: np.ndarray, sampling_rate: float, lead_names: Sequence[str] | None, window_seconds: float
) -> tuple[list[np.ndarray], list[str] | None]:
    """Cut a recording as it came from a file into windows that a feature extractor takes.

    Leads beyond the standard 12 are left out. A lead with a gap in a window is missing there, and a window in which
    all leads have gaps is left out.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): In mV; NaN where a sample is missing.
        sampling_rate (`float`): Samples a second (Hz).
        lead_names (`Sequence[str]`, *optional*): The name of each row.
        window_seconds (`float`): What the model sees at once.

    Returns:
        `tuple[list[np.ndarray], list[str] | None]`: The windows, in which a missing lead is NaN throughout, and the
            names of their rows.

    Raises:
        ValueError: if the signal has the wrong shape, no row is a standard lead, or all windows have gaps.
    """
    check_shape(signal, "The signal")
    names = None if lead_names is None else list(lead_names)
    if names is not None and len(names) == len(signal):  # else the feature extractor says what is wrong
        rows = [row for row, name in enumerate(names) if is_standard_lead(name)]
        if not rows:
            raise ValueError(f"None of the leads {', '.join(names)} is a standard one; name them if they are.")
        if len(rows) < len(names):
            logger.warning_once(f"Left out {', '.join(sorted(set(names) - {names[row] for row in rows}))}.")
        signal, names = signal[rows], [names[row] for row in rows]
    windows = [_without_gaps(window) for window in cut_windows(signal, sampling_rate, window_seconds)]
    usable = [window for window in windows if not np.isnan(window).all()]
    if not usable:
        raise ValueError("Every lead has missing samples in every window.")
    return usable, names


def _without_gaps(window: np.ndarray) -> np.ndarray:
    """Make leads with gaps NaN throughout."""
    gaps = np.isnan(window).any(axis=1, keepdims=True)
    return np.where(gaps, np.nan, window) if gaps.any() else window
