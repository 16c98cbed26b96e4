"""What stands between an expert and a task: standardised features and an output network."""

from itertools import pairwise

import torch
from torch import nn

from .configuration_enecg import EnECGConfig
from .modeling_backbone import RecordDropout


class FeatureNorm(nn.Module):
    """Standardises an expert's features by fixed statistics; without any it changes nothing.

    Experts' features differ in scale by orders of magnitude, and vary little around their means: without this a head
    learns slowly.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("std", torch.ones(feature_size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, feature_size)` to the same shape."""
        return (features - self.mean) / self.std


class TaskHead(nn.Module):
    """One expert's output network for one task: linear layers with ReLU between, dropout before each."""

    def __init__(self, config: EnECGConfig, feature_size: int, num_outputs: int):
        super().__init__()
        sizes = [feature_size, *(config.head_hidden_sizes or [])]
        layers: list[nn.Module] = []
        for in_size, out_size in pairwise(sizes):
            layers += [RecordDropout(config.head_dropout), nn.Linear(in_size, out_size), nn.ReLU()]
        self.layers = nn.Sequential(*layers, RecordDropout(config.head_dropout), nn.Linear(sizes[-1], num_outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, feature_size)` to `(batch_size, num_outputs)`."""
        return self.layers(features)
