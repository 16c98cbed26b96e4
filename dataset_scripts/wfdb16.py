"""Reads 12-lead WFDB records in bulk, straight into one int16 array.

A *regular* record is what PTB-XL and MIMIC-IV-ECG consist of: one `.dat` file in format 16 (little-endian int16,
samples interleaved), the 12 standard leads in any order, a unit of whole microvolts, baseline 0. It is read with one
system call. Any other single-segment record goes through the `wfdb` library and is converted.

Of a regular record's time at 500 Hz, measured with its files in memory, about a third goes into the transpose to one
row a lead, a quarter each into the header and into the system's copy of the file, and a tenth into the checksums; at
100 Hz the header takes half.

The formats are those of `header(5)` and `signal(5)` in the WFDB Applications Guide, https://physionet.org/physiotools/wag.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import wfdb

from modeling_enecg.leads import STANDARD_LEADS, standard_lead_names

NUM_LEADS = len(STANDARD_LEADS)
SAMPLE_DTYPE = np.dtype("<i2")

REGULAR_FORMATS = ["16"] * NUM_LEADS
REGULAR_ZEROS = ["0"] * NUM_LEADS
REGULAR_GAIN = re.compile(r"(1000|500|200|100)(?:\.0)?(?:\(0\))?/mV")
REGULAR_LEADS = [name.upper() for name in STANDARD_LEADS]
RECORD_TOKENS = (4, 6)  # name, number of leads, sampling rate, number of samples; perhaps time and date
SIGNAL_TOKENS = 9  # file, format, gain, ADC resolution, ADC zero, initial value, checksum, block size, lead

BYTES_PER_SAMPLE = {"16": 2.0, "24": 3.0, "32": 4.0, "61": 2.0, "80": 1.0, "160": 2.0, "212": 1.5}
MICROVOLTS = {"nv": 1e-3, "uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6}


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
        num_samples (`int`): Their length, in samples a lead.

    Returns:
        `RecordBatch`: The signals and, by position, the faults.
    """
    signals = np.empty((len(paths), NUM_LEADS, num_samples), dtype=SAMPLE_DTYPE)
    frames = np.empty((num_samples, NUM_LEADS), dtype=SAMPLE_DTYPE)  # each record's in turn: it stays in the cache
    errors: dict[int, RecordError] = {}
    for position, (path, signal) in enumerate(zip(paths, signals, strict=True)):
        try:
            header = _parse_regular_header(_read_text(f"{path}.hea"))
            if header is None:
                signal[:] = _read_with_wfdb(path, sampling_rate, num_samples).T
            else:
                _check_header(header, path, sampling_rate, num_samples)
                _read_samples(f"{path}.dat", out=frames)
                signal[:] = frames.T
                _verify(signal, header.leads, header.initial_values, header.checksums, f"{path}.dat")
                if header.leads != REGULAR_LEADS or header.microvolts != 1:
                    signal[:] = _converted(signal, header, f"{path}.dat")
        except RecordError as error:
            errors[position] = error
    return RecordBatch(signals, errors)


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
    initial_values: Sequence[int | None],
    checksums: Sequence[int | None],
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
            if expected is not None and (value - expected) % 65536:
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


def _read_with_wfdb(path: str, sampling_rate: int, num_samples: int) -> np.ndarray:
    """Read a record that is not a regular one: another format, gain, baseline, unit or lead order.

    Returns:
        `np.ndarray` of shape `(num_samples, 12)`: int16, 1 unit = 1 µV, standard lead order.
    """
    try:
        record = wfdb.rdheader(path)
        if isinstance(record, wfdb.MultiRecord):
            raise RecordError(f"{path}.hea", "number of segments", f"got {record.n_seg}; expected a single segment")
        _check_wfdb_header(record, path, sampling_rate, num_samples)
        record = wfdb.rdrecord(path, physical=False)
        _verify(record.d_signal.T, record.sig_name, record.init_value, record.checksum, f"{path}.dat")
        return _microvolts(record, path)
    except RecordError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:  # what wfdb's parser lets through
        raise RecordError(f"{path}.hea", "header", f"wfdb cannot read the record ({error})") from error


def _check_wfdb_header(record: wfdb.Record, path: str, sampling_rate: int, num_samples: int) -> None:
    """Check a header parsed by wfdb, and that the `.dat` file has the size it implies."""
    header = Header(record.record_name, record.n_sig, record.fs, record.sig_len, record.file_name or [], [], [])
    _check_header(header, path, sampling_rate, num_samples)
    formats = set(record.fmt)
    if len(formats) != 1 or not formats <= BYTES_PER_SAMPLE.keys():
        known = ", ".join(BYTES_PER_SAMPLE)
        raise RecordError(f"{path}.hea", "format", f"got {', '.join(sorted(formats))}; expected one of {known}")
    bytes_per_sample = BYTES_PER_SAMPLE[formats.pop()]
    size = (record.byte_offset[0] or 0) + int(bytes_per_sample * num_samples * sum(record.samps_per_frame))
    _check_size(f"{path}.dat", os.path.getsize(f"{path}.dat"), size)


def _microvolts(record: wfdb.Record, path: str) -> np.ndarray:
    """Convert digital signals to int16 microvolts of shape `(num_samples, 12)`, in the standard lead order."""
    try:
        leads = standard_lead_names(record.sig_name)
    except ValueError as error:
        raise RecordError(f"{path}.hea", "lead names", str(error)) from error
    unknown = sorted({unit for unit in record.units if unit.lower() not in MICROVOLTS})
    if unknown:
        raise RecordError(f"{path}.hea", "unit", f"got {', '.join(unknown)}; expected mV, uV, nV or V")
    signal = record.dac() * [MICROVOLTS[unit.lower()] for unit in record.units]
    signal = np.rint(signal[:, [leads.index(lead) for lead in STANDARD_LEADS]])
    limits = np.iinfo(np.int16)
    if not np.all((signal >= limits.min) & (signal <= limits.max)):
        seen = f"got {np.min(signal)} to {np.max(signal)} µV (nan: a sample marked as missing)"
        raise RecordError(f"{path}.dat", "amplitude", f"{seen}; expected {limits.min} to {limits.max}")
    return signal.astype(SAMPLE_DTYPE)
