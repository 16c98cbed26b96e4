"""Reads 12-lead WFDB records in bulk, straight into one int16 array.

A *regular* record is what PTB-XL and MIMIC-IV-ECG consist of: one `.dat` file in format 16 (little-endian int16,
samples interleaved), the 12 standard leads in any order, a unit of whole microvolts, baseline 0. It is read with one
system call. Any other single-segment record, unless compressed, goes through the reader of `modeling_enecg`, is
checked as strictly, and converted.

Of a regular record's time at 500 Hz, measured with its files in memory, about a third goes into the transpose to one
row per lead, a quarter each into the header and into the system's copy of the file, and a tenth into the checksums; at
100 Hz the header takes half.

The formats are those of `header(5)` and `signal(5)` in the WFDB Applications Guide, https://physionet.org/physiotools/wag.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from ..ecg_file import ECGFileError, mv_per_unit
from ..leads import STANDARD_LEADS, standard_lead_names
from ..reading_wfdb import read_wfdb
from ..wfdb_header import Signal, read_header
from ..wfdb_samples import FLAC_BITS, count_samples
from .rows import MICROVOLTS_PER_MV, SAMPLE_DTYPE

NUM_LEADS = len(STANDARD_LEADS)

REGULAR_FORMATS = ["16"] * NUM_LEADS
REGULAR_ZEROS = ["0"] * NUM_LEADS
REGULAR_GAIN = re.compile(r"(1000|500|200|100)(?:\.0)?(?:\(0\))?/mV")
REGULAR_LEADS = [name.upper() for name in STANDARD_LEADS]
RECORD_TOKENS = (4, 6)  # name, number of leads, sampling rate, number of samples; perhaps time and date
SIGNAL_TOKENS = 9  # file, format, gain, ADC resolution, ADC zero, initial value, checksum, block size, lead


class RecordError(ValueError):
    """A record that cannot be read as 12 leads of int16 microvolts.

    Attributes:
        file (`str`): The `.hea` or `.dat` file at fault.
        field (`str`): What is wrong in it, for instance `"checksum"`.
        reason (`str`): What was seen and what would be right.
    """

    def __init__(self, file: str, field: str, reason: str):
        super().__init__(file, field, reason)  # all three, so that the error survives pickling between processes
        self.file, self.field, self.reason = file, field, reason

    def __str__(self) -> str:
        return f"{self.file}: {self.field}: {self.reason}"


class RecordBatch(NamedTuple):
    """Many records of one length.

    Attributes:
        signals (`np.ndarray` of shape `(num_records, 12, num_samples)`): int16, 1 unit = 1 µV, standard lead order.
            The rows of faulty records mean nothing.
        errors (`dict[int, RecordError]`): The fault of each faulty record, by its position.
    """

    signals: np.ndarray
    errors: dict[int, RecordError]


class Header(NamedTuple):
    """What a `.hea` file says about its record, as far as it is checked."""

    record_name: str
    num_leads: int
    sampling_rate: float
    num_samples: int
    signal_files: list[str]
    initial_values: list[int]
    checksums: list[int]
    leads: list[str] = REGULAR_LEADS
    microvolts: int = 1  # that a unit stands for


def read_records(paths: Sequence[str], sampling_rate: int, num_samples: int) -> RecordBatch:
    """Read 12-lead records of one sampling rate and length.

    Each header is checked against its file name, the sampling rate and the length; each signal against the header's
    checksum (sum of the samples modulo 65536) and initial value. A fault is reported, never raised.

    Args:
        paths (`Sequence[str]`): The records' paths, without `.hea` or `.dat`.
        sampling_rate (`int`): Their sampling rate, in Hz.
        num_samples (`int`): Their length, in samples per lead.

    Returns:
        `RecordBatch`: The signals and, by position, the faults.
    """
    signals = np.empty((len(paths), NUM_LEADS, num_samples), dtype=SAMPLE_DTYPE)
    frames = np.empty((num_samples, NUM_LEADS), dtype=SAMPLE_DTYPE)  # each record's in turn: it stays in the cache
    errors: dict[int, RecordError] = {}
    for position, (path, signal) in enumerate(zip(paths, signals, strict=True)):
        try:
            text = _read_text(f"{path}.hea")
            header = _parse_regular_header(text)
            if header is None:
                signal[:] = _read_other(path, _record_name(text), sampling_rate, num_samples)
            else:
                _check_header(header, path, sampling_rate, num_samples)
                _read_samples(f"{path}.dat", out=frames)
                signal[:] = frames.T
                _verify(signal, header.leads, header.initial_values, header.checksums, f"{path}.dat")
                if header.leads != REGULAR_LEADS or header.microvolts != 1:
                    signal[:] = _converted(signal, header, f"{path}.dat")
            _check_changes(signal, f"{path}.dat")
        except RecordError as error:
            errors[position] = error
    return RecordBatch(signals, errors)


def _check_changes(signal: np.ndarray, file: str) -> None:
    """Refuse a record that holds no ECG; most show by their ends that they do."""
    if (signal[:, 0] == signal[:, -1]).all() and (signal == signal[:, :1]).all():
        raise RecordError(file, "amplitude", "every lead is constant; expected an ECG")


def _read_text(file: str) -> str:
    try:
        with open(file, "rb", buffering=0) as stream:
            return stream.readall().decode("utf-8", errors="replace")
    except OSError as error:
        raise RecordError(file, "file", f"cannot be read ({error.strerror}); expected a WFDB header") from error


def _parse_regular_header(text: str) -> Header | None:
    """Return what a regular record's header says, or None if the record is not a regular one."""
    first_line, _, others = text.partition("\n#")[0].partition("\n")
    record, tokens = first_line.split(), others.split()
    if len(record) not in RECORD_TOKENS or len(tokens) != NUM_LEADS * SIGNAL_TOKENS:
        return None
    files, formats, gains, _, zeros, initial_values, checksums, _, names = (
        tokens[column::SIGNAL_TOKENS] for column in range(SIGNAL_TOKENS)
    )
    gain, leads = REGULAR_GAIN.fullmatch(gains[0]), [name.upper() for name in names]
    regular = formats == REGULAR_FORMATS and zeros == REGULAR_ZEROS and len(set(gains)) == 1
    if gain is None or not regular or sorted(leads) != sorted(REGULAR_LEADS):
        return None
    name, num_leads, sampling_rate, num_samples = record[:4]
    try:
        return Header(
            record_name=name,
            num_leads=int(num_leads),
            sampling_rate=float(sampling_rate),
            num_samples=int(num_samples),
            signal_files=files,
            initial_values=list(map(int, initial_values)),
            checksums=list(map(int, checksums)),
            leads=leads,
            microvolts=1000 // int(gain[1]),
        )
    except ValueError:
        return None


