"""From PTB-XL records to the inputs and labels of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import PartialState
from datasets.fingerprint import Hasher

from dataset_scripts.ptbxl import PTBXL, signal_array
from dataset_scripts.ptbxl_metadata import PTBXLError

from ..configuration_enecg import Task
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..labels import TASK_LABELS
from ..leads import STANDARD_LEADS
from .recipe import Recipe

MICROVOLTS_PER_MV = 1000.0


@dataclass
class Split:
    """The records of one split, prepared for a model.

    Attributes:
        records (`datasets.Dataset`): Metadata, and each expert's input as the bytes of a float32 array in the columns
            `input_0`, `input_1`, ...
        shapes (`list[tuple[int, int]]`): Shape of each input, `(num_leads, sequence_length)`.
        labels (`dict[str, np.ndarray]`): By task, a float32 array of shape `(num_records, num_labels)`; a record
            without any statement of the task's kind is NaN, that is, missing.
    """

    records: datasets.Dataset
    shapes: list[tuple[int, int]]
    labels: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        # Decoding the other columns takes several times as long.
        self._inputs = self.records.select_columns([f"input_{view}" for view in range(len(self.shapes))])

    def __len__(self) -> int:
        return len(self.records)

    def inputs(self, index: int) -> torch.Tensor | list[torch.Tensor]:
        """Return one record's `input_values`, without a batch axis: a tensor, or a list where experts differ."""
        row = self._inputs[index]
        values = [
            torch.frombuffer(bytearray(row[f"input_{view}"]), dtype=torch.float32).view(shape)
            for view, shape in enumerate(self.shapes)
        ]
        return values[0] if len(values) == 1 else values

    def select(self, indices: np.ndarray) -> "Split":
        """Return some of the records."""
        labels = {task: values[indices] for task, values in self.labels.items()}
        return Split(self.records.select(indices), self.shapes, labels)


class SignalRecords(torch.utils.data.Dataset):
    """Records as `input_values` and `labels`."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_values": self.split.inputs(index), "labels": _row(self.split.labels, index)}


class FeatureRecords(torch.utils.data.Dataset):
    """Records as `expert_features`, computed before, and `labels`."""

    def __init__(self, features: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]):
        self.features = features
        self.labels = labels

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"expert_features": _row(self.features, index), "labels": _row(self.labels, index)}


def _row(arrays: Mapping[str, np.ndarray], index: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array[index].copy()) for name, array in arrays.items()}


def ptbxl_tasks(names: Sequence[str]) -> list[Task]:
    """Return PTB-XL's label tasks as tasks of a model."""
    return [Task(name, "multi_label_classification", list(TASK_LABELS[name])) for name in names]


def load_splits(
    recipe: Recipe, extractor: ECGFeatureExtractor | EnECGFeatureExtractor, tasks: Sequence[Task]
) -> dict[str, Split]:
    """Read PTB-XL and prepare every record for a model; both are done once and cached.

    Args:
        recipe (`Recipe`): Gives the folder, the sampling rate and what to do with bad records.
        extractor: Turns a record into the model's input.
        tasks (`Sequence[Task]`): Tasks among PTB-XL's six.

    Returns:
        `dict[str, Split]`: `train` (folds 1-8), `validation` (9) and `test` (10), with all records.

    Raises:
        PTBXLError: if a record is bad, unless the recipe skips such records.
    """
    builder = PTBXL(
        config_name=f"{recipe.sampling_rate}hz",
        data_dir=recipe.data_dir,
        cache_dir=recipe.cache_dir,
        on_error=recipe.on_error,
    )
    with PartialState().main_process_first():
        builder.download_and_prepare(num_proc=recipe.num_proc)
        splits = builder.as_dataset()
        return {name: _prepare(split, extractor, recipe, tasks) for name, split in splits.items()}


def _prepare(
    split: datasets.Dataset,
    extractor: ECGFeatureExtractor | EnECGFeatureExtractor,
    recipe: Recipe,
    tasks: Sequence[Task],
) -> Split:
    views = list(extractor.extractors().values()) if isinstance(extractor, EnECGFeatureExtractor) else [extractor]
    records = split.map(
        _InputColumns(views, recipe.sampling_rate),
        remove_columns="signal",
        features=_with_inputs(split.features, len(views)),
        num_proc=recipe.num_proc,
        desc="Preparing records",
        new_fingerprint=Hasher.hash([split._fingerprint, recipe.sampling_rate, extractor.to_json_string()]),
    )
    shapes = [(len(view.lead_names), view.sequence_length) for view in views]
    return Split(records, shapes, {task.name: _multi_hot(split, task) for task in tasks})


class _InputColumns:
    """The function that `map` applies to each record."""

    def __init__(self, extractors: Sequence[ECGFeatureExtractor], sampling_rate: int):
        self.extractors = extractors
        self.sampling_rate = sampling_rate

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        signal = signal_array(row) / MICROVOLTS_PER_MV
        try:
            inputs = [
                extractor(signal, self.sampling_rate, STANDARD_LEADS)["input_values"] for extractor in self.extractors
            ]
        except ValueError as error:
            raise PTBXLError(row["ecg_id"], "signal", str(error)) from error
        return {f"input_{view}": values.tobytes() for view, values in enumerate(inputs)}


def _with_inputs(features: datasets.Features, num_views: int) -> datasets.Features:
    kept = {name: feature for name, feature in features.items() if name != "signal"}
    return datasets.Features(kept | {f"input_{view}": datasets.Value("binary") for view in range(num_views)})


def _multi_hot(split: datasets.Dataset, task: Task) -> np.ndarray:
    """Return 0 and 1 of shape `(num_records, num_labels)`; a record without a label is NaN."""
    labels = np.zeros((len(split), task.num_outputs), dtype=np.float32)
    for row, classes in enumerate(split[task.name][:]):
        labels[row, classes] = 1.0
    labels[labels.sum(axis=1) == 0] = np.nan
    return labels


def labelled(split: Split) -> np.ndarray:
    """Return the indices of the records that have a label of at least one task."""
    has_label = np.any([~np.isnan(values).all(axis=1) for values in split.labels.values()], axis=0)
    return np.flatnonzero(has_label)


def balanced_class_weights(labels: np.ndarray) -> list[float]:
    """Return negatives / positives of each label of shape `(num_records, num_labels)`; 1 without a positive."""
    positives = np.nansum(labels, axis=0)
    negatives = np.sum(~np.isnan(labels), axis=0) - positives
    return np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0).tolist()
