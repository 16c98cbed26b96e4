"""Windows of records as they were read, in mV, before any feature extractor."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain, compress
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa

from ..windows import cut_windows
from .rows import RowSignal, row_signal


class WindowSettings(NamedTuple):
    """What decides on windows beside the extractors: rate of rows that do not say it, seconds of a window, leads."""

    sampling_rate: float
    seconds: float
    leads: tuple[str, ...]


def window_of_row(row: Mapping[str, Any], number: int, settings: WindowSettings) -> RowSignal:
    """Return a window of a dataset's row, with the leads that count.

    Args:
        row (`Mapping[str, Any]`): The row.
        number (`int`): Which of its windows.
        settings (`WindowSettings`): How it is cut.
    """
    signal, rate, lead_names = row_signal(row, settings.sampling_rate)
    window = cut_windows(signal, rate, settings.seconds)[number]
    kept = [lead in settings.leads for lead in lead_names]
    return RowSignal(window[kept], rate, list(compress(lead_names, kept)))


class RawWindows:
    """The windows of a split, mapped into memory.

    Args:
        rows (`datasets.Dataset`): The dataset's row of each window.
        numbers (`np.ndarray`): Each window's number within its record.
        settings (`WindowSettings`): How they are cut.
    """

    def __init__(self, rows: datasets.Dataset, numbers: np.ndarray, settings: WindowSettings):
        self.rows, self.numbers, self.settings = rows, numbers, settings

    def __getitem__(self, index: int) -> RowSignal:
        return window_of_row(self.rows[index], int(self.numbers[index]), self.settings)

    @property
    def lowest_rate(self) -> float:
        """The lowest sampling rate of a window, in Hz."""
        rates = self.rows["sampling_rate"][:] if "sampling_rate" in self.rows.column_names else [None]
        return min(rate or self.settings.sampling_rate for rate in rates)

    def digest(self) -> str:
        """Return a hash of all that the rows hold."""
        digest = hashlib.sha256()
        for name in sorted(self.rows.column_names):
            for value in chain.from_iterable(self.rows.data.column(name).chunks):
                content = value.as_buffer() if isinstance(value, pa.BinaryScalar) and value.is_valid else None
                digest.update(repr(value.as_py()).encode() if content is None else content)
                digest.update(f"\n{name}\n".encode())
        return digest.hexdigest()

    def select(self, indices: np.ndarray) -> "RawWindows":
        """Return some of the windows."""
        return RawWindows(self.rows.select(indices), self.numbers[indices], self.settings)

    def without(self, column: str) -> "RawWindows":
        """Return the same windows without a column of the rows."""
        return RawWindows(self.rows.remove_columns(column), self.numbers, self.settings)

    @classmethod
    def joined(cls, parts: Sequence["RawWindows"]) -> "RawWindows":
        """Return the windows of several splits as one; rows that do not say their rate have the first's."""
        numbers = np.concatenate([part.numbers for part in parts])
        return cls(datasets.concatenate_datasets([part.rows for part in parts]), numbers, parts[0].settings)


__all__ = ["RawWindows", "WindowSettings", "window_of_row"]
