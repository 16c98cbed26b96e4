"""Predicting recordings with an exported model, without torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..decisions import recording_findings
from ..findings import Findings
from ..judged_recording import JudgedRecording, as_record, judge_recording
from .inputs import named_inputs
from .onnx_model import OnnxModel


class OnnxPredictor:
    """An exported model, ready for recordings; it finds what [`Predictor`] finds with the model itself.

    Args:
        file (`str` or `Path`): What `enecg export` wrote.
        batch_size (`int`, *optional*, defaults to 16): Windows predicted at once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or was not written by `enecg export`.
    """

    def __init__(self, file: str | Path, batch_size: int = 16):
        self.model, self.batch_size = OnnxModel(file), batch_size
        self.extractor = self.model.extractor

    def __call__(self, recording: Any, force: bool = False) -> Findings:
        """Predict one recording; of one that is longer than what the model sees at once, the mean over its windows.

        Args:
            recording: An [`ECGRecord`], a file's path, or a dict of `signal`, `sampling_rate` and `lead_names`.
            force (`bool`, *optional*, defaults to False): Score a recording whose signal is unusable as well.

        Returns:
            [`Findings`]

        Raises:
            ValueError: if a file is no readable ECG, or the signal cannot be an ECG in mV.
        """
        judged = judge_recording(as_record(recording), self.extractor, force)
        outputs = self._mean_outputs(judged) if judged.signals else None
        model = self.model
        return recording_findings(model.tasks, model.experts, judged.note, outputs, model.novelty_quantiles)

    def predict(self, recordings: Iterable[Any], force: bool = False) -> Iterator[Findings]:
        """Predict recordings one by one; see `__call__`."""
        return (self(recording, force) for recording in recordings)

    def _mean_outputs(self, judged: JudgedRecording) -> dict[str, np.ndarray]:
        """Return each output's mean over a recording's windows."""
        batches = [self.model(self._inputs(judged, start)) for start in range(0, len(judged.signals), self.batch_size)]
        return {name: np.concatenate([batch[name] for batch in batches]).mean(axis=0) for name in batches[0]}

    def _inputs(self, judged: JudgedRecording, start: int) -> dict[str, np.ndarray]:
        windows = judged.signals[start : start + self.batch_size]
        each = [
            named_inputs(
                self.extractor,
                self.extractor(window, judged.sampling_rate, judged.lead_names, return_tensors="np"),
            )
            for window in windows
        ]
        return {name: np.concatenate([inputs[name] for inputs in each]) for name in each[0]}


__all__ = ["OnnxPredictor"]
