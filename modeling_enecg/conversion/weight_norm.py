"""Weight norm of a positional convolution (wav2vec 2.0, HuBERT), merged into the weights that it stands for."""

import torch

from .checkpoint import ConversionError

_SPELLINGS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def merge_weight_norm(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Replace a convolution's gains and directions, in either of torch's spellings, by its weight.

    Args:
        weights (`dict[str, torch.Tensor]`): A state dict under upstream's names.
        prefix (`str`): Of the convolution's names, with the dot.

    Raises:
        ConversionError: if there is not one gain for each position of the kernel.
    """
    for gain_key, direction_key in ((prefix + gain, prefix + direction) for gain, direction in _SPELLINGS):
        if gain_key in weights and direction_key in weights:
            gain, direction = weights[gain_key], weights[direction_key]
            if direction.ndim != 3 or gain.shape != (1, 1, direction.shape[2]):
                raise ConversionError(
                    f"{gain_key} {tuple(gain.shape)} is not one gain for each position of {direction_key} "
                    f"{tuple(direction.shape)}."
                )
            # Each position of the kernel has a norm of its own.
            merged = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
            weights = {key: tensor for key, tensor in weights.items() if key not in (gain_key, direction_key)}
            weights[f"{prefix}weight"] = merged
    return weights
