"""The base of every trainer: how it draws records, takes a stream's batches, and stops where it diverges."""

import math
from collections.abc import Sequence, Sized
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate
from transformers import Trainer, TrainerCallback

from ..data.augmented_records import AugmentedRecords
from ..data.epochs import EpochRecords
from ..data.mixed_records import MixedRecords
from ..data.prepared import FeatureRecords, SignalRecords
from ..data.streaming import SetEpoch, StreamedBatches
from .arguments import StageArguments
from .checkpoints import SealCheckpoint
from .tracking import tracked, without_trackers

Records = SignalRecords | FeatureRecords
TrainingRecords = Records | AugmentedRecords | MixedRecords | StreamedBatches


class DivergenceError(ValueError):
    """A training whose loss or outputs are not finite any more."""


class RecordTrainer(Trainer):
    """Train on records in whole batches, alike on one process and on several.

    Args:
        train_dataset (`Dataset`): Items that `torch.utils.data.default_collate` joins to the model's arguments, or a
            stream's batches.
        callbacks (`Sequence[TrainerCallback]`, *optional*): Further callbacks.
        kwargs: As of transformers' `Trainer`.
    """

    args: StageArguments

    def __init__(self, train_dataset: TrainingRecords, callbacks: Sequence[TrainerCallback] = (), **kwargs: Any):
        AcceleratorState._reset_state()  # a stage before may have had another precision
        own: list[TrainerCallback] = [SealCheckpoint()]
        if isinstance(train_dataset, StreamedBatches | EpochRecords):
            own.append(SetEpoch(train_dataset))
        super().__init__(
            train_dataset=train_dataset, data_collator=default_collate, callbacks=[*own, *callbacks], **kwargs
        )
        self._trackers = without_trackers(self)

    def tracked(self) -> AbstractContextManager[None]:
        """Return a context in which the trackers of `report_to` follow the training; elsewhere they do not."""
        return tracked(self, self._trackers)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> RandomSampler:
        """Draw as many records per epoch as fill whole batches.

        Several processes and accumulation steps then share every batch as one process would hold it.
        """
        records: Sized = cast(Sized, self.train_dataset if train_dataset is None else train_dataset)
        batch_size = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return RandomSampler(records, num_samples=len(records) // batch_size * batch_size)

    def get_train_dataloader(self) -> DataLoader:
        """Take a stream's batches as they are: each process has its own already."""
        if isinstance(self.train_dataset, StreamedBatches):
            return DataLoader(self.train_dataset, batch_size=None)
        return super().get_train_dataloader()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as transformers does, and stop where the loss is not finite."""
        if not math.isfinite(logs.get("loss", 0.0)):
            self._stop_diverged("loss is")
        super().log(logs, *args, **kwargs)

    def whole_log(self) -> list[dict[str, float]]:
        """Return what was logged, as JSON can hold it: without undefined numbers, and the loss of a stage that was
        resumed as that of all its steps.
        """
        log = [
            {key: value for key, value in entry.items() if math.isfinite(value)} for entry in self.state.log_history
        ]
        logged = [entry for entry in log if "loss" in entry]
        if logged and "train_loss" in log[-1] and logged[-1]["step"] == log[-1]["step"]:
            steps = np.diff([0, *(entry["step"] for entry in logged)])  # a trainer that resumed knows its own only
            log[-1]["train_loss"] = float(np.average([entry["loss"] for entry in logged], weights=steps))
        return log

    def _stop_diverged(self, what: str) -> None:
        raise DivergenceError(
            f"the training diverged in epoch {math.ceil(self.state.epoch or 0)}: the {what} not finite. Lower "
            f"learning_rate ({self.args.learning_rate:g}), or raise warmup_steps ({self.args.warmup_steps:g})."
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: transformers' estimate is for token sequences and does not hold here."""
        return 0


def decays(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether a parameter has weight decay: vectors (biases, norms) and embeddings have none."""
    return parameter.ndim > 1 and "embeddings" not in name.rsplit(".", 1)[-1]


__all__ = ["DivergenceError", "RecordTrainer", "Records", "TrainingRecords", "decays"]
