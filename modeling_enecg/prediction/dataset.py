"""Predicting a whole dataset, shared among the processes of the launcher, into one Parquet file."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from transformers.utils import logging

from ..data.rows import row_signal
from ..data.sources import SPLITS, DatasetOptions, find_source
from ..runs.predictions import IDS
from .parts import write_in_parts
from .predictor import Predictor
from .table import finding_columns

RECORDS_PER_PART = 256  # little is lost by a kill, and all processes have work

logger = logging.get_logger(__name__)


def options_for(predictor: Predictor, options: DatasetOptions, sampling_rate: float | None = None) -> DatasetOptions:
    """Return how a dataset is read for a model; see `options_at`."""
    rates = {name: task.trained_sampling_rate for name, task in predictor.model.tasks.items()}
    return options_at(rates, options, sampling_rate)


def options_at(
    trained_rates: Mapping[str, float | None], options: DatasetOptions, sampling_rate: float | None = None
) -> DatasetOptions:
    """Return how a dataset is read: of several rates, at the one that a model's tasks were trained on.

    Args:
        trained_rates (`Mapping[str, float]`): By task, the rate (Hz) on which it was trained; None where unknown.
        options ([`DatasetOptions`]): The dataset.
        sampling_rate (`float`, *optional*): The rate (Hz) to read all the same. By default it is the model's; where
            that does not say it, 500 Hz, of which a warning tells.

    Raises:
        ValueError: if the rate is no whole number; or none is given, and the tasks were trained on different ones.
    """
    if sampling_rate is not None:
        if not float(sampling_rate).is_integer() or sampling_rate <= 0:
            raise ValueError(f"A dataset has a whole number of samples per second; got {sampling_rate:g} Hz.")
        return replace(options, sampling_rate=int(sampling_rate))
    default = find_source(options).chosen_rate
    if default is None:
        return options
    known = sorted({int(rate) for rate in trained_rates.values() if rate is not None})
    if len(known) > 1:
        each = ", ".join(f"{name} {rate:g} Hz" for name, rate in trained_rates.items() if rate is not None)
        raise ValueError(
            f"The model's tasks were trained on records of different rates: {each}; give a sampling_rate."
        )
    if not known:
        logger.warning(
            "%s is read at %g Hz: the model does not say on which rate it was trained; --sampling_rate chooses.",
            *(options.data_dir, default),
        )
    return replace(options, sampling_rate=known[0] if known else default)


def predict_dataset(
    predictor: Predictor, options: DatasetOptions, output: str | Path, splits: Sequence[str] | None = None
) -> Path:
    """Predict every record of a dataset once, whatever its quality.

    Args:
        predictor ([`Predictor`]): The model with its feature extractor.
        options ([`DatasetOptions`]): The dataset.
        output (`str` or `Path`): The Parquet file: `ecg_id`, `patient_id`, `split` and `quality` of a record, and what
            `finding_columns` gives.
        splits (`Sequence[str]`, *optional*, defaults to all): Which.

    Returns:
        `Path`: The file.

    Raises:
        FolderInUseError: if another process predicts into the same file.
        ValueError: if there is no such split, or no record; the output is a folder, or beside it there are parts of
            another prediction; or a record cannot be predicted.
    """
    rows = read_splits(options, splits)
    parts = parts_of(rows)

    def make(name: str) -> pa.Table:
        split, indices = parts[name]
        table = _predict(predictor, rows[split].select(indices), options.sampling_rate)
        return table.add_column(len(IDS), "split", pa.array([split] * len(table)))

    return write_in_parts(output, _digest(predictor, options, rows), list(parts), make)


def read_splits(options: DatasetOptions, wanted: Sequence[str] | None) -> Mapping[str, datasets.Dataset]:
    """Read the wanted splits, which must be there, or those that are.

    Raises:
        ValueError: if there is no such split, or no record.
    """
    source = find_source(options)
    names = list(dict.fromkeys(wanted or SPLITS))
    rows = source.read(names)
    missing = [name for name in names if name not in rows]
    if missing and (wanted or not rows):
        known = ", ".join(source.files or source.read(SPLITS))
        raise ValueError(f"{options.data_dir} has no split {', '.join(missing)}; there are {known}.")
    if not any(map(len, rows.values())):
        raise ValueError(f"{options.data_dir} has no records in {', '.join(rows)}.")
    return rows


def parts_of(rows: Mapping[str, datasets.Dataset], most: int | None = None) -> dict[str, tuple[str, range]]:
    """Return in which parts a table of all splits' records is made: by name, a split and up to `most` rows."""
    size = min(RECORDS_PER_PART, most or RECORDS_PER_PART)
    return {
        f"{split}-{start:010d}": (split, range(start, min(start + size, len(records))))
        for split, records in rows.items()
        for start in range(0, len(records), size)
    }


def fingerprints(rows: Mapping[str, datasets.Dataset]) -> list[str]:
    """Return what determines the records of each split."""
    return [text for split, records in rows.items() for text in (split, records._fingerprint)]


def _digest(predictor: Predictor, options: DatasetOptions, rows: Mapping[str, datasets.Dataset]) -> str:
    """Return a digest of all that determines the predictions, and how they are divided."""
    parts = [predictor.digest, str(options.sampling_rate), str(RECORDS_PER_PART)]
    parts += fingerprints(rows)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _predict(predictor: Predictor, records: datasets.Dataset, sampling_rate: float) -> pa.Table:
    """Return a row per record: its ids, the verdict on it, and every task's outputs."""
    current: list[Any] = [None]

    def signals() -> Iterator[dict[str, Any]]:
        for row in records:
            current[0] = row["ecg_id"]
            yield row_signal(row, sampling_rate)._asdict()

    try:
        results = list(predictor.predict(signals(), force=True))
    except ValueError as error:
        raise ValueError(f"Record {current[0]}: {error}") from error
    table = records.select_columns(list(IDS)).with_format("arrow")[:].replace_schema_metadata()
    table = table.append_column("quality", pa.array([found.quality.verdict for found in results], pa.string()))
    for name, column in finding_columns(list(predictor.model.tasks.values()), results).items():
        table = table.append_column(name, column)
    return table


__all__ = [
    "RECORDS_PER_PART",
    "fingerprints",
    "options_at",
    "options_for",
    "parts_of",
    "predict_dataset",
    "read_splits",
]
