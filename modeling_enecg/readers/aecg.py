"""HL7 annotated ECG (aECG, AnnotatedECG)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import (
    MOST_CHANNELS,
    ChannelKind,
    ECGFileError,
    FileContent,
    channel_kinds,
    channel_name,
    check_size,
    mv_per_unit,
)
from ..metadata_values import hl7_time, in_years, measured, plain_text, sex_of, statements, years_between
from ..recording import Metadata
from ..strict_numbers import number
from .xml_values import in_mv, numbers, positive, text_of

_RHYTHM = "RHYTHM"
_TIMES = ("head", "increment")
_A_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "ns": 1e9}
_CODE_PREFIX = re.compile(r"MDC_ECG_(LEAD|ELEC_POTL)_")
_TIMESTAMP = re.compile(r"(\d{14})(\.\d{1,9})?(?:([+-]\d\d)(\d\d))?", re.ASCII)
_SPREAD = 16  # how many times more samples a record may span than it holds: leads may follow each other
_MEASURED = {
    "MDC_ECG_HEART_RATE": "heart_rate_bpm",
    "MDC_ECG_TIME_PD_PR": "pr_ms",
    "MDC_ECG_TIME_PD_QRS": "qrs_ms",
    "MDC_ECG_TIME_PD_QT": "qt_ms",
    "MDC_ECG_TIME_PD_QTC": "qtc_ms",
    "MDC_ECG_ANGLE_P_FRONT": "p_axis_deg",
    "MDC_ECG_ANGLE_QRS_FRONT": "qrs_axis_deg",
    "MDC_ECG_ANGLE_T_FRONT": "t_axis_deg",
}
_STATEMENT = "MDC_ECG_INTERPRETATION_STATEMENT"
_AGE = "21612-7"  # of LOINC


class _SequenceSet(NamedTuple):
    """Leads of one time.

    Attributes:
        head (`Element`, *optional*): The element with their start.
        sampling_rate (`float`, *optional*): In Hz.
        leads (`list[tuple[str, np.ndarray]]`): Each one's name and samples in mV.
        left_out (`dict[str, str]`): The names of sequences that are no leads, each with the reason.
    """

    head: Element | None
    sampling_rate: float | None
    leads: list[tuple[str, np.ndarray]]
    left_out: dict[str, str]


def parse(root: Element) -> FileContent:
    """Return the rhythm of an aECG; its parts are put at their times, with NaN where nothing was recorded of a lead.

    Sequences in other units than volts, and empty ones, are left out; so are further rhythm series.

    Args:
        root (`Element`): The element `AnnotatedECG`.

    Raises:
        ECGFileError: if there is no rhythm series, or leads contradict each other in length, rate or time.
    """
    rhythm, others = _rhythm_series(root)
    read = [_read_set(each) for each in _below(rhythm, "component", "sequenceSet")]
    sets = [each for each in read if each.leads]
    if not sets:
        raise ECGFileError("its rhythm series holds no lead in a unit of voltage.")
    if len({each.sampling_rate for each in sets}) > 1:
        raise ECGFileError("the sequence sets of its rhythm series differ in their increment, the sampling rate.")
    content = in_mv(sets[0].leads, sets[0].sampling_rate) if len(sets) == 1 else _placed(sets)
    left_out = {
        name: reason for each in read for name, reason in each.left_out.items() if name not in (content.names or ())
    }
    left_out |= {f"rhythm series {number}": "only the first series is read" for number in range(2, 2 + others)}
    return replace(content, metadata=_metadata(root), left_out=left_out)


def _rhythm_series(root: Element) -> tuple[Element, int]:
    """Return the first rhythm series, or the only series if that has no code, and how many others there are."""
    series = list(root.iter("series"))  # averages derived from it are in elements of another name, derivedSeries
    codes = [(_code(each) or "none").upper() for each in series]
    if _RHYTHM not in codes and codes != ["NONE"]:
        raise ECGFileError(f"has no series of the code {_RHYTHM}; the codes of its {len(codes)} are {codes[:5]}.")
    rhythms = [each for each, code in zip(series, codes, strict=True) if code == _RHYTHM] or series
    return rhythms[0], len(rhythms) - 1


def _read_set(element: Element) -> _SequenceSet:
    sequences = _below(element, "component", "sequence")
    if len(sequences) > MOST_CHANNELS:
        raise ECGFileError(f"holds {len(sequences)} sequences at once; at most {MOST_CHANNELS} are read.")
    leads: list[tuple[str, np.ndarray]] = []
    left_out: dict[str, str] = {}
    for sequence in sequences:
        read = _lead(sequence)
        if isinstance(read, str):
            left_out[_lead_name(_code(sequence) or "unnamed")] = read
        elif read is not None:
            leads.append(read)
    kinds = channel_kinds([name for name, _ in leads])
    if ChannelKind.LEAD in kinds:
        others = [name for (name, _), kind in zip(leads, kinds, strict=True) if kind is not ChannelKind.LEAD]
        left_out |= dict.fromkeys(others, "by its name no standard lead")
        leads = [lead for lead, kind in zip(leads, kinds, strict=True) if kind is ChannelKind.LEAD]
    times = {tag: [each for sequence in sequences for each in _below(sequence, "value", tag)] for tag in _TIMES}
    _check_one_time(sequences)
    sampling_rate = _sampling_rate(times["increment"]) if leads else None
    return _SequenceSet(next(iter(times["head"]), None), sampling_rate, leads, left_out)


def _check_one_time(sequences: list[Element]) -> None:
    """Refuse a set in which times of one kind differ: which of them holds for which lead is not said."""
    stated = {
        (_code(each), *(str(time.attrib) for tag in _TIMES for time in _below(each, "value", tag)))
        for each in sequences
        if (_code(each) or "").startswith("TIME_")
    }
    if len(stated) > len({code for code, *_ in stated}):
        raise ECGFileError("has a sequence set with several times; all leads of a set must have one.")


def _lead(sequence: Element) -> tuple[str, np.ndarray] | str | None:
    """Return a lead's name and samples in mV; why it is none; or None for a sequence of times."""
    name = _code(sequence)
    if (name or "").startswith("TIME_"):
        return None
    digits = " ".join(each.text or "" for each in _below(sequence, "value", "digits"))
    if not digits.strip():
        return "without samples" if name else None
    if name is None:
        raise ECGFileError("has a sequence of digits without code: which lead it is remains unknown.")
    scale, unit = _quantity(_below(sequence, "value", "scale"), f"scale of {name}")
    if unit is None:
        raise ECGFileError(f"scale of {name} has no unit.")
    mv = mv_per_unit(unit)
    if mv is None:
        return f"in {unit}, which is no unit of voltage"
    origin_mv = _origin_mv(_below(sequence, "value", "origin"), name, unit)
    samples = numbers(digits, f"digits of {name}")
    return _lead_name(name), origin_mv + samples * (scale * mv)


