"""ECGFounder's published checkpoints, 12-lead and 1-lead."""

from typing import Any

import torch

from ..modeling_ecgfounder import ECGFounderModel

_UPSTREAM_DROPOUT = 0.5


def _adapt(fields: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the number of leads off the first convolution, and turn the dropout switch into its rate."""
    if "dropout" in fields:
        fields["dropout"] = _UPSTREAM_DROPOUT if fields["dropout"] else 0.0
    first_convolution = weights.get("first_conv.conv.weight")
    if first_convolution is not None and first_convolution.ndim == 3:
        fields.setdefault("num_leads", first_convolution.shape[1])
    return fields


CONVERTER: dict[str, Any] = {
    "model_class": ECGFounderModel,
    "weights_key": "state_dict",
    "hyperparameters": {
        "in_channels": "num_leads",
        "base_filters": "stem_size",
        "ratio": "expansion",
        "filter_list": "hidden_sizes",
        "m_blocks_list": "depths",
        "kernel_size": "kernel_size",
        "stride": "stride",
        "groups_width": "group_width",
        "n_classes": None,
        "use_bn": "use_batch_norm",
        "use_do": "dropout",
    },
    "drops": (
        (r"dense\.", "classification head: an EnECG model has its own"),
        (r"(first_bn|.*\.bn[123])\.", "batch norm that the published network holds but never uses"),
    ),
    "renames": (
        (r"^first_conv\.conv\.", "stem."),
        (r"^first_bn\.", "stem_norm."),
        (r"^stage_list\.(\d+)\.block_list\.(\d+)\.", r"stages.\1.\2."),
        (r"\.bn([123])\.", r".activation\1.0."),
        (r"\.conv([123])\.conv\.", r".conv\1."),
        (r"\.se_fc1\.", ".squeeze_excitation.squeeze."),
        (r"\.se_fc2\.", ".squeeze_excitation.excite."),
    ),
    "adapt": _adapt,
}
