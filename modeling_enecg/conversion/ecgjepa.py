"""ECG-JEPA's published checkpoints: the encoder that saw the context, after random or multi-block masking."""

from typing import Any

import torch

from ..modeling_ecgjepa import ECGJEPAConfig, ECGJEPAModel
from .checkpoint import ConversionError

_POSITIONS = "pos_embed"
_POSITION_TYPES = {"sincos": False, "learnable": True}


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Name the leads, cut the table of positions to them, and turn upstream's ratios into our sizes."""
    published = ECGJEPAConfig()
    position_type = fields.pop("pos_type", "sincos")
    if position_type not in _POSITION_TYPES:
        raise ConversionError(f"pos_type must be one of {', '.join(_POSITION_TYPES)}; got {position_type!r}.")
    fields["learnable_positions"] = _POSITION_TYPES[position_type]
    try:
        width = fields.get("hidden_size", published.hidden_size)
        fields["intermediate_size"] = int(width * fields.pop("mlp_ratio", 4))
        patch_size = fields.setdefault("patch_size", published.patch_size)
        num_patches = fields.pop("num_patches", published.sequence_length // published.patch_size)
        fields["sequence_length"] = num_patches * patch_size
        num_leads = fields.setdefault("num_leads", published.num_leads)
        places = fields.pop("leads", None)
        if places is not None and list(places) != list(range(num_leads)):
            known = ECGJEPAConfig(num_leads=num_leads).lead_names
            fields |= {"leads": [known[place] for place in places], "num_leads": len(places)}
            if _POSITIONS in weights:
                table = weights[_POSITIONS].unflatten(0, (num_leads, num_patches))
                weights[_POSITIONS] = table[list(places)].flatten(0, 1)
    except (TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise ConversionError(f"The hyperparameters are not a legal architecture: {error}.") from error
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": ECGJEPAModel,
    "weights_key": "encoder",
    "hyperparameters": {
        "embed_dim": "hidden_size",
        "depth": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_ratio": "mlp_ratio",
        "num_leads": "num_leads",
        "leads": "leads",
        "num_patches": "num_patches",
        "patch_size": "patch_size",
        "num_classes": None,
        "qkv_bias": "qkv_bias",
        "drop_rate": "hidden_dropout",
        "attn_drop_rate": "attention_dropout",
        "drop_path_rate": "drop_path_rate",
        "pos_type": "pos_type",
    },
    "drops": ((r"(head|fc)\.", "classification head: an EnECG model has its own"),),
    "renames": (
        (r"^W_P\.", "embeddings.projection."),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^encoder_blocks\.blocks\.(\d+)\.", r"blocks.\1."),
        (r"\.norm1\.", ".attention_norm."),
        (r"\.attn\.qkv\.", ".attention.qkv."),
        (r"\.attn\.proj\.", ".attention.output."),
        (r"\.norm2\.", ".mlp_norm."),
        (r"\.mlp\.fc1\.", ".mlp.up."),
        (r"\.mlp\.fc2\.", ".mlp.down."),
    ),
    "adapt": _adapt,
}
