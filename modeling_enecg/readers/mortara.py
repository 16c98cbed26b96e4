"""Mortara and Welch Allyn ELI XML (ECG)."""

from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, missing_as_nan
from ..metadata_values import hl7_time, in_years, measured, plain_text, sex_of, statements, years_between
from ..recording import Metadata
from ..strict_numbers import number, whole_number
from .xml_values import base64_bytes, in_mv, positive

_SAMPLE = np.dtype("<i2")
_CODING = {"BITS": "16", "FORMAT": "SIGNED", "ENCODING": "BASE64"}


def parse(root: Element) -> FileContent:
    """Return the rhythm of an ELI record; its averaged beat, the `TYPICAL_CYCLE`, is left out.

    Args:
        root (`Element`): The element `ECG`.

    Raises:
        ECGFileError: if there is no channel, one is coded in an unknown way, or contradicts what is declared of it.
    """
    channels = root.findall("CHANNEL")
    if not channels:
        raise ECGFileError("is XML with the root ECG, but no ELI of Mortara or Welch Allyn: it has no CHANNEL.")
    rates = sorted({positive(each.get("SAMPLE_FREQ"), "SAMPLE_FREQ") for each in channels})
    if len(rates) > 1:
        raise ECGFileError(f"has channels of {rates[0]:g} and of {rates[-1]:g} Hz; all must have one rate.")
    return in_mv([_lead(each) for each in channels], rates[0], _metadata(root))


def _lead(channel: Element) -> tuple[str, np.ndarray]:
    """Return a lead's name and its samples in mV."""
    name = (channel.get("NAME") or "").strip()
    if not name:
        raise ECGFileError("has a CHANNEL without NAME.")
    for field, known in _CODING.items():
        if (channel.get(field) or "").strip().upper() != known:
            raise ECGFileError(f"{field} of {name} is {channel.get(field)}; only {known} is understood.")
    offset = channel.get("OFFSET") or "0"
    if number(offset, f"OFFSET of {name}"):  # 0 in all known files; readers disagree on what it would mean
        raise ECGFileError(
            f"OFFSET of {name} is {offset}, whose meaning is not published; export it as DICOM or SCP-ECG."
        )
    data = base64_bytes(channel.get("DATA"), f"DATA of {name}")
    if len(data) % _SAMPLE.itemsize:
        raise ECGFileError(f"DATA of {name} has {len(data)} bytes, no whole number of 16-bit samples.")
    samples = np.frombuffer(data, _SAMPLE)
    count = channel.get("DURATION")
    if whole_number(count, f"DURATION of {name}") != len(samples):
        raise ECGFileError(f"DURATION of {name} is {count}, but its data are {len(samples)} samples: damaged.")
    return channel_name(name), missing_as_nan(samples) / positive(
        channel.get("UNITS_PER_MV"), f"UNITS_PER_MV of {name}"
    )


def _metadata(root: Element) -> Metadata:
    subject, source, cycle = (_attributes(root, tag) for tag in ("SUBJECT", "SOURCE", "TYPICAL_CYCLE"))
    recorded_at = hl7_time(root.get("ACQUISITION_TIME"))
    stated_age = in_years(root.get("AGE"), root.get("AGE_UNITS"))
    birth = hl7_time(subject.get("DOB"))
    return Metadata(
        patient_id=plain_text(subject.get("ID")),
        recorded_at=recorded_at,
        age_years=years_between(birth, recorded_at) if stated_age is None else stated_age,
        sex=sex_of(subject.get("GENDER")),
        device=plain_text(f"{source.get('MANUFACTURER', '')} {source.get('MODEL', '')}"),
        statements=statements(each.get("TEXT") for each in root.findall("AUTOMATIC_INTERPRETATION/STATEMENT")),
        **measured(
            heart_rate_bpm=root.get("VENT_RATE"),
            pr_ms=cycle.get("PR_DURATION"),
            qrs_ms=cycle.get("QRS_DURATION"),
            qt_ms=cycle.get("QT"),
            qtc_ms=cycle.get("QTC"),
            p_axis_deg=cycle.get("P_AXIS"),
            qrs_axis_deg=cycle.get("QRS_AXIS"),
            t_axis_deg=cycle.get("T_AXIS"),
        ),
    )


def _attributes(root: Element, tag: str) -> dict[str, str]:
    element = root.find(tag)
    return {} if element is None else element.attrib
