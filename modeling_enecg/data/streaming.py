"""Training on Parquet files that are read anew in every epoch, here or from the Hub, so that no machine holds all."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState
from torch.utils.data import DataLoader, IterableDataset, default_collate
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configuration_enecg import Task
from .augmentation import Augmentation, augmented, record_rng
from .errors import DatasetError
from .prepared import Views, labelled_rows
from .rows import row_signal, unknown_column
from .sources import Source
from .targets import read_targets

LABELS_AT_ONCE = 1000  # rows of label columns


class Stream:
    """The labelled records of a training fold in Parquet files; without tasks all its records.

    Where every process can have equally many files, it reads its own; otherwise each reads all and keeps its share of
    the records. Each reading process holds a shuffle buffer. Of a record that is longer than what the model sees at
    once, the middle counts.

    Args:
        source (`Source`): The dataset.
        views (`Views`): The inputs that a record is prepared for.
        tasks (`Sequence[Task]`): The tasks.
        seed (`int`, *optional*, defaults to 0): Seed of the order.
        shuffle_buffer (`int`, *optional*, defaults to 1000): Records that a reading process shuffles by.

    Attributes:
        labels (`dict[str, np.ndarray]`): By task, the targets of all records, not only of this process's.

    Raises:
        DatasetError: if there are no Parquet files, two records have one id, or a process has no record.
    """

    def __init__(self, source: Source, views: Views, tasks: Sequence[Task], seed: int = 0, shuffle_buffer: int = 1000):
        self.options, self.views = source.options, views
        self.seed, self.shuffle_buffer = seed, shuffle_buffer
        self.files = source.files.get("train", [])
        if not self.files:
            raise DatasetError(
                None,
                None,
                "streaming",
                f"{self.options.data_dir} has no Parquet files of a training fold; write some first, as "
                "python dataset_scripts/ptbxl.py --data_dir ... --output_dir ... does.",
            )
        self._state = PartialState()
        table, num_rows = self._read_labels(source.features, tasks)
        labels = {task.name: read_targets(table, task) for task in tasks}
        rows: np.ndarray = labelled_rows(labels) if labels else np.arange(len(table))
        self.labels = {name: values[rows] for name, values in labels.items()}
        self._row_of = _numbered(np.array(table["ecg_id"][:], dtype=object)[rows].tolist())
        file_of_row = np.repeat(np.arange(len(self.files)), num_rows)[rows]
        whole = file_of_row if self._has_own_files else np.arange(len(rows))
        self._share_of_row = whole % self._state.num_processes
        self._share_sizes = np.bincount(self._share_of_row, minlength=self._state.num_processes).tolist()
        if min(self._share_sizes) == 0:
            reason = f"a process has no labelled training record of {self.options.data_dir}."
            raise DatasetError(None, None, "data_dir", reason)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def num_own(self) -> int:
        """Number of this process's records."""
        return self._share_sizes[self._state.process_index]

    @property
    def largest_share(self) -> int:
        """The largest number of records that a process has."""
        return max(self._share_sizes)

    @property
    def smallest_share(self) -> int:
        """The smallest number of records that a process has."""
        return min(self._share_sizes)

    def _read_labels(self, features: datasets.Features, tasks: Sequence[Task]) -> tuple[datasets.Dataset, list[int]]:
        """Read what `read_targets` needs of all files, and nothing else; return it with each file's number of rows."""
        labels = {column for task in tasks for column in (task.name, unknown_column(task.name))}
        wanted = {"ecg_id", "age_over_89", "scp_codes", *labels}
        columns = [name for name in features if name in wanted]
        values: dict[str, list[Any]] = {name: [] for name in columns}
        num_rows = []
        for file in tqdm(self.files, "Reading labels", unit="file", disable=not self._state.is_main_process):
            before = len(values["ecg_id"])
            for batch in _open([file], columns=columns).iter(LABELS_AT_ONCE):
                for name in columns:
                    values[name] += batch[name]
            num_rows.append(len(values["ecg_id"]) - before)
        table = datasets.Dataset.from_dict(values, datasets.Features({name: features[name] for name in columns}))
        return table, num_rows

    @property
    def _has_own_files(self) -> bool:
        return len(self.files) % self._state.num_processes == 0

    def _is_own(self, ecg_id: Any) -> bool:
        """Whether a record has a label and is of this process's share."""
        row = self._row_of.get(ecg_id)
        return row is not None and self._share_of_row[row] == self._state.process_index

    def rows(self, epoch: int | None = None) -> datasets.IterableDataset:
        """Return this process's labelled rows, in the order of the files, or shuffled for an epoch.

        To shuffle, the files are read one by one in random order, through a buffer: several at once would each take
        memory.
        """
        rank, world_size = self._state.process_index, self._state.num_processes
        rows = _open(self.files[rank::world_size] if self._has_own_files else self.files)
        rows = rows.filter(self._is_own, input_columns="ecg_id")
        if epoch is not None:
            rows = rows.shuffle(seed=self.seed, buffer_size=self.shuffle_buffer, max_buffer_input_shards=1)
            rows.set_epoch(epoch)
        return rows

    def prepare(
        self, row: dict[str, Any], epoch: int | None = None, augmentation: Augmentation | None = None
    ) -> dict[str, Any]:
        """Return what the model takes of a row, and its `labels`, as arrays; augmented as an epoch has it.

        A tensor that comes from a reading process is an open file, and a batch may have more than a system allows.
        """
        index = self._row_of[row["ecg_id"]]
        try:
            signal, rate, lead_names = row_signal(row, self.options.sampling_rate)
            if augmentation:
                signal = augmented(signal, rate, lead_names, augmentation, record_rng(self.seed, epoch or 0, index))
            inputs = self.views.prepare(signal, rate, lead_names)
        except ValueError as error:
            raise ValueError(f"Record {row['ecg_id']}: signal: {error}") from error
        return {**inputs, "labels": {name: np.array(values[index]) for name, values in self.labels.items()}}


