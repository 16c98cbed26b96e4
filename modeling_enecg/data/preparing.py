"""From a dataset's records to what a model takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from accelerate import PartialState
from datasets.fingerprint import Hasher

from ..configuration_enecg import Task
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..leads import STANDARD_LEADS
from ..windows import num_windows
from .cache import cache_folder, written_to_cache
from .errors import DatasetError
from .prepared import Split, Views
from .raw_windows import RawWindows, WindowSettings, window_of_row
from .rows import checked_rate, num_samples
from .sources import SPLITS, Source
from .targets import read_targets

PREPARED = datasets.Features(
    {
        "values": datasets.Value("binary"),
        "lead_mask": datasets.Value("binary"),
        "num_recorded": datasets.Value("int32"),
    }
)


def load_splits(
    source: Source,
    extractor: ECGFeatureExtractor | EnECGFeatureExtractor,
    tasks: Sequence[Task],
    names: Sequence[str] = SPLITS,
    leads: Sequence[str] = STANDARD_LEADS,
) -> dict[str, Split]:
    """Read a dataset and prepare every record for a model; both are done once and cached.

    A record that is longer than what the model sees at once becomes several windows, each with its labels.

    Args:
        source (`Source`): The dataset.
        extractor: Turns a record into the model's input.
        tasks (`Sequence[Task]`): Tasks that `dataset_tasks` gave.
        names (`Sequence[str]`, *optional*, defaults to all): Which splits.
        leads (`Sequence[str]`, *optional*, defaults to all): Take records as if only these had been recorded.

    Returns:
        `dict[str, Split]`: Of `train`, `validation` and `test` those that there are, with all records.

    Raises:
        ValueError: if a record is bad, unless such records are skipped.
    """
    rows = source.read(names)
    options = source.options
    settings = WindowSettings(options.sampling_rate, extractor.window_seconds(), tuple(leads))
    with (
        PartialState().main_process_first(),
        written_to_cache(cache_folder(options.cache_dir), "its prepared records"),
    ):
        return {
            name: _prepare(split, Views(extractor), settings, tasks, options.num_proc) for name, split in rows.items()
        }


def _prepare(
    rows: datasets.Dataset, views: Views, settings: WindowSettings, tasks: Sequence[Task], num_proc: int | None
) -> Split:
    window_of, numbers = _windows(rows, settings)
    fingerprint = rows._fingerprint
    if len(window_of) > len(rows):
        rows = rows.select(window_of)
    columns = [
        name
        for name in ("ecg_id", "signal", "sampling_rate", "lead_names", "num_samples")
        if name in rows.column_names
    ]
    signals = rows.select_columns(columns)
    inputs = {
        name: signals.map(
            _Prepare(extractor, settings, numbers),
            with_indices=True,
            remove_columns=columns,
            features=PREPARED,
            num_proc=num_proc,
            desc="Preparing records",
            new_fingerprint=Hasher.hash([fingerprint, settings, extractor.to_json_string()]),
        )
        for name, extractor in views.extractors.items()
    }
    labels = {task.name: read_targets(rows, task) for task in tasks}
    return Split(rows.remove_columns("signal"), inputs, views, labels, RawWindows(signals, numbers, settings))


def _windows(rows: datasets.Dataset, settings: WindowSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return each window's record, and its number within the record."""
    for name in ("ecg_id", "signal"):
        if rows.data.column(name).null_count:
            raise DatasetError(None, None, name, "there are records without one.")
    num_bytes = np.asarray(pc.binary_length(rows.data.column("signal")))
    names = rows["lead_names"][:] if "lead_names" in rows.column_names else [STANDARD_LEADS] * len(rows)
    rates = rows["sampling_rate"][:] if "sampling_rate" in rows.column_names else [None] * len(rows)
    durations = num_samples(num_bytes, [len(each or STANDARD_LEADS) for each in names]) / [
        checked_rate(each, settings.sampling_rate) for each in rates
    ]
    counts = [num_windows(duration, settings.seconds) for duration in durations]
    return np.repeat(np.arange(len(rows)), counts), np.concatenate([np.arange(count) for count in counts])


class _Prepare:
    """The function that `map` applies to each window."""

    def __init__(self, extractor: ECGFeatureExtractor, settings: WindowSettings, numbers: np.ndarray):
        self.extractor = extractor
        self.settings = settings
        self.numbers = numbers

    def __call__(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        try:
            window = window_of_row(row, int(self.numbers[index]), self.settings)
            prepared = self.extractor.prepare(*window)[0]
        except ValueError as error:
            raise ValueError(f"Record {row['ecg_id']}: signal: {error}") from error
        return {
            "values": prepared.values.tobytes(),
            "lead_mask": prepared.lead_mask.tobytes(),
            "num_recorded": int(prepared.input_mask.sum()),
        }


def mean_over_windows(
    ids: Sequence[Any], *arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Average what a model gives for windows over those of each record.

    Args:
        ids (`Sequence`): Each window's record, in any order.
        arrays (`Mapping[str, np.ndarray]`): By task, values with one row per window.

    Returns:
        `tuple[np.ndarray, list[dict[str, np.ndarray]]]`: The row of each record's first window, and the means, in the
            order of these rows.
    """
    _, first, record_of = np.unique(np.asarray(ids), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[record_of]
    counts = np.bincount(rank)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(counts), *values.shape[1:]), dtype=np.float64)
        np.add.at(total, rank, values)
        return (total / counts.reshape(-1, *[1] * (values.ndim - 1))).astype(values.dtype)

    if len(counts) == len(rank):
        return np.arange(len(rank)), [dict(each) for each in arrays]
    return np.sort(first), [{name: mean(values) for name, values in each.items()} for each in arrays]
