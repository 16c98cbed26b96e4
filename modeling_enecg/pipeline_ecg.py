"""The pipeline `ecg-classification`: from recordings to findings, with the tools of transformers."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.pipelines.base import ChunkPipeline

from .decisions import recording_findings
from .findings import Findings, read_note, write_note
from .judged_recording import as_record, judge_recording
from .leads import STANDARD_LEADS

PIPELINE_TASK = "ecg-classification"
_NO_OUTPUTS = ("note", "is_scored", "record", "is_last")  # what goes beside the model


class ECGClassificationPipeline(ChunkPipeline):
    """Predict recordings with an EnECG model, each task at once.

    A recording is the path of a file; or an array of shape `(num_leads, num_samples)` in mV, with `sampling_rate` (Hz)
    and, unless its rows are the model's leads in its order, `lead_names`; or a dict of `signal`, `sampling_rate` and
    `lead_names`. A list of them gives a list of results, `batch_size` at a time. A recording that is longer than what
    the model sees at once is cut into windows, and their logits are averaged.

    The signal is judged first: what is unusable (flat, off, noise, too short) is not scored, unless `force` is true.
    What lies further from the records that the model knows than 99 % of its validation records is doubtful.

    A result is [`Findings`]: the verdict, the leads that were used, and, as a dict, each task's list as `findings`
    gives it: for a classification by label, highest first, `label`, `score` (the calibrated probability), `raw_score`,
    `threshold` (0.5 where the model has none) and the decision `present`; for a regression `label`, `value` and
    `unit`, with `lower` and `upper` where the model has an interval.

    With `explain`, a task or a task and a label of it, that output is explained as `modeling_enecg.explaining` does,
    with all controls: the result's `explanation` is an `Explanation`, None where nothing was scored. This needs the
    package, and takes seconds to minutes per recording.

    Example:
    ```python
    >>> import numpy as np
    >>> from transformers import pipeline
    >>> from modeling_enecg import ECGFeatureExtractor, ECGFounderConfig, EnECGConfig, EnECGModel
    >>> expert = ECGFounderConfig(stem_size=16, hidden_sizes=[16, 32], depths=[1, 1])
    >>> task = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": ["AFIB", "SR"]}
    >>> model = EnECGModel(EnECGConfig(experts={"ecgfounder": expert.to_diff_dict()}, tasks=[task]))
    >>> find = pipeline("ecg-classification", model=model, feature_extractor=ECGFeatureExtractor())
    >>> found = find(np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4, sampling_rate=500)
    >>> sorted(found["rhythm"][0])
    ['label', 'present', 'raw_score', 'score', 'threshold']

    ```
    """

    model: Any
    feature_extractor: Any
    _load_feature_extractor: Any = True
    _load_tokenizer: Any = False
    _load_image_processor: Any = False
    _load_processor: Any = False

    def _sanitize_parameters(
        self,
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        top_k: int | None = None,
        force: bool | None = None,
        explain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            known = "sampling_rate, lead_names, top_k, force, explain"
            raise TypeError(f"Unknown parameters {', '.join(kwargs)}; known: {known}.")
        preprocess = {"sampling_rate": sampling_rate, "lead_names": lead_names, "force": force}
        given = {name: value for name, value in preprocess.items() if value is not None}
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k must be a whole number from 1 on, or None for all labels; got {top_k!r}.")
        postprocess: dict[str, Any] = {} if top_k is None else {"top_k": top_k}
        if explain is not None:
            given["keep_record"], postprocess["explain"] = True, _explainer(explain)
        return given, {}, postprocess

    def preprocess(  # type: ignore[override]
        self,
        recording: str | os.PathLike[str] | np.ndarray | Mapping[str, Any],
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        force: bool = False,
        keep_record: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Read a recording, judge it, and prepare it for the model, window by window; keep it for `postprocess`.

        Raises:
            ValueError: if a file is no readable ECG, an array comes without `sampling_rate`, or a signal does not fit.
        """
        record = as_record(recording, sampling_rate, lead_names)
        judged = judge_recording(record, self.feature_extractor, force)
        is_scored, rate = bool(judged.signals), judged.sampling_rate
        signals, names = judged.signals, judged.lead_names
        if not is_scored:  # a stand-in keeps the batch whole; what the model makes of it is dropped
            signals, names = [_stand_in(self.feature_extractor.window_seconds(), rate)], list(STANDARD_LEADS)
        note = write_note(judged.note)
        for index, window in enumerate(signals):
            inputs = self.feature_extractor(window, rate, names, return_tensors="pt")
            flat = flat_inputs(inputs) | {"note": torch.from_numpy(note), "is_scored": torch.tensor([[is_scored]])}
            kept = {"record": record} if keep_record else {}
            yield {**flat, **kept, "is_last": index == len(signals) - 1}

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        inputs = dict(inputs)
        kept = {name: inputs.pop(name) for name in _NO_OUTPUTS if name in inputs}
        inputs = {name: cast_signal(values, self.model.dtype) for name, values in inputs.items()}
        # transformers takes batches apart by values that are tensors or lists, and by the first of them above all.
        return {**named_outputs(self.model, **nested_inputs(inputs)), **kept}

    def postprocess(  # type: ignore[override]
        self,
        windows: Sequence[Mapping[str, Any]],
        top_k: int | None = None,
        explain: Callable[..., Any] | None = None,
    ) -> Findings:
        """Turn the outputs of one recording's windows into the result."""
        outputs = None
        if bool(windows[0]["is_scored"]):
            names = [name for name in windows[0] if name not in _NO_OUTPUTS]
            means = {name: torch.cat([each[name] for each in windows]).float().mean(dim=0) for name in names}
            outputs = {name: mean.numpy(force=True) for name, mean in means.items()}
        note, novelty = read_note(windows[0]["note"].numpy(force=True)), self.model.novelty
        quantiles = None if novelty is None else novelty.quantiles.double().numpy(force=True)
        found = recording_findings(self.model.tasks, list(self.model.experts), note, outputs, quantiles)
        found.update({name: task[:top_k] for name, task in found.items()})
        if explain is not None and found.is_scored:
            found.explanation = explain(self.model, self.feature_extractor, windows[0]["record"])
        return found