def _check_header(header: Header, path: str, sampling_rate: int, num_samples: int) -> None:
    name = os.path.basename(path)
    checks = (
        ("record name", header.record_name, name),
        ("number of leads", header.num_leads, NUM_LEADS),
        ("sampling rate", header.sampling_rate, sampling_rate),
        ("number of samples", header.num_samples, num_samples),
        ("signal file", " ".join(sorted(set(header.signal_files))), f"{name}.dat"),
    )
    for field, value, expected in checks:
        if value != expected:
            raise RecordError(f"{path}.hea", field, f"got {value!r}; expected {expected!r}")


def _read_samples(file: str, out: np.ndarray) -> None:
    """Read a `.dat` file in format 16 into `out`, of shape `(num_samples, num_leads)`."""
    try:
        with open(file, "rb", buffering=0) as stream:
            _check_size(file, os.fstat(stream.fileno()).st_size, out.nbytes)
            _check_size(file, stream.readinto(out.data), out.nbytes)
    except OSError as error:
        raise RecordError(file, "file", f"cannot be read ({error.strerror}); expected the signals") from error


def _check_size(file: str, size: int, expected: int) -> None:
    if size != expected:
        fault = "truncated" if size < expected else "overlong"
        raise RecordError(file, "file size", f"{fault}, got {size} bytes; expected {expected}")


def _verify(
    signals: np.ndarray,
    leads: Sequence[str],
    initial_values: Sequence[int],
    checksums: Sequence[int],
    file: str,
) -> None:
    """Compare digital signals of shape `(num_leads, num_samples)` with what a header states, signed or unsigned."""
    sums = np.add.reduce(signals, axis=1, dtype=np.int16)
    for field, values, stated in (
        ("initial value", signals[:, 0].tolist(), initial_values),
        ("checksum", sums.view(np.uint16).tolist(), checksums),
    ):
        if values == stated:  # as in the release: nothing to compare lead by lead
            continue
        for lead, value, expected in zip(leads, values, stated, strict=True):
            if (value - expected) % 65536:
                reason = f"got {value} in lead {lead}; its header says {expected} (to be equal modulo 65536)"
                raise RecordError(file, field, reason)


