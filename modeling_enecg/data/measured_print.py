"""Measurements of a recording for its print: the R peaks, the RR interval, and the waves of the median beat."""

from dataclasses import replace

from ..evaluation.fiducials import delineate
from ..figures.beat_marks import marks_of
from ..figures.ecg_header import Measured
from ..figures.paper import Paper
from ..figures.recording import Print
from ..recording import ECGRecord

MEASURED_SECONDS = 60


def measured_print(record: ECGRecord, paper: Paper | None = None, patient: str | None = None) -> Print:
    """Return how to print a recording, with what is measured in its first minute.

    Where `wfdb`, whose detector finds the R peaks, is not installed, nothing is measured and the header says so; where
    `neurokit2` is not, the waves of the median beat have no marks, and its caption says so.

    Args:
        record ([`ECGRecord`]): The recording, its leads in standard spelling.
        paper ([`Paper`], *optional*): Layout, speed and gain.
        patient (`str`, *optional*): What the header calls the patient; by default it says nothing of the patient.
    """
    paper = paper or Paper()
    try:
        from .beats import find_beats
        from .rr_interval import median_rr_ms
    except ModuleNotFoundError as error:
        if error.name != "wfdb":
            raise
        return Print(paper, patient, measured=Measured(why_not="that needs the package wfdb (pip install wfdb)"))
    num_samples = round(MEASURED_SECONDS * record.sampling_rate)
    first = replace(record, signal_mv=record.signal_mv[:, :num_samples])
    beats = find_beats(first)
    where = f" in the first {MEASURED_SECONDS} s" if record.signal_mv.shape[1] > num_samples else ""
    measured = Measured(median_rr_ms(beats), f"{len(beats)} beats{where}")
    return Print(paper, patient, beats, measured, marks_of(delineate(first, beats)))


__all__ = ["measured_print"]
