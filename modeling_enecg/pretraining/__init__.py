"""Objectives of pre-training: what a backbone learns from recordings without labels."""

from .contrastive_predictive_coding import ContrastivePredictiveCoding
from .joint_embedding_prediction import JointEmbeddingPrediction
from .masked_reconstruction import MaskedReconstruction
from .objective import Objective

__all__ = ["ContrastivePredictiveCoding", "JointEmbeddingPrediction", "MaskedReconstruction", "Objective"]
