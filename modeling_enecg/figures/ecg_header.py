"""Lines above an ECG on paper: the recording, heart rate and intervals with their origin, and the findings."""

from collections.abc import Callable
from dataclasses import dataclass

from ..findings import Findings, leading_findings
from ..recording import ECGRecord, Metadata

OLDEST_STATED = 89  # years; beyond these an age may tell who somebody is

_INTERVALS = {"pr_ms": "PR", "qrs_ms": "QRS", "qt_ms": "QT", "qtc_ms": "QTc"}
_AXES = {"p_axis_deg": "P", "qrs_axis_deg": "QRS", "t_axis_deg": "T"}


@dataclass(frozen=True)
class Measured:
    """What was measured in a recording.

    Attributes:
        rr_ms (`float`, *optional*): The median RR interval in ms; None where it could not be measured.
        beats (`str`): In how many beats, in words.
        why_not (`str`): Why nothing was measured, where that has another reason than the signal.
    """

    rr_ms: float | None = None
    beats: str = ""
    why_not: str = ""


def record_lines(record: ECGRecord, measured: Measured, patient: str | None = None) -> list[str]:
    """Return what is known of a recording: rate and length, the patient if wanted, heart rate and intervals.

    What the file states is marked as the machine's, what was found in the signal as measured.

    Args:
        record ([`ECGRecord`]): The recording. The patient's number is not shown.
        measured ([`Measured`]): What was measured in it.
        patient (`str`, *optional*): What to call the patient; age and sex are shown with it. By default nothing is
            said of the patient.
    """
    seconds = record.signal_mv.shape[1] / record.sampling_rate
    facts = [f"{len(record.lead_names)} leads, {seconds:.1f} s at {record.sampling_rate:g} Hz"]
    if patient is not None:
        facts.append(_patient_text(patient, record.metadata))
    return [" · ".join(facts), *([text] if (text := " · ".join(_rate_texts(record.metadata, measured))) else [])]


def finding_lines(found: Findings, meaning: Callable[[str], str]) -> list[str]:
    """Return the verdict on the signal and what a model found: present and the most probable other labels, values.

    Args:
        found ([`Findings`]): What a predictor returns.
        meaning (`Callable[[str], str]`): Gives the meaning of a label, or the label itself.
    """
    quality = f"Signal quality: {found.quality.verdict}" + (f" ({found.quality})" if str(found.quality) else "")
    if not found.is_scored:
        return [quality, "Not scored: the signal is unusable."]
    leading = leading_findings(found)
    lines = [quality]
    if found.missing_leads:
        lines.append(f"Missing leads: {', '.join(found.missing_leads)}; the findings rest on the others")
    for title, is_present in (("Present", True), ("Not present, most probable first", False)):
        texts = [_label_text(each["label"], meaning, each) for each in leading if each["present"] == is_present]
        lines += [f"{title}: {'; '.join(texts)}"] if texts else []
    values = [_value_text(each) for task in found.values() for each in task if "value" in each]
    return lines + ([f"Values: {'; '.join(values)}"] if values else [])


def _patient_text(patient: str, metadata: Metadata) -> str:
    parts = [f"patient {patient}"]
    if metadata.age_years is not None:
        is_old = metadata.age_years > OLDEST_STATED
        parts.append(f"over {OLDEST_STATED} years" if is_old else f"{metadata.age_years:.0f} years")
    if metadata.sex is not None:
        parts.append(metadata.sex)
    return ", ".join(parts)


def _rate_texts(metadata: Metadata, measured: Measured) -> list[str]:
    texts = []
    if metadata.heart_rate_bpm is not None:
        texts.append(f"Heart rate {metadata.heart_rate_bpm:.0f}/min (machine)")
    if measured.rr_ms is not None:
        texts.append(
            f"Heart rate {60_000 / measured.rr_ms:.0f}/min, RR {measured.rr_ms:.0f} ms "
            f"(measured: median of {measured.beats})"
        )
    else:
        texts.append(f"Heart rate not measured: {measured.why_not or 'no regular beats were found'}")
    for title, unit, names in (("", "ms", _INTERVALS), ("axes ", "°", _AXES)):
        values = [
            f"{short} {value:.0f}{unit if unit == '°' else f' {unit}'}"
            for name, short in names.items()
            if (value := getattr(metadata, name)) is not None
        ]
        texts += [f"{title}{', '.join(values)} (machine)"] if values else []
    return texts


def _label_text(label: str, meaning: Callable[[str], str], finding: dict[str, object]) -> str:
    means = meaning(label)
    held = "" if finding["threshold"] is None else f" of {finding['threshold']:.2f}"
    return label + (f" ({means})" if means != label else "") + f" {finding['score']:.2f}{held}"


def _value_text(finding: dict[str, object]) -> str:
    interval = f" ({finding['lower']:.1f} to {finding['upper']:.1f})" if "lower" in finding else ""
    return f"{finding['label']} {finding['value']:.1f} {finding['unit'] or ''}".rstrip() + interval


__all__ = ["Measured", "finding_lines", "record_lines"]
