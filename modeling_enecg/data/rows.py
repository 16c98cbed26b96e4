"""How a dataset's row keeps a signal: the bytes of C-contiguous int16 microvolts, leads before samples.

Where records differ, a row also has its `sampling_rate`, `lead_names` and `num_samples`; else the leads are the
standard twelve, and a record lasts 10 s, as in PTB-XL and MIMIC-IV-ECG.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa

from ..ecg_file import MICROVOLTS_PER_MV
from ..feature_extraction_ecg import HIGHEST_HZ, LOWEST_HZ
from ..leads import STANDARD_LEADS
from .errors import DatasetError

SAMPLE_DTYPE = np.dtype("<i2")
RECORD_SECONDS = 10


_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {  # of columns, and what tells that one is right
    "ecg_id": ("whole numbers or texts", lambda feature: _is_value(feature, "int", "uint", "string", "large_string")),
    "patient_id": ("numbers or texts", lambda feature: _is_value(feature, "int", "uint", "float", "string", "null")),
    "signal": ("bytes", lambda feature: _is_value(feature, "binary", "large_binary")),
    "sampling_rate": ("numbers", lambda feature: _is_value(feature, "int", "uint", "float")),
    "num_samples": ("whole numbers", lambda feature: _is_value(feature, "int", "uint")),
    "lead_names": (
        "lists of texts",
        lambda feature: (
            isinstance(feature, datasets.List | datasets.LargeList)
            and _is_value(feature.feature, "string", "large_string")
        ),
    ),
}
_NEEDED = ("ecg_id", "patient_id", "signal")


class RowSignal(NamedTuple):
    """A row as a signal in mV, of shape `(num_leads, num_samples)`, with its rate (Hz) and lead names."""

    signal: np.ndarray
    sampling_rate: float
    lead_names: Sequence[str]


def check_columns(features: datasets.Features) -> None:
    """Refuse a table that is none of records.

    Args:
        features (`datasets.Features`): Its columns.

    Raises:
        DatasetError: if a column that is needed is not there, or one is of another type.
    """
    for name, (kind, is_right) in _KINDS.items():
        if name in features and not is_right(features[name]):
            raise DatasetError(None, None, name, f"the column must hold {kind}; it holds {features[name]}.")
        if name in _NEEDED and name not in features:
            raise DatasetError(None, None, name, f"there is no such column; it must hold {kind}.")


def _is_value(feature: Any, *dtypes: str) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(dtypes)


def signal_array(row: Mapping[str, Any]) -> np.ndarray:
    """Return a record's signal as it is stored.

    Args:
        row (`Mapping[str, Any]`): A row of a dataset, with its `signal` and, where it has them, `lead_names`.

    Returns:
        `np.ndarray` of shape `(num_leads, num_samples)`: int16, 1 unit = 1 µV, read-only; leads as in `lead_names`,
            else in the order of `STANDARD_LEADS`.

    Raises:
        ValueError: if the bytes are not as many as leads and samples say: leads before samples, each would shift.
    """
    names = row.get("lead_names") or STANDARD_LEADS
    if row["signal"] is None or None in names:
        raise ValueError("it has no signal, or leads without a name.")
    samples = _array(row["signal"], len(names), row.get("num_samples"))
    return samples.reshape(len(names), -1)


def row_signal(row: Mapping[str, Any], sampling_rate: float) -> RowSignal:
    """Return a record's signal as a feature extractor takes it.

    Args:
        row (`Mapping[str, Any]`): A row of a dataset.
        sampling_rate (`float`): In Hz, of rows that do not say it.

    Raises:
        ValueError: as `signal_array` does.
    """
    names, own_rate = row.get("lead_names"), row.get("sampling_rate")
    rate = checked_rate(own_rate, sampling_rate)
    if row.get("num_samples") is None and (names is None or own_rate is None):
        row = {**row, "num_samples": round(RECORD_SECONDS * rate)}
    return RowSignal(signal_array(row) / MICROVOLTS_PER_MV, rate, names or STANDARD_LEADS)


def checked_rate(rate: float | None, otherwise: float) -> float:
    """Return a row's sampling rate (Hz), or another where it has none.

    Raises:
        ValueError: if no ECG has it.
    """
    if rate is None:
        return otherwise
    if not LOWEST_HZ <= rate <= HIGHEST_HZ:
        raise ValueError(f"sampling_rate is {rate:g} Hz; an ECG's is from {LOWEST_HZ} to {HIGHEST_HZ}.")
    return rate


def _array(content: bytes, num_leads: int, num_samples: int | None) -> np.ndarray:
    """Return the samples of all leads, checked to be as many as is said."""
    frame = num_leads * SAMPLE_DTYPE.itemsize
    if len(content) % frame or (num_samples is not None and len(content) != frame * num_samples):
        right = "a whole number of samples" if num_samples is None else f"{num_samples} samples"
        size = f"multiples of {frame}" if num_samples is None else str(frame * num_samples)
        raise ValueError(
            f"got {len(content)} bytes; {num_leads} leads of {right} are {size}. It was cut, or lead_names, "
            "num_samples or the sampling rate are wrong."
        )
    return np.frombuffer(content, dtype=SAMPLE_DTYPE)


def unknown_column(task: str) -> str:
    """Return the column that names which labels of a multi-label task are not known of a record."""
    return f"{task}_unknown"


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
    "check_columns",
    "checked_rate",
    "num_samples",
    "row_signal",
    "signal_array",
    "signal_column",
    "unknown_column",
]
