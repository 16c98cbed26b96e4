"""DICOM waveforms: 12-lead, general and ambulatory ECG, and the ECG channels of haemodynamic recordings."""

import math
import mmap
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..ecg_file import (
    ChannelKind,
    ECGFileError,
    FileContent,
    channel_kinds,
    check_no_surplus,
    check_size,
    errors_of,
    is_no_unit,
    missing_as_nan,
    mv_per_unit,
    names_another_lead,
    need,
)
from ..leads import is_standard_lead
from ..metadata_values import hl7_time, in_years, measured, plain_text, sex_of, statements, years_between
from ..recording import Metadata
from ..strict_numbers import number
from .dicom_deflated import inflate, is_deflated
from .lead_codes import lead_of_code

_SAMPLE_TYPES = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (16, "SS"): "i2",
    (16, "US"): "u2",
    (32, "SL"): "i4",
    (32, "UL"): "u4",
}
_LEAD_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d{1,3})|MDC_ECG_LEAD_(\w+)")  # of SCP-ECG, or of MDC
_AVERAGE = re.compile("MEDIAN|AVERAGE|BEAT|TEMPLATE")
_LONGEST_GAPS = 10  # groups recorded one after another may last so many times longer than one
_TAGS = (
    *("SOPClassUID", "WaveformSequence", "WaveformAnnotationSequence", "PatientID", "PatientAge", "PatientSex"),
    *("PatientBirthDate", "AcquisitionDateTime", "StudyDate", "StudyTime", "Manufacturer", "ManufacturerModelName"),
    "SpecificCharacterSet",
)
_MEASURED = {
    "heart rate": "heart_rate_bpm",
    "ventricular heart rate": "heart_rate_bpm",
    "ventricular rate": "heart_rate_bpm",
    "pr interval": "pr_ms",
    "qrs duration": "qrs_ms",
    "qt interval": "qt_ms",
    "qtc interval": "qtc_ms",
    "p axis": "p_axis_deg",
    "qrs axis": "qrs_axis_deg",
    "t axis": "t_axis_deg",
}
_MOST_ANNOTATIONS = 1000
_ITEM = re.compile(rb"\xfe\xff\x00\xe0|\xff\xfe\xe0\x00")  # its tag, in either byte order
_MOST_ITEMS = 100_000


class _Group(NamedTuple):
    """A multiplex group: channels sampled together."""

    item: Any  # pydicom's dataset
    names: list[str]
    units: list[str]
    rate: float
    num_samples: int
    is_average: bool

    @property
    def leads(self) -> set[str]:
        """The names of the channels that are leads in a unit of voltage, or in none."""
        channels = zip(self.names, self.units, channel_kinds(self.names), strict=True)
        return {
            name
            for name, unit, kind in channels
            if kind is ChannelKind.LEAD and (is_no_unit(unit) or mv_per_unit(unit) is not None)
        }


def read(path: Path) -> FileContent:
    """Read the rhythm of a DICOM file; averaged beats are left out.

    Of several multiplex groups the one is read that has most leads and is longest; with it those of its rate that
    hold other leads, each at its time, NaN before and after. Samples of the padding value are NaN; not so where it is
    0 and samples are signed, which writers state that pad nothing.

    Args:
        path (`Path`): The file.

    Raises:
        ImportError: if `pydicom` is not installed.
        ECGFileError: if the file is damaged, or holds no waveform.
    """
    pydicom = need("pydicom")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        source = BytesIO(inflate(content)) if is_deflated(content) else content
        _check_items(source.getbuffer() if isinstance(source, BytesIO) else source)
        with warnings.catch_warnings(), errors_of("pydicom"):
            warnings.simplefilter("ignore")  # about values that break the standard, and are read all the same
            # A mapping, unlike a file, takes no memory for lengths beyond its end.
            dataset = pydicom.dcmread(source, stop_before_pixels=True, force=True, specific_tags=[*_TAGS])
            items = dataset.get("WaveformSequence")
            if not items:
                raise ECGFileError(f"is a DICOM file that holds no waveform: {_sop_class(dataset)}, or cut short.")
            byte_order = "<" if dataset.original_encoding[1] else ">"
            return replace(_read_groups([_group(item) for item in items], byte_order), metadata=_metadata(dataset))


def _check_items(content: Any) -> None:
    """Refuse more items of sequences than an ECG has, before they are parsed, which takes long."""
    if next(islice(_ITEM.finditer(content), _MOST_ITEMS, None), None) is not None:
        raise ECGFileError(f"has sequences of more than {_MOST_ITEMS} items; no ECG has so many.")


def _sop_class(dataset: Any) -> str:
    return getattr(dataset.get("SOPClassUID"), "name", "of no stated class")


