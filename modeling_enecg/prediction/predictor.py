"""Predicting single recordings with a saved model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adapters import is_adapter, load_adapter, load_adapters, load_base_extractor
from ..auto import AutoFeatureExtractor
from ..io import ECGRecord
from ..loading import folder_or_hub, place_and_revision
from ..modeling_enecg import EnECGModel
from ..runs.portable import check_place
from ..windows import usable_windows

WINDOWS_AT_ONCE = 16


class Predictor:
    """A model with its feature extractor, ready for recordings.

    Args:
        path (`str` or `Path`): A folder or Hub id that holds both; or an adapter's, which names its base. A Hub id may
            end in a revision: `org/name@revision`.
        adapters (`Sequence[str]`, *optional*): The same of adapters on that model, of different tasks.

    Raises:
        OSError: if there is no model or feature extractor.
        ValueError: if the model is not an EnECG model, or an adapter was made for another base.
    """

    def __init__(self, path: str | Path, adapters: Sequence[str | Path] = ()):
        check_place(str(path))
        if is_adapter(path):
            if adapters:
                raise ValueError(f"{path} is an adapter itself; give its base, and it among the adapters.")
            self.extractor = load_base_extractor(path)  # before the model, whose loading checks all downloads
            self.model = load_adapter(path).merge_and_unload().eval()
            return
        place, revision = place_and_revision(path)
        with folder_or_hub(place):
            model_type = EnECGModel.config_class.get_config_dict(place, revision=revision)[0].get("model_type")
        if model_type != EnECGModel.config_class.model_type:
            raise ValueError(
                f"{path} holds a model of type {model_type!r}, which has no tasks to predict; "
                "expected an EnECG model, as train.py writes it."
            )
        self.extractor = AutoFeatureExtractor.from_pretrained(place, revision=revision)
        self.model = EnECGModel.from_pretrained(place, revision=revision)
        if adapters:
            named = {f"adapter_{number}": adapter for number, adapter in enumerate(adapters)}
            self.model = load_adapters(named, self.model).merge_and_unload(adapter_names=list(named)).eval()

    @torch.inference_mode()
    def __call__(self, record: ECGRecord) -> dict[str, Any]:
        """Predict one recording; of one that is longer than what the model sees at once, the mean over its windows.

        Args:
            record ([`ECGRecord`]): The recording; its leads may come in any order, and some may be missing.

        Returns:
            `dict[str, Any]`: By task, a dict of `problem_type`, `outputs` (by label a probability, or a regression's
                value), `unit` for a regression, and `gate_weights` by expert.

        Raises:
            ValueError: if all leads are missing, or the signal cannot be an ECG in mV.
        """
        seconds = self.extractor.window_seconds()
        windows = usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, seconds)
        logits, gate_weights = self._mean_over(windows.signals, record.sampling_rate, windows.lead_names)
        outputs = self.model.probabilities(logits)
        results: dict[str, Any] = {}
        for name, task in self.model.tasks.items():
            results[name] = {
                "problem_type": task.problem_type,
                "outputs": dict(zip(task.output_names, outputs[name].tolist(), strict=True)),
                "gate_weights": dict(zip(self.model.experts, gate_weights[name].tolist(), strict=True)),
            }
            if task.is_regression:
                results[name]["unit"] = task.unit
        return results

    def _mean_over(
        self, windows: Sequence[np.ndarray], rate: float, lead_names: Sequence[str] | None
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return each task's mean logits, `(num_outputs,)`, and mean gate weights, `(num_experts,)`."""
        logits: dict[str, list[torch.Tensor]] = {name: [] for name in self.model.tasks}
        gate_weights: dict[str, list[torch.Tensor]] = {name: [] for name in self.model.tasks}
        for start in range(0, len(windows), WINDOWS_AT_ONCE):
            inputs = self.extractor(windows[start : start + WINDOWS_AT_ONCE], rate, lead_names, return_tensors="pt")
            output = self.model(**inputs.to(self.model.device, self.model.dtype))
            for name in self.model.tasks:
                logits[name].append(output.logits[name])
                gate_weights[name].append(output.gate_weights[name])
        return (
            {name: torch.cat(parts).mean(dim=0) for name, parts in logits.items()},
            {name: torch.cat(parts).mean(dim=0) for name, parts in gate_weights.items()},
        )


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
