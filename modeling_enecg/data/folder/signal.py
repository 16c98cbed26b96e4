"""Reads one record of a folder of ECGs as int16 microvolts of its standard leads."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...ecg_file import ECGFileError
from ...io import ECGRecord, read_ecg
from ...leads import STANDARD_LEADS
from ..rows import MICROVOLTS_PER_MV, SAMPLE_DTYPE
from .settings import FolderSettings, folder_error
from .table import record_file

LIMITS = np.iinfo(SAMPLE_DTYPE)
LONGEST_BYTES = 2**31 - 1  # that Arrow's binary type addresses


class Signal(NamedTuple):
    """A record as the dataset keeps it.

    Attributes:
        microvolts (`np.ndarray` of shape `(num_leads, num_samples)`): int16, C-contiguous.
        sampling_rate (`float`): In Hz.
        lead_names (`list[str]`): Of `STANDARD_LEADS`, in their order.
        other_leads (`list[str]`): Leads of the file that are none of them, and left out.
    """

    microvolts: np.ndarray
    sampling_rate: float
    lead_names: list[str]
    other_leads: list[str]


def read_signal(settings: FolderSettings, record: str, row: int) -> Signal:
    """Read a record's standard leads.

    Leads without any sample are left out. A lead beyond what int16 holds is moved by its median, an offset that
    electrodes cause.

    Args:
        settings (`FolderSettings`): Tell the folder, and what `read_ecg` is to know.
        record (`str`): The record's path in it.
        row (`int`): Its line in the table, for errors.

    Raises:
        DatasetError: if the record is faulty, or the library that reads its format is not installed.
    """
    try:
        _check_place(settings.folder, record)
        content = read_ecg(settings.folder / record, settings.sampling_rate, settings.unit, settings.lead_names)
        return _standard_leads(content)
    except _Fault as fault:
        raise folder_error(record, row, fault.field, str(fault)) from fault
    except (ECGFileError, OSError, ImportError) as error:
        reason = str(error).removeprefix(f"{settings.folder / record}: ")  # named by the error itself
        raise folder_error(record, row, "file", reason) from error


class _Fault(ValueError):
    """What is wrong in a record, by the field it is wrong in."""

    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


def _check_place(folder: Path, record: str) -> None:
    """Make sure that a record and all files its headers name lie in the folder, whatever links lead there."""
    root = os.path.realpath(folder)
    files = [record_file(folder, record)]
    for file in files:  # which grows
        target = os.path.realpath(file)
        if not target.startswith(root + os.sep):
            raise _Fault("path", f"{file.name!r} leads to {target}; expected a file inside the folder")
        named = dict.fromkeys(file.parent / name for name in _named_files(file))
        files += [each for each in named if each not in files]


def _named_files(file: Path) -> Iterator[str]:
    """Yield what a WFDB header names: files of signals, or segments, which have headers of their own."""
    if file.suffix == ".hea" and file.is_file():
        lines = [line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
        content = [tokens for tokens in lines if tokens and not tokens[0].startswith("#")]
        for name, *_ in content[1:]:
            yield from (name, f"{name}.hea")


def _standard_leads(content: ECGRecord) -> Signal:
    """Keep what the dataset keeps of a recording."""
    signal_mv, sampling_rate, names = content.signal_mv, content.sampling_rate, content.lead_names
    recorded = {name: lead for name, lead in zip(names, signal_mv, strict=True) if not np.isnan(lead).all()}
    leads = [name for name in STANDARD_LEADS if name in recorded]
    other_leads = [name for name in names if name not in STANDARD_LEADS]
    if not leads:
        raise _Fault("lead names", f"got {', '.join(names)}; expected one of {', '.join(STANDARD_LEADS)} with samples")
    microvolts = np.stack([_microvolts(name, recorded[name]) for name in leads])
    if (microvolts == microvolts[:, :1]).all():
        raise _Fault("amplitude", "every lead is constant; expected an ECG")
    if microvolts.nbytes > LONGEST_BYTES:
        raise _Fault("length", f"got {microvolts.nbytes} bytes; expected {LONGEST_BYTES} at most: cut the recording")
    return Signal(microvolts, sampling_rate, leads, other_leads)


def _microvolts(name: str, lead_mv: np.ndarray) -> np.ndarray:
    """Return a lead's samples as int16."""
    missing = int(np.isnan(lead_mv).sum())
    if missing:
        raise _Fault("samples", f"{missing} of {len(lead_mv)} are missing in lead {name}; expected all or none")
    samples = np.rint(lead_mv * MICROVOLTS_PER_MV)
    if not _fits(samples):
        samples = np.rint(samples - np.median(samples))
    if not _fits(samples):
        seen = f"got {samples.min():.0f} to {samples.max():.0f} µV in lead {name}, without its offset"
        raise _Fault("amplitude", f"{seen}; expected {LIMITS.min} to {LIMITS.max}")
    return samples.astype(SAMPLE_DTYPE)


def _fits(samples: np.ndarray) -> bool:
    return bool(samples.min() >= LIMITS.min and samples.max() <= LIMITS.max)
