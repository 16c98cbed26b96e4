"""Reading ECG files of any known format into signals in millivolts.

Formats are told by their content, not by their ending. WFDB is read here; each other format has a module in
`readers/`, which belongs to the installed package and does not travel with a model's code.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from numbers import Real
from pathlib import Path

import numpy as np

from .ecg_file import (
    LONGEST_HOURS,
    MOST_CHANNELS,
    MOST_SAMPLES,
    ChannelKind,
    ECGFileError,
    FileContent,
    channel_kinds,
    channel_name,
    contradicts,
    is_no_unit,
    largest_recording,
    mv_per_unit,
)
from .feature_extraction_ecg import HIGHEST_HZ, LOWEST_HZ
from .file_signatures import SNIFFED_BYTES, format_of, other_format
from .leads import is_standard_lead
from .reading_wfdb import find_header, read_wfdb
from .recording import ECGRecord
from .strict_numbers import number_or_none

_LONGEST_TEXT = 500  # of a message, or of a lead's name
_OF_SEVERAL_RECORDS = ("hdf5",)  # formats of files that a path may go on from, to a record


def read_ecg(
    path: str | os.PathLike[str],
    sampling_rate: float | None = None,
    unit: str | float | None = None,
    lead_names: Sequence[str] | None = None,
    most_samples: int = MOST_SAMPLES,
) -> ECGRecord:
    """Read an ECG file.

    WFDB, PhysioNet Challenge `.mat`, DICOM waveform, EDF and BDF, GE MUSE and CardioSoft XML, HL7 aECG XML, Mortara
    ELI XML, Philips Sierra XML, Schiller XML, SCP-ECG, ISHNE, MFER, AliveCor ATC, HDF5, NumPy, CSV and text exports
    are understood. Only leads are returned. Channels in other units than volts, those that name themselves something
    else (EEG, RESP), and, beside channels that are named as leads, those that are not, stand in the record's
    `left_out` with the reason.

    What the file states clearly holds, and an argument that contradicts it is refused. A name that tells no certain
    lead (`ECG`, `MLII`, `col 0`) and a unit that is none (`adu`, `counts`) are replaced by what is given.

    Args:
        path (`str` or `Path`): The file; a WFDB record with or without the ending `.hea` or `.dat`; a record of an
            HDF5 file as `exams.hdf5/590673`, by its `exam_id`.
        sampling_rate (`float`, *optional*): Samples per second (Hz), where the file does not say it.
        unit (`str` or `float`, *optional*): The amplitudes' unit, where the file does not say it: nV, uV, mV or V; or
            how many mV one count of the stored numbers is.
        lead_names (`Sequence[str]`, *optional*): The leads' names in the file's order, where it does not say them: of
            all its channels, or of those alone that would be returned.
        most_samples (`int`, *optional*, defaults to 12 leads of 48 hours at 1000 Hz): The largest recording that is
            read, in samples of all channels together; a larger one is refused, where its file states its size before
            memory is taken for it.

    Returns:
        [`ECGRecord`]

    Raises:
        ImportError: if the format's library is not installed.
        TypeError: if an argument is of the wrong type.
        ECGFileError: if the file is missing, damaged, or of no known format; it contradicts an argument, or does not
            say what an argument then must; or it holds no lead.
    """
    _check_arguments(sampling_rate, unit, lead_names, most_samples)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused in the end
            content = _read(os.fspath(path), most_samples)
            return _leads(_complete(content, sampling_rate, unit, lead_names), content.names or [])
    except MemoryError as error:
        raise ECGFileError(f"{path}: holds more samples than fit into memory. Cut the recording.") from error
    except ECGFileError as error:
        raise ECGFileError(f"{path}: {_on_one_line(str(error))}") from error


def _check_arguments(sampling_rate: object, unit: object, lead_names: object, most_samples: object) -> None:
    if not (sampling_rate is None or _is_number(sampling_rate)):
        raise TypeError(f"sampling_rate is {sampling_rate!r}; a number of Hz was expected.")
    if not (unit is None or isinstance(unit, str) or _is_number(unit)):
        raise TypeError(f"unit is {unit!r}; nV, uV, mV, V, or a number of mV per count was expected.")
    if not (lead_names is None or _is_list_of_texts(lead_names)):
        raise TypeError(f"lead_names is {lead_names!r}; a list of names, in the file's order, was expected.")
    if not isinstance(most_samples, int) or isinstance(most_samples, bool) or most_samples < 1:
        raise TypeError(f"most_samples is {most_samples!r}; a positive whole number was expected.")


def _is_list_of_texts(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    return all(isinstance(each, str) for each in value)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _on_one_line(text: str) -> str:
    """Shorten what a damaged file may have put into a text, and take out what a terminal would obey."""
    if text.isprintable() and len(text) <= _LONGEST_TEXT:
        return text
    shown = "".join(each if each.isprintable() else " " for each in text[:_LONGEST_TEXT])
    return shown if len(text) <= _LONGEST_TEXT else f"{shown} ..."


def _read(path: str, most: int) -> FileContent:
    token = largest_recording.set(most)
    try:
        header = find_header(Path(path))
        content = _read_other(Path(path)) if header is None else read_wfdb(header)
    finally:
        largest_recording.reset(token)
    if len(content.signal) > MOST_CHANNELS:
        raise ECGFileError(f"holds {len(content.signal)} channels; at most {MOST_CHANNELS} are read.")
    if content.signal.size > most:
        raise ECGFileError(
            f"holds {content.signal.size} samples; at most {most} are read. Cut the recording, or give a larger "
            "most_samples."
        )
    return content


def _read_other(path: Path) -> FileContent:
    """Read a file that is no WFDB record, or a record within it."""
    file = path.parent if path.parent.is_file() else path
    if file.exists() and not (file.is_file() or file.is_dir()):  # opening a pipe may wait for ever
        raise ECGFileError("is a pipe or a device; a regular file was expected.")
    try:
        with file.open("rb") as stream:
            head = stream.read(SNIFFED_BYTES)
    except OSError as error:
        raise ECGFileError(f"cannot be read ({error.strerror}), and there is no WFDB header {path}.hea.") from error
    module = format_of(head)
    if module is None:
        other = other_format(head)
        if other is not None:
            raise ECGFileError(f"is {other[0]}, which is not read: {other[1]}.")
        raise ECGFileError("is of no known format: no signature of one, and no WFDB header beside it.")
    if file != path and module not in _OF_SEVERAL_RECORDS:
        raise ECGFileError(f"names a record within {file.name}, which holds one; leave {path.name} out.")
    try:
        reader = import_module(f"{__package__}.readers.{module}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(f"{__package__}.readers"):
            raise
        raise ImportError(
            "A model's own code reads WFDB records only; for other formats install enecg from its source."
        ) from error
    return reader.read(path)


def _complete(
    content: FileContent, sampling_rate: float | None, unit: str | float | None, lead_names: Sequence[str] | None
) -> FileContent:
    """Fill in what the file does not say, and refuse what contradicts it."""
    rate = _rate(content.sampling_rate, sampling_rate)
    signal, units = _with_units(content, unit)
    names = _names(content.names, lead_names, units)
    return replace(content, signal=signal, sampling_rate=rate, units=units, names=names)


def _rate(stated: float | None, given: float | None) -> float:
    rate = given if stated is None else stated
    if rate is None:
        raise ECGFileError("does not state its sampling_rate; give sampling_rate, in Hz.")
    if stated is not None and given is not None and not math.isclose(stated, given):
        raise ECGFileError(f"states a sampling_rate of {rate:g}; it is given as {given:g}.")
    return float(rate)


def _with_units(content: FileContent, given: str | float | None) -> tuple[np.ndarray, list[str]]:
    """Return the signal and its units, in mV by the given unit where the file's says nothing."""
    num_channels = len(content.signal)
    units = [""] * num_channels if content.units is None else content.units
    if len(units) != num_channels:
        raise ECGFileError(f"has {num_channels} leads, but {len(units)} units.")
    unsaid = [row for row, unit in enumerate(units) if is_no_unit(unit)]
    stated = {unit for unit in units if mv_per_unit(unit) is not None}
    if given is None:
        if not stated and unsaid:
            seen = ", ".join(sorted({unit for unit in units if unit}))
            raise ECGFileError(
                f"states no unit of voltage{f' but {seen}' if seen else ''}; "
                "give unit: nV, uV, mV, V, or how many mV one count is."
            )
        return content.signal, units
    factor, is_per_count = _mv_per_given(given)
    if any(is_per_count or mv_per_unit(unit) != factor for unit in stated):
        raise ECGFileError(f"states the units {', '.join(sorted(stated))}; unit is given as {given}.")
    if not unsaid:
        return content.signal, units
    scale = np.ones(num_channels)
    scale[unsaid] = factor
    if is_per_count and content.counts_per_unit is not None:
        scale[unsaid] *= content.counts_per_unit[unsaid]
    units = ["mV" if is_no_unit(unit) else unit for unit in units]
    return content.signal * scale[:, None], units