def _explainer(wanted: str | Sequence[str]) -> Callable[..., Any]:
    """Return the package's function that explains an output, told which one.

    Raises:
        ImportError: if the package, or what it needs for this, is not there.
        ValueError: if neither a task nor a task and a label is wanted.
    """
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"explain must be a task, or a task and a label of it, as ('sex', 'male'); got {wanted!r}.")
    try:
        explaining = import_module(f"{__package__}.explaining")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Explanations need the package with what it trains with (here {error.name} is missing): install "
            "enecg with its extra train from its source, and import modeling_enecg before the pipeline is made."
        ) from error
    # What was scored is fit to be explained, or was to be scored all the same.
    return partial(explaining.explain, **dict(zip(("task", "label"), names, strict=False)), force=True)


def named_outputs(model: Any, **inputs: Any) -> dict[str, torch.Tensor]:
    """Return a model's outputs by the names that `recording_findings` knows.

    Args:
        model ([`EnECGModel`]): The model.
        inputs: As its `forward` takes them.

    Returns:
        `dict[str, torch.Tensor]`: Of each task `logits.<task>`, `(batch_size, num_outputs)`, and
            `gate_weights.<task>`, `(batch_size, num_experts)`; and `distance`, `(batch_size,)`, where the model
            compares recordings with those that it knows, and computes all experts.
    """
    novelty = {}
    if model.novelty is not None and not model.is_sparse:  # the experts run once
        gate = {"gate_values": inputs.pop("gate_values", None)}
        features = model.extract_features(**inputs)
        novelty["distance"] = model.novelty([features[name] for name in model.experts])
        inputs = gate | {"expert_features": features}
    output = model(**inputs)
    by_kind = {"logits": output.logits, "gate_weights": output.gate_weights}
    named = {f"{kind}.{task}": values for kind, by_task in by_kind.items() for task, values in by_task.items()}
    return named | novelty


def _stand_in(seconds: float, sampling_rate: float) -> np.ndarray:
    """Return a wave of 1 mV in all leads, as long as the model looks at once."""
    times = np.arange(max(round(seconds * sampling_rate), 1)) / sampling_rate
    return np.tile(np.sin(2 * np.pi * times), (len(STANDARD_LEADS), 1))


def cast_signal(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Bring a signal to the model's type; masks stay."""
    return values.to(dtype) if values.is_floating_point() else values


def flat_inputs(inputs: BatchFeature) -> dict[str, torch.Tensor]:
    """Number the tensors of lists, and give every window masks, so that any windows make a batch.

    Args:
        inputs (`BatchFeature`): What a feature extractor gave of one window, with `return_tensors="pt"`.
    """
    values, masks = inputs["input_values"], inputs.get("input_mask")
    is_list = not isinstance(values, torch.Tensor)
    num_leads = len(STANDARD_LEADS) if is_list else values.shape[1]
    flat = {"lead_mask": torch.ones(1, num_leads, dtype=torch.bool)}
    flat |= {name: inputs[name] for name in ("lead_mask", "gate_values") if name in inputs}
    for index, view in enumerate(values if is_list else [values]):
        mask = masks[index] if is_list and masks is not None else masks
        whole = torch.ones(1, view.shape[-1], dtype=torch.bool)
        flat |= {f"input_values_{index}": view, f"input_mask_{index}": whole if mask is None else mask}
    return flat


def nested_inputs(flat: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Undo `flat_inputs`, be it of a batch: return what a model's `forward` takes."""
    inputs: dict[str, Any] = {name: flat[name] for name in ("lead_mask", "gate_values") if name in flat}
    indices = range(sum(name.startswith("input_values_") for name in flat))
    for kind in ("input_values", "input_mask"):
        views = [flat[f"{kind}_{index}"] for index in indices]
        inputs[kind] = views[0] if len(views) == 1 else views
    return inputs


__all__ = [
    "PIPELINE_TASK",
    "ECGClassificationPipeline",
    "cast_signal",
    "flat_inputs",
    "named_outputs",
    "nested_inputs",
]