def _lead_name(code: str) -> str:
    return channel_name(_CODE_PREFIX.sub("", code))


def _origin_mv(origins: list[Element], name: str, scale_unit: str) -> float:
    """Return what a digit of 0 means, in mV; its unit may be another than the scale's."""
    if not any("value" in each.attrib for element in origins for each in (element, *element)):
        return 0.0
    origin, unit = _quantity(origins, f"origin of {name}")
    mv = mv_per_unit(unit or scale_unit)
    if mv is None:
        raise ECGFileError(f"origin of {name} is in {unit}, and its scale in {scale_unit}.")
    return origin * mv


def _sampling_rate(increments: list[Element]) -> float | None:
    """Return the rate that the first increment means, in Hz; None where it has no unit."""
    increment, unit = _quantity(increments, "increment, the time of a sample,")
    if unit is None:
        return None
    if unit not in _A_SECOND:
        raise ECGFileError(f"increment is in {unit}; one of {', '.join(_A_SECOND)} was expected.")
    return _A_SECOND[unit] / positive(repr(increment), "increment")


def _placed(sets: list[_SequenceSet]) -> FileContent:
    """Put the leads of several sets at their times."""
    rate = sets[0].sampling_rate
    if rate is None:
        raise ECGFileError("increment has no unit, and several sequence sets cannot be put in order without.")
    starts = [round(_seconds(each.head) * rate) for each in sets]
    begin = min(starts)
    end = max(start + len(samples) for start, each in zip(starts, sets, strict=True) for _, samples in each.leads)
    names = list(dict.fromkeys(name for each in sets for name, _ in each.leads))
    held = sum(len(samples) for each in sets for _, samples in each.leads)
    check_size(len(names), end - begin, rate, _SPREAD * held)
    rows = {name: np.full(end - begin, np.nan) for name in names}
    for start, each in zip(starts, sets, strict=True):
        in_mv(each.leads, rate)  # refuses leads of differing lengths
        for name, samples in each.leads:
            place = rows[name][start - begin :][: len(samples)]
            if not np.isnan(place).all():
                raise ECGFileError(f"holds {name} twice at the same time.")
            place[:] = samples
    return in_mv(list(rows.items()), rate)


