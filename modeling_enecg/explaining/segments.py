"""Which part of a beat each moment of a recording belongs to, by windows about the R peaks.

These are windows, and no delineation: they do not look for the onset and the end of a wave. The R peaks are XQRS's.
"""

from collections.abc import Sequence

import numpy as np

# In seconds from the R peak; where those of two beats meet, the later of these rows has the moment.
WINDOWS = {"ST-T": (0.06, 0.4), "P": (-0.25, -0.06), "QRS": (-0.06, 0.06)}
SEGMENTS = ("P", "QRS", "ST-T", "rest")


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


__all__ = ["SEGMENTS", "WINDOWS", "segment_of"]
