"""HuBERT-ECG's published checkpoints, small, base and large, fine-tuned or not; their weights tell the size."""

from typing import Any

import torch
from transformers import HubertConfig

from ..modeling_hubertecg import HuBERTECGModel
from .checkpoint import ConversionError
from .weight_norm import merge_weight_norm

# What all published checkpoints have, and the only form that our model has.
_FIXED = {
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "do_stable_layer_norm": False,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
}
_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "layer_norm_eps",
    "initializer_range",
    "feat_proj_dropout",
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
)
# Upstream's names of what acts in pre-training or in the head, and of how Hugging Face describes a folder.
_OTHERS = ("ensemble_length", "vocab_sizes", "num_classes", "auto_map", "torch_dtype", *HubertConfig().to_dict())
_HEADS = {512: 8, 768: 12, 960: 12}  # of the published widths
_PRE_TRAINING = "pre-training objective: not part of the encoder"


def _prepare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give fine-tuned checkpoints the self-supervised ones' names, and merge the weight norm."""
    weights = {key.removeprefix("hubert_ecg."): tensor for key, tensor in weights.items()}
    return merge_weight_norm(weights, "encoder.pos_conv_embed.conv.")


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the size off the weights where it is not given, and check what is fixed."""
    fields = _size(weights) | fields
    for name, value in _FIXED.items():
        if fields.pop(name, value) != value:
            raise ConversionError(
                f"{name} must be {value!r}, as in every published HuBERT-ECG; no other form is supported."
            )
    if "num_attention_heads" not in fields and "hidden_size" in fields:
        width = fields["hidden_size"]
        if width not in _HEADS:
            raise ConversionError(f"No published size is {width} wide: pass hyperparameters with num_attention_heads.")
        fields["num_attention_heads"] = _HEADS[width]
    return fields


def _size(weights: dict[str, torch.Tensor]) -> dict[str, int]:
    """Read the published sizes' differences off the weights' shapes, as far as they are there."""
    size: dict[str, int] = {}
    if (projection := weights.get("feature_projection.projection.weight")) is not None and projection.ndim == 2:
        size["hidden_size"] = projection.shape[0]
    layer = weights.get("encoder.layers.0.feed_forward.intermediate_dense.weight")
    if layer is not None and layer.ndim == 2:
        size["intermediate_size"] = layer.shape[0]
    if num_layers := len({key.split(".")[2] for key in weights if key.startswith("encoder.layers.")}):
        size["num_hidden_layers"] = num_layers
    return size


CONVERTER: dict[str, Any] = {
    "model_class": HuBERTECGModel,
    "weights_key": "model_state_dict",
    "hyperparameters": dict.fromkeys(_OTHERS) | {name: name for name in (*_SIZES, *_FIXED)},
    "drops": (
        (r"classifier\.", "classification head: an EnECG model has its own"),
        (r"label_embedding\.weight$", "classification head: an EnECG model has its own"),
        (r"(masked_spec_embed$|final_proj\.|label_embedding\.\d)", _PRE_TRAINING),
    ),
    "renames": (
        (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"embeddings.convolutions.\1.conv."),
        (r"^feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", r"embeddings.convolutions.\1.norm."),
        (r"^feature_projection\.layer_norm\.", "embeddings.norm."),
        (r"^feature_projection\.projection\.", "embeddings.projection."),
        (r"^encoder\.pos_conv_embed\.conv\.", "positions."),
        (r"^encoder\.layer_norm\.", "norm."),
        (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
        (r"\.attention\.q_proj\.", ".attention.query."),
        (r"\.attention\.k_proj\.", ".attention.key."),
        (r"\.attention\.v_proj\.", ".attention.value."),
        (r"\.attention\.out_proj\.", ".attention.output."),
        (r"^(blocks\.\d+)\.layer_norm\.", r"\1.attention_norm."),
        (r"\.final_layer_norm\.", ".mlp_norm."),
        (r"\.feed_forward\.intermediate_dense\.", ".mlp.up."),
        (r"\.feed_forward\.output_dense\.", ".mlp.down."),
    ),
    "prepare": _prepare,
    "adapt": _adapt,
}
