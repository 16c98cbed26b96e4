"""A recording as it comes from a file: the signal, and what the file says about it and its patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np


@dataclass(frozen=True)
class Metadata:
    """What a file says of its patient, device and findings, as far as its format has a place for it; else None.

    A patient's name is never read.

    Attributes:
        patient_id (`str`, *optional*): The number or code of the patient.
        recorded_at (`datetime`, *optional*): The local time of the recording's beginning.
        age_years (`float`, *optional*): The patient's age at the recording.
        sex (`str`, *optional*): `"female"` or `"male"`.
        device (`str`, *optional*): Maker and model of the electrocardiograph.
        heart_rate_bpm (`float`, *optional*): Beats per minute, measured by the device, as all that follows.
        pr_ms (`float`, *optional*): The PR interval, in ms.
        qrs_ms (`float`, *optional*): The duration of the QRS complex, in ms.
        qt_ms (`float`, *optional*): The QT interval, in ms.
        qtc_ms (`float`, *optional*): The QT interval corrected for heart rate, in ms, by the device's formula.
        p_axis_deg (`float`, *optional*): The frontal axis of the P wave, in degrees.
        qrs_axis_deg (`float`, *optional*): The frontal axis of the QRS complex, in degrees.
        t_axis_deg (`float`, *optional*): The frontal axis of the T wave, in degrees.
        statements (`tuple[str, ...]`): Findings in words, or codes such as SNOMED CT's, in the file's order.
    """

    patient_id: str | None = None
    recorded_at: datetime | None = None
    age_years: float | None = None
    sex: str | None = None
    device: str | None = None
    heart_rate_bpm: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_ms: float | None = None
    p_axis_deg: float | None = None
    qrs_axis_deg: float | None = None
    t_axis_deg: float | None = None
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """A recording as read from a file.

    Attributes:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): Amplitudes in mV, float64; NaN where a sample is
            missing.
        sampling_rate (`float`): Samples per second (Hz).
        lead_names (`list[str]`): The name of each lead; a standard lead's in its standard spelling.
        metadata ([`Metadata`]): What the file says besides.
        original_lead_names (`Sequence[str]`): The name of each lead as the file spells it; empty where it names none.
        left_out (`Mapping[str, str]`): The channels of the file that are no row of the signal, by name, each with the
            reason.
        damaged_leads (`Mapping[str, str]`): The leads of the signal that the file itself calls invalid, each with the
            reason; they are NaN throughout.
    """

    signal_mv: np.ndarray
    sampling_rate: float
    lead_names: list[str]
    metadata: Metadata = field(default_factory=Metadata)
    original_lead_names: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    damaged_leads: Mapping[str, str] = field(default_factory=dict)
