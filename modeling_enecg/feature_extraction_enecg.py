"""The feature extractor of an ensemble whose experts take different inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin

from .feature_extraction_ecg import ECGFeatureExtractor


class EnECGFeatureExtractor(FeatureExtractionMixin):
    """Prepare each record once for every expert.

    Args:
        experts (`Mapping[str, dict]`): From each expert's name to the arguments of its [`ECGFeatureExtractor`].
        expert_order (`Sequence[str]`, *optional*, defaults to the order of `experts`): The experts in the model's
            order; kept apart because JSON files sort their keys.
    """

    model_input_names = ["input_values"]

    def __init__(
        self,
        experts: Mapping[str, Mapping[str, Any]] | None = None,
        expert_order: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        experts = experts or {}
        self.expert_order = list(experts if expert_order is None else expert_order)
        self.experts = {name: dict(experts[name]) for name in self.expert_order}

    def extractors(self) -> dict[str, ECGFeatureExtractor]:
        """Return each expert's own feature extractor."""
        return {name: ECGFeatureExtractor(**settings) for name, settings in self.experts.items()}

    def __call__(
        self,
        signals: np.ndarray | Sequence[np.ndarray],
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prepare one or several records; arguments and errors as in [`ECGFeatureExtractor`].

        Returns:
            `BatchFeature` whose `input_values` is a list of one `(batch_size, num_leads, sequence_length)` an expert.
        """
        views = [
            extractor(signals, sampling_rate, lead_names, return_tensors)["input_values"]
            for extractor in self.extractors().values()
        ]
        return BatchFeature({"input_values": views})


__all__ = ["EnECGFeatureExtractor"]
