"""What is marked in the median beats of a printed ECG."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.fiducials import Delineation


@dataclass(frozen=True)
class BeatMarks:
    """Marks of the median beat, in seconds from its R peak.

    Attributes:
        edges_s (`Sequence[float]`): Where parts begin or end: dotted lines.
        peaks_s (`Sequence[float]`): Where waves peak: dots on each trace.
        caption (`str`): What they are, in words.
    """

    edges_s: Sequence[float] = ()
    peaks_s: Sequence[float] = ()
    caption: str = ""


def marks_of(found: Delineation) -> BeatMarks:
    """Return the marks of what was delineated."""
    seconds = found.seconds
    if not seconds:
        return BeatMarks(caption=f"no waves marked: {found.why_not}" if found.why_not else "no waves were delineated")
    waves = [wave for wave in ("P", "QRS", "T") if any(name.startswith(f"{wave} ") for name in seconds)]
    edges = [each for name, each in seconds.items() if not name.endswith("peak")]
    peaks = [each for name, each in seconds.items() if name.endswith("peak")]
    listed = " and ".join(filter(None, [", ".join(waves[:-1]), waves[-1]]))
    caption = f"dotted: bounds of {listed} by neurokit2, all leads together"
    return BeatMarks(sorted(edges), sorted(peaks), caption + ("; dots: peaks" if peaks else ""))


__all__ = ["BeatMarks", "marks_of"]
