"""The PTB-XL benchmark's checkpoints of its xresnet1d models, as fastai saves them."""

import re
from typing import Any

import torch

from ..modeling_xresnet1d import XResNet1dConfig, XResNet1dModel
from .checkpoint import ConversionError

# Constants of upstream's constructor: inner channels of the first four stages, and of those after them.
_INNER_SIZE, _NUM_FIRST_STAGES, _LATER_INNER_SIZE = 64, 4, 32
_STAGE = re.compile(r"^(\d+)(?=\.\d+\.(convs|convpath|idpath)\.)")
_NUM_BEFORE_STAGES = 4  # three layers of the stem and a pooling
_HEAD = ("num_classes", "ps_head", "lin_ftrs_head", "bn_head", "bn_final_head", "act_head")


def _prepare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Number the stages from 0."""
    return {
        _STAGE.sub(lambda match: f"stages.{int(match[1]) - _NUM_BEFORE_STAGES}", key): tensor
        for key, tensor in weights.items()
    }


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the number of leads off the first convolution, and turn the factor on widths into widths."""
    if not fields.pop("concat_pooling", True):
        raise ConversionError("concat_pooling=False has other features; only True converts.")
    widen, depths = fields.pop("widen", 1), fields.get("depths", XResNet1dConfig().depths)
    try:
        num_later = max(len(depths) - _NUM_FIRST_STAGES, 0)
        sizes = [_INNER_SIZE] * (len(depths) - num_later) + [_LATER_INNER_SIZE] * num_later
        fields["inner_sizes"] = [int(size * widen) for size in sizes]
    except (TypeError, ValueError, OverflowError) as error:
        raise ConversionError(f"layers {depths!r} and widen {widen!r} give no widths: {error}.") from error
    first_convolution = weights.get("0.0.weight")
    if first_convolution is not None and first_convolution.ndim == 3:
        fields.setdefault("num_leads", first_convolution.shape[1])
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": XResNet1dModel,
    "weights_key": "model",
    "hyperparameters": {
        "expansion": "expansion",
        "layers": "depths",
        "input_channels": "num_leads",
        "kernel_size": "kernel_size",
        "kernel_size_stem": "stem_kernel_size",
        "stem_szs": "stem_sizes",
        "stem_sizes": "stem_sizes",
        "widen": "widen",
        "concat_pooling": "concat_pooling",
        **dict.fromkeys(_HEAD),
    },
    "drops": ((r"\d+\.([2-9]|\d\d+)\.", "classification head: an EnECG model has its own"),),
    "renames": (
        (r"^(\d+)\.([01])\.", r"stem.\1.\2."),
        (r"\.(convs|convpath\.0)\.(\d+)\.", r".branch.\2."),
        (r"\.idpath\.\d+\.", ".shortcut."),
        (r"^((?:stem|stages)\..*)\.0\.weight$", r"\1.convolution.weight"),
        (r"^((?:stem|stages)\..*)\.1\.(\w+)$", r"\1.norm.\2"),
    ),
    "prepare": _prepare,
    "adapt": _adapt,
}
