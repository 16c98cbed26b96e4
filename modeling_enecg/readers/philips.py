"""Philips Sierra XML (restingecgdata), versions 1.03, 1.04 and 1.04.01."""

from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import MICROVOLTS_PER_MV, ECGFileError, FileContent, channel_name, check_size, missing_as_nan
from ..leads import STANDARD_LEADS
from ..metadata_values import in_years, measured, plain_text, sex_of, statements, time_of
from ..recording import Metadata
from ..strict_numbers import number, whole_number
from .philips_xli import decode_xli
from .xml_values import base64_bytes, in_mv, numbers, positive, text_of

_LONGEST_S = 3600  # of a resting ECG
_MOST_SAMPLES_A_BYTE = 32  # that a flat line in XLI has, and some more
_BITS = (8, 16, 32)
_LIMB_LEADS = STANDARD_LEADS[:6]


def parse(root: Element) -> FileContent:
    """Return the waveforms of a Sierra record, with the calibration pulse that devices add at the end.

    Feature extractors and windows leave the pulse out (`calibration`).

    Version 1.03 describes them in `signalcharacteristics`, later ones in attributes of their own.

    Args:
        root (`Element`): The element `restingecgdata`.

    Raises:
        ECGFileError: if there are no waveforms, their encoding is not understood, or they contradict what is declared.
    """
    waves = next(root.iter("parsedwaveforms"), None)
    if waves is None:
        raise ECGFileError("has no parsedwaveforms: its signal is in another file, or was left out.")
    described = next(root.iter("signalcharacteristics"), Element("none"))
    sampling_rate = positive(_stated(waves, described, "samplespersecond", "samplingrate"), "samplingrate")
    resolution = positive(_stated(waves, described, "resolution", "signalresolution"), "resolution, in uV,")
    offset = number(_stated(waves, described, "signaloffset") or "0", "signaloffset")
    names = _lead_names(waves, described)
    counts = _counts(waves, names, _num_samples(waves, sampling_rate))
    scale = resolution / MICROVOLTS_PER_MV
    leads = [(name, (missing_as_nan(row) - offset) * scale) for name, row in zip(names, counts, strict=True)]
    return in_mv(leads, sampling_rate, _metadata(root))


def _stated(waves: Element, described: Element, *names: str) -> str | None:
    """Return the first value of these names: as attributes of the waveforms, else as elements that describe them."""
    attributes = [(waves.get(name) or "").strip() for name in names]
    return next(filter(None, [*attributes, *(text_of(described, name) for name in names)]), None)


def _lead_names(waves: Element, described: Element) -> list[str]:
    """Return the names of the leads to read; devices store more than they recorded."""
    names = (waves.get("leadlabels") or "").split()
    if not names:
        channels = text_of(described, "numberchannelsallocated")
        if channels is not None and whole_number(channels, "numberchannelsallocated") < len(STANDARD_LEADS):
            raise ECGFileError(f"has {channels} channels without labels; only those of 12 and more are known.")
        return list(STANDARD_LEADS)
    num_leads = whole_number(waves.get("numberofleads") or str(len(names)), "numberofleads")
    names = names[: max(num_leads, 0)]
    inverted = [name for name in names if name.startswith("-")]
    if inverted:
        raise ECGFileError(f"holds the inverted lead {inverted[0][:40]}, which is not understood.")
    return [channel_name(name) for name in names]


def _num_samples(waves: Element, sampling_rate: float) -> int:
    """Return how many samples each lead has, by its duration in ms."""
    duration_s = positive(waves.get("durationperchannel"), "durationperchannel") / 1000
    if duration_s > _LONGEST_S:
        raise ECGFileError(f"durationperchannel is {duration_s:g} s; at most {_LONGEST_S} are read.")
    return round(duration_s * sampling_rate)


def _counts(waves: Element, names: list[str], num_samples: int) -> list[np.ndarray]:
    """Return the samples of each lead, before offset and resolution."""
    compression = _compression(waves)
    encoding = (waves.get("dataencoding") or "").lower()
    if encoding == "plain" and compression is None:
        return _split(numbers(waves.text, "parsedwaveforms"), len(names), num_samples)
    data = _decoded(waves, encoding)
    if compression is None:
        return _split(_samples(waves, data), len(names), num_samples)
    if compression != "XLI":
        raise ECGFileError(f"parsedwaveforms is compressed by {compression[:40]}; only XLI is understood.")
    check_size(len(names), num_samples, 1.0, _MOST_SAMPLES_A_BYTE * len(data))
    counts = decode_xli(data, len(names), num_samples)
    return _with_limb_leads(names, counts)


