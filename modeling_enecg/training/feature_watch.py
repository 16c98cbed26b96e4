"""What is watched of a backbone's features while it is pre-trained: a linear probe, and their effective rank."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..configuration_enecg import Task
from ..data.prepared import Split, labelled_rows
from ..data.preparing import mean_over_windows
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
        train (`Split`): The training records, of which at most 2000 windows are looked at.
        validation (`Split`, *optional*): The validation records.
    """

    backbone: ECGBackboneModel
    tasks: Sequence[Task]
    train: Split
    validation: Split | None = None

    def __call__(self) -> dict[str, float]:
        """Return `effective_rank`, and of the probe `probe_score` and those of its parts that there are."""
        features, labels = self._read(_some(self.train))
        found = {"effective_rank": effective_rank(features)}
        held_out = None if self.validation is None else _labelled(self.validation)
        if held_out is None or not len(held_out):
            return found
        others, other_labels = self._read(held_out)
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
    def _read(self, split: Split) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return features of shape `(num_records, feature_size)`, the mean over a record's windows, and labels."""
        (name,), was_training, device = split.inputs, self.backbone.training, self.backbone.device
        self.backbone.eval()
        batches = []
        for start in range(0, len(split), _BATCH_SIZE):
            views = split.batch(name, range(start, min(start + _BATCH_SIZE, len(split))))
            output = self.backbone(**{kind: view.to(device) for kind, view in views.items()})
            batches.append(output.pooler_output.float().cpu())
        self.backbone.train(was_training)
        rows, (means,) = mean_over_windows(split.records["ecg_id"][:], {"features": torch.cat(batches).numpy()})
        return means["features"], {task: values[rows] for task, values in split.labels.items()}


def _some(split: Split) -> Split:
    """Return some windows, spread evenly over the labelled ones; without labels over all."""
    labelled = _labelled(split)
    chosen = labelled if len(labelled) else split
    rows = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), NUM_RECORDS)).astype(int))
    return chosen.select(rows)


def _labelled(split: Split) -> Split:
    return split.select(labelled_rows(split.labels) if split.labels else np.arange(0))


__all__ = ["FeatureWatch"]
