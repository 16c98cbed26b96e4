"""A recording before any model: what of it a feature extractor takes, and whether it is fit to be read at all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .feature_extraction_ecg import ECGFeatureExtractor, check_shape
from .feature_extraction_enecg import EnECGFeatureExtractor
from .findings import Note
from .io import read_ecg
from .leads import missing_leads
from .recording import ECGRecord
from .signal_quality import UNUSABLE, SignalQuality, assess_quality
from .windows import usable_windows


@dataclass(frozen=True, eq=False)
class JudgedRecording:
    """A recording with the verdict on it, cut into windows.

    Attributes:
        quality ([`SignalQuality`]): The verdict.
        signals (`list[np.ndarray]`): The windows, each of shape `(num_leads, num_samples)` in mV; none where the
            recording is unusable and was not to be scored all the same.
        lead_names (`list[str]`): The names of their rows.
        sampling_rate (`float`): Samples per second (Hz).
        used_leads (`list[str]`): The leads that are there in some window.
        missing_leads (`list[str]`): The standard leads that are in none, and do not follow from others.
        left_out (`dict[str, str]`): Channels that were left out, by name, each with the reason.
        starts (`list[int]`): The sample of the recording at which each window begins.
    """

    quality: SignalQuality
    signals: list[np.ndarray]
    lead_names: list[str]
    sampling_rate: float
    used_leads: list[str]
    missing_leads: list[str]
    left_out: dict[str, str]
    starts: list[int]

    @property
    def note(self) -> Note:
        """What findings say of the recording itself."""
        return Note(self.quality, self.used_leads, self.missing_leads, self.left_out)


def judge_recording(
    record: ECGRecord, extractor: ECGFeatureExtractor | EnECGFeatureExtractor, force: bool = False
) -> JudgedRecording:
    """Judge a recording, and cut it into windows of what a model sees at once.

    Args:
        record ([`ECGRecord`]): The recording; one without lead names has its rows in the extractor's order.
        extractor ([`ECGFeatureExtractor`] or [`EnECGFeatureExtractor`]): The model's.
        force (`bool`, *optional*, defaults to False): Cut an unusable recording as well.

    Raises:
        ValueError: if the signal has the wrong shape, or a recording that is to be scored does not fit.
    """
    check_shape(record.signal_mv, "The signal")
    names = list(record.lead_names or extractor.names_of_rows(len(record.signal_mv)))
    quality = assess_quality(record.signal_mv, record.sampling_rate, names)
    left_out = {**record.left_out, **record.damaged_leads}
    if quality.verdict == UNUSABLE and not force:
        missing = missing_leads(record.signal_mv, names)
        return JudgedRecording(quality, [], names, record.sampling_rate, [], missing, left_out, [])
    windows = usable_windows(record.signal_mv, record.sampling_rate, names, extractor.window_seconds())
    return JudgedRecording(
        quality,
        windows.signals,
        windows.lead_names or names,
        record.sampling_rate,
        windows.used_leads,
        windows.missing_leads,
        {**dict.fromkeys(windows.other_leads, "no standard lead"), **left_out},
        windows.starts,
    )


def as_record(
    recording: str | os.PathLike[str] | np.ndarray | Mapping[str, Any] | ECGRecord,
    sampling_rate: float | None = None,
    lead_names: Sequence[str] | None = None,
) -> ECGRecord:
    """Return a recording of any form that a pipeline takes; one without lead names has rows in the model's order.

    Raises:
        ValueError: if a file is no readable ECG, or an array comes without `sampling_rate`.
    """
    if isinstance(recording, ECGRecord):
        return recording
    if isinstance(recording, str | os.PathLike):
        return read_ecg(recording)
    if isinstance(recording, Mapping):
        sampling_rate = recording.get("sampling_rate", sampling_rate)
        lead_names = recording.get("lead_names", lead_names)
        recording = recording["signal"]
    if sampling_rate is None:
        raise ValueError("An array needs its sampling_rate in Hz.")
    return ECGRecord(np.asarray(recording), sampling_rate, list(lead_names or []))


__all__ = ["JudgedRecording", "as_record", "judge_recording"]
