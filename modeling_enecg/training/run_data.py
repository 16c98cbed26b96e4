"""The records of a run: each split as the recipe takes it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..configuration_enecg import Task
from ..data.prepared import Split, Views, joined, labelled_rows
from ..data.preparing import load_splits
from ..data.sources import SPLITS, Source
from ..data.streaming import Stream
from ..data.subsets import nested_subset, permuted
from ..evaluation.scored import has_targets
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


@dataclass(frozen=True)
class RunData:
    """A recipe's records, prepared for its model.

    Attributes:
        source (`Source`): The dataset.
        extractor (`Extractor`): Turns a record into the model's input.
        tasks (`Sequence[Task]`): The tasks.
        all_splits (`Mapping[str, Split]`): All records; without `train` where that is streamed.
        rows (`Mapping[str, np.ndarray]`): Which of them count: those with a label, and of training the recipe's
            fraction.
        splits (`Mapping[str, Split]`): These.
        stream (`Stream`, *optional*): The training fold where it is streamed.
    """

    source: Source
    extractor: Extractor
    tasks: Sequence[Task]
    all_splits: Mapping[str, Split]
    rows: Mapping[str, np.ndarray]
    splits: Mapping[str, Split]
    stream: Stream | None = None

    @property
    def labels(self) -> dict[str, dict[str, np.ndarray]]:
        """By split and task, the targets of the records that count."""
        streamed = {} if self.stream is None else {"train": self.stream.labels}
        return {name: split.labels for name, split in self.splits.items()} | streamed

    @property
    def num_train(self) -> int:
        """Number of training windows."""
        return len(self.splits["train"]) if self.stream is None else len(self.stream)

    def num_records(self) -> dict[str, int]:
        """Return each split's number of records; a long one may be several windows."""
        counts = {name: len(np.unique(split.records["ecg_id"][:])) for name, split in self.splits.items()}
        return counts if self.stream is None else counts | {"train": len(self.stream)}

    def digests(self) -> dict[str, dict[str, str]]:
        """Return by split hashes of its `labels` and `records`; of a stream, which is never read whole, of labels."""
        digests = {
            name: {"labels": _digest_of_labels(split.labels), "records": split.raw.digest()}
            for name, split in self.all_splits.items()
        }
        return (
            digests if self.stream is None else digests | {"train": {"labels": _digest_of_labels(self.stream.labels)}}
        )

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

    def pooled(self) -> "RunData":
        """Return the same records with those of training and validation together as `train`."""
        together = [name for name in SPLITS[:2] if name in self.splits]
        starts = np.cumsum([0, *(len(self.all_splits[name]) for name in together)])
        rows = [self.rows[name] + start for name, start in zip(together, starts, strict=False)]
        return replace(
            self,
            all_splits={
                "train": joined([self.all_splits[name] for name in together]),
                "test": self.all_splits["test"],
            },
            rows={"train": np.concatenate(rows), "test": self.rows["test"]},
            splits={"train": joined([self.splits[name] for name in together]), "test": self.splits["test"]},
        )

    def divided(self, parts: Mapping[str, np.ndarray]) -> "RunData":
        """Return parts of the training records as splits.

        Args:
            parts (`Mapping[str, np.ndarray]`): By a split's new name, indices into the training split.
        """
        return replace(
            self,
            all_splits=dict.fromkeys(parts, self.all_splits["train"]),
            rows={name: self.rows["train"][indices] for name, indices in parts.items()},
            splits={name: self.splits["train"].select(indices) for name, indices in parts.items()},
        )


def read_data(
    source: Source,
    selection: Selection,
    extractor: Extractor,
    tasks: Sequence[Task],
    needed: Sequence[str] = SPLITS,
) -> RunData:
    """Read and prepare a recipe's records.

    Args:
        source (`Source`): The dataset.
        selection (`Selection`): Which records, and whether the training fold is streamed.
        extractor (`Extractor`): Turns a record into the model's input.
        tasks (`Sequence[Task]`): The tasks.
        needed (`Sequence[str]`, *optional*, defaults to all): The splits that must be there.

    Raises:
        SettingsError: if such a split is empty, or has no label of a task.
    """
    all_splits = load_splits(source, extractor, tasks, SPLITS[1:] if selection.streaming else SPLITS)
    rows = {name: labelled_rows(split.labels) for name, split in all_splits.items()}
    if "train" in rows and selection.train_fraction < 1:
        labels = {task: targets[rows["train"]] for task, targets in all_splits["train"].labels.items()}
        rows["train"] = rows["train"][nested_subset(tasks, labels, selection.train_fraction, selection.subset_seed)]
    splits = {name: split.select(rows[name]) for name, split in all_splits.items()}
    if selection.permute_labels:
        for name in SPLITS[:2]:
            splits[name] = replace(splits[name], labels=permuted(splits[name].labels, selection.subset_seed))
    stream = None
    if selection.streaming:
        stream = Stream(source, Views(extractor), tasks, selection.seed, selection.shuffle_buffer)
    data = RunData(source, extractor, tasks, all_splits, rows, splits, stream)
    _check_labels(data.labels, needed)
    return data


def _digest_of_labels(labels: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for task, targets in labels.items():
        digest.update(f"{task} {targets.dtype} {targets.shape} ".encode() + targets.tobytes())
    return digest.hexdigest()


def _check_labels(labels: Mapping[str, Mapping[str, np.ndarray]], needed: Sequence[str]) -> None:
    """Refuse data without a label for something that is to be trained or measured."""
    empty = [name for name in needed if name not in labels or not len(next(iter(labels[name].values())))]
    if empty:
        raise SettingsError(
            f"data_dir: no records with a label of the tasks in the {' and '.join(empty)} split "
            "(folds 1-8 train, 9 validation, 10 test)."
        )
    for split in needed:
        for task, targets in labels[split].items():
            if np.isnan(targets).all():
                raise SettingsError(
                    f"tasks: no record of the {split} split has a label of {task!r}; leave the task out."
                )
