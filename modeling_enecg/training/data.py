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
from ..leads import STANDARD_LEADS
from .recipe import Recipe
from .tasks import ptbxl_targets

MICROVOLTS_PER_MV = 1000.0


class Views:
    """The distinct inputs that a feature extractor makes of a record, and who takes which.

    Attributes:
        extractors (`dict[str, ECGFeatureExtractor]`): By the input's name.
        experts (`list[str]`): Each expert's input.
        gate (`str`, *optional*): The input of a gate on the signal.
    """

    def __init__(self, extractor: ECGFeatureExtractor | EnECGFeatureExtractor):
        gate_extractor = None
        if isinstance(extractor, EnECGFeatureExtractor):
            of_experts, gate_extractor = list(extractor.extractors().values()), extractor.gate_extractor()
        else:
            of_experts = [extractor]
        distinct = list(dict.fromkeys([*of_experts, *([gate_extractor] if gate_extractor else [])]))
        names = {each: f"input_{index}" for index, each in enumerate(distinct)}
        self.extractors = {name: each for each, name in names.items()}
        self.experts = [names[each] for each in of_experts]
        self.gate = names[gate_extractor] if gate_extractor else None

    def of_expert(self, index: int) -> str:
        """Return the input of one expert; where there is one for all, every expert's."""
        return self.experts[index] if len(self.experts) > 1 else self.experts[0]


@dataclass
class Split:
    """The records of one split, prepared for a model.

    Attributes:
        records (`datasets.Dataset`): Metadata.
        inputs (`dict[str, datasets.Dataset]`): By the input's name, a dataset of the same rows with the bytes of
            float32 arrays in the column `values`.
        views (`Views`): Which input is whose.
        labels (`dict[str, np.ndarray]`): By task, what `ptbxl_targets` gives.
    """

    records: datasets.Dataset
    inputs: dict[str, datasets.Dataset]
    views: Views
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, name: str, rows: range) -> torch.Tensor:
        """Return an input of consecutive records, of shape `(len(rows), num_leads, sequence_length)`."""
        extractor = self.views.extractors[name]
        values = bytearray().join(self.inputs[name][rows.start : rows.stop]["values"])
        shape = (len(rows), len(extractor.lead_names), extractor.sequence_length)
        return torch.frombuffer(values, dtype=torch.float32).view(shape)

    def model_inputs(self, index: int) -> dict[str, Any]:
        """Return one record's `input_values` and any `gate_values`, without a batch axis."""
        names = set(self.views.experts)
        values = {name: self.batch(name, range(index, index + 1))[0] for name in names}
        views = [values[name] for name in self.views.experts]
        return {"input_values": views[0] if len(names) == 1 else views} | self.gate_inputs(index)

    def gate_inputs(self, index: int) -> dict[str, torch.Tensor]:
        """Return a record's `gate_values`, without a batch axis; nothing where the gate does not read the signal."""
        if self.views.gate is None:
            return {}
        return {"gate_values": self.batch(self.views.gate, range(index, index + 1))[0]}

    def select(self, indices: np.ndarray) -> "Split":
        """Return some of the records."""
        inputs = {name: each.select(indices) for name, each in self.inputs.items()}
        labels = {task: values[indices] for task, values in self.labels.items()}
        return Split(self.records.select(indices), inputs, self.views, labels)


class SignalRecords(torch.utils.data.Dataset):
    """Records as the model's inputs and `labels`."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.split.model_inputs(index), "labels": _row(self.split.labels, index)}


class FeatureRecords(torch.utils.data.Dataset):
    """Records as `expert_features`, computed before, and `labels`, with what a gate on the signal reads."""

    def __init__(self, features: Mapping[str, np.ndarray], split: Split):
        self.features = features
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features = {name: torch.from_numpy(array[index].astype(np.float32)) for name, array in self.features.items()}
        return {
            "expert_features": features,
            "labels": _row(self.split.labels, index),
            **self.split.gate_inputs(index),
        }


def _row(arrays: Mapping[str, np.ndarray], index: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array[index])) for name, array in arrays.items()}


def load_splits(
    recipe: Recipe, extractor: ECGFeatureExtractor | EnECGFeatureExtractor, tasks: Sequence[Task]
) -> dict[str, Split]:
    """Read PTB-XL and prepare every record for a model; both are done once and cached.

    Args:
        recipe (`Recipe`): Gives the folder, the sampling rate and what to do with bad records.
        extractor: Turns a record into the model's input.
        tasks (`Sequence[Task]`): Tasks that `ptbxl_tasks` gave.

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
        rr_interval=any(task.name == "rr_interval" for task in tasks),
    )
    views = Views(extractor)
    with PartialState().main_process_first():
        builder.download_and_prepare(num_proc=recipe.num_proc)
        splits = builder.as_dataset()
        return {name: _prepare(split, views, recipe, tasks) for name, split in splits.items()}


def _prepare(split: datasets.Dataset, views: Views, recipe: Recipe, tasks: Sequence[Task]) -> Split:
    signals = split.select_columns(["ecg_id", "signal"])
    inputs = {
        name: signals.map(
            _Prepare(extractor, recipe.sampling_rate),
            remove_columns=signals.column_names,
            features=datasets.Features({"values": datasets.Value("binary")}),
            num_proc=recipe.num_proc,
            desc="Preparing records",
            new_fingerprint=Hasher.hash([split._fingerprint, recipe.sampling_rate, extractor.to_json_string()]),
        )
        for name, extractor in views.extractors.items()
    }
    labels = {task.name: ptbxl_targets(split, task.name) for task in tasks}
    return Split(split.remove_columns("signal"), inputs, views, labels)


class _Prepare:
    """The function that `map` applies to each record."""

    def __init__(self, extractor: ECGFeatureExtractor, sampling_rate: int):
        self.extractor = extractor
        self.sampling_rate = sampling_rate

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        signal = signal_array(row) / MICROVOLTS_PER_MV
        try:
            values = self.extractor(signal, self.sampling_rate, STANDARD_LEADS)["input_values"]
        except ValueError as error:
            raise PTBXLError(row["ecg_id"], "signal", str(error)) from error
        return {"values": values.tobytes()}


def labelled(split: Split) -> np.ndarray:
    """Return the indices of the records that have a label of at least one task."""
    has_label = [~np.isnan(values.reshape(len(values), -1)).all(axis=1) for values in split.labels.values()]
    return np.flatnonzero(np.any(has_label, axis=0))
