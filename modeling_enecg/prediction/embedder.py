"""The features that the experts of a model make of a recording, before any task."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adapters import is_adapter
from ..expert_references import load_expert, weights_digest
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..heads import expert_tokens
from ..judged_recording import as_record, judge_recording
from ..leads import STANDARD_LEADS
from ..loading import model_type_of
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from ..pipeline_ecg import cast_signal, flat_inputs, nested_inputs
from ..recording import ECGRecord
from ..runs.shipped import find_model
from ..saved_extractor import read_extractor
from ..signal_quality import SignalQuality
from .predictor import Predictor

Window = Mapping[str, torch.Tensor]

_PROBED_RATE = 500  # Hz, of the signal that tells how many tokens there are


@dataclass(frozen=True, eq=False)
class Embedding:
    """One recording's features.

    Attributes:
        quality ([`SignalQuality`]): The verdict on the recording.
        features (`dict[str, np.ndarray]`, *optional*): By expert, its `pooler_output`, float32 of shape
            `(feature_size,)`, the mean over the recording's windows; None where the recording is unusable.
        tokens (`dict[str, np.ndarray]`, *optional*): By expert, its tokens, float32 of shape
            `(num_windows * num_tokens, hidden_size)`, window after window, NaN where a token is of what is missing;
            None where they were not asked for or the recording is unusable.
    """

    quality: SignalQuality
    features: dict[str, np.ndarray] | None
    tokens: dict[str, np.ndarray] | None = None


class Embedder:
    """A model's experts, or a single backbone, with their feature extractor.

    The features are what the model's heads read, before they are standardised; where the heads pool tokens by
    attention, they are the backbones' own pooling all the same.

    Args:
        path (`str` or `Path`): A folder or Hub id of an EnECG model, of an adapter, which names its base, or of a
            backbone; or the name of a shipped model. A Hub id may end in a revision: `org/name@revision`. Or a
            [`Predictor`], whose model is taken.
        adapters (`Sequence[str]`, *optional*): The same of adapters on an EnECG model.
        device (`torch.device`, *optional*, defaults to the CPU): Where it computes.
        batch_size (`int`, *optional*, defaults to 16): Windows computed at once.

    Attributes:
        sizes (`dict[str, int]`): By expert, the number of its features; a backbone alone is named after its model
            type, such as `ecgfounder`.
        trained_rates (`dict[str, float]`): By task, the rate (Hz) on which it was trained; none of a backbone alone.

    Raises:
        OSError: if there is no model.
        ValueError: if it is neither an EnECG model nor a backbone, or its weights do not fit.
    """

    def __init__(
        self,
        path: str | Path | Predictor,
        adapters: Sequence[str | Path] = (),
        device: torch.device | None = None,
        batch_size: int = 16,
    ):
        self.device, self.batch_size = device or torch.device("cpu"), batch_size
        self.trained_rates: dict[str, float | None] = {}
        self._model: EnECGModel | None = None
        place = path if isinstance(path, Predictor) else find_model(path)
        if isinstance(place, Predictor) or adapters or is_adapter(place) or _is_enecg(place):
            predictor = place if isinstance(place, Predictor) else Predictor(place, adapters)
            self._model, self.extractor = predictor.model.to(self.device), predictor.extractor
            self.backbones = predictor.model.backbones
            self.trained_rates = {name: task.trained_sampling_rate for name, task in predictor.model.tasks.items()}
        else:
            backbone: Any = load_expert(place).eval()
            settings = backbone.config.feature_extractor_settings()
            self.extractor = read_extractor(place) or ECGFeatureExtractor(**settings)
            self.backbones = {_short_name(backbone): backbone.to(self.device)}
        self.sizes = {name: backbone.config.feature_size for name, backbone in self.backbones.items()}

    @cached_property
    def digest(self) -> str:
        """A hash of all that determines the features: experts and feature extractor."""
        parts = [self.extractor.to_json_string()]
        parts += [text for name, each in self.backbones.items() for text in (name, each.config.to_json_string())]
        parts += [weights_digest(each) for each in self.backbones.values()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def __call__(self, recording: Any, force: bool = False, token_stride: int | None = None) -> Embedding:
        """Embed one recording.

        Args:
            recording: An [`ECGRecord`], or whatever the pipeline takes.
            force (`bool`, *optional*, defaults to False): Embed a recording whose signal is unusable as well.
            token_stride (`int`, *optional*, defaults to None): Give the tokens as well, the mean of so many
                successive ones for one; None gives no tokens.

        Raises:
            ValueError: if the recording does not fit the model.
        """
        quality, windows = self.prepare(recording, force)
        return self.embed([(quality, windows)], token_stride)[0]

    def prepare(self, recording: Any, force: bool = False) -> tuple[SignalQuality, list[Window]]:
        """Judge a recording and prepare its windows; arguments and errors as of a call.

        Returns:
            `tuple[SignalQuality, list]`: The verdict, and what the model takes of each window; no window of a
                recording that is unusable.
        """
        judged = judge_recording(as_record(recording), self.extractor, force)
        rate, names = judged.sampling_rate, judged.lead_names
        inputs = [self.extractor(window, rate, names, return_tensors="pt") for window in judged.signals]
        return judged.quality, [flat_inputs(each) for each in inputs]

    def embed(
        self, prepared: Sequence[tuple[SignalQuality, Sequence[Window]]], token_stride: int | None = None
    ) -> list[Embedding]:
        """Embed recordings that `prepare` gave, `batch_size` windows at a time, whosever they are.

        Args:
            prepared (`Sequence`): What `prepare` gave of each.
            token_stride (`int`, *optional*, defaults to None): As of a call.
        """
        windows = [window for _, own in prepared for window in own]
        starts = range(0, len(windows), self.batch_size)
        batches = [self._outputs(windows[start : start + self.batch_size], token_stride) for start in starts]
        features = _joined([batch.features for batch in batches])
        tokens = _joined([batch.tokens for batch in batches])
        found, first = [], 0
        for quality, own in prepared:
            rows = slice(first, first + len(own))
            first = rows.stop
            if not own:
                found.append(Embedding(quality, None))
                continue
            means = {name: each[rows].mean(dim=0).numpy() for name, each in features.items()}
            parts = {name: each[rows].flatten(0, 1).numpy() for name, each in tokens.items()}
            found.append(Embedding(quality, means, parts or None))
        return found

    def token_shapes(self, token_stride: int = 1) -> dict[str, tuple[int, int]]:
        """Return by expert how many tokens it gives of a window, and their width.

        Args:
            token_stride (`int`, *optional*, defaults to 1): The mean of so many successive tokens is taken for one.

        Raises:
            ValueError: if a backbone does not say which of its tokens count.
        """
        noise = np.random.default_rng(0).standard_normal((len(STANDARD_LEADS), 10 * _PROBED_RATE))
        _, windows = self.prepare(ECGRecord(noise, _PROBED_RATE, list(STANDARD_LEADS)), force=True)
        tokens = self._outputs(windows[:1], token_stride).tokens
        return {name: (each.shape[1], each.shape[2]) for name, each in tokens.items()}

    @torch.inference_mode()
    def _outputs(self, windows: Sequence[Window], token_stride: int | None) -> "_Outputs":
        dtype = next(iter(self.backbones.values())).dtype
        joined = {name: torch.cat([window[name] for window in windows]) for name in windows[0]}
        inputs = nested_inputs({name: cast_signal(each, dtype).to(self.device) for name, each in joined.items()})
        inputs.pop("gate_values", None)
        views = dict.fromkeys(self.sizes, inputs) if self._model is None else self._model.expert_inputs(**inputs)
        features, tokens = {}, {}
        for name, backbone in self.backbones.items():
            output = backbone(**views[name])
            features[name] = output.pooler_output.float().cpu()
            if token_stride is not None:
                tokens[name] = _without_missing(expert_tokens(backbone, output, token_stride)).float().cpu()
        return _Outputs(features, tokens)


@dataclass(frozen=True, eq=False)
class _Outputs:
    """What the experts give of some windows; no tokens where none are wanted."""

    features: dict[str, torch.Tensor]
    tokens: dict[str, torch.Tensor]


def _joined(batches: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]} if batches else {}


def _without_missing(flagged: torch.Tensor) -> torch.Tensor:
    """Return flagged tokens without their flag, NaN where they do not count."""
    return flagged[..., :-1].masked_fill(flagged[..., -1:] == 0, torch.nan)


def _is_enecg(place: str) -> bool:
    return model_type_of(place) == EnECGModel.config_class.model_type


def _short_name(backbone: ECGBackboneModel) -> str:
    return str(backbone.config.model_type).removeprefix("enecg-")


__all__ = ["Embedder", "Embedding"]