def _compression(waves: Element) -> str | None:
    """Return the method of compression, which each version names in its own way; None where there is none."""
    method = waves.get("compressmethod") or waves.get("compression") or "none"
    is_off = (waves.get("compressflag") or "").lower() == "false"
    return None if is_off or method.lower() in ("none", "uncompressed") else method


def _decoded(waves: Element, encoding: str) -> bytes:
    if encoding == "base64":
        return base64_bytes(waves.text, "parsedwaveforms")
    if encoding == "hex":
        try:
            return bytes.fromhex(waves.text or "")
        except ValueError as error:
            raise ECGFileError(f"parsedwaveforms is not hexadecimal: {error}.") from error
    raise ECGFileError(f"dataencoding is {encoding[:40]!r}; Base64, Hex, or Plain without compression was expected.")


def _samples(waves: Element, data: bytes) -> np.ndarray:
    """Return the samples of all leads that are not compressed."""
    bits = whole_number(waves.get("bitspersample") or waves.get("nbitspersample") or "16", "bitspersample")
    if bits not in _BITS or 8 * len(data) % bits:
        raise ECGFileError(f"parsedwaveforms has {len(data)} bytes, of samples of {bits} bits; 8, 16 or 32 are read.")
    is_signed = (waves.get("signalsigned") or "").lower() != "false"
    return np.frombuffer(data, f"<{'i' if is_signed else 'u'}{bits // 8}")


def _split(samples: np.ndarray, num_leads: int, num_samples: int) -> list[np.ndarray]:
    """Split samples into leads, which follow each other; there may be more than are wanted."""
    check_size(num_leads, num_samples, 1.0, len(samples))
    if len(samples) % num_samples:
        raise ECGFileError(f"parsedwaveforms has {len(samples)} samples, no whole number of leads of {num_samples}.")
    return list(samples.reshape(-1, num_samples)[:num_leads])


def _with_limb_leads(names: list[str], counts: list[np.ndarray]) -> list[np.ndarray]:
    """Add to III, aVR, aVL and aVF, of which XLI holds what is left, what follows for them from I and II."""
    if not set(names) & set(_LIMB_LEADS[2:]):
        return counts
    if any(names.count(name) != 1 for name in _LIMB_LEADS):
        raise ECGFileError(f"holds {' '.join(names)[:80]} in XLI, where all limb leads were expected, each once.")
    i, ii, iii, avr, avl, avf = (counts[names.index(name)].astype(np.int32) for name in _LIMB_LEADS)
    iii = _wrapped(ii - i - iii)
    rebuilt = {
        "III": iii,
        "aVR": _wrapped(-avr - (i + ii) // 2),
        "aVL": _wrapped((i - iii) // 2 - avl),
        "aVF": _wrapped((ii + iii) // 2 - avf),
    }
    return [rebuilt.get(name, row) for name, row in zip(names, counts, strict=True)]


def _wrapped(samples: np.ndarray) -> np.ndarray:
    """Wrap samples around at 16 bits, as the devices' arithmetic does."""
    return samples.astype(np.int16).astype(np.int32)


def _metadata(root: Element) -> Metadata:
    acquired = next(root.iter("dataacquisition"), Element("none"))
    patient = next(root.iter("generalpatientdata"), Element("none"))
    found = next(root.iter("interpretationmeasurements"), Element("none"))
    return Metadata(
        patient_id=plain_text(text_of(patient, "patientid")),
        recorded_at=time_of(f"{acquired.get('date')} {acquired.get('time')}", "%Y-%m-%d %H:%M:%S"),
        age_years=in_years(text_of(patient, "age/years"), "years"),
        sex=sex_of(text_of(patient, "sex")),
        device=plain_text(text_of(acquired, "machine")),
        statements=statements(text_of(each, "leftstatement") for each in root.iter("statement")),
        **measured(
            heart_rate_bpm=text_of(found, "heartrate"),
            pr_ms=text_of(found, "meanprint"),
            qrs_ms=text_of(found, "meanqrsdur"),
            qt_ms=text_of(found, "meanqtint"),
            qtc_ms=text_of(found, "meanqtc"),
            p_axis_deg=text_of(found, "pfrontaxis"),
            qrs_axis_deg=text_of(found, "qrsfrontaxis"),
            t_axis_deg=text_of(found, "tfrontaxis"),
        ),
    )
