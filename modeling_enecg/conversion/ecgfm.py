"""ECG-FM's published checkpoints: pre-trained and fine-tuned, with either spelling of the weight norm."""

import ast
from typing import Any

import torch

from ..modeling_ecgfm import ECGFMModel
from .checkpoint import ConversionError
from .weight_norm import merge_weight_norm

_PRE_TRAINING = "pre-training objective: not part of the encoder"


def _prepare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give fine-tuned checkpoints the pre-trained ones' names, and merge the positional convolution's weight norm."""
    # `encoder.layer_norm` alone does not tell: it is one norm in pre-trained files, another in fine-tuned ones.
    if any(key.startswith("encoder.encoder.") for key in weights):
        weights = {key.removeprefix("encoder."): tensor for key, tensor in weights.items()}
    return merge_weight_norm(weights, "conv_pos.pos_conv.0.")


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Split upstream's list of convolutions into channels, kernels and strides."""
    mode = fields.pop("extractor_mode", "default")
    if mode != "default":
        raise ConversionError(f"Upstream builds only the extractor_mode 'default'; got {mode!r}.")
    if "convolutions" in fields:
        convolutions = _parse_convolutions(fields.pop("convolutions"))
        for index, name in enumerate(("conv_dim", "conv_kernel", "conv_stride")):
            fields[name] = [convolution[index] for convolution in convolutions]
    return fields


def _parse_convolutions(text: Any) -> list[tuple[int, int, int]]:
    """Read a list of (channels, kernel, stride), or a Python expression like `[(256, 2, 2)] * 4 + [(256, 3, 1)]`."""
    try:
        convolutions = _evaluate(ast.parse(text, mode="eval").body) if isinstance(text, str) else text
        return [(channels, kernel_size, stride) for channels, kernel_size, stride in convolutions]
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConversionError(
            "conv_feature_layers must be a list of (channels, kernel, stride), such as '[(256, 2, 2)] * 4'; "
            f"got {text!r}."
        ) from error


def _evaluate(node: ast.expr) -> Any:
    """Evaluate sums and multiples of literal lists, and nothing else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _evaluate(node.left) + _evaluate(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _evaluate(node.left) * _evaluate(node.right)
    return ast.literal_eval(node)


CONVERTER: dict[str, Any] = {
    "model_class": ECGFMModel,
    "weights_key": "model",
    "hyperparameters": {
        "conv_feature_layers": "convolutions",
        "in_d": "num_leads",
        "conv_bias": "conv_bias",
        "extractor_mode": "extractor_mode",
        "encoder_layers": "num_hidden_layers",
        "encoder_embed_dim": "hidden_size",
        "encoder_ffn_embed_dim": "intermediate_size",
        "encoder_attention_heads": "num_attention_heads",
        "layer_norm_first": "layer_norm_first",
        "conv_pos": "num_conv_pos_embeddings",
        "conv_pos_groups": "num_conv_pos_embedding_groups",
        "num_labels": None,
        "dropout": "hidden_dropout",
        "attention_dropout": "attention_dropout",
        "activation_dropout": "activation_dropout",
        "dropout_input": "feat_proj_dropout",
        "dropout_features": None,  # acts on the pre-training targets only
        "encoder_layerdrop": None,  # stochastic depth is our way
        "final_dropout": None,  # belongs to the head
    },
    "drops": (
        (r"proj\.", "classification head: an EnECG model has its own"),
        (r"(mask_emb$|quantizer\.|project_q\.|final_proj\.)", _PRE_TRAINING),
    ),
    "renames": (
        (r"^layer_norm\.", "embeddings.norm."),
        (r"^post_extract_proj\.", "embeddings.projection."),
        (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"embeddings.convolutions.\1.conv."),
        (r"^feature_extractor\.conv_layers\.(\d+)\.2\.", r"embeddings.convolutions.\1.norm."),
        (r"^conv_pos\.pos_conv\.0\.", "embeddings.positions."),
        (r"^encoder\.layer_norm\.", "norm."),
        (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
        (r"\.self_attn_layer_norm\.", ".attention_norm."),
        (r"\.final_layer_norm\.", ".mlp_norm."),
        (r"\.self_attn\.q_proj\.", ".attention.query."),
        (r"\.self_attn\.k_proj\.", ".attention.key."),
        (r"\.self_attn\.v_proj\.", ".attention.value."),
        (r"\.self_attn\.out_proj\.", ".attention.output."),
        (r"\.fc1\.", ".mlp.up."),
        (r"\.fc2\.", ".mlp.down."),
    ),
    "prepare": _prepare,
    "adapt": _adapt,
}
