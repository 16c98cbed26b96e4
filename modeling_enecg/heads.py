"""The layers between an expert and a task: standardised features, their pooling, and an output network."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from .attention_pool import AttentionPool, flagged_tokens
from .configuration_enecg import EnECGConfig
from .modeling_backbone import ECGBackboneModel, ECGBackboneOutput, RecordDropout


def feature_size(config: EnECGConfig, expert: ECGBackboneModel) -> int:
    """Return the width of what an expert's heads and gates read."""
    return expert.config.hidden_size if config.pools_tokens else expert.config.feature_size


def heads_input(config: EnECGConfig, expert: ECGBackboneModel, output: ECGBackboneOutput) -> torch.Tensor:
    """Return what an expert's heads take of its output.

    Args:
        config (`EnECGConfig`): Says how tokens are pooled.
        expert (`ECGBackboneModel`): The expert.
        output (`ECGBackboneOutput`): What it gave.

    Returns:
        `torch.FloatTensor`: Its `pooler_output`, `(batch_size, feature_size)`; with attention pooling its tokens as
            `flagged_tokens` gives them, `(batch_size, num_tokens, hidden_size + 1)`.

    Raises:
        ValueError: if tokens are to be pooled, and the backbone does not say which count.
    """
    if not config.pools_tokens:
        return cast(torch.Tensor, output.pooler_output)
    return expert_tokens(expert, output, config.token_stride)


def expert_tokens(expert: ECGBackboneModel, output: ECGBackboneOutput, token_stride: int = 1) -> torch.Tensor:
    """Return an expert's tokens, each followed by a flag that tells whether it counts.

    Args:
        expert (`ECGBackboneModel`): The expert.
        output (`ECGBackboneOutput`): What it gave.
        token_stride (`int`, *optional*, defaults to 1): Average so many successive tokens of a row into one.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size + 1)`: As `flagged_tokens` gives them.

    Raises:
        ValueError: if the backbone does not say which tokens count.
    """
    if not hasattr(output, "token_mask"):
        raise ValueError(
            f"{type(expert).__name__} does not say which of its tokens count, which must be known to use them; "
            "let its forward return an ECGBackboneOutput."
        )
    tokens = cast(torch.Tensor, output.last_hidden_state)
    return flagged_tokens(tokens, output.token_mask, expert.num_token_rows, token_stride)


PRIOR_RECORDS = 10  # so many records' worth of the mean variance go into each feature's
_RECORDS_AT_ONCE = 64  # of features that may lie on disk
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
        """Map `(batch_size, feature_size)`, or flagged tokens `(batch_size, num_tokens, feature_size + 1)`, alike."""
        if features.ndim == 2:
            return (features - self.mean) / self.std
        return torch.cat([(features[..., :-1] - self.mean) / self.std, features[..., -1:]], dim=-1)


def feature_statistics(features: np.ndarray, rows: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over the records, or their tokens, as `statistics_of` gives them.

    Args:
        features (`np.ndarray`): Of one expert, as `heads_input` gives them; a few at a time are held in memory.
        rows (`np.ndarray`, *optional*): The records that count; all by default.
    """
    rows = np.arange(len(features)) if rows is None else rows
    parts = [rows[start : start + _RECORDS_AT_ONCE] for start in range(0, len(rows), _RECORDS_AT_ONCE)]

    def mean(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        values = (counted_vectors(features[part].astype(np.float64)) for part in parts)
        sums = [(of(each).sum(axis=0), len(each)) for each in values]
        return np.sum([total for total, _ in sums], axis=0) / sum(count for _, count in sums)

    center = mean(lambda values: values)
    return statistics_of(center, mean(lambda values: (values - center) ** 2), len(rows))


def counted_vectors(features: Any) -> Any:
    """Return pooled features as they are, and of flagged tokens, of records or batches, those that count."""
    return features if features.ndim == 2 else features[..., :-1][features[..., -1] > 0]


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
    """One expert's output network for one task: linear layers with ReLU between, dropout before each.

    Where tokens are pooled by attention, the pool is the task's own as well.
    """

    def __init__(self, config: EnECGConfig, feature_size: int, num_outputs: int):
        super().__init__()
        self.token_pool = AttentionPool(feature_size, config.pooling_heads) if config.pools_tokens else None
        sizes = [feature_size, *(config.head_hidden_sizes or [])]
        layers: list[nn.Module] = []
        for in_size, out_size in pairwise(sizes):
            layers += [RecordDropout(config.head_dropout), nn.Linear(in_size, out_size), nn.ReLU()]
        self.layers = nn.Sequential(*layers, RecordDropout(config.head_dropout), nn.Linear(sizes[-1], num_outputs))

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """Map what `heads_input` gives, standardised, to `(batch_size, feature_size)`."""
        if self.token_pool is None:
            return features
        return self.token_pool(features[..., :-1], features[..., -1] > 0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map pooled features `(batch_size, feature_size)` to `(batch_size, num_outputs)`."""
        return self.layers(features)

    def start_like(self, other: "TaskHead") -> None:
        """Take over all of another task's head but its final layer, which knows the labels."""
        self.layers[:-1].load_state_dict(other.layers[:-1].state_dict())
        if self.token_pool is not None and other.token_pool is not None:
            self.token_pool.load_state_dict(other.token_pool.state_dict())
