"""GE CardioSoft XML (CardiologyXML)."""

import re
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, mv_per_unit
from ..metadata_values import measured, plain_text, sex_of, statements, time_of, years_between
from ..recording import Metadata
from ..strict_numbers import whole_number
from .xml_values import in_mv, numbers, positive, text_of

_PER_COUNT = re.compile(r"(.*?)\s*per\s*lsb", re.IGNORECASE)


def parse(root: Element) -> FileContent:
    """Return the rhythm of a CardioSoft record, the `StripData`; median beats are left out.

    The full disclosure of a stress test is refused: public readers disagree on the order of its samples.

    Args:
        root (`Element`): The element `CardiologyXML`.

    Raises:
        ECGFileError: if there is no rhythm or several, its rate or unit is not understood, or leads differ in length.
    """
    strips = root.findall("StripData")
    if len(strips) > 1:
        raise ECGFileError(f"holds {len(strips)} strips (StripData), as of a stress test; export one resting ECG.")
    if not strips and root.find("FullDisclosure") is not None:
        raise ECGFileError(
            "holds only the full disclosure of a stress test, the order of whose samples is not published; "
            "export the resting ECG, or the recording as DICOM."
        )
    if not strips:
        raise ECGFileError("has no StripData, the rhythm of a CardioSoft record.")
    return _rhythm(strips[0], _metadata(root))


def _rhythm(strip: Element, metadata: Metadata) -> FileContent:
    rate = positive(text_of(strip, "SampleRate"), "SampleRate")
    if _units(strip, "SampleRate").lower() not in ("", "hz"):
        raise ECGFileError(f"SampleRate is in {_units(strip, 'SampleRate')}; Hz was expected.")
    per_count = _PER_COUNT.fullmatch(_units(strip, "Resolution"))
    mv = mv_per_unit(per_count[1]) if per_count else None
    if mv is None:
        raise ECGFileError(f"Resolution is in {_units(strip, 'Resolution') or 'no unit'}; uVperLsb was expected.")
    scale = positive(text_of(strip, "Resolution"), "Resolution") * mv
    leads = [_lead(each) for each in strip.findall("WaveformData")]
    _check_count(strip, "NumberOfLeads", len(leads))
    for _, samples in leads:
        _check_count(strip, "ChannelSampleCountTotal", len(samples))
    return in_mv([(name, samples * scale) for name, samples in leads], rate, metadata)


def _lead(waveform: Element) -> tuple[str, np.ndarray]:
    """Return a lead's name and its samples, in counts."""
    name = (waveform.get("lead") or "").strip()
    if not name:
        raise ECGFileError("has WaveformData without its lead.")
    return channel_name(name), numbers((waveform.text or "").rstrip(" \t\r\n,"), f"WaveformData of {name}")


def _units(strip: Element, field: str) -> str:
    element = strip.find(field)
    return "" if element is None else (element.get("units") or "").strip()


def _check_count(strip: Element, field: str, found: int) -> None:
    stated = text_of(strip, field)
    if stated is not None and whole_number(stated, field) != found:
        raise ECGFileError(f"{field} is {stated}, but {found} by the data: damaged.")


def _metadata(root: Element) -> Metadata:
    found = "RestingECGMeasurements/"
    recorded_at = _time(root, "ObservationDateTime", "Year", "Month", "Day", "Hour", "Minute", "Second")
    birth = _time(root, "PatientInfo/BirthDateTime", "Year", "Month", "Day")
    return Metadata(
        patient_id=plain_text(text_of(root, "PatientInfo/PID")),
        recorded_at=recorded_at,
        age_years=years_between(birth, recorded_at),
        sex=sex_of(text_of(root, "PatientInfo/Gender")),
        device=None,  # where it stands is not known
        statements=statements(each.text for each in root.iter("DiagnosisText")),
        **measured(
            heart_rate_bpm=text_of(root, f"{found}VentricularRate"),
            pr_ms=text_of(root, f"{found}PQInterval"),
            qrs_ms=text_of(root, f"{found}QRSDuration"),
            qt_ms=text_of(root, f"{found}QTInterval"),
            qtc_ms=text_of(root, f"{found}QTCInterval"),
            p_axis_deg=text_of(root, f"{found}PAxis"),
            qrs_axis_deg=text_of(root, f"{found}RAxis"),
            t_axis_deg=text_of(root, f"{found}TAxis"),
        ),
    )


def _time(root: Element, path: str, *fields: str) -> datetime | None:
    layout = "%Y %m %d %H %M %S"[: 3 * len(fields) - 1]
    return time_of(" ".join(text_of(root, f"{path}/{field}") or "" for field in fields), layout)
