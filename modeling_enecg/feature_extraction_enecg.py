"""The feature extractor of an ensemble whose experts take different inputs, or whose gate reads the signal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin

from .feature_extraction_ecg import ECGFeatureExtractor, PreparedRecord, batch_records, check_output
from .leads import STANDARD_LEADS


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
        padding: bool | str = True,
        device: Any = None,
    ) -> BatchFeature:
        """Prepare one or several records; arguments and errors as in [`ECGFeatureExtractor`].

        Returns:
            `BatchFeature` whose `input_values` is a list of one `(batch_size, num_leads, sequence_length)` an expert,
                with `gate_values` of shape `(batch_size, num_gate_leads, gate_sequence_length)` for a gate on the
                signal, 0 where its leads are missing. Where a record lacks leads also `lead_mask` of shape
                `(batch_size, 12)` over the standard leads; where one was padded also `input_mask`, a list as of
                `input_values`.
        """
        check_output(return_tensors, padding, device)
        experts, gate = list(self.extractors().values()), self.gate_extractor()
        prepared = {each: each.prepare(signals, sampling_rate, lead_names) for each in dict.fromkeys(experts)}
        batches = [batch_records(prepared[each], return_tensors) for each in experts]
        views: dict[str, Any] = {"input_values": [batch["input_values"] for batch in batches]}
        shared = {}
        if any("lead_mask" in batch for batch in batches):
            shared["lead_mask"] = _standard_lead_mask(prepared)
        if gate is not None:
            # Signals without names are in the experts' order, from which the gate picks its leads.
            num_rows = len(signals if np.ndim(signals[0]) == 1 else signals[0])
            names = self.names_of_rows(num_rows) if lead_names is None else lead_names
            shared["gate_values"] = np.stack([record.values for record in gate.prepare(signals, sampling_rate, names)])
        if any("input_mask" in batch for batch in batches):
            views["input_mask"] = [
                BatchFeature({"mask": np.stack([record.input_mask for record in prepared[each]])}, return_tensors)[
                    "mask"
                ]
                for each in experts
            ]
        batch = views | BatchFeature(shared, tensor_type=return_tensors).data
        return BatchFeature(batch if device is None else {name: _moved(each, device) for name, each in batch.items()})

    def names_of_rows(self, num_leads: int) -> Sequence[str]:
        """Return what the rows of a signal without lead names are, as the first expert has it."""
        return next(iter(self.extractors().values())).names_of_rows(num_leads)

    def window_seconds(self) -> float:
        """Return how long a recording the model sees at once: the longest that an expert takes."""
        return max(extractor.window_seconds() for extractor in self.extractors().values())


def extractor_of(settings: Mapping[str, Any]) -> ECGFeatureExtractor | EnECGFeatureExtractor:
    """Return the feature extractor that `preprocessor_config.json` describes.

    Raises:
        ValueError: if it is of another kind.
    """
    kinds = {each.__name__: each for each in (ECGFeatureExtractor, EnECGFeatureExtractor)}
    kind = settings.get("feature_extractor_type")
    if kind not in kinds:
        raise ValueError(f"feature_extractor_type is {kind!r}; expected {' or '.join(kinds)}.")
    extractor: Any = kinds[kind].from_dict(dict(settings))
    return extractor


def _moved(values: Any, device: Any) -> Any:
    return [each.to(device) for each in values] if isinstance(values, list) else values.to(device)


def _standard_lead_mask(prepared: Mapping[ECGFeatureExtractor, Sequence[PreparedRecord]]) -> np.ndarray:
    """Return which of the standard leads each record has, as far as an expert reads them: `(batch_size, 12)`."""
    masks: dict[str, np.ndarray] = {}
    for extractor, records in prepared.items():
        masks |= dict(zip(extractor.lead_names, np.stack([record.lead_mask for record in records]).T, strict=True))
    missing = np.zeros(len(next(iter(prepared.values()))), dtype=bool)
    return np.stack([masks.get(lead, missing) for lead in STANDARD_LEADS], axis=1)


__all__ = ["EnECGFeatureExtractor", "extractor_of"]
