"""Prepared records: what each expert takes of them, and their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import torch

from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..leads import STANDARD_LEADS
from .raw_windows import RawWindows


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

    def prepare(self, signal: np.ndarray, sampling_rate: float, lead_names: Sequence[str]) -> dict[str, Any]:
        """Return what the model takes of a window, as arrays, with the masks whether they are needed or not.

        Args:
            signal (`np.ndarray` of shape `(num_leads, num_samples)`): In mV.
            sampling_rate (`float`): In Hz.
            lead_names (`Sequence[str]`): The leads.

        Raises:
            ValueError: if an extractor cannot take it.
        """
        prepared = {
            name: extractor.prepare(signal, sampling_rate, lead_names)[0]
            for name, extractor in self.extractors.items()
        }
        windows = {
            name: {"input_values": each.values, "lead_mask": each.lead_mask, "input_mask": each.input_mask}
            for name, each in prepared.items()
        }
        return self.joined(windows)

    def joined(self, windows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Join the inputs of a window, or of a batch, to what the model takes.

        Args:
            windows (`Mapping[str, Mapping[str, torch.Tensor]]`): By the input's name, `input_values` and any masks.
        """
        of_experts = [windows[name] for name in self.experts]
        inputs: dict[str, Any] = dict(of_experts[0])
        if len(set(self.experts)) > 1:
            inputs = {kind: [window[kind] for window in of_experts] for kind in inputs}
            if "lead_mask" in inputs:
                inputs["lead_mask"] = self._standard_lead_mask(windows)
        if self.gate is not None:
            inputs["gate_values"] = windows[self.gate]["input_values"]
        return inputs

    def _standard_lead_mask(self, windows: Mapping[str, Mapping[str, Any]]) -> Any:
        """Return which of the standard leads there are, as far as an expert reads them."""
        leads: dict[str, Any] = {}
        for name in self.experts:
            mask = windows[name]["lead_mask"]
            leads |= {lead: mask[..., [row]] for row, lead in enumerate(self.extractors[name].lead_names)}
        missing = next(iter(leads.values())) & False
        concatenate = torch.cat if isinstance(missing, torch.Tensor) else np.concatenate
        return concatenate([leads.get(lead, missing) for lead in STANDARD_LEADS], -1)


@dataclass
class Split:
    """The windows of one split's records, prepared for a model; nearly always a record is one window.

    Attributes:
        records (`datasets.Dataset`): Metadata of each window's record.
        inputs (`dict[str, datasets.Dataset]`): By the input's name, a dataset of the same rows: the bytes of float32
            arrays in the column `values`, those of a `lead_mask`, and the number of samples that are no padding.
        views (`Views`): Which input is whose.
        labels (`dict[str, np.ndarray]`): By task, what `read_targets` gives.
        raw (`RawWindows`): The windows before they were prepared.
    """

    records: datasets.Dataset
    inputs: dict[str, datasets.Dataset]
    views: Views
    labels: dict[str, np.ndarray]
    raw: RawWindows

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def lacks(self) -> set[str]:
        """Which masks are needed: of `lead_mask` where a lead is missing, `input_mask` where a window is padded."""
        leads = any(b"\0" in mask for each in self.inputs.values() for mask in each["lead_mask"][:])
        samples = any(
            min(each["num_recorded"][:], default=0) < self.views.extractors[name].sequence_length
            for name, each in self.inputs.items()
        )
        return ({"lead_mask"} if leads else set()) | ({"input_mask"} if samples else set())

    def batch(self, name: str, rows: range) -> dict[str, torch.Tensor]:
        """Return what an expert takes of consecutive windows.

        Returns:
            `dict[str, torch.Tensor]`: `input_values` of shape `(len(rows), num_leads, sequence_length)`, and those of
                `lead_mask` and `input_mask` that the split needs.
        """
        extractor, stored = self.views.extractors[name], self.inputs[name][rows.start : rows.stop]
        values = torch.frombuffer(bytearray().join(stored["values"]), dtype=torch.float32)
        views = {"input_values": values.view(len(rows), len(extractor.lead_names), extractor.sequence_length)}
        if "lead_mask" in self.lacks:
            masks = torch.frombuffer(bytearray().join(stored["lead_mask"]), dtype=torch.bool)
            views["lead_mask"] = masks.view(len(rows), -1)
        if "input_mask" in self.lacks:
            recorded = torch.tensor(stored["num_recorded"])
            views["input_mask"] = torch.arange(extractor.sequence_length) < recorded[:, None]
        return views

    def model_inputs(self, index: int) -> dict[str, Any]:
        """Return what the model takes of one window, without a batch axis."""
        return self.views.joined({name: self._window(name, index) for name in self.views.extractors})

    def gate_inputs(self, index: int) -> dict[str, torch.Tensor]:
        """Return a window's `gate_values`, without a batch axis; nothing where the gate does not read the signal."""
        if self.views.gate is None:
            return {}
        return {"gate_values": self._window(self.views.gate, index)["input_values"]}

    def labels_of(self, index: int) -> dict[str, torch.Tensor]:
        """Return a window's labels by task."""
        return {name: torch.from_numpy(np.array(values[index])) for name, values in self.labels.items()}

    def _window(self, name: str, index: int) -> dict[str, torch.Tensor]:
        return {kind: values[0] for kind, values in self.batch(name, range(index, index + 1)).items()}

    def select(self, indices: np.ndarray) -> "Split":
        """Return some of the windows."""
        inputs = {name: each.select(indices) for name, each in self.inputs.items()}
        labels = {task: values[indices] for task, values in self.labels.items()}
        return Split(self.records.select(indices), inputs, self.views, labels, self.raw.select(indices))


def joined(splits: Sequence[Split]) -> Split:
    """Return several splits of the same inputs and tasks as one."""
    first = splits[0]
    if len(splits) == 1:
        return first
    inputs = {name: datasets.concatenate_datasets([split.inputs[name] for split in splits]) for name in first.inputs}
    labels = {task: np.concatenate([split.labels[task] for split in splits]) for task in first.labels}
    records = datasets.concatenate_datasets([split.records for split in splits])
    return Split(records, inputs, first.views, labels, RawWindows.joined([split.raw for split in splits]))


class SignalRecords(torch.utils.data.Dataset):
    """Records as the model's inputs and `labels`."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.split.model_inputs(index), "labels": self.split.labels_of(index)}


class FeatureRecords(torch.utils.data.Dataset):
    """Records as `expert_features`, computed before, and `labels`, with what a gate on the signal reads.

    Args:
        features (`Mapping[str, np.ndarray]`): By expert, an array whose rows are records; it is read row by row.
        split (`Split`): The records that count.
        rows (`np.ndarray`, *optional*): The row of each of them in `features`; by default the rows are these records.
    """

    def __init__(self, features: Mapping[str, np.ndarray], split: Split, rows: np.ndarray | None = None):
        self.features = features
        self.split = split
        self.rows = np.arange(len(split)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        features = {name: torch.from_numpy(array[row].astype(np.float32)) for name, array in self.features.items()}
        return {
            "expert_features": features,
            "labels": self.split.labels_of(index),
            **self.split.gate_inputs(index),
        }


def labelled_rows(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the indices of the rows that have a label of at least one task."""
    has_label = [~np.isnan(values.reshape(len(values), -1)).all(axis=1) for values in labels.values()]
    return np.flatnonzero(np.any(has_label, axis=0))
