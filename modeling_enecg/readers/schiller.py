"""Schiller SEMA XML (SchillerEDI)."""

from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, mv_per_unit
from .xml_values import in_mv, number, numbers, positive, text_of, whole_number

_RHYTHM = "ECG_RHYTHMS"


def parse(root: Element) -> FileContent:
    """Return the rhythm of a SEMA record.

    Args:
        root (`Element`): The element `com.xiriuz.sema.xml.schillerEDI.SchillerEDI`.

    Raises:
        ECGFileError: if there is no rhythm, its rate or unit is not understood, or leads differ in length.
    """
    types = []
    for waves in root.iter("wavedata"):
        types.append(text_of(waves, "type") or "none")
        if types[-1].upper() == _RHYTHM:
            return _rhythm(waves)
    raise ECGFileError(f"has no wavedata of the type {_RHYTHM}; the types of its {len(types)} are {types[:5]}.")


def _rhythm(waves: Element) -> FileContent:
    sampling_rate = positive(text_of(waves, "resolution/samplerate/value"), "samplerate/value")
    exponent = number(text_of(waves, "resolution/samplerate/exponent") or "1", "samplerate/exponent")
    if exponent != 1:  # in known files it is 1, where the value is the rate
        raise ECGFileError(f"samplerate/exponent is {exponent:g}; only 1 is understood.")
    unit = text_of(waves, "resolution/yres/units")
    mv = mv_per_unit(unit or "")
    if mv is None:
        raise ECGFileError(f"yres/units is {unit}; UV or another unit of voltage was expected.")
    scale = positive(text_of(waves, "resolution/yres/unitperbit"), "yres/unitperbit")
    leads = [_lead(channel) for channel in waves.findall("channel")]
    return in_mv([(name, samples * (scale * mv)) for name, samples in leads], sampling_rate)


def _lead(channel: Element) -> tuple[str, np.ndarray]:
    """Return a lead's name and its samples, in counts."""
    name = text_of(channel, "name")
    if name is None:
        raise ECGFileError("has a channel without name.")
    kind = text_of(channel, "datastype")
    if kind not in (None, "COMMASEPARATE"):
        raise ECGFileError(f"datastype of {name} is {kind}; only COMMASEPARATE is understood.")
    samples = numbers(text_of(channel, "data"), f"data of {name}")
    count = text_of(channel, "samplecount")
    if count is not None and whole_number(count, f"samplecount of {name}") != len(samples):
        raise ECGFileError(f"samplecount of {name} is {count}, but its data are {len(samples)} numbers: damaged.")
    return channel_name(name), samples
