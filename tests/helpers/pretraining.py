"""Small backbones and recipes of pre-training."""

from pathlib import Path
from typing import Any

from tests.helpers.training import STMEM, recipe_fields

CPC = {
    "model_type": "enecg-ecgcpc",
    "sampling_rate": 100,
    "sequence_length": 1000,
    "conv_dim": [8, 8],
    "conv_kernel": [9, 1],
    "conv_stride": [10, 1],
    "conv_dilation": [1, 1],
    "hidden_size": 8,
    "state_size": 4,
    "num_hidden_layers": 1,
}
JEPA = {key: value for key, value in STMEM.items() if key != "head_dim"} | {"model_type": "enecg-ecgjepa"}
PREDICTIVE = "contrastive_predictive_coding"
# By stage: a backbone, and settings of the objective that fit its size.
OBJECTIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    PREDICTIVE: (CPC, {"num_negatives": 16}),
    "masked_reconstruction": (
        STMEM,
        {"decoder_size": 8, "decoder_layers": 1, "decoder_heads": 2, "learning_rate": 3e-3},
    ),
    "joint_embedding_prediction": (
        JEPA,
        {"predictor_size": 8, "predictor_layers": 1, "predictor_heads": 2, "learning_rate": 1e-3},
    ),
}


def pretraining_fields(stage: str, data_dir: Path, folder: Path, cache: Path, **changes: Any) -> dict[str, Any]:
    """The fields of a recipe that pre-trains a tiny backbone in seconds; `changes` are settings of its stage."""
    backbone, settings = OBJECTIVES[stage]
    fields = recipe_fields(data_dir, folder, cache)
    del fields["num_resamples"]
    settings = settings | {"num_train_epochs": 4, "global_batch_size": 16, "watch_epochs": 2} | changes
    return fields | {"experts": {"own": {"config": dict(backbone)}}, "stages": {stage: settings}}
