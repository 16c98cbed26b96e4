"""The R peaks of a recording of any leads."""

import numpy as np

from ..recording import ECGRecord
from .rr_interval import DETECTION_RATE, MIN_AMPLITUDE, MIN_SECONDS, r_peaks

_SEARCHED_LEADS = ("II", "I", "V5", "V4", "V6", "V3", "V2", "aVF", "III", "aVL", "V1", "aVR")
_SEARCH_S = 0.06  # about what XQRS found, for the largest deflection


def find_beats(record: ECGRecord) -> np.ndarray:
    """Return when the R peaks of a recording are.

    XQRS reads lead II, or the first other one that is whole and not flat. Each peak is then moved by up to 60 ms to
    where the recorded leads together deviate most from their medians.

    Args:
        record ([`ECGRecord`]): The recording, its leads in standard spelling.

    Returns:
        `np.ndarray`: In seconds; none where no lead can be read, or no beat is found.
    """
    rate, signal = record.sampling_rate, record.signal_mv
    whole = {name: row for name, row in zip(record.lead_names, signal, strict=True) if np.isfinite(row).all()}
    usable = [name for name in _SEARCHED_LEADS if name in whole and np.ptp(whole[name]) >= MIN_AMPLITUDE]
    if not usable or signal.shape[1] < MIN_SECONDS * rate:
        return np.zeros(0)
    found = r_peaks(whole[usable[0]], rate) / DETECTION_RATE
    rows = np.stack(list(whole.values()))
    deflection = np.square(rows - np.median(rows, axis=1, keepdims=True)).sum(axis=0)
    peaks = []
    for seconds in found:
        first = max(round((seconds - _SEARCH_S) * rate), 0)
        near = deflection[first : round((seconds + _SEARCH_S) * rate) + 1]
        peaks.append((first + int(near.argmax())) / rate if len(near) else seconds)
    return np.unique(peaks)


__all__ = ["find_beats"]
