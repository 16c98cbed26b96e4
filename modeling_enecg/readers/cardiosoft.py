"""GE CardioSoft XML (CardiologyXML)."""

import re
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, mv_per_unit
from .xml_values import in_mv, numbers, positive, text_of, whole_number

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
    return _rhythm(strips[0])


def _rhythm(strip: Element) -> FileContent:
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
    return in_mv([(name, samples * scale) for name, samples in leads], rate)


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
