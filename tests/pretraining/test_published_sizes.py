"""Objectives at the published sizes have as many parameters as upstream's pre-training modules."""

import torch

from modeling_enecg import ECGCPCConfig, ECGCPCModel, ECGJEPAConfig, ECGJEPAModel, STMEMConfig, STMEMModel
from modeling_enecg.pretraining import ContrastivePredictiveCoding, JointEmbeddingPrediction, MaskedReconstruction


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_contrastive_predictive_coding_has_the_published_size():
    assert count(ContrastivePredictiveCoding(ECGCPCModel(ECGCPCConfig()))) == 3_194_880


def test_masked_reconstruction_has_the_published_size():
    objective = MaskedReconstruction(STMEMModel(STMEMConfig()))
    assert count(objective) + objective.positions.numel() == 88_534_753


def test_joint_embedding_prediction_has_the_published_size():
    objective = JointEmbeddingPrediction(ECGJEPAModel(ECGJEPAConfig()))
    tables = [
        objective.positions,
        *(each.embeddings.position_embeddings for each in (objective.backbone, objective.target)),
    ]
    assert count(objective) + sum(table.numel() for table in tables) == 182_000_640
