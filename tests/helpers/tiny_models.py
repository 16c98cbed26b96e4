"""Small architectures of every backbone, and tasks of every type, for the tests of models."""

from typing import Any

import torch
from transformers import PreTrainedConfig

from modeling_enecg import (
    DLinearConfig,
    ECGBackboneModel,
    ECGCPCConfig,
    ECGFMConfig,
    ECGFounderConfig,
    ECGJEPAConfig,
    EnECGModel,
    HuBERTECGConfig,
    MomentConfig,
    STMEMConfig,
    TempoConfig,
    TimesNetConfig,
    XResNet1dConfig,
)

RHYTHM = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": ["AFIB", "SR", "PACE"]}
SEX = {"name": "sex", "problem_type": "single_label_classification", "labels": ["female", "male"]}
AGE = {"name": "age", "problem_type": "regression", "target_mean": [60.0], "target_std": [15.0], "unit": "years"}
TASKS = [RHYTHM, SEX, AGE]

# Parameters of each backbone as published.
PUBLISHED_SIZES = {
    "enecg-dlinear": 1_002,
    "enecg-ecgcpc": 2_932_736,
    "enecg-ecgfm": 90_373_120,
    "enecg-ecgfounder": 30_598_896,
    "enecg-ecgjepa": 85_374_720 - 400 * 768,  # but for the table of positions, which is not trained
    "enecg-hubertecg": 92_798_848 - 768 - 128,  # but for the mask token and the weight norm's gains
    "enecg-moment": 18_887_360,
    "enecg-stmem": 85_150_614,
    "enecg-tempo": 94_031_618,
    "enecg-timesnet": 1_131_269,
    "enecg-xresnet1d": 1_804_672,
}


def tiny_backbone_configs() -> dict[str, PreTrainedConfig]:
    """Return one config a model type, for 12 leads of `config.sequence_length` samples: 150, and 36 for TEMPO."""
    configs = (
        DLinearConfig(sequence_length=150, horizon=4, kernel_size=25),
        TempoConfig(
            sequence_length=36,  # the decomposition's weights grow with its square
            horizon=5,
            patch_size=12,
            patch_stride=12,
            trend_window=5,
            hidden_size=8,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            vocab_size=8,
            max_position_embeddings=21,
            prompt_token_ids=[[1, 2, 3], [1, 2, 4], [1, 2, 5]],
        ),
        TimesNetConfig(
            sequence_length=150,
            horizon=2,
            hidden_size=6,
            intermediate_size=4,
            num_hidden_layers=3,
            num_kernels=2,
            top_k=2,
        ),
        ECGCPCConfig(
            sequence_length=150,
            conv_dim=[16, 16],
            conv_kernel=[3, 1],
            conv_stride=[2, 1],
            conv_dilation=[1, 1],
            hidden_size=24,
            state_size=4,
            num_hidden_layers=3,
            hidden_dropout=0.0,
        ),
        ECGFMConfig(
            sequence_length=150,
            conv_dim=[16, 16],
            conv_kernel=[3, 2],
            conv_stride=[3, 2],
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        MomentConfig(
            sequence_length=150,
            patch_size=15,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            head_dim=4,
            intermediate_size=32,
            dropout=0.0,
        ),
        ECGFounderConfig(sequence_length=150, stem_size=16, hidden_sizes=[16, 24], depths=[2, 2], group_width=8),
        STMEMConfig(
            sequence_length=150,
            patch_size=15,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            head_dim=4,
            intermediate_size=32,
        ),
        ECGJEPAConfig(
            num_leads=12,  # the tests of lead masks want as many of every backbone
            sequence_length=150,
            patch_size=15,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        HuBERTECGConfig(
            sequence_length=150,
            conv_dim=[16, 16],
            conv_kernel=[10, 3],
            conv_stride=[4, 2],
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        XResNet1dConfig(sequence_length=150, stem_sizes=[8, 8, 16], inner_sizes=[4, 6], depths=[2, 2]),
    )
    return {config.model_type: config for config in configs}


def one_task(tiny_experts: dict[str, ECGBackboneModel], task: dict[str, Any], **fields: Any) -> EnECGModel:
    """Return an EnECG model with a tiny ECGFounder and one task."""
    torch.manual_seed(0)
    return EnECGModel.from_experts({"founder": tiny_experts["ecgfounder"]}, [task | fields])
