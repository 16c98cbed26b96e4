"""Training records that are another in every epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..configuration_enecg import Task
from .augmentation import Augmentation, augmented, record_rng
from .epochs import EpochRecords
from .prepared import Split


class AugmentedRecords(EpochRecords):
    """A training split as `SignalRecords` gives it, but augmented.

    Records are taken as they were read, augmented, and prepared anew: an augmentation comes before what a feature
    extractor does, as it would in a recording, at the price of preparing every record in every epoch. What becomes of
    a record follows from seed, epoch and its place in the split, whichever process reads it, and when.

    Args:
        split (`Split`): The records.
        tasks (`Sequence[Task]`): Their tasks.
        augmentation ([`Augmentation`]): How they are varied.
        seed (`int`): Seed of it.
    """

    def __init__(self, split: Split, tasks: Sequence[Task], augmentation: Augmentation, seed: int):
        super().__init__()
        self.split, self.augmentation, self.seed = split, augmentation, seed
        self.tasks = {task.name: task for task in tasks}

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = record_rng(self.seed, self.epoch, index)
        record = self._record(index, rng)
        if not self.augmentation.mixup:
            return record
        share = float(rng.beta(self.augmentation.mixup, self.augmentation.mixup))
        return mixed(record, self._record(int(rng.integers(len(self))), rng), share)

    def _record(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        signal, rate, lead_names = self.split.raw[index]
        try:
            signal = augmented(signal, rate, lead_names, self.augmentation, rng)
            inputs = _tensors(self.split.views.prepare(signal, rate, lead_names))
        except ValueError as error:
            raise ValueError(f"Record {self.split.records[index]['ecg_id']}: signal: {error}") from error
        labels = self.split.labels_of(index)
        if self.augmentation.mixup:
            labels = {name: _shares(self.tasks[name], label) for name, label in labels.items()}
        return {**inputs, "labels": labels}


def mixed(record: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
    """Blend two records as a model takes them, and their labels; where either lacks a label, there is none.

    A sample is padding where it is in either. Records that lack different leads are not blended.

    Args:
        record (`dict[str, Any]`): `input_values`, masks, `gate_values` where there are any, and `labels`.
        other (`dict[str, Any]`): The same of another one.
        share (`float`): Of the first one, from 0 to 1.
    """
    if not torch.equal(record["lead_mask"], other["lead_mask"]):
        return record
    return {
        name: value if name == "lead_mask" else _blended(value, other[name], share) for name, value in record.items()
    }


def _blended(value: Any, other: Any, share: float) -> Any:
    if isinstance(value, list):
        return [_blended(each, of_other, share) for each, of_other in zip(value, other, strict=True)]
    if isinstance(value, dict):
        return {name: _blended(each, other[name], share) for name, each in value.items()}
    return value & other if value.dtype == torch.bool else share * value + (1 - share) * other


def _shares(task: Task, label: torch.Tensor) -> torch.Tensor:
    """Return a single label as each class's share, NaN where it is missing; other labels as they are."""
    if task.problem_type != "single_label_classification":
        return label
    if label.isnan():
        return torch.full((task.num_outputs,), torch.nan)
    return torch.nn.functional.one_hot(label.long(), task.num_outputs).float()


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tensors(each) for name, each in value.items()}
    return [_tensors(each) for each in value] if isinstance(value, list) else torch.from_numpy(value)


__all__ = ["AugmentedRecords", "mixed"]
