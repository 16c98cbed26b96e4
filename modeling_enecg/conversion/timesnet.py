"""TimesNet's checkpoints: those of the Time-Series-Library for all its tasks, and of EnECG's fork."""

from typing import Any

import torch

from ..modeling_timesnet import TimesNetModel

# Upstream extends the series in time for these tasks only.
_FORECASTS = ("long_term_forecast", "short_term_forecast")
# What a configuration holds for other models, for training, or to say where it comes from.
_UNUSED = (
    *("label_len", "c_out", "embed", "freq", "num_class", "moving_avg", "kernel_size", "weights"),
    *("model", "batch", "weights_seed_base", "min_relative_margin_of_period_selection", "outputs", "torch"),
)


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the number of leads off the embedding, and turn upstream's task and fork into what they mean."""
    task = fields.pop("task_name", _FORECASTS[0])
    if task not in _FORECASTS:
        fields["horizon"] = 0
    if task == "classification":
        fields["standardize_input"] = False
    if fields.pop("source", None) == "enecg":
        fields["spectrum"] = "real_float16"
    embedding = weights.get("enc_embedding.value_embedding.tokenConv.weight")
    if embedding is not None and embedding.ndim == 3:
        fields.setdefault("num_leads", embedding.shape[1])
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": TimesNetModel,
    "weights_key": "model",
    "hyperparameters": {
        "task_name": "task_name",
        "source": "source",
        "seq_len": "sequence_length",
        "pred_len": "horizon",
        "d_model": "hidden_size",
        "d_ff": "intermediate_size",
        "e_layers": "num_hidden_layers",
        "num_kernels": "num_kernels",
        "top_k": "top_k",
        "enc_in": "num_leads",
        "dropout": "hidden_dropout",
        "num_time_features": "num_time_features",
        **dict.fromkeys(_UNUSED),
    },
    "drops": (
        (r"enc_embedding\.position_embedding\.pe$", "sinusoid that the model computes"),
        (r"enc_embedding\.temporal_embedding\.", "embedding of calendar features: an ECG has none"),
        (r"projection\.", "head of upstream's task: an EnECG model has its own"),
        (r"predict_linear\.", "extension in time that upstream's task does not use"),
    ),
    "renames": (
        (r"^enc_embedding\.value_embedding\.tokenConv\.", "embeddings.convolution."),
        (r"^enc_embedding\.temporal_embedding\.embed\.weight$", "embeddings.time_projection.weight"),
        (r"^predict_linear\.", "extension."),
        (r"^model\.(\d+)\.conv\.0\.", r"blocks.\1.up."),
        (r"^model\.(\d+)\.conv\.2\.", r"blocks.\1.down."),
        (r"\.kernels\.(\d+)\.weight$", r".kernels.\1"),
        (r"\.kernels\.(\d+)\.bias$", r".bias[\1]"),
        (r"^layer_norm\.", "norm."),
        (r"^projection\.", "forecast_head."),
    ),
    "adapt": _adapt,
}