def _mv_per_given(unit: str | float) -> tuple[float, bool]:
    """Return how many mV the given unit is, and whether it is that number itself, of mV per count."""
    factor = mv_per_unit(unit) if isinstance(unit, str) else None
    if factor is not None:
        return factor, False
    factor = number_or_none(unit) if isinstance(unit, str) else float(unit)
    if factor is None or not 0 < factor < math.inf:
        raise ECGFileError(
            f"unit is given as {unit}; nV, uV, mV, V, or a positive number of mV per count was expected."
        )
    return factor, True


def _names(stated: Sequence[str] | None, given: Sequence[str] | None, units: Sequence[str]) -> list[str]:
    """Return each channel's name: as the file states it, or where that tells no certain lead, as it is given."""
    num_channels = len(units)
    if stated is None and given is None:
        raise ECGFileError(f"does not name its {num_channels} leads; give lead_names, in the file's order.")
    names = list(given or ()) if stated is None else list(stated)
    if len(names) != num_channels:
        raise ECGFileError(f"has {num_channels} leads, but {len(names)} names.")
    if stated is None or given is None:
        return names
    rows = list(range(num_channels)) if len(given) == num_channels else _kept(names, units)[0]
    if len(rows) != len(given) or any(contradicts(names[row], name) for row, name in zip(rows, given, strict=True)):
        raise ECGFileError(f"names its leads {', '.join(names)}; lead_names is given as {', '.join(given)}.")
    for row, name in zip(rows, given, strict=True):
        names[row] = name
    return names


