"""ST-MEM's published checkpoints: the encoder file, and the full file with the pre-training decoder."""

from typing import Any

from ..modeling_stmem import STMEMModel

_DECODER = "pre-training decoder: not part of the encoder"

CONVERTER: dict[str, Any] = {
    "model_class": STMEMModel,
    "weights_key": "model",
    "hyperparameters": {
        "seq_len": "sequence_length",
        "patch_size": "patch_size",
        "num_leads": "num_leads",
        "num_classes": None,
        "width": "hidden_size",
        "depth": "num_hidden_layers",
        "mlp_dim": "intermediate_size",
        "heads": "num_attention_heads",
        "dim_head": "head_dim",
        "qkv_bias": "qkv_bias",
        "drop_out_rate": "hidden_dropout",
        "attn_drop_out_rate": "attention_dropout",
        "drop_path_rate": "drop_path_rate",
    },
    "drops": (
        (r"head\.", "classification head: an EnECG model has its own"),
        (r"encoder\.head\.", "classification head: an EnECG model has its own"),
        (r"(mask_embedding$|decoder_|to_decoder_embedding\.)", _DECODER),
    ),
    "renames": (
        (r"^encoder\.", ""),
        (r"^to_patch_embedding\.1\.", "embeddings.patch_norm."),
        (r"^to_patch_embedding\.2\.", "embeddings.projection."),
        (r"^to_patch_embedding\.3\.", "embeddings.projection_norm."),
        (r"^pos_embedding$", "embeddings.position_embeddings"),
        (r"^sep_embedding$", "embeddings.separator_embedding"),
        (r"^lead_embeddings\.(\d+)$", r"embeddings.lead_embeddings[\1]"),
        (r"^block(\d+)\.", r"blocks.\1."),
        (r"\.attn\.norm\.", ".attention_norm."),
        (r"\.attn\.fn\.to_qkv\.", ".attention.qkv."),
        (r"\.attn\.fn\.to_out\.0\.", ".attention.output."),
        (r"\.ff\.norm\.", ".mlp_norm."),
        (r"\.ff\.fn\.net\.0\.", ".mlp.up."),
        (r"\.ff\.fn\.net\.3\.", ".mlp.down."),
    ),
}
