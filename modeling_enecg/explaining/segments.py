"""Which part of a beat each moment of a recording belongs to.

Where the waves of the median beat were delineated, the parts are theirs; else they are windows about the R peak, which
do not look for the onset and the end of a wave. The R peaks are XQRS's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.fiducials import Delineation

# In seconds from the R peak; where those of two beats meet, the later of these rows has the moment.
WINDOWS = {"ST-T": (0.06, 0.4), "P": (-0.25, -0.06), "QRS": (-0.06, 0.06)}
SEGMENTS = ("P", "QRS", "ST-T", "rest")


@dataclass(frozen=True)
class BeatParts:
    """Where the parts of a beat lie.

    Attributes:
        spans_s (`dict[str, tuple[float, float]]`): From when to when each is, in seconds from the R peak.
        delineated (`Sequence[str]`): Those that were delineated; the others are windows.
        why_not (`str`): Why nothing was looked for; empty where it was.
    """

    spans_s: dict[str, tuple[float, float]]
    delineated: Sequence[str] = ()
    why_not: str = ""

    def __str__(self) -> str:
        windows = [name for name in SEGMENTS if name in self.spans_s and name not in self.delineated]
        texts = [f"{', '.join(self.delineated)} as delineated"] if self.delineated else []
        texts += [f"{', '.join(windows)} as windows about the R peak, not delineated"] if windows else []
        return "; ".join(texts)


def parts_of(found: Delineation) -> BeatParts:
    """Return the parts of a beat: as delineated where they were, with ST-T from the QRS end on, else `WINDOWS`."""
    known = {
        "P": found.span("P onset", "P end"),
        "QRS": found.span("QRS onset", "QRS end"),
        "ST-T": found.span("QRS end", "T end"),
    }
    spans = {name: known[name] or window for name, window in WINDOWS.items()}
    return BeatParts(spans, [name for name in SEGMENTS if known.get(name)], found.why_not)


WINDOWS_ALONE = BeatParts(WINDOWS)


def segment_of(times: np.ndarray, beats: Sequence[float] | np.ndarray, parts: BeatParts = WINDOWS_ALONE) -> np.ndarray:
    """Return the segment of each moment, as an index of `SEGMENTS`.

    Args:
        times (`np.ndarray`): In seconds.
        beats (`np.ndarray`): The R peaks, in seconds.
        parts ([`BeatParts`], *optional*): The parts of each beat; by default `WINDOWS`.
    """
    segments = np.full(len(times), SEGMENTS.index("rest"))
    for name, (start, end) in parts.spans_s.items():
        for beat in beats:
            segments[(times >= beat + start) & (times < beat + end)] = SEGMENTS.index(name)
    return segments


__all__ = ["SEGMENTS", "WINDOWS", "BeatParts", "parts_of", "segment_of"]
