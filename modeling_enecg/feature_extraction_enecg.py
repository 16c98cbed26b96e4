"""The feature extractor of an ensemble whose experts take different inputs, or whose gate reads the signal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin

from .feature_extraction_ecg import ECGFeatureExtractor


class EnECGFeatureExtractor(FeatureExtractionMixin):
    """Prepare each record for every expert and for the gate.

    Args:
        experts (`Mapping[str, dict]`): From each expert's name to the arguments of its [`ECGFeatureExtractor`].
        expert_order (`Sequence[str]`, *optional*, defaults to the order of `experts`): The experts in the model's
            order; kept apart because JSON files sort their keys.
        gate (`Mapping`, *optional*): The same for a gate that reads the signal.
    """

    model_input_names = ["input_values"]
    padding_value = 0.0  # pipelines ask for it before they join recordings to a batch

    def __init__(
        self,
        experts: Mapping[str, Mapping[str, Any]] | None = None,
        expert_order: Sequence[str] | None = None,
        gate: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        experts = experts or {}
        self.expert_order = list(experts if expert_order is None else expert_order)
        self.experts = {name: dict(experts[name]) for name in self.expert_order}
        self.gate = None if gate is None else dict(gate)

    def extractors(self) -> dict[str, ECGFeatureExtractor]:
        """Return each expert's feature extractor; experts with the same settings share one."""
        distinct: list[dict[str, Any]] = []
        for settings in self.experts.values():
            if settings not in distinct:
                distinct.append(settings)
        shared = [ECGFeatureExtractor(**settings) for settings in distinct]
        return {name: shared[distinct.index(settings)] for name, settings in self.experts.items()}

    def gate_extractor(self) -> ECGFeatureExtractor | None:
        """Return the feature extractor of a gate that reads the signal."""
        return None if self.gate is None else ECGFeatureExtractor(**self.gate)

    def __call__(
        self,
        signals: np.ndarray | Sequence[np.ndarray],
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prepare one or several records; arguments and errors as in [`ECGFeatureExtractor`].

        Returns:
            `BatchFeature` whose `input_values` is a list of one `(batch_size, num_leads, sequence_length)` an expert,
            with `gate_values` of shape `(batch_size, num_gate_leads, gate_sequence_length)` for a gate on the signal.
        """
        extractors, gate_extractor = list(self.extractors().values()), self.gate_extractor()
        prepared = {
            extractor: extractor(signals, sampling_rate, lead_names, return_tensors)["input_values"]
            for extractor in extractors
        }
        views: dict[str, Any] = {"input_values": [prepared[extractor] for extractor in extractors]}
        if gate_extractor is not None:
            # Signals without names are in the experts' order, from which the gate picks its leads.
            names = extractors[0].lead_names if lead_names is None else lead_names
            views["gate_values"] = gate_extractor(signals, sampling_rate, names, return_tensors)["input_values"]
        return BatchFeature(views)


__all__ = ["EnECGFeatureExtractor"]
