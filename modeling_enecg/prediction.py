"""Predicting single recordings with a saved model."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoFeatureExtractor

from .adapters import is_adapter, load_adapter, load_adapters, load_base_extractor
from .io import ECGRecord
from .modeling_enecg import EnECGModel


class Predictor:
    """A model with its feature extractor, ready for recordings.

    Args:
        path (`str` or `Path`): A folder or Hub id that holds both; or an adapter's, which names its base.
        adapters (`Sequence[str]`, *optional*): Folders or Hub ids of adapters on that model, of different tasks.

    Raises:
        OSError: if there is no model or feature extractor.
        ValueError: if the model is not an EnECG model, or an adapter was made for another base.
    """

    def __init__(self, path: str | Path, adapters: Sequence[str | Path] = ()):
        if os.path.isabs(path) and not os.path.isdir(path):
            raise ValueError(f"There is no folder {path}.")
        if is_adapter(path):
            if adapters:
                raise ValueError(f"{path} is an adapter itself; give its base, and it among the adapters.")
            self.extractor = load_base_extractor(path)  # before the model, whose loading checks all downloads
            self.model = load_adapter(path).merge_and_unload().eval()
            return
        model_type = EnECGModel.config_class.get_config_dict(str(path))[0].get("model_type")
        if model_type != EnECGModel.config_class.model_type:
            raise ValueError(
                f"{path} holds a model of type {model_type!r}, which has no tasks to predict; "
                "expected an EnECG model, as train.py writes it."
            )
        self.extractor = AutoFeatureExtractor.from_pretrained(str(path))
        self.model = EnECGModel.from_pretrained(str(path))
        if adapters:
            named = {f"adapter_{number}": adapter for number, adapter in enumerate(adapters)}
            self.model = load_adapters(named, self.model).merge_and_unload(adapter_names=list(named)).eval()

    @torch.inference_mode()
    def __call__(self, record: ECGRecord) -> dict[str, Any]:
        """Predict one recording.

        Args:
            record ([`ECGRecord`]): The recording; its leads may come in any order.

        Returns:
            `dict[str, Any]`: By task, a dict of `problem_type`, `outputs` (by label a probability, or a regression's
                value), `unit` for a regression, and `gate_weights` by expert.

        Raises:
            ValueError: if leads are missing or the signal cannot be an ECG in mV.
        """
        inputs = self.extractor(record.signal_mv, record.sampling_rate, record.lead_names, return_tensors="pt")
        output = self.model(**inputs.to(self.model.device))
        outputs = self.model.probabilities(output.logits)
        results: dict[str, Any] = {}
        for name, task in self.model.tasks.items():
            results[name] = {
                "problem_type": task.problem_type,
                "outputs": dict(zip(task.output_names, outputs[name][0].tolist(), strict=True)),
                "gate_weights": dict(zip(self.model.experts, output.gate_weights[name][0].tolist(), strict=True)),
            }
            if task.is_regression:
                results[name]["unit"] = task.unit
        return results


def leading_findings(results: dict[str, Any], limit: int = 6) -> list[tuple[str, float]]:
    """Return the most probable labels of all classification tasks, highest first."""
    findings = [
        (label, probability)
        for task in results.values()
        if task["problem_type"] != "regression"
        for label, probability in task["outputs"].items()
    ]
    return sorted(dict(findings).items(), key=lambda finding: -finding[1])[:limit]


__all__ = ["Predictor", "leading_findings"]