def _converted(signal: np.ndarray, header: Header, file: str) -> np.ndarray:
    """Return a signal of shape `(12, num_samples)` in microvolts and the standard lead order."""
    limit = np.iinfo(np.int16).max // header.microvolts
    low, high = int(signal.min()), int(signal.max())
    if low < -limit or high > limit:
        seen = f"got {low} to {high} units of {header.microvolts} µV (-32768: a sample marked as missing)"
        raise RecordError(file, "amplitude", f"{seen}; expected {-limit} to {limit}")
    return signal[[header.leads.index(lead) for lead in REGULAR_LEADS]] * np.int16(header.microvolts)


def _record_name(text: str) -> str:
    lines = [line.split() for line in text.splitlines()]
    return next((tokens[0] for tokens in lines if tokens and not tokens[0].startswith("#")), "")


@np.errstate(over="ignore", invalid="ignore")  # what becomes infinite is refused
def _read_other(path: str, record_name: str, sampling_rate: int, num_samples: int) -> np.ndarray:
    """Read a record that is not a regular one: another format, gain, baseline or unit.

    Returns:
        `np.ndarray` of shape `(12, num_samples)`: int16, 1 unit = 1 µV, standard lead order.
    """
    try:
        header, signals = _parse_other_header(f"{path}.hea", record_name)
        _check_header(header, path, sampling_rate, num_samples)
        leads = _check_signals(f"{path}.hea", signals)
        values = read_wfdb(Path(f"{path}.hea")).signal
        _check_end(f"{path}.dat", signals[0], num_samples)
    except (ECGFileError, OSError) as error:
        raise RecordError(f"{path}.hea", "record", str(error)) from error
    microvolts = _microvolts(values, signals, f"{path}.dat")
    # The reader knows no initial values, and takes a checksum of 0 for none.
    _verify(_counts(values, signals), leads, header.initial_values, header.checksums, f"{path}.dat")
    return microvolts[[leads.index(lead) for lead in STANDARD_LEADS]]


def _parse_other_header(file: str, record_name: str) -> tuple[Header, list[Signal]]:
    """Return what the header of a record of one segment says."""
    record = read_header(Path(file))
    if record.segments:
        raise RecordError(file, "number of segments", f"got {len(record.segments)}; expected a single segment")
    header = Header(
        record_name=record_name,
        num_leads=len(record.signals),
        sampling_rate=record.rate,
        num_samples=record.num_frames,
        signal_files=[each.file for each in record.signals],
        initial_values=[each.initial for each in record.signals],
        checksums=[each.checksum for each in record.signals],
    )
    return header, record.signals


def _check_signals(file: str, signals: Sequence[Signal]) -> list[str]:
    """Return the leads' standard names, in the file's order."""
    try:
        leads = standard_lead_names([each.name for each in signals])
    except ValueError as error:
        raise RecordError(file, "lead names", str(error)) from error
    for lead, each in zip(leads, signals, strict=True):
        for field, value, is_right, expected in (
            ("format", each.fmt, each.fmt not in FLAC_BITS, "one without compression"),
            ("samples a frame", each.samples_per_frame, each.samples_per_frame == 1, "1"),
            ("unit", each.unit, mv_per_unit(each.unit) is not None, "mV, uV, nV or V"),
        ):
            if not is_right:
                raise RecordError(file, field, f"got {value!r} in lead {lead}; expected {expected}")
    return leads


def _check_end(file: str, signal: Signal, num_samples: int) -> None:
    """Make sure that a file ends with its samples, which have been read: a byte shorter, it would hold fewer."""
    if count_samples(Path(file), signal.fmt, signal.offset + 1) >= NUM_LEADS * num_samples:
        raise RecordError(file, "file size", f"overlong; expected {num_samples} samples a lead and no byte more")


def _microvolts(values: np.ndarray, signals: Sequence[Signal], file: str) -> np.ndarray:
    """Convert signals of shape `(12, num_samples)`, in their units, to int16 microvolts."""
    factors = [[cast(float, mv_per_unit(each.unit)) * MICROVOLTS_PER_MV] for each in signals]  # checked units
    microvolts = np.rint(values * np.array(factors))
    limits = np.iinfo(SAMPLE_DTYPE)
    if not np.all((microvolts >= limits.min) & (microvolts <= limits.max)):
        seen = f"got {np.min(microvolts)} to {np.max(microvolts)} µV (nan: a sample marked as missing)"
        raise RecordError(file, "amplitude", f"{seen}; expected {limits.min} to {limits.max}")
    return microvolts.astype(SAMPLE_DTYPE)


def _counts(values: np.ndarray, signals: Sequence[Signal]) -> np.ndarray:
    """Convert signals of shape `(12, num_samples)`, in their units, back to the numbers in the file."""
    gains, baselines = np.array([(each.gain, each.baseline) for each in signals]).T[:, :, None]
    return np.rint(values * gains + baselines).astype(np.int64)
