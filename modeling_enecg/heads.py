"""What stands between an expert and a task: standardised features and an output network."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from .configuration_enecg import EnECGConfig
from .modeling_backbone import RecordDropout

PRIOR_RECORDS = 10  # so many records' worth of the mean variance go into each feature's
SMALLEST_DEVIATION = 0.1  # of a feature, as a share of the features' root mean square


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


def feature_statistics(features: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over the records as `statistics_of` gives them.

    Args:
        features (`np.ndarray` of shape `(num_records, feature_size)`): Of one expert.
    """
    values = features.astype(np.float64)
    return statistics_of(values.mean(axis=0), values.var(axis=0), len(values))


def statistics_of(mean: np.ndarray, variance: np.ndarray, num_records: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the deviation by which a model standardises an expert's features.

    A feature that hardly varies would be blown up, and with it every step of a training that moves it. So each
    variance is shrunk towards the mean of all, the more the fewer the records, as if ten further records had that;
    and no deviation is below a tenth of the features' root mean square.

    Args:
        mean (`np.ndarray` of shape `(feature_size,)`): Over the records.
        variance (`np.ndarray` of shape `(feature_size,)`): Over the records.
        num_records (`int`): Their number.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Each of shape `(feature_size,)`; the deviation is 1 where all is 0.
    """
    shrunk = (num_records * variance + PRIOR_RECORDS * variance.mean()) / (num_records + PRIOR_RECORDS)
    scale = np.sqrt((mean**2 + variance).mean())
    deviation = np.maximum(np.sqrt(shrunk), SMALLEST_DEVIATION * scale)
    deviation[deviation == 0] = 1.0
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


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