def _group(item: Any) -> _Group:
    channels = item.ChannelDefinitionSequence
    label = str(item.get("MultiplexGroupLabel") or "").upper()
    is_rhythm = "RHYTHM" in label
    is_derived = item.get("WaveformOriginality") == "DERIVED"
    return _Group(
        item,
        names=[_lead_name(channel) for channel in channels],
        units=[_unit(channel) for channel in channels],
        rate=number(str(item.SamplingFrequency), "SamplingFrequency"),
        num_samples=int(item.NumberOfWaveformSamples),
        is_average=not is_rhythm and (is_derived or bool(_AVERAGE.search(label))),
    )


def _first(channel: Any, sequence: str) -> Any:
    """Return the first item of a sequence, an empty one where there is none."""
    return next(iter(channel.get(sequence) or ()), {})


def _lead_name(channel: Any) -> str:
    """Return the lead that a channel's source is coded as, else what is written, as in `"Lead I (Einthoven)"`."""
    source = _first(channel, "ChannelSourceSequence")
    code = _LEAD_CODE.fullmatch(str(source.get("CodeValue") or "").strip())
    if code and code[2]:
        return code[2]
    if code and int(code[1]):  # 0 is a lead that is not specified
        return lead_of_code(int(code[1]))
    stated = (source.get("CodeMeaning"), channel.get("ChannelLabel"), source.get("CodeValue"))
    texts = [plain_text(str(text or "")) for text in stated]
    written = [text for text in texts if text]
    candidates = (*filter(names_another_lead, written), *filter(is_standard_lead, written), *filter(None, texts[:2]))
    return next(iter(candidates), "unnamed")


def _unit(channel: Any) -> str:
    """Return the unit of a channel, empty where none is stated."""
    unit = _first(channel, "ChannelSensitivityUnitsSequence")
    code, meaning = str(unit.get("CodeValue") or ""), str(unit.get("CodeMeaning") or "")
    return code if mv_per_unit(code) is not None else meaning or code


def _read_groups(groups: list[_Group], byte_order: str) -> FileContent:
    """Read the group that is preferred, and those that were recorded with it."""
    best = max(groups, key=_preference)
    parts = [best]
    left_out: dict[str, str] = {}
    for group in groups:
        known = {name for part in parts for name in part.names}
        if group is best or group.is_average or not group.leads:
            continue
        if group.rate == best.rate and not known & set(group.names):
            parts.append(group)
            continue
        reason = "of another recording" if group.rate == best.rate else f"at {group.rate:g} Hz, unlike the other leads"
        left_out |= {name: reason for name in group.names if name not in known}
    signals = [_signal(part, byte_order) for part in parts]
    signal = signals[0] if len(parts) == 1 else _side_by_side(signals, [_start(part) for part in parts])
    units = [unit for part in parts for unit in part.units]
    channels = [channel for part in parts for channel in part.item.ChannelDefinitionSequence]
    return FileContent(
        signal,
        best.rate,
        units,
        [name for part in parts for name in part.names],
        counts_per_unit=np.array([1 / _calibration(channel)[0] for channel in channels]),
        left_out=left_out,
    )


def _preference(group: _Group) -> tuple[bool, bool, int, float]:
    duration = group.num_samples / group.rate if group.rate > 0 else 0.0
    return bool(group.leads), not group.is_average, len(group.leads), duration


def _start(group: _Group) -> int:
    """Return at which sample of the recording a group starts."""
    return round(_number(group.item, "MultiplexGroupTimeOffset") / 1000 * group.rate)


def _side_by_side(signals: list[np.ndarray], starts: list[int]) -> np.ndarray:
    """Place groups of channels in time, NaN before and after each."""
    begin = min(starts)
    ends = [start - begin + signal.shape[1] for start, signal in zip(starts, signals, strict=True)]
    longest = _LONGEST_GAPS * max(signal.shape[1] for signal in signals)
    if max(ends) > longest:
        raise ECGFileError(f"has groups from sample {begin} to {begin + max(ends)}; at most {longest} were expected.")
    placed = []
    for signal, end in zip(signals, ends, strict=True):
        before = end - signal.shape[1]
        placed.append(np.pad(signal, ((0, 0), (before, max(ends) - end)), constant_values=np.nan))
    return np.concatenate(placed)


