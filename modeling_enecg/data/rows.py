"""How a dataset's row keeps a signal: the bytes of C-contiguous int16 microvolts, leads before samples.

Where records differ, a row also has its `sampling_rate` and `lead_names`; else the leads are the standard twelve.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..ecg_file import MICROVOLTS_PER_MV
from ..leads import STANDARD_LEADS

SAMPLE_DTYPE = np.dtype("<i2")


class RowSignal(NamedTuple):
    """A row as a signal in mV, of shape `(num_leads, num_samples)`, with its rate (Hz) and lead names."""

    signal: np.ndarray
    sampling_rate: float
    lead_names: Sequence[str]


def signal_array(row: Mapping[str, Any]) -> np.ndarray:
    """Return a record's signal as it is stored.

    Args:
        row (`Mapping[str, Any]`): A row of a dataset, with its `signal` and, where it has them, `lead_names`.

    Returns:
        `np.ndarray` of shape `(num_leads, num_samples)`: int16, 1 unit = 1 µV, read-only; leads as in `lead_names`,
            else in the order of `STANDARD_LEADS`.
    """
    names = row.get("lead_names") or STANDARD_LEADS
    return np.frombuffer(row["signal"], dtype=SAMPLE_DTYPE).reshape(len(names), -1)


def row_signal(row: Mapping[str, Any], sampling_rate: float) -> RowSignal:
    """Return a record's signal as a feature extractor takes it.

    Args:
        row (`Mapping[str, Any]`): A row of a dataset.
        sampling_rate (`float`): In Hz, of rows that do not say it.
    """
    names = row.get("lead_names") or STANDARD_LEADS
    return RowSignal(signal_array(row) / MICROVOLTS_PER_MV, row.get("sampling_rate") or sampling_rate, names)


def signal_column(signals: np.ndarray) -> pa.BinaryArray:
    """Return int16 signals of shape `(num_records, num_leads, num_samples)` as a column, without copying them."""
    offsets = np.arange(len(signals) + 1, dtype=np.int32) * signals[0:1].nbytes
    return pa.BinaryArray.from_buffers(pa.binary(), len(signals), [None, pa.py_buffer(offsets), pa.py_buffer(signals)])


def num_samples(signal_bytes: np.ndarray, num_leads: Any) -> np.ndarray:
    """Return each record's samples per lead, from the size of its signal in bytes and its number of leads."""
    return signal_bytes / SAMPLE_DTYPE.itemsize / num_leads


__all__ = [
    "MICROVOLTS_PER_MV",
    "SAMPLE_DTYPE",
    "RowSignal",
    "num_samples",
    "row_signal",
    "signal_array",
    "signal_column",
]
