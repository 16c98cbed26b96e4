"""An exported model: a graph for onnxruntime, and what it means, in one file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..feature_extraction_enecg import extractor_of
from ..tasks import Task
from .inputs import input_names

METADATA_KEY = "enecg"


@dataclass(frozen=True)
class Meaning:
    """All that prediction needs beside a graph, kept as JSON in the file's metadata.

    Attributes:
        feature_extractor (`dict`): The settings of the pre-processing, as `preprocessor_config.json` has them.
        tasks (`list[dict]`): The fields of each [`Task`]: labels, calibration, thresholds, intervals.
        experts (`list[str]`): The experts' names, in the order of gate weights.
        version (`str`): That of the package which wrote the file.
        novelty_quantiles (`list[float]`, *optional*): Those of the validation records' distances, at `LEVELS`; None of
            a model that compares recordings with none.
    """

    feature_extractor: dict[str, Any]
    tasks: list[dict[str, Any]]
    experts: list[str]
    version: str
    novelty_quantiles: list[float] | None = None

    def to_json(self) -> str:
        """Return it as the file keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Meaning":
        """Undo `to_json`.

        Raises:
            ValueError: if something is missing, unknown, or no JSON.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"its metadata {METADATA_KEY!r} does not fit: {error}") from error


class OnnxModel:
    """A model in a file that `enecg export` wrote.

    Args:
        file (`str` or `Path`): The file.

    Attributes:
        extractor ([`ECGFeatureExtractor`] or [`EnECGFeatureExtractor`]): The feature extractor that fits it.
        tasks (`dict[str, Task]`): Its tasks by name.
        experts (`list[str]`): The experts' names, in the order of gate weights.
        novelty_quantiles (`list[float]`, *optional*): See [`Meaning`].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or was not written by `enecg export`.
    """

    def __init__(self, file: str | Path):
        if not Path(file).is_file():
            raise FileNotFoundError(f"There is no file {file}.")
        self._session = _open(file)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ValueError(f"{file} lacks the metadata {METADATA_KEY!r}, which `enecg export` writes.")
        try:
            meaning = Meaning.from_json(metadata[METADATA_KEY])
            self.extractor = extractor_of(meaning.feature_extractor)
            self.tasks = {task["name"]: Task.from_dict(task) for task in meaning.tasks}
        except ValueError as error:
            raise ValueError(f"{file} cannot be used: {error}") from error
        self.experts, self.novelty_quantiles = list(meaning.experts), meaning.novelty_quantiles
        self._check_graph(file)

    def _check_graph(self, file: str | Path) -> None:
        """Refuse a graph that does not fit its metadata."""
        takes = [each.name for each in self._session.get_inputs()]
        gives = {each.name for each in self._session.get_outputs()}
        wanted = {f"{kind}.{name}" for kind in ("logits", "gate_weights") for name in self.tasks}
        if set(takes) - set(input_names(self.extractor)) or wanted - gives:
            raise ValueError(
                f"{file}: the graph, of {', '.join(takes)} to {', '.join(gives)}, is not of its metadata."
            )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a batch.

        Args:
            inputs (`Mapping[str, np.ndarray]`): As `named_inputs` gives them.

        Returns:
            `dict[str, np.ndarray]`: Of each task `logits.<task>`, `(batch_size, num_outputs)`, and
                `gate_weights.<task>`, `(batch_size, num_experts)`; and `distance`, `(batch_size,)`, where the model
                compares recordings with those that it knows.
        """
        taken = {each.name: inputs[each.name] for each in self._session.get_inputs()}
        names = [each.name for each in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, taken), strict=True))


def _open(file: str | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime."):
            raise
        raise ValueError(f"{file} is no ONNX file that onnxruntime can run: {error}") from error


__all__ = ["METADATA_KEY", "Meaning", "OnnxModel"]
