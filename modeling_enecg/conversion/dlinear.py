"""DLinear's checkpoints: EnECG's, and those of the Time-Series-Library's forecasting."""

from typing import Any

import torch

from ..modeling_dlinear import DLinearModel

# What a configuration holds for other models, for training, or to say where it comes from.
_UNUSED = (
    *("label_len", "d_model", "d_ff", "num_kernels", "top_k", "e_layers", "c_out", "embed", "freq", "dropout"),
    *("weights", "task_name"),
    *("model", "source", "batch", "channels", "weights_seed_base", "outputs", "torch"),
    *("keys", "enecg_io", "enecg_io_12lead"),
)


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Prefer EnECG's name of the moving average to the library's where a configuration has both."""
    library_kernel_size = fields.pop("library_kernel_size", None)
    if library_kernel_size is not None:
        fields.setdefault("kernel_size", library_kernel_size)
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": DLinearModel,
    "weights_key": "model",
    "hyperparameters": {
        "seq_len": "sequence_length",
        "pred_len": "horizon",
        "kernel_size": "kernel_size",
        "moving_avg": "library_kernel_size",
        "enc_in": "num_leads",
        "individual": "individual",
        **dict.fromkeys(_UNUSED),
    },
    "drops": ((r"projection\.", "classification head: an EnECG model has its own"),),
    "renames": (
        (r"^Linear_(Seasonal|Trend)\.(weight|bias)$", r"Linear_\1.0.\2"),
        (r"^Linear_Seasonal\.(\d+)\.(weight|bias)$", r"seasonal.\2[\1]"),
        (r"^Linear_Trend\.(\d+)\.(weight|bias)$", r"trend.\2[\1]"),
    ),
    "adapt": _adapt,
}
