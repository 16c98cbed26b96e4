"""A watch on a backbone's features while it is pre-trained: a linear probe, and their effective rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate

from ..configuration_enecg import Task
from ..data.prepared import Split, labelled_rows
from ..data.preparing import mean_over_windows
from ..data.streaming import PreparedRows, Stream
from ..evaluation.linear_probe import effective_rank, probe_scores
from ..evaluation.scored import has_targets
from ..modeling_backbone import ECGBackboneModel

NUM_RECORDS = 2000  # training windows that are looked at: enough for a probe, and soon done
_BATCH_SIZE = 16
_LOGGED = ("score", "macro_auroc", "macro_auprc", "r2")


@dataclass(frozen=True)
class FeatureWatch:
    """Looks at a backbone's features of training and validation records, without a trace.

    A linear probe is fitted on labelled training records and scored on the validation records; both only tell how the
    pre-training goes. Without labels in both the effective rank alone is told.

    Attributes:
        backbone (`ECGBackboneModel`): The backbone.
        tasks (`Sequence[Task]`): What is probed.
        train (`Split` or `Stream`): The training records, of which at most 2000 windows are looked at.
        validation (`Split`, *optional*): The validation records.
    """

    backbone: ECGBackboneModel
    tasks: Sequence[Task]
    train: Split | Stream
    validation: Split | None = None

    def __call__(self) -> dict[str, float]:
        """Return `effective_rank`, and of the probe `probe_score` and those of its parts that there are."""
        features, labels = self._read(_some_batches(self.train))
        found = {"effective_rank": effective_rank(features)}
        held_out = None if self.validation is None else _labelled(self.validation)
        if held_out is None or not len(held_out):
            return found
        others, other_labels = self._read(_windows(held_out))
        known = [
            task
            for task in self.tasks
            if all(has_targets(task, each[task.name]).any() for each in (labels, other_labels))
        ]
        if known:
            scores = probe_scores(known, features, labels, others, other_labels)
            found |= {f"probe_{name}": scores[name] for name in _LOGGED if np.isfinite(scores.get(name, np.nan))}
        return found

    @torch.inference_mode()
    def _read(self, batches: Iterator["_Batch"]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return features of shape `(num_records, feature_size)`, the mean over a record's windows, and labels."""
        was_training, device = self.backbone.training, self.backbone.device
        self.backbone.eval()
        features: list[np.ndarray] = []
        ids: list[Any] = []
        labels: list[Mapping[str, np.ndarray]] = []
        for batch in batches:
            output = self.backbone(**{name: value.to(device) for name, value in batch.inputs.items()})
            features.append(output.pooler_output.float().cpu().numpy())
            ids += batch.ids
            labels.append(batch.labels)
        self.backbone.train(was_training)
        rows, (means,) = mean_over_windows(ids, {"features": np.concatenate(features)})
        joined = {task: np.concatenate([each[task] for each in labels])[rows] for task in labels[0]}
        return means["features"], joined


class _Batch(NamedTuple):
    """Some windows: what the backbone takes of them, their records, and their labels."""

    inputs: Mapping[str, torch.Tensor]
    ids: Sequence[Any]
    labels: Mapping[str, np.ndarray]


def _some_batches(records: Split | Stream) -> Iterator[_Batch]:
    return _rows_of_stream(records) if isinstance(records, Stream) else _windows(_some(records))


def _windows(split: Split) -> Iterator[_Batch]:
    (name,) = split.inputs
    for start in range(0, len(split), _BATCH_SIZE):
        rows = range(start, min(start + _BATCH_SIZE, len(split)))
        labels = {task: values[rows.start : rows.stop] for task, values in split.labels.items()}
        yield _Batch(split.batch(name, rows), split.records["ecg_id"][rows.start : rows.stop], labels)


def _rows_of_stream(stream: Stream) -> Iterator[_Batch]:
    rows, num_before = islice(PreparedRows(stream), NUM_RECORDS), 0
    while batch := list(islice(rows, _BATCH_SIZE)):
        inputs: dict[str, Any] = default_collate(batch)
        labels = {task: values.numpy() for task, values in inputs.pop("labels").items()}
        yield _Batch(inputs, range(num_before, num_before + len(batch)), labels)  # a record is one window
        num_before += len(batch)


def _some(split: Split) -> Split:
    """Return some windows, spread evenly over the labelled ones; without labels over all."""
    labelled = _labelled(split)
    chosen = labelled if len(labelled) else split
    rows = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), NUM_RECORDS)).astype(int))
    return chosen.select(rows)


def _labelled(split: Split) -> Split:
    return split.select(labelled_rows(split.labels) if split.labels else np.arange(0))


__all__ = ["FeatureWatch"]
