"""A recording on ECG paper: its leads in order, its median beat, and a header."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..evaluation.median_beat import median_beat
from ..leads import STANDARD_LEADS
from ..recording import ECGRecord
from .beat_marks import BeatMarks
from .ecg_header import Measured, record_lines
from .explained_ecg import Explained, wash_of
from .paper import Paper
from .paper_ecg import plot_ecg


@dataclass(frozen=True, eq=False)
class Print:
    """How a recording is printed.

    Attributes:
        paper ([`Paper`]): Layout, speed and gain.
        patient (`str`, *optional*): What the header calls the patient, with age and sex; by default nothing.
        beats (`np.ndarray` of shape `(num_beats,)`): When the R peaks are, in seconds, for the median beat.
        measured ([`Measured`]): What the header says was measured.
        marks ([`BeatMarks`], *optional*): What is marked in the median beat.
    """

    paper: Paper = field(default_factory=Paper)
    patient: str | None = None
    beats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    measured: Measured = field(default_factory=Measured)
    marks: BeatMarks | None = None


def plot_recording(
    record: ECGRecord,
    how: Print,
    path: str | Path | None = None,
    title: str | None = None,
    lines: Sequence[str] = (),
    explained: Explained | None = None,
) -> Figure:
    """Draw a recording as `plot_ecg` does: the standard leads in their order, then others; under a header.

    Args:
        record ([`ECGRecord`]): The recording.
        how ([`Print`]): Layout, and what is known of its beats and its patient.
        path (`str` or `Path`, *optional*): A `.png`, `.svg` or `.pdf` file to write.
        title (`str`, *optional*): A heading, such as the file's name.
        lines (`Sequence[str]`, *optional*): Lines to put under those on the recording.
        explained ([`Explained`], *optional*): What to colour the leads with.

    Returns:
        `Figure`: As of `plot_ecg`.

    Raises:
        ValueError: as `plot_ecg` does.
    """
    order = [lead for lead in STANDARD_LEADS if lead in record.lead_names]
    order += [lead for lead in record.lead_names if lead not in STANDARD_LEADS]
    signal = record.signal_mv[[record.lead_names.index(lead) for lead in order]]
    return plot_ecg(
        signal,
        record.sampling_rate,
        order,
        path,
        title,
        [*record_lines(record, how.measured, how.patient), *lines],
        how.paper,
        median_beat(signal, record.sampling_rate, how.beats),
        None if explained is None else wash_of(explained, order, signal.shape[1], record.sampling_rate, how.paper),
        how.marks if explained is None or explained.marks is None else explained.marks,
    )


__all__ = ["Print", "plot_recording"]
