"""Schiller SEMA XML (SchillerEDI)."""

from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, channel_name, mv_per_unit
from ..metadata_values import hl7_time, measured, plain_text, sex_of, statements, years_between
from ..recording import Metadata
from ..strict_numbers import number, whole_number
from .xml_values import in_mv, numbers, positive, text_of

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
            return _rhythm(waves, _metadata(root))
    raise ECGFileError(f"has no wavedata of the type {_RHYTHM}; the types of its {len(types)} are {types[:5]}.")


def _rhythm(waves: Element, metadata: Metadata) -> FileContent:
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
    return in_mv([(name, samples * (scale * mv)) for name, samples in leads], sampling_rate, metadata)


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


def _metadata(root: Element) -> Metadata:
    begin = "examdescript/startdatetime/"
    recorded_at = hl7_time((text_of(root, f"{begin}date") or "") + (text_of(root, f"{begin}time") or "")[:6])
    found: dict[str, str | None] = {}
    for annotation in root.iter("annotation_global"):
        found.setdefault(text_of(annotation, "name") or "", text_of(annotation, "value"))
    device = (text_of(root, f"examdescript/aquiringdevice/hardware/{field}") for field in ("vendor", "model"))
    texts = (each for each in root.iter("textdata") if text_of(each, "type") == "INTERPRETATION")
    return Metadata(
        patient_id=plain_text(text_of(root, "patdata/id")),
        recorded_at=recorded_at,
        age_years=years_between(hl7_time(text_of(root, "patdata/birthdate")), recorded_at),
        sex=sex_of(text_of(root, "patdata/gender")),
        device=plain_text(" ".join(filter(None, device))),
        statements=statements(line for each in texts for line in (text_of(each, "textdata") or "").splitlines()),
        **measured(
            heart_rate_bpm=found.get("HR"),
            pr_ms=found.get("PQ"),
            qrs_ms=found.get("QRS"),
            qt_ms=found.get("QT"),
            qtc_ms=found.get("QTC"),
            p_axis_deg=found.get("AXIS_P"),
            qrs_axis_deg=found.get("AXIS_QRS"),
            t_axis_deg=found.get("AXIS_T"),
        ),
    )
