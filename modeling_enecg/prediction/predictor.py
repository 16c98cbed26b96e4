"""Predicting single recordings with a saved model."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..adapters import is_adapter, load_adapter, load_adapters, load_base_extractor
from ..auto import AutoFeatureExtractor
from ..expert_references import weights_digest
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..findings import Findings
from ..loading import model_files, model_type_of, place_and_revision
from ..modeling_enecg import EnECGModel
from ..pipeline_ecg import ECGClassificationPipeline
from ..runs.shipped import find_model


class Predictor:
    """A model with its feature extractor, ready for recordings.

    Args:
        path (`str` or `Path`): A folder or Hub id that holds both; or an adapter's, which names its base; or the name
            of a shipped model. A Hub id may end in a revision: `org/name@revision`.
        adapters (`Sequence[str]`, *optional*): The same of adapters on that model, of different tasks.
        device (`torch.device`, *optional*, defaults to the CPU): Where it computes.
        batch_size (`int`, *optional*, defaults to 16): Windows predicted at once.

    Raises:
        OSError: if there is no model or feature extractor.
        ValueError: if the model is not an EnECG model, an adapter was made for another base, or the name is that of a
            shipped model and of a folder.
    """

    def __init__(
        self,
        path: str | Path,
        adapters: Sequence[str | Path] = (),
        device: torch.device | None = None,
        batch_size: int = 16,
    ):
        self.device, self.batch_size = device or torch.device("cpu"), batch_size
        path = find_model(path)
        if is_adapter(path):
            if adapters:
                raise ValueError(f"{path} is an adapter itself; give its base, and it among the adapters.")
            self.extractor = load_base_extractor(path)  # before the model, whose loading checks all downloads
            self.model = load_adapter(path).merge_and_unload().eval()
            return
        model_type = model_type_of(path)
        if model_type != EnECGModel.config_class.model_type:
            raise ValueError(
                f"{path} holds a model of type {model_type!r}, which has no tasks to predict; "
                "expected an EnECG model, as `enecg train` writes it."
            )
        place, revision = place_and_revision(path)
        with model_files(place):
            self.extractor = AutoFeatureExtractor.from_pretrained(place, revision=revision)
        if not isinstance(self.extractor, ECGFeatureExtractor | EnECGFeatureExtractor):
            raise ValueError(f"{place}: a {type(self.extractor).__name__} is no feature extractor of ECGs.")
        self.model = EnECGModel.from_pretrained(place, revision=revision)
        if adapters:
            named = {f"adapter_{number}": adapter for number, adapter in enumerate(adapters)}
            self.model = load_adapters(named, self.model).merge_and_unload(adapter_names=list(named)).eval()

    def __call__(self, recording: Any, force: bool = False) -> Findings:
        """Predict one recording; of one that is longer than what the model sees at once, the mean over its windows.

        Args:
            recording: An [`ECGRecord`], or whatever the pipeline takes. Leads may come in any order, and some may be
                missing.
            force (`bool`, *optional*, defaults to False): Score a recording whose signal is unusable as well.

        Returns:
            [`Findings`]

        Raises:
            ValueError: if all leads are missing, or the signal cannot be an ECG in mV.
        """
        return next(iter(self.predict([recording], force)))

    @cached_property
    def digest(self) -> str:
        """A hash of all that determines what it finds."""
        parts = [self.model.config.to_json_string(), weights_digest(self.model), self.extractor.to_json_string()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def predict(self, recordings: Iterable[Any], force: bool = False) -> Iterator[Findings]:
        """Predict recordings, `batch_size` windows at a time; see `__call__`."""
        yield from self._find((each for each in recordings), force=force)

    @cached_property
    def _find(self) -> ECGClassificationPipeline:
        return ECGClassificationPipeline(
            model=self.model, feature_extractor=self.extractor, device=self.device, batch_size=self.batch_size
        )


__all__ = ["Predictor"]
