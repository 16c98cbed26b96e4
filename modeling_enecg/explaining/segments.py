"""Which part of a beat each moment of a recording belongs to, by windows about the R peaks.

These are windows, and no delineation: they do not look for the onset and the end of a wave. The R peaks are XQRS's.
"""

from collections.abc import Sequence

import numpy as np

from ..data.rr_interval import DETECTION_RATE, MIN_AMPLITUDE, MIN_SECONDS, r_peaks
from ..recording import ECGRecord

# In seconds from the R peak; where those of two beats meet, the later of these rows has the moment.
WINDOWS = {"ST-T": (0.06, 0.4), "P": (-0.25, -0.06), "QRS": (-0.06, 0.06)}
SEGMENTS = ("P", "QRS", "ST-T", "rest")
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


def segment_of(times: np.ndarray, beats: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the segment of each moment, as an index of `SEGMENTS`.

    Args:
        times (`np.ndarray`): In seconds.
        beats (`np.ndarray`): The R peaks, in seconds.
    """
    segments = np.full(len(times), SEGMENTS.index("rest"))
    for name, (start, end) in WINDOWS.items():
        for beat in beats:
            segments[(times >= beat + start) & (times < beat + end)] = SEGMENTS.index(name)
    return segments


__all__ = ["SEGMENTS", "WINDOWS", "find_beats", "segment_of"]
