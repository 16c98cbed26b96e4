"""TEMPO's published checkpoint, whose low-rank adapters (LoRA) are merged into the attention's weights."""

import re
from typing import Any

import torch

from ..modeling_tempo import TempoModel
from .checkpoint import ConversionError

_LORA_ALPHA = 16  # a constant of upstream's constructor
_UPSTREAM_POOL_SIZE = 30
_LORA = re.compile(r"(.*\.c_attn)\.lora_(A|B)\.default\.weight$")

_MODEL_NAMES: dict[str, str | None] = {
    "num_nodes": "num_leads",
    "seq_len": "sequence_length",
    "pred_len": "horizon",
    "patch_size": "patch_size",
    "stride": "patch_stride",
    "kernel_size": "trend_window",
    "d_model": "hidden_size",
    "gpt_layers": "num_hidden_layers",
    "pool": "prompt_pool_size",
    "use_token": "forecast_from_prompt",
    # Switches, of which one setting is published; `_adapt` refuses others.
    "is_gpt": "is_gpt",
    "prompt": "prompt",
    "loss_func": "loss_func",
    # What upstream's file holds for its training script or for other models.
    **dict.fromkeys(
        (
            "description",
            "task_name",
            "label_len",
            "e_layers",
            "n_heads",
            "d_ff",
            "dropout",
            "enc_in",
            "c_out",
            "pretrain",
            "freeze",
            "model",
            "max_len",
        )
    ),
}
_GPT2_NAMES: dict[str, str | None] = {
    "vocab_size": "vocab_size",
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": None,  # before all but the first `gpt_layers` are cut off
}
_SUPPORTED = {"is_gpt": 1, "prompt": 1, "loss_func": "mse"}


def _prepare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Merge the adapters, as `W + alpha / rank * (B A)^T` for a weight `W` stored as (inputs, outputs)."""
    merged = {key: tensor for key, tensor in weights.items() if not _LORA.match(key)}
    for layer in sorted({match[1] for match in map(_LORA.match, weights) if match}):
        down, up = (weights.get(f"{layer}.lora_{name}.default.weight") for name in "AB")
        key = next((key for key in (f"{layer}.base_layer.weight", f"{layer}.weight") if key in weights), None)
        if down is None or up is None or key is None:
            raise ConversionError(f"The adapter {layer} is incomplete: lora_A, lora_B and a weight belong together.")
        change = (up.double() @ down.double()).T * (_LORA_ALPHA / len(down))
        if change.shape != weights[key].shape:
            raise ConversionError(f"The adapter {layer} has another shape {tuple(change.shape)} than its weight.")
        merged[key] = (weights[key].double() + change).to(weights[key].dtype)
    return merged


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read GPT-2's own settings, and turn upstream's switches into our fields."""
    fields = dict(fields)
    for key, value in (fields.pop("gpt2_config", None) or {}).items():
        if key not in _GPT2_NAMES:
            raise ConversionError(f"Unknown hyperparameter {key!r} in gpt2_config. Known: {', '.join(_GPT2_NAMES)}.")
        if (ours := _GPT2_NAMES[key]) is not None:
            fields.setdefault(ours, value)
    for name, supported in _SUPPORTED.items():
        value = fields.pop(name, supported)
        if value != supported:
            raise ConversionError(f"{name}={value!r} is another network than TEMPO-80M; only {supported!r} converts.")
    if "prompt_pool_size" in fields:
        num_keys = sum(key.startswith("prompt_key_dict.") for key in weights)
        fields["prompt_pool_size"] = (num_keys or _UPSTREAM_POOL_SIZE) if fields["prompt_pool_size"] else 0
    if "forecast_from_prompt" in fields:
        fields["forecast_from_prompt"] = bool(fields["forecast_from_prompt"])
    prompts = fields.get("prompt_token_ids")
    if isinstance(prompts, dict):
        fields["prompt_token_ids"] = [prompts.get(name, []) for name in ("trend", "season", "residual")]
    if "hidden_size" in fields:
        fields.setdefault("intermediate_size", 4 * fields["hidden_size"])
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": TempoModel,
    "weights_key": "state_dict",
    "hyperparameters": {
        **_GPT2_NAMES,
        **_MODEL_NAMES,
        "gpt2_config": "gpt2_config",
        "prompt_token_ids": "prompt_token_ids",
        # What the parity fixtures say about how they were made.
        **dict.fromkeys(
            (
                "source",
                "note_gpt2",
                "lora",
                "stl_period",
                "batch",
                "weights_seed_base",
                "outputs",
                "torch",
                "transformers",
                "peft",
            )
        ),
    },
    "drops": (
        (r"time_attn\.", "attention map that EnECG returns, but never uses"),
        (r"(mul_season|map_resid|rev_in_season|rev_in_noise)\.", "layer that upstream holds but never uses"),
        (r".*\.attn\.(masked_)?bias$", "causal mask: computed here"),
        (r"gpt2_trend\.(base_model\.model\.)?wte\.", "word embeddings: the prompt pool takes the place of words"),
        (r"prompt_layer_", "projection of words: the prompt pool takes the place of words"),
    ),
    "renames": (
        (r"^gpt2_trend\.(base_model\.model\.)?", "decoder."),
        (r"^decoder\.wte\.", "prompts.word_embeddings."),
        (r"\.c_attn\.base_layer\.", ".c_attn."),
        (r"^rev_in_trend\.affine_", "normalization."),
        (r"^map_trend\.", "decomposition.trend."),
        (r"^map_season\.", "decomposition.seasonal."),
        (r"^in_layer_", "embeddings."),
        (r"^prompt_layer_", "prompts.projection."),
        (r"^out_layer_", "forecaster."),
        (r"^((?:embeddings|prompts\.projection|forecaster)\.)season\.", r"\1seasonal."),
        (r"^((?:embeddings|prompts\.projection|forecaster)\.)noise\.", r"\1residual."),
        (r"^prompt_key_dict\.prompt_key_(\d+)$", r"prompts.keys[\1]"),
        (r"^prompt_value_dict\.prompt_value_(\d+)$", r"prompts.prompts[\1]"),
        (r"^summary_map\.", "prompts.summary."),
    ),
    "prepare": _prepare,
    "adapt": _adapt,
}
