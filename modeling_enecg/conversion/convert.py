"""The one road from a published checkpoint to a model folder; what differs between backbones is data."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError

from ..auto import ECGFeatureExtractor  # registered there: what is saved takes its code along
from ..modeling_backbone import ECGBackboneModel, PublishedWeights
from ..runs.files import new_folder
from .checkpoint import ConversionError, read_checkpoint
from .published import PUBLISHED


@dataclass(frozen=True)
class Converter:
    """How one backbone's published checkpoints map to ours.

    Attributes:
        model_class (`type[ECGBackboneModel]`): The model to fill.
        weights_key (`str`): Where the published torch file keeps its weights.
        hyperparameters (`dict`): Upstream's name to ours, or None for what the backbone does not need.
        renames (`tuple`): Patterns of upstream keys and our names. `name[i]` is row `i` of the parameter `name`.
        drops (`tuple`): Patterns of upstream keys that are left out where the model has no place for them, and why.
        adapt (`Callable`): Completes our config fields, knowing the weights, from which it may cut what has no place.
        prepare (`Callable`): Brings upstream's state dict into its plain form, before anything else.
    """

    model_class: type[ECGBackboneModel]
    weights_key: str
    hyperparameters: Mapping[str, str | None]
    renames: tuple[tuple[str, str], ...]
    drops: tuple[tuple[str, str], ...]
    adapt: Callable[[dict[str, Any], dict[str, torch.Tensor]], dict[str, Any]] = field(
        default=lambda fields, weights: fields
    )
    prepare: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = field(default=lambda weights: weights)


CONVERTERS = {
    weights.name: Converter(**import_module(f".{weights.name}", __package__).CONVERTER) for weights in PUBLISHED
}


def convert_checkpoint(
    name: str, checkpoint: str | Path, output_dir: str | Path, hyperparameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Convert a published checkpoint to a folder that `AutoModel` and `AutoFeatureExtractor` load.

    Args:
        name (`str`): A key of `CONVERTERS`.
        checkpoint (`str` or `Path`): The published file, or a `.safetensors` file with upstream's key names.
        output_dir (`str` or `Path`): The folder to make; must not hold anything yet.
        hyperparameters (`Mapping`, *optional*): Upstream's architecture under upstream's names; the published size by
            default.

    Returns:
        `dict`: The report, also written to `conversion_report.json`: `num_parameters`, and `dropped`, from each
            upstream key that was left out to the reason.

    Raises:
        ConversionError: if the name or a hyperparameter is unknown, the checkpoint cannot be read, or it does not fit
            key by key and shape by shape.
        FileExistsError: if `output_dir` holds something already.
    """
    if name not in CONVERTERS:
        raise ConversionError(f"No converter for {name!r}; there are: {', '.join(CONVERTERS)}.")
    converter = CONVERTERS[name]
    upstream = converter.prepare(read_checkpoint(checkpoint, converter.weights_key))
    fields = converter.adapt(_translate(hyperparameters or {}, converter.hyperparameters), upstream)
    published = cast(PublishedWeights, converter.model_class.published)
    fields |= {"weights_source": published.source, "weights_licence": published.licence_id}
    model = _build(converter.model_class, fields)
    weights, dropped = rename_weights(upstream, converter, set(model.state_dict()))
    _fill(model, weights)
    report = {
        "backbone": name,
        "source": Path(checkpoint).name,
        "num_parameters": model.num_parameters(),
        "dropped": dropped,
    }
    with new_folder(output_dir) as folder:
        model.save_pretrained(folder)
        ECGFeatureExtractor(**model.config.feature_extractor_settings()).save_pretrained(folder)
        (folder / "conversion_report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def rename_weights(
    upstream: Mapping[str, torch.Tensor], converter: Converter, expected: set[str]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Give upstream's weights our names.

    Args:
        upstream (`Mapping[str, torch.Tensor]`): Weights under upstream's names.
        converter (`Converter`): The renames and drops.
        expected (`set[str]`): The names that the model has.

    Returns:
        `tuple`: Our weights by name, and upstream's dropped keys with the reason of each.

    Raises:
        ConversionError: if a key is neither dropped nor leads to a name that the model has.
    """
    weights: dict[str, torch.Tensor] = {}
    source: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unexpected = []
    for key, tensor in upstream.items():
        name = _rename(key, converter.renames)
        if name.partition("[")[0] not in expected:
            reason = next((why for pattern, why in converter.drops if re.match(pattern, key)), None)
            if reason is None:
                unexpected.append(key)
            else:
                dropped[key] = reason
        elif name not in weights:
            weights[name], source[name] = tensor, key
        elif torch.equal(weights[name], tensor):
            dropped[key] = f"the same weights as {source[name]}"
        else:
            raise ConversionError(f"{source[name]} and {key} should hold the same weights, but differ.")
    if unexpected:
        raise ConversionError(
            f"The checkpoint has {len(unexpected)} keys that the architecture does not know: "
            f"{_shorten(unexpected)}. Is it another model, or are its hyperparameters others?"
        )
    return _stack_rows(weights), dropped


def _stack_rows(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Join `name[0]`, `name[1]`, ... to one parameter `name`; a gap shows as a wrong shape later on."""
    stacked = {name: tensor for name, tensor in weights.items() if "[" not in name}
    for base in {name.partition("[")[0] for name in weights if "[" in name}:
        rows = [weights.get(f"{base}[{index}]") for index in range(len(weights))]
        stacked[base] = torch.stack([row for row in rows if row is not None])
    return stacked


def _rename(key: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _translate(upstream: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Give upstream's hyperparameters our names; some files keep the architecture in a section of its own."""
    upstream = dict(upstream)
    architecture = upstream.pop("upstream_config", {})
    if not isinstance(architecture, Mapping):
        raise ConversionError(f"upstream_config must hold a mapping of names to values; got {architecture!r}.")
    upstream |= architecture
    fields = {}
    for key, value in upstream.items():
        if key not in names:
            close = get_close_matches(key, names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."
            raise ConversionError(f"Unknown hyperparameter {key!r}. {hint}")
        ours = names[key]
        if ours is not None:
            fields[ours] = value
    return fields


def _build(model_class: type[ECGBackboneModel], fields: dict[str, Any]) -> ECGBackboneModel:
    try:
        return model_class(model_class.config_class(**fields))
    except (StrictDataclassError, ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise ConversionError(f"The hyperparameters are not a legal architecture: {error}") from error


def _fill(model: ECGBackboneModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights, refusing anything missing or of another shape."""
    own = model.state_dict()
    missing = [key for key in own if key not in weights]
    if missing:
        raise ConversionError(
            f"The checkpoint lacks {len(missing)} weights that the architecture needs: {_shorten(missing)}. "
            "Is it another model, or are its hyperparameters others?"
        )
    misfits = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if weights[key].shape != own[key].shape
    ]
    if misfits:
        raise ConversionError(
            f"{len(misfits)} weights have another shape than the architecture gives: {_shorten(misfits)}. "
            "Pass the checkpoint's own hyperparameters."
        )
    model.load_state_dict(weights)


def _shorten(items: list[str], limit: int = 8) -> str:
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
