"""ECG-CPC's published checkpoint: the pre-training as PyTorch Lightning saves it, or a fine-tuned model."""

from typing import Any

import torch

from ..modeling_ecgcpc import ECGCPCModel
from ..s4 import S4Kernel
from .checkpoint import ConversionError

_KERNEL = ".kernel.kernel."
_TENSORS = {
    "log_dt": "log_step",
    "w": "diagonal",
    "P": "left_vector",
    "Q": "right_vector",
    "B": "input_matrix",
    "C": "output_matrix",
}


def _prepare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take away axes of length 1, and give each S4 layer its true output matrix."""
    prepared = {}
    for key, tensor in weights.items():
        has_first_axis = key.endswith((f"{_KERNEL}P", f"{_KERNEL}Q", f"{_KERNEL}B", ".D"))
        has_last_axis = key.endswith(".output_linear.0.bias")
        prepared[key] = tensor.squeeze(0) if has_first_axis else tensor.squeeze(-1) if has_last_axis else tensor
    for layer in [key.removesuffix("C") for key in weights if key.endswith(f"{_KERNEL}C")]:
        prepared[f"{layer}C"] = _true_output_matrix(layer, prepared)
    return prepared


def _true_output_matrix(layer: str, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Undo upstream's correction of C for the length that a layer was built for: it holds `C (I - Ā^length)`.

    The Fourier nodes beside it tell that length.
    """
    missing = [layer + name for name in (*_TENSORS, "omega") if layer + name not in weights]
    if missing:
        raise ConversionError(f"The checkpoint has {layer}C without {', '.join(missing)}, which say what it means.")
    length = 2 * (len(weights[f"{layer}omega"]) - 1)
    corrected = weights[f"{layer}C"]
    try:
        num_directions, hidden_size, num_pairs, _ = corrected.shape
        kernel = S4Kernel(hidden_size, 2 * num_pairs, num_directions)
        kernel.load_state_dict({ours: weights[layer + upstream] for upstream, ours in _TENSORS.items()})
        transition, _ = kernel.discretise()
        forgotten = torch.eye(2 * num_pairs).double() - torch.linalg.matrix_power(transition, length)
        row = torch.cat([corrected[..., 0], -corrected[..., 1]], dim=-1).double()  # as a state lies
        real, imaginary = torch.linalg.solve(forgotten.mT, row[..., None])[..., 0].chunk(2, dim=-1)
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"The tensors {layer}* make no S4 layer: {' '.join(str(error).split())}") from error
    return torch.stack([real, -imaginary], dim=-1).to(corrected.dtype)


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Turn upstream's switches into ours."""
    has_norm, has_layer_norm = fields.pop("conv_norm", True), fields.pop("conv_layer_norm", False)
    fields["conv_norm"] = ("layer" if has_layer_norm else "batch") if has_norm else "none"
    fields["is_bidirectional"] = not fields.pop("causal", True)
    return fields


_HEAD = "classification head: an EnECG model has its own"

CONVERTER: dict[str, Any] = {
    "model_class": ECGCPCModel,
    "weights_key": "state_dict",
    "hyperparameters": {
        "input_channels": "num_leads",
        "input_length": "sequence_length",
        "features": "conv_dim",
        "kernel_sizes": "conv_kernel",
        "strides": "conv_stride",
        "dilations": "conv_dilation",
        "conv_norm": "conv_norm",
        "conv_layer_norm": "conv_layer_norm",
        "model_dim": "hidden_size",
        "state_dim": "state_size",
        "num_layers": "num_hidden_layers",
        "causal": "causal",
        "dropout": "hidden_dropout",
        "tie_dropout": "is_dropout_tied",
        "prenorm": "layer_norm_first",
        "batchnorm": "use_batch_norm",
        "num_classes": None,
        "attn_pool_heads": None,
    },
    "drops": (
        (r"(attn_)?head\.", _HEAD),
        (r"ts_encoder\.head_ssl\.", "pre-training objective: not part of the encoder"),
        (r".*\.kernel\.kernel\.(omega|z)$", "Fourier nodes: kernels are computed without them"),
    ),
    "renames": (
        (r"^ts_encoder\.encoder\.layers\.(\d+)\.0\.", r"stem.\1.convolution."),
        (r"^ts_encoder\.encoder\.layers\.(\d+)\.[12]\.", r"stem.\1.norm."),
        (r"^ts_encoder\.predictor\.predictor\.encoder\.", "projection."),
        (r"^ts_encoder\.predictor\.predictor\.norms\.(\d+)\.", r"blocks.\1.norm."),
        (r"^ts_encoder\.predictor\.predictor\.s4_layers\.(\d+)\.", r"blocks.\1.s4."),
        (r"\.s4\.D$", ".s4.skip"),
        (r"\.s4\.output_linear\.0\.", ".s4.output."),
        *((rf"\.s4\.kernel\.kernel\.{upstream}$", f".s4.kernel.{ours}") for upstream, ours in _TENSORS.items()),
    ),
    "prepare": _prepare,
    "adapt": _adapt,
}