def _signal(group: _Group, byte_order: str) -> np.ndarray:
    """Return the calibrated samples of a group, in the channels' units, of shape `(num_channels, num_samples)`."""
    item, num_channels = group.item, len(group.names)
    kind = (item.WaveformBitsAllocated, item.WaveformSampleInterpretation)
    if kind not in _SAMPLE_TYPES:
        raise ECGFileError(f"has samples of {kind[0]} bits as {kind[1]}; expected one of {[*_SAMPLE_TYPES]}.")
    if item.NumberOfWaveformChannels != num_channels:
        raise ECGFileError(f"declares {item.NumberOfWaveformChannels} channels, and defines {num_channels}.")
    dtype = np.dtype(byte_order + _SAMPLE_TYPES[kind])
    data = item.get("WaveformData") or b""
    check_size(num_channels, group.num_samples, group.rate, len(data) // dtype.itemsize)
    surplus = len(data) - num_channels * group.num_samples * dtype.itemsize
    check_no_surplus(surplus - surplus % 2, f"{group.num_samples} samples of {num_channels} channels")  # even by rule
    samples = np.frombuffer(data, dtype, num_channels * group.num_samples).reshape(-1, num_channels).T
    scales = np.array([_calibration(channel) for channel in item.ChannelDefinitionSequence])
    signal = missing_as_nan(samples)
    padding = _padding(item, dtype)
    if padding is not None:
        signal[samples == padding] = np.nan
    signal = signal * scales[:, :1] + scales[:, 1:]
    for row, channel in zip(signal, item.ChannelDefinitionSequence, strict=True):
        _shift(row, _skew(channel, group.rate))
    return signal


def _skew(channel: Any, rate: float) -> int:
    """Return how many samples later than its group a channel starts (PS3.3, C.10.9.1.4.3)."""
    seconds = _number(channel, "ChannelTimeSkew") + _number(channel, "ChannelOffset")
    return round(_number(channel, "ChannelSampleSkew") + seconds * rate)


def _shift(samples: np.ndarray, by: int) -> None:
    """Move samples to a later time (or an earlier one, below 0) in place, NaN where there are none then."""
    by = max(-len(samples), min(by, len(samples)))
    if by > 0:
        samples[by:] = samples[: len(samples) - by].copy()
        samples[:by] = np.nan
    elif by < 0:
        samples[:by] = samples[-by:].copy()
        samples[by:] = np.nan


def _number(item: Any, field: str) -> float:
    """Return the number of a field, 0 where it is absent or empty."""
    value = item.get(field)
    return 0.0 if value is None or value == "" else number(str(value), field)


def _calibration(channel: Any) -> tuple[float, float]:
    """Return what a count is and what 0 is, in the channel's unit."""
    fields = ("ChannelSensitivity", "ChannelSensitivityCorrectionFactor")
    stated = [field for field in fields if field in channel]
    if fields[0] not in stated and mv_per_unit(_unit(channel)) is not None:
        raise ECGFileError(
            f"has a channel in {_unit(channel)} without {fields[0]}: how much a count is, is not known."
        )
    factors = [number(str(channel.get(field)), field) for field in stated]
    factor, baseline = math.prod(factors), _number(channel, "ChannelBaseline")
    if not factor:
        raise ECGFileError(f"has a channel with {factor:g} units a count and a baseline of {baseline:g}.")
    return factor, baseline


def _padding(item: Any, dtype: np.dtype) -> int | None:
    """Return the value of missing samples, or None where there is none."""
    value = item.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        value = int(np.frombuffer(value, dtype)[0]) if len(value) >= dtype.itemsize else None
    return None if value == 0 and dtype.kind == "i" else value


def _metadata(dataset: Any) -> Metadata:
    recorded_at = hl7_time(str(dataset.get("AcquisitionDateTime") or "")) or hl7_time(
        f"{dataset.get('StudyDate') or ''}{str(dataset.get('StudyTime') or '')[:6]}"
    )
    age = str(dataset.get("PatientAge") or "")  # as in 042Y
    stated_age = in_years(age[:3], age[3:])
    born = hl7_time(str(dataset.get("PatientBirthDate")))
    found: dict[str, str] = {}
    said = []
    for annotation in islice(dataset.get("WaveformAnnotationSequence") or (), _MOST_ANNOTATIONS):
        concept = str(_first(annotation, "ConceptNameCodeSequence").get("CodeMeaning") or "").lower()
        if concept in _MEASURED and annotation.get("NumericValue") is not None:
            found.setdefault(_MEASURED[concept], str(annotation.NumericValue))
        elif annotation.get("UnformattedTextValue"):
            said.append(str(annotation.UnformattedTextValue))
    return Metadata(
        patient_id=plain_text(str(dataset.get("PatientID") or "")),
        recorded_at=recorded_at,
        age_years=years_between(born, recorded_at) if stated_age is None else stated_age,
        sex=sex_of(str(dataset.get("PatientSex") or "")),
        device=plain_text(" ".join(_device(dataset))),
        statements=statements(said),
        **measured(**found),
    )


def _device(dataset: Any) -> Iterator[str]:
    for field in ("Manufacturer", "ManufacturerModelName"):
        yield str(dataset.get(field) or "")
