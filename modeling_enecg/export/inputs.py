"""The named inputs of an exported graph: of what experts read alike, one."""

from typing import TypeAlias

import numpy as np
from transformers import BatchFeature

from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..leads import STANDARD_LEADS

Extractor: TypeAlias = ECGFeatureExtractor | EnECGFeatureExtractor

VALUES, MASK = "input_values", "input_mask"


def view_names(extractor: Extractor) -> list[str]:
    """Return, for each entry of the extractor's list of inputs, what stands behind `input_values` in its name.

    Experts that share their pre-processing share an input, which is named after the first of them; a single one for
    all has no such ending.
    """
    if isinstance(extractor, ECGFeatureExtractor):
        return [""]
    by_expert = extractor.extractors()
    first = {each: name for name, each in reversed(by_expert.items())}
    return ["" if len(first) == 1 else f"_{first[each]}" for each in by_expert.values()]


def input_names(extractor: Extractor) -> list[str]:
    """Return the names of a graph's inputs, in order."""
    views = list(dict.fromkeys(view_names(extractor)))
    names = [f"{VALUES}{view}" for view in views] + ["lead_mask"] + [f"{MASK}{view}" for view in views]
    return [*names, "gate_values"] if getattr(extractor, "gate", None) is not None else names


def named_inputs(extractor: Extractor, batch: BatchFeature) -> dict[str, np.ndarray]:
    """Return what a graph takes of what an extractor gave with `return_tensors="np"`: always with masks.

    Args:
        extractor ([`ECGFeatureExtractor`] or [`EnECGFeatureExtractor`]): The model's.
        batch (`BatchFeature`): What it gave.

    Returns:
        `dict[str, np.ndarray]`: By name `input_values`, float32, of shape `(batch_size, num_leads, samples)`;
            `lead_mask`, of shape `(batch_size, 12)`, or over fewer leads where the extractor gives fewer;
            `input_mask`, of shape `(batch_size, samples)`; and `gate_values` for a gate on the signal.
    """
    is_list = isinstance(extractor, EnECGFeatureExtractor)
    values = batch["input_values"] if is_list else [batch["input_values"]]
    masks = batch.get("input_mask")
    masks = [masks] * len(values) if masks is None or not is_list else masks
    batch_size, num_leads, _samples = values[0].shape
    every_lead = np.ones((batch_size, len(STANDARD_LEADS) if is_list else num_leads), dtype=bool)
    named = {"lead_mask": batch.get("lead_mask", every_lead)}
    for view, signal, mask in zip(view_names(extractor), values, masks, strict=True):
        whole = np.ones((batch_size, signal.shape[-1]), dtype=bool)
        named |= {f"{VALUES}{view}": signal, f"{MASK}{view}": whole if mask is None else mask}
    if "gate_values" in batch:
        named["gate_values"] = batch["gate_values"]
    return {name: named[name] for name in input_names(extractor)}


__all__ = ["MASK", "VALUES", "Extractor", "input_names", "named_inputs", "view_names"]