class PreparedRows(IterableDataset):
    """A stream's rows of one epoch, prepared; several reading processes share the files.

    Args:
        stream (`Stream`): The stream.
        epoch (`int`, *optional*): As in `Stream.rows`.
        augmentation ([`Augmentation`], *optional*): How records are varied; not at all by default.
    """

    def __init__(self, stream: Stream, epoch: int | None = None, augmentation: Augmentation | None = None):
        self.stream, self.epoch, self.augmentation = stream, epoch, augmentation

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.stream.rows(self.epoch):
            yield self.stream.prepare(row, self.epoch, self.augmentation)


class StreamedBatches(IterableDataset):
    """A stream as batches for a trainer: as many for every process, each record once an epoch.

    What a process lacks to fill its last batches are records without labels, which the loss leaves out; a training
    without labels has whole batches alone, and leaves a few records out of each epoch.

    Args:
        stream (`Stream`): The stream.
        batch_size (`int`): A process's records in a batch.
        augmentation ([`Augmentation`], *optional*): How records are varied; not at all by default.
    """

    def __init__(self, stream: Stream, batch_size: int, augmentation: Augmentation | None = None):
        self.stream, self.batch_size, self.augmentation = stream, batch_size, augmentation
        self.epoch = 0

    def __len__(self) -> int:
        if not self.stream.labels:
            return self.stream.smallest_share // self.batch_size
        return math.ceil(self.stream.largest_share / self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = self._filled_rows()
        while batch := list(islice(rows, self.batch_size)):
            yield default_collate(batch)

    def _filled_rows(self) -> Iterator[dict[str, Any]]:
        """Yield this process's rows, then its first ones without labels, as many as the batches lack."""
        num_workers = self.stream.options.num_proc or 0
        rows = PreparedRows(self.stream, self.epoch, self.augmentation)
        loader = DataLoader(rows, batch_size=None, num_workers=num_workers, collate_fn=_unchanged)
        first: list[dict[str, Any]] = []
        for row in islice(loader, len(self) * self.batch_size):
            if len(first) < self.batch_size:
                first.append(row)
            yield row
        num_missing = max(0, len(self) * self.batch_size - self.stream.num_own)
        for row in islice(cycle(first), num_missing):
            yield {**row, "labels": {name: np.full_like(each, np.nan) for name, each in row["labels"].items()}}


class SetEpoch(TrainerCallback):
    """Tell records which epoch begins, so that each is shuffled or augmented anew, and a resumed one as it was."""

    def __init__(self, records: Any):
        self.records = records

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch."""
        self.records.epoch = int(state.epoch or 0)


def _open(files: Sequence[str], **options: Any) -> datasets.IterableDataset:
    return datasets.load_dataset("parquet", data_files=list(files), split="train", streaming=True, **options)


def _numbered(ids: Sequence[Any]) -> dict[Any, int]:
    """Return each record's row."""
    repeated = [ecg_id for ecg_id, count in Counter(ids).items() if count > 1]
    if repeated:
        reason = f"ecg_id: {repeated[0]} is the id of several training records; give each its own."
        raise DatasetError(None, None, "data_dir", reason)
    return {ecg_id: row for row, ecg_id in enumerate(ids)}


def _unchanged(row: Any) -> Any:
    return row
