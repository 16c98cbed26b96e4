"""MOMENT-1's published checkpoints, small, base and large; their weights tell the size."""

from typing import Any

import torch

from ..modeling_moment import MomentModel
from .checkpoint import ConversionError

# What all published checkpoints have, and the only form that our model has.
_FIXED = {
    "transformer_type": "encoder_only",
    "add_positional_embedding": True,
    "value_embedding_bias": False,
    "revin_affine": False,
    "feed_forward_proj": "gated-gelu",
}
# The T5's own settings, part `t5_config` of upstream's.
_T5_HYPERPARAMETERS = {
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
    "d_kv": "head_dim",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "dropout_rate": "dropout",
    "layer_norm_epsilon": "layer_norm_epsilon",
    "relative_attention_num_buckets": "relative_attention_num_buckets",
    "relative_attention_max_distance": "relative_attention_max_distance",
    "feed_forward_proj": "feed_forward_proj",
}
_HYPERPARAMETERS: dict[str, str | None] = {
    "t5_config": "t5_config",
    "d_model": "hidden_size",
    "seq_len": "sequence_length",
    "patch_len": "patch_size",
    "patch_stride_len": "patch_stride_len",
    "n_channels": "num_leads",
    "transformer_type": "transformer_type",
    "add_positional_embedding": "add_positional_embedding",
    "value_embedding_bias": "value_embedding_bias",
    "revin_affine": "revin_affine",
    # Of upstream's tasks and training.
    "task_name": None,
    "model_name": None,
    "model_kwargs": None,
    "transformer_backbone": None,
    "randomly_initialize_backbone": None,
    "device": None,
    "reduction": None,
    "patch_dropout": None,
    "head_dropout": None,
    "mask_ratio": None,
    "orth_gain": None,
    "num_class": None,
    "forecast_horizon": None,
    "freeze_embedder": None,
    "freeze_encoder": None,
    "freeze_head": None,
    "enable_gradient_checkpointing": None,
}


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the T5's own settings, check what is fixed, and read the size off the weights."""
    t5_config = fields.pop("t5_config", None) or {}
    # T5's dictionary also holds what only its decoder, tokenizer and text generation need.
    from_t5 = {name: t5_config[key] for key, name in _T5_HYPERPARAMETERS.items() if key in t5_config}
    given = _size(weights) | from_t5 | {name: value for name, value in fields.items() if value is not None}
    stride, patch_size = given.pop("patch_stride_len", None), given.get("patch_size")
    if None not in (stride, patch_size) and stride != patch_size:
        raise ConversionError(f"patch_stride_len ({stride}) must equal patch_len: patches that overlap do not exist.")
    for name, value in _FIXED.items():
        if given.pop(name, value) != value:
            raise ConversionError(
                f"{name} must be {value!r}, as in every published MOMENT; no other form is supported."
            )
    return given


def _size(weights: dict[str, torch.Tensor]) -> dict[str, int]:
    """Read the architecture off the weights' shapes, as far as they are there."""
    size: dict[str, int] = {}
    attention = "encoder.block.0.layer.0.SelfAttention"
    shapes = {key: tensor.shape for key, tensor in weights.items() if tensor.ndim == 2}
    if (shape := shapes.get("patch_embedding.value_embedding.weight")) is not None:
        size["hidden_size"], size["patch_size"] = shape
    if (shape := shapes.get("encoder.block.0.layer.1.DenseReluDense.wi_0.weight")) is not None:
        size["intermediate_size"] = shape[0]
    if (shape := shapes.get(f"{attention}.relative_attention_bias.weight")) is not None:
        size["relative_attention_num_buckets"], size["num_attention_heads"] = shape
        if (queries := shapes.get(f"{attention}.q.weight")) is not None:
            size["head_dim"] = queries[0] // shape[1]
    if num_layers := len({key.split(".")[2] for key in weights if key.startswith("encoder.block.")}):
        size["num_hidden_layers"] = num_layers
    return size


CONVERTER: dict[str, Any] = {
    "model_class": MomentModel,
    "weights_key": "state_dict",
    "hyperparameters": {
        **_HYPERPARAMETERS,
        # What a description of reference outputs says besides.
        "model": None,
        "classification_reduction": None,
        "batch": None,
        "weights_seed_base": None,
        "keys_note": None,
        "outputs": None,
        "transformers": None,
        "torch": None,
    },
    "drops": (
        (r"encoder\.embed_tokens\.", "token table of the T5 that is never read"),
        (r"patch_embedding\.position_embedding\.pe$", "table of sines and cosines, computed where it is needed"),
        (r"head\.", "reconstruction or classification head: an EnECG model has its own"),
        (r"cls_head\.", "classification head: an EnECG model has its own"),
    ),
    "renames": (
        (r"^patch_embedding\.value_embedding\.", "embeddings.projection."),
        (r"^patch_embedding\.mask_embedding$", "embeddings.mask_embedding"),
        (r"^encoder\.final_layer_norm\.", "norm."),
        (r"^encoder\.block\.(\d+)\.", r"blocks.\1."),
        (r"\.layer\.0\.SelfAttention\.", ".attention."),
        (r"\.layer\.0\.layer_norm\.", ".attention_norm."),
        (r"\.layer\.1\.DenseReluDense\.", ".mlp."),
        (r"\.layer\.1\.layer_norm\.", ".mlp_norm."),
    ),
    "adapt": _adapt,
}
