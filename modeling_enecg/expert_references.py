"""Experts that are fetched by name at load instead of being part of a model's file."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .backbones import backbone_class
from .loading import folder_or_hub, model_files, place_and_revision
from .modeling_backbone import ECGBackboneModel


def load_expert(path: str, **hub_options: Any) -> ECGBackboneModel:
    """Load a backbone of this package from a folder or Hub id, in float32: experts of one model share their type.

    Args:
        path (`str`): The folder or Hub id, also as `org/name@revision`.
        hub_options: As in transformers' `from_pretrained`.

    Raises:
        ValueError: if `path` holds a model of another type, or weights that do not fit.
        OSError: if there is no model.
    """
    place, revision = place_and_revision(path, hub_options.pop("revision", None))
    with model_files(place), folder_or_hub(place):
        config, _ = PreTrainedConfig.get_config_dict(place, revision=revision, **hub_options)
        try:
            model_class = backbone_class(config.get("model_type"))
            return model_class.from_pretrained(place, revision=revision, dtype=torch.float32, **hub_options)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def weights_digest(model: torch.nn.Module) -> str:
    """Return a hash of all of a model's tensors."""
    return tensors_digest(model.state_dict())


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def model_source(path: str, model: PreTrainedModel) -> dict[str, Any]:
    """Return where a model was loaded from: a folder as an absolute path, or a Hub id with its revision."""
    place, revision = place_and_revision(path)
    if os.path.isdir(place):
        return {"path": str(Path(place).absolute()), "revision": None}
    return {"path": place, "revision": getattr(model.config, "_commit_hash", revision)}


def refer_to(name: str, expert: ECGBackboneModel, source: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a model's config keeps of an expert that is not saved with it.

    Raises:
        ValueError: if the expert was not loaded from anywhere, or trained since.
    """
    if source is None:
        raise ValueError(f"Expert {name!r} was not loaded from a folder or the Hub; save it by value.")
    original = load_expert(source["path"], revision=source["revision"])
    digest = weights_digest(original)
    own = expert.state_dict()
    if tensors_digest({key: each.to(own[key].dtype) for key, each in original.state_dict().items()}) != tensors_digest(
        own
    ):
        raise ValueError(f"Expert {name!r} is no longer what {source['path']} holds; save it by value.")
    return {**source, "sha256": digest}


def fetch_expert(name: str, reference: dict[str, Any], **hub_options: Any) -> ECGBackboneModel:
    """Load an expert that a model's config refers to.

    Raises:
        ValueError: if other weights lie there than those the model was made with.
        OSError: if it cannot be loaded.
    """
    if not isinstance(reference, dict) or not {"path", "revision", "sha256"} <= set(reference):
        raise ValueError(f"Expert {name!r}: its reference needs path, revision and sha256; got {reference!r}.")
    expert = load_expert(reference["path"], revision=reference["revision"], **hub_options)
    if weights_digest(expert) != reference["sha256"]:
        raise ValueError(
            f"Expert {name!r}: {reference['path']} holds other weights than those this model was made with "
            f"(sha256 {reference['sha256'][:12]}...). Restore them there, or make the model anew."
        )
    return expert