def _seconds(head: Element | None) -> float:
    """Return the time of a head in seconds, since whenever."""
    value = (head.get("value") or "").strip() if head is not None else ""
    unit = head.get("unit") if head is not None else None
    if unit in _A_SECOND:
        return number(value, "head") / _A_SECOND[unit]
    stamp = _TIMESTAMP.fullmatch(value)
    if not stamp:
        raise ECGFileError(
            f"head is {value[:40]!r}; a time as 20021122091000.000, or seconds with a unit, was expected."
        )
    try:
        time = datetime.strptime(stamp[1], "%Y%m%d%H%M%S") - datetime(1, 1, 1)
    except ValueError as error:
        raise ECGFileError(f"head is {value[:40]!r}, which is no time: {error}.") from error
    zone = timedelta(hours=int(stamp[3] or 0), minutes=int((stamp[3] or "+")[0] + (stamp[4] or "0")))
    return (time - zone).total_seconds() + float(stamp[2] or 0)


def _quantity(elements: list[Element], field: str) -> tuple[float, str | None]:
    """Return value and unit of the first element, or of its child that has them."""
    found = next((each for element in elements for each in (element, *element) if "value" in each.attrib), None)
    if found is None:
        raise ECGFileError(f"{field} is absent.")
    return number(found.get("value"), field), (found.get("unit") or "").strip() or None


def _below(element: Element, between: str, tag: str) -> list[Element]:
    """Return the elements of a tag one level below another element, where they belong, or right below this one."""
    return [*element.findall(f"{between}/{tag}"), *element.findall(tag)]


def _code(element: Element) -> str | None:
    code = element.find("code")
    return (code.get("code") or code.get("displayName") or "").strip() or None if code is not None else None


def _metadata(root: Element) -> Metadata:
    subject = next(root.iter("trialSubject"), Element("none"))
    person = next(subject.iter("subjectDemographicPerson"), Element("none"))
    begin = next((each for tag in ("low", "center") for each in root.findall(f"effectiveTime/{tag}")), Element("none"))
    recorded_at = hl7_time(begin.get("value"))
    values = {code: value for each in root.iter("relatedObservation") for code, value in _valued(each)}
    age = values.get(_AGE, Element("none"))
    found: dict[str, str | None] = {}
    said = []
    for annotation in root.iter("annotation"):
        for code, value in _valued(annotation):
            if code.upper() in _MEASURED:
                found.setdefault(_MEASURED[code.upper()], value.get("value"))
            elif code == _STATEMENT:
                said.append(value.text)
    stated_age = in_years(age.get("value"), age.get("unit"))
    born = hl7_time(next((each.get("value") for each in person.findall("birthTime")), None))
    return Metadata(
        patient_id=plain_text(next((each.get("extension") for each in subject.findall("id")), None)),
        recorded_at=recorded_at,
        age_years=years_between(born, recorded_at) if stated_age is None else stated_age,
        sex=sex_of(next((each.get("code") for each in person.findall("administrativeGenderCode")), None)),
        device=plain_text(
            next(filter(None, (text_of(each, ".") for each in root.iter("manufacturerModelName"))), None)
        ),
        statements=statements(said),
        **measured(**found),
    )


def _valued(element: Element) -> Iterator[tuple[str, Element]]:
    """Yield the code and the element with the value, of an observation that has both."""
    code, value = _code(element), element.find("value")
    if code is not None and value is not None:
        yield code, value
