"""Cutting recordings into windows of the length that a model sees at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import without_calibration
from .feature_extraction_ecg import changes, check_shape
from .leads import STANDARD_LEADS, is_standard_lead, missing_leads

SHORTEST_S = 0.2  # no shorter recording holds a heart beat


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
        sampling_rate (`float`): Samples per second (Hz).
        window_seconds (`float`): Length of a window.

    Returns:
        `list[np.ndarray]`: Views of the signal.
    """
    starts = window_starts(signal.shape[1], sampling_rate, window_seconds)
    if len(starts) == 1:
        return [signal]
    length = round(window_seconds * sampling_rate)
    return [signal[:, start : start + length] for start in starts]


def window_starts(num_samples: int, sampling_rate: float, window_seconds: float) -> list[int]:
    """Return the first sample of each window that `cut_windows` cuts from a signal of so many samples."""
    count = num_windows(num_samples / sampling_rate, window_seconds)
    last = num_samples - round(window_seconds * sampling_rate) if count > 1 else 0
    return [int(start) for start in np.linspace(0, last, count).round()]


@dataclass(frozen=True, eq=False)
class Windows:
    """What of a recording a feature extractor takes.

    Attributes:
        signals (`list[np.ndarray]`): Each of shape `(num_leads, num_samples)`, in which a missing lead is
            NaN throughout.
        lead_names (`list[str]`, *optional*): The names of their rows.
        num_with_gaps (`dict[str, int]`): The leads that have gaps, each with the number of windows in which it is
            missing for them.
        num_left_out (`int`): How many windows are not among the signals: all their leads have gaps, or are constant.
        other_leads (`list[str]`): The leads beyond the standard 12, which are left out.
        starts (`list[int]`): The sample of the recording at which each of the signals begins.
    """

    signals: list[np.ndarray]
    lead_names: list[str] | None
    num_with_gaps: dict[str, int]
    num_left_out: int
    other_leads: list[str]
    starts: list[int]

    @property
    def used_leads(self) -> list[str]:
        """The names of the rows that are there in some window."""
        used = np.logical_or.reduce([~np.isnan(window[:, 0]) for window in self.signals])
        names = self.lead_names or [f"row {row}" for row in range(len(used))]
        return [name for name, is_used in zip(names, used, strict=True) if is_used]

    @property
    def missing_leads(self) -> list[str]:
        """The standard leads that are in no window, and do not follow from others; none where rows have no names."""
        names = self.lead_names
        missing = [[] if names is None else missing_leads(window, names) for window in self.signals]
        return [lead for lead in STANDARD_LEADS if all(lead in each for each in missing)]


def usable_windows(
    signal: np.ndarray, sampling_rate: float, lead_names: Sequence[str] | None, window_seconds: float
) -> Windows:
    """Cut a recording as it came from a file into windows that a feature extractor takes.

    Leads beyond the standard 12 are left out, and a calibration pulse at the end is cut off. A lead with a gap in a
    window is missing there. Of several windows those are left out in which all leads have gaps or are constant.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): In mV; NaN where a sample is missing.
        sampling_rate (`float`): Samples per second (Hz).
        lead_names (`Sequence[str]`, *optional*): The name of each row.
        window_seconds (`float`): What the model sees at once.

    Returns:
        [`Windows`]

    Raises:
        ValueError: if the signal has the wrong shape or is too short, no row is a standard lead, all windows have
            gaps, or no lead changes in any.
    """
    check_shape(signal, "The signal")
    if signal.shape[1] < SHORTEST_S * sampling_rate:
        raise ValueError(
            f"The signal is too short: {signal.shape[1]} samples at {sampling_rate:g} Hz are "
            f"{signal.shape[1] / sampling_rate:.3f} s; at least {SHORTEST_S} s are needed."
        )
    names = None if lead_names is None else list(lead_names)
    others: list[str] = []
    if names is not None and len(names) == len(signal):  # else the feature extractor says what is wrong
        rows = [row for row, name in enumerate(names) if is_standard_lead(name)]
        if not rows:
            raise ValueError(f"None of the leads {', '.join(names)} is a standard one; name them if they are.")
        others = [name for name in names if not is_standard_lead(name)]
        signal, names = signal[rows], [names[row] for row in rows]
    signal = without_calibration(signal, sampling_rate)
    windows = [_without_gaps(window) for window in cut_windows(signal, sampling_rate, window_seconds)]
    if all(np.isnan(window).all() for window in windows):
        raise ValueError("Every lead has missing samples in every window.")
    starts = window_starts(signal.shape[1], sampling_rate, window_seconds)
    usable = {
        start: window
        for start, window in zip(starts, windows, strict=True)
        if not np.isnan(window).all() and changes(window)
    }
    if not usable:
        raise ValueError("The signal holds no ECG: every lead is constant.")
    missing = sum(np.isnan(window[:, 0]) for window in windows)
    gaps = zip(names or [f"row {row}" for row in range(len(signal))], missing, strict=True)
    num_with_gaps = {name: int(number) for name, number in gaps if number}
    num_left_out = len(windows) - len(usable)
    return Windows(list(usable.values()), names, num_with_gaps, num_left_out, others, list(usable))


def _without_gaps(window: np.ndarray) -> np.ndarray:
    """Make leads with gaps NaN throughout."""
    gaps = np.isnan(window).any(axis=1, keepdims=True)
    return np.where(gaps, np.nan, window) if gaps.any() else window