def _kept(names: Sequence[str], units: Sequence[str]) -> tuple[list[int], dict[str, str]]:
    """Return which channels are leads, and why each of the others is none, by name."""
    reasons: dict[str, str] = {}
    known: list[int] = []
    unknown: list[int] = []
    for row, (name, unit, kind) in enumerate(zip(names, units, channel_kinds(names), strict=True)):
        if mv_per_unit(unit) is None:
            reasons[name] = f"in {unit}, which is no unit of voltage" if unit else "without a unit"
        elif kind is ChannelKind.OTHER_SIGNAL:
            reasons[name] = "by its name no ECG"
        else:
            (known if kind is ChannelKind.LEAD else unknown).append(row)
    if not known:
        return unknown, reasons
    return known, reasons | {names[row]: "by its name no standard lead" for row in unknown}


def _leads(content: FileContent, stated_names: Sequence[str]) -> ECGRecord:
    """Keep the channels that are leads, in mV, of content that says everything."""
    signal, rate = content.signal, content.sampling_rate
    names, units = [_on_one_line(name) for name in content.names or ()], content.units or []
    assert rate is not None  # `_complete` sees to it
    rows, left_out = _kept(names, units)
    if not rows or not signal.shape[1]:
        channels = ", ".join(f"{name} ({unit})" for name, unit in zip(names, units, strict=True))
        raise ECGFileError(f"has no ECG: its channels are {channels}, of {signal.shape[1]} samples.")
    _check_length(signal.shape[1], rate)
    lead_names = [channel_name(names[row]) for row in rows]
    repeated = sorted({name for name in lead_names if lead_names.count(name) > 1 and is_standard_lead(name)})
    if repeated:
        raise ECGFileError(f"holds leads twice: {', '.join(repeated)}.")
    return ECGRecord(
        _in_mv(signal, rows, [units[row] for row in rows]),
        rate,
        lead_names,
        content.metadata,
        original_lead_names=[_on_one_line(stated_names[row]) for row in rows] if stated_names else [],
        left_out=_clean(content.left_out) | left_out,
        damaged_leads={channel_name(name): reason for name, reason in _clean(content.damaged_leads).items()},
    )


def _clean(reasons: Mapping[str, str]) -> dict[str, str]:
    return {_on_one_line(name): _on_one_line(reason) for name, reason in reasons.items()}


def _check_length(num_samples: int, rate: float) -> None:
    if not LOWEST_HZ <= rate <= HIGHEST_HZ:
        raise ECGFileError(f"has a sampling rate of {rate:g} Hz; an ECG's is from {LOWEST_HZ} to {HIGHEST_HZ}.")
    if num_samples > LONGEST_HOURS * 3600 * rate:
        raise ECGFileError(f"lasts {num_samples / rate / 3600:.0f} hours; at most {LONGEST_HOURS} are read.")


def _in_mv(signal: np.ndarray, rows: Sequence[int], units: Sequence[str]) -> np.ndarray:
    """Return rows of a signal in mV, of which some sample must be there and none may be infinite."""
    scale = [mv_per_unit(unit) or math.nan for unit in units]
    leads = signal if len(rows) == len(signal) else signal[rows]
    if any(factor != 1 for factor in scale):
        leads = leads * np.array(scale)[:, None]
    leads = np.ascontiguousarray(leads, dtype=np.float64)
    is_finite = np.isfinite(leads.sum())  # much faster than to ask of each sample
    if not is_finite and (np.isinf(leads).any() or np.isnan(leads).all()):
        raise ECGFileError("holds no valid sample, or infinite ones.")
    return leads


__all__ = ["ECGFileError", "ECGRecord", "read_ecg"]
