"""GE MUSE XML (RestingECG)."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, missing_as_nan, mv_per_unit
from ..leads import DERIVED_LIMB_LEADS, STANDARD_LEADS, derive_limb_leads
from ..metadata_values import in_years, measured, plain_text, sex_of, statements, time_of
from ..recording import Metadata
from ..strict_numbers import number, whole_number
from .xml_values import base64_bytes, in_mv, positive, text_of

_SAMPLE = np.dtype("<i2")
_CHECKSUM = "LeadDataCRC32"
_OFFSETS = ("LeadOffsetFirstSample", "LeadTimeOffset")
_TRUE = ("TRUE", "YES", "1")
_LEAD_OFF = "the device calls it off (LeadOff)"


def parse(root: Element) -> FileContent:
    """Return the rhythm of a MUSE record; limb leads that it does not store are derived from I and II.

    A lead that was off is NaN; so are the limb leads that devices compute from I and II where one of these was.

    Args:
        root (`Element`): The element `RestingECG`.

    Raises:
        ECGFileError: if there is no rhythm, or a lead contradicts its checksum, its counts or the other leads.
    """
    rhythm = _rhythm(root)
    exponent = whole_number(text_of(rhythm, "SampleExponent") or "0", "SampleExponent")
    if abs(exponent) > 9:
        raise ECGFileError(f"SampleExponent is {exponent}; a number from -9 to 9 was expected.")
    sampling_rate = positive(text_of(rhythm, "SampleBase"), "SampleBase") * 10.0**exponent
    elements = rhythm.findall("LeadData")
    for field in _OFFSETS:
        if len({number(text_of(element, field) or "0", field) for element in elements}) > 1:
            raise ECGFileError(f"has leads that do not start together: {field} differs.")
    stored = in_mv([_lead(element) for element in elements], sampling_rate, _metadata(root))
    off = {
        channel_name(text_of(element, "LeadID") or "")
        for element in elements
        if (text_of(element, "LeadOff") or "").upper() in _TRUE
    }
    return _with_limb_leads(_without(stored, off))


def _rhythm(root: Element) -> Element:
    types = []
    for waveform in root.iter("Waveform"):
        types.append(text_of(waveform, "WaveformType") or "none")
        if types[-1].lower() == "rhythm":
            return waveform
    raise ECGFileError(f"has no Waveform of the type Rhythm; the types of its {len(types)} are {types[:5]}.")


def _lead(element: Element) -> tuple[str, np.ndarray]:
    """Return a lead's name and its samples in mV."""
    name = text_of(element, "LeadID")
    if name is None:
        raise ECGFileError("has LeadData without LeadID.")
    data = base64_bytes(text_of(element, "WaveFormData"), f"WaveFormData of {name}")
    _check(element, name, data)
    unit = text_of(element, "LeadAmplitudeUnits")
    mv = mv_per_unit(unit or "")
    if mv is None:
        raise ECGFileError(f"LeadAmplitudeUnits of {name} is {unit}; MICROVOLTS or another unit was expected.")
    scale = positive(text_of(element, "LeadAmplitudeUnitsPerBit"), f"LeadAmplitudeUnitsPerBit of {name}")
    return channel_name(name), missing_as_nan(np.frombuffer(data, _SAMPLE)) * (scale * mv)


def _check(element: Element, name: str, data: bytes) -> None:
    """Compare a lead's data with what is declared of them, where it is."""
    if len(data) % _SAMPLE.itemsize:
        raise ECGFileError(f"WaveFormData of {name} has {len(data)} bytes, no whole number of 16-bit samples.")
    found = {
        "LeadSampleSize": _SAMPLE.itemsize,
        "LeadByteCountTotal": len(data),
        "LeadSampleCountTotal": len(data) // _SAMPLE.itemsize,
        _CHECKSUM: zlib.crc32(data),
    }
    for field, value in found.items():
        text = text_of(element, field)
        if field == _CHECKSUM and text == "0":  # in its place where none was computed
            continue
        if text is not None and whole_number(text, f"{field} of {name}") != value:
            raise ECGFileError(f"{field} of {name} is {text}, but {value} by its data: damaged.")


def _without(stored: FileContent, off: set[str]) -> FileContent:
    """Make leads that were off, and what devices compute from them, NaN throughout."""
    names = stored.names or []
    if off & {"I", "II"}:
        off = off | (DERIVED_LIMB_LEADS.keys() & set(names))
    rows = [row for row, name in enumerate(names) if name in off]
    stored.signal[rows] = np.nan
    return replace(stored, damaged_leads={names[row]: _LEAD_OFF for row in rows})


def _with_limb_leads(stored: FileContent) -> FileContent:
    """Add the limb leads that follow from I and II, in the standard order before other leads."""
    assert stored.names is not None  # `in_mv` gives them
    if stored.damaged_leads.keys() & {"I", "II"}:
        return stored
    if not {"I", "II"} <= set(stored.names) or len(set(stored.names)) < len(stored.names):
        return stored
    leads = dict(zip(stored.names, stored.signal, strict=True))
    leads = derive_limb_leads(leads["I"], leads["II"]) | leads
    standard = [name for name in STANDARD_LEADS if name in leads]
    others = [name for name in stored.names if name not in STANDARD_LEADS]
    joined = in_mv([(name, leads[name]) for name in standard + others], stored.sampling_rate, stored.metadata)
    return replace(joined, damaged_leads=stored.damaged_leads)


def _metadata(root: Element) -> Metadata:
    patient, test, found = "PatientDemographics/", "TestDemographics/", "RestingECGMeasurements/"
    day, clock = text_of(root, f"{test}AcquisitionDate"), text_of(root, f"{test}AcquisitionTime")
    return Metadata(
        patient_id=plain_text(text_of(root, f"{patient}PatientID")),
        recorded_at=time_of(f"{day} {clock or '00:00:00'}", "%m-%d-%Y %H:%M:%S", "%m-%d-%Y %H:%M"),
        age_years=in_years(text_of(root, f"{patient}PatientAge"), text_of(root, f"{patient}AgeUnits")),
        sex=sex_of(text_of(root, f"{patient}Gender")),
        device=plain_text(text_of(root, f"{test}AcquisitionDevice")),
        statements=statements(_statements(root)),
        **measured(
            heart_rate_bpm=text_of(root, f"{found}VentricularRate"),
            pr_ms=text_of(root, f"{found}PRInterval"),
            qrs_ms=text_of(root, f"{found}QRSDuration"),
            qt_ms=text_of(root, f"{found}QTInterval"),
            qtc_ms=text_of(root, f"{found}QTCorrected"),
            p_axis_deg=text_of(root, f"{found}PAxis"),
            qrs_axis_deg=text_of(root, f"{found}RAxis"),
            t_axis_deg=text_of(root, f"{found}TAxis"),
        ),
    )


def _statements(root: Element) -> Iterator[str]:
    """Yield the lines of the diagnosis, of which each consists of statements up to one that ends it."""
    line: list[str] = []
    for statement in root.findall("Diagnosis/DiagnosisStatement"):
        line.append(text_of(statement, "StmtText") or "")
        if any((flag.text or "").strip() == "ENDSLINE" for flag in statement.findall("StmtFlag")):
            yield " ".join(line)
            line = []
    yield " ".join(line)
