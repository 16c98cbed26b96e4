"""The records of a run: each split as the recipe takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..configuration_enecg import Task
from ..data.prepared import Split, Views, labelled_rows
from ..data.preparing import load_splits
from ..data.sources import SPLITS, Source
from ..data.streaming import Stream
from ..data.subsets import nested_subset, permuted
from ..evaluation.scoring import has_targets
from ..leads import LEAD_SETS
from ..settings import SettingsError
from .building import Extractor


@dataclass(frozen=True)
class Selection:
    """Which training records count, and how they are read; the fields of a recipe of the same names."""

    train_fraction: float = 1.0
    subset_seed: int = 0
    permute_labels: bool = False
    streaming: bool = False
    shuffle_buffer: int = 1000
    seed: int = 42


class RunData:
    """A recipe's records, prepared for its model.

    Args:
        source (`Source`): The dataset.
        selection (`Selection`): Which records, and whether the training fold is streamed.
        extractor (`Extractor`): Turns a record into the model's input.
        tasks (`Sequence[Task]`): The tasks.

    Attributes:
        all_splits (`dict[str, Split]`): All records; without `train` where that is streamed.
        rows (`dict[str, np.ndarray]`): Which of them count: those with a label, and of training the recipe's fraction.
        splits (`dict[str, Split]`): These.
        stream (`Stream`, *optional*): The training fold where it is streamed.
        labels (`dict[str, dict[str, np.ndarray]]`): By split and task, their targets.

    Raises:
        SettingsError: if a split is empty, or has no label of a task.
    """

    def __init__(self, source: Source, selection: Selection, extractor: Extractor, tasks: Sequence[Task]):
        self.source, self.selection, self.extractor, self.tasks = source, selection, extractor, tasks
        kept = SPLITS[1:] if selection.streaming else SPLITS
        self.all_splits = load_splits(source, extractor, tasks, kept)
        self.rows = {name: labelled_rows(split.labels) for name, split in self.all_splits.items()}
        if "train" in self.rows:
            self.rows["train"] = self._fraction(self.rows["train"])
        self.splits = {name: split.select(self.rows[name]) for name, split in self.all_splits.items()}
        if selection.permute_labels:
            for name in SPLITS[:2]:
                self.splits[name] = replace(
                    self.splits[name], labels=permuted(self.splits[name].labels, selection.subset_seed)
                )
        self.stream = (
            Stream(source, Views(extractor), tasks, selection.seed, selection.shuffle_buffer)
            if selection.streaming
            else None
        )
        self.labels = {name: split.labels for name, split in self.splits.items()}
        if self.stream is not None:
            self.labels["train"] = self.stream.labels
        _check_labels(self.labels)

    def _fraction(self, rows: np.ndarray) -> np.ndarray:
        if self.selection.train_fraction == 1:
            return rows
        labels = {task: targets[rows] for task, targets in self.all_splits["train"].labels.items()}
        return rows[nested_subset(self.tasks, labels, self.selection.train_fraction, self.selection.subset_seed)]

    @property
    def num_train(self) -> int:
        """Number of training windows."""
        return len(self.splits["train"]) if self.stream is None else len(self.stream)

    def num_records(self) -> dict[str, int]:
        """Return each split's number of records; a long one may be several windows."""
        counts = {name: len(np.unique(split.records["ecg_id"][:])) for name, split in self.splits.items()}
        return counts if self.stream is None else counts | {"train": len(self.stream)}

    def num_labelled(self) -> dict[str, dict[str, int]]:
        """Return by task and split the number of records that have its labels."""
        return {
            task.name: {
                name: self._count(name, has_targets(task, targets[task.name])) for name, targets in self.labels.items()
            }
            for task in self.tasks
        }

    def _count(self, split: str, is_counted: np.ndarray) -> int:
        """Return how many records some of a split's windows are of."""
        if split not in self.splits:  # a stream's records are one window each
            return int(is_counted.sum())
        return len(np.unique(np.asarray(self.splits[split].records["ecg_id"][:])[is_counted]))

    def test_on(self, lead_set: str) -> Split:
        """Return the test fold as if only the leads of a set had been recorded."""
        splits = load_splits(self.source, self.extractor, self.tasks, ["test"], LEAD_SETS[lead_set])
        return splits["test"].select(self.rows["test"])


def _check_labels(labels: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse data without a label for something that is to be trained or measured."""
    empty = [name for name in SPLITS if name not in labels or not len(next(iter(labels[name].values())))]
    if empty:
        raise SettingsError(
            f"data_dir: no records with a label of the tasks in the {' and '.join(empty)} split "
            "(folds 1-8 train, 9 validation, 10 test)."
        )
    for split, by_task in labels.items():
        for task, targets in by_task.items():
            if np.isnan(targets).all():
                raise SettingsError(
                    f"tasks: no record of the {split} split has a label of {task!r}; leave the task out."
                )
