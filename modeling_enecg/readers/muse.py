"""GE MUSE XML (RestingECG)."""

import zlib
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, mv_per_unit
from ..leads import STANDARD_LEADS, derive_limb_leads
from .xml_values import base64_bytes, in_mv, positive, text_of, whole_number

_SAMPLE = np.dtype("<i2")
_CHECKSUM = "LeadDataCRC32"


def parse(root: Element) -> FileContent:
    """Return the rhythm of a MUSE record; limb leads that it does not store are derived from I and II.

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
    offsets = {text_of(element, "LeadOffsetFirstSample") or "0" for element in elements}
    if len(offsets) > 1:
        raise ECGFileError("has leads that do not start together: LeadOffsetFirstSample differs.")
    stored = in_mv([_lead(element) for element in elements], sampling_rate)
    return _with_limb_leads(stored)


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
    return channel_name(name), np.frombuffer(data, _SAMPLE) * (scale * mv)


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


def _with_limb_leads(stored: FileContent) -> FileContent:
    """Add the limb leads that follow from I and II, in the standard order before other leads."""
    assert stored.names is not None  # `in_mv` gives them
    if not {"I", "II"} <= set(stored.names) or len(set(stored.names)) < len(stored.names):
        return stored
    leads = dict(zip(stored.names, stored.signal, strict=True))
    leads = derive_limb_leads(leads["I"], leads["II"]) | leads
    standard = [name for name in STANDARD_LEADS if name in leads]
    others = [name for name in stored.names if name not in STANDARD_LEADS]
    return in_mv([(name, leads[name]) for name in standard + others], stored.sampling_rate)
