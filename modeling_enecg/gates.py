"""Gates: from a record to a score of each expert, and from scores to weights.

A gate on the signal decides before the experts run, so that those it leaves out need not be computed; a gate on the
experts' features sees what they saw.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init

from .configuration_enecg import EnECGConfig

ENCODER_KERNEL, ENCODER_STRIDE, ENCODER_DEPTH = 15, 4, 3


class UniformLinear(nn.Linear):
    """A linear layer that starts with zeros, so that a softmax over its outputs starts uniform."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        init.zeros_(self.weight)
        init.zeros_(self.bias)


class UniformGate(nn.Module):
    """The same score for every expert; the gate of a single expert, too."""

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return zeros of shape `(batch_size, num_experts)`."""
        return features[0].new_zeros(features[0].shape[0], len(features))


class FeatureGate(nn.Module):
    """A linear layer on all experts' features, each normalised; uniform before training."""

    def __init__(self, feature_sizes: Sequence[int]):
        super().__init__()
        self.linear = UniformLinear(sum(feature_sizes), len(feature_sizes))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Map each expert's `(batch_size, feature_size)` to scores of shape `(batch_size, num_experts)`."""
        normed = [nn.functional.layer_norm(feature, feature.shape[-1:]) for feature in features]
        return self.linear(torch.cat(normed, dim=-1))


class LeadGate(nn.Module):
    """The paper's gate (arXiv 2511.22935): two linear layers on the samples of chosen leads.

    It takes one number of samples only, and a shifted record is another record to it.
    """

    def __init__(self, config: EnECGConfig):
        super().__init__()
        self.shape = (len(config.gate_leads or []), config.gate_sequence_length)
        self.layers = nn.Sequential(
            nn.Linear(self.shape[0] * self.shape[1], config.gate_hidden_size or 0),
            nn.ReLU(),
            nn.Linear(config.gate_hidden_size or 0, len(config.experts)),
        )

    def forward(self, gate_values: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_gate_leads, gate_sequence_length)` to scores of shape `(batch_size, num_experts)`."""
        if gate_values.shape[1:] != self.shape:
            raise ValueError(
                f"The gate expects gate_values of shape (batch_size, {self.shape[0]}, {self.shape[1]}); "
                f"got {tuple(gate_values.shape)}."
            )
        return self.layers(gate_values.flatten(1))


class EncoderGate(nn.Module):
    """Convolutions with pooling, the mean over time and a linear layer: hardly moved by a shift, and of any length."""

    def __init__(self, config: EnECGConfig):
        super().__init__()
        self.num_leads, width = len(config.gate_leads or []), config.gate_hidden_size or 0
        layers: list[nn.Module] = []
        for in_channels in [self.num_leads] + [width] * (ENCODER_DEPTH - 1):
            convolution = nn.Conv1d(in_channels, width, ENCODER_KERNEL, padding=ENCODER_KERNEL // 2)
            layers += [convolution, nn.GroupNorm(1, width), nn.ReLU(), _smooth_pooling()]
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(width, len(config.experts))

    def forward(self, gate_values: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_gate_leads, num_samples)` to scores of shape `(batch_size, num_experts)`."""
        if gate_values.ndim != 3 or gate_values.shape[1] != self.num_leads:
            raise ValueError(
                f"The gate expects gate_values of shape (batch_size, {self.num_leads}, num_samples); "
                f"got {tuple(gate_values.shape)}."
            )
        return self.linear(self.convolutions(gate_values).mean(dim=-1))


def _smooth_pooling() -> nn.Module:
    """Halve the rate twice; strides in the convolutions would make another record of one shifted by a few samples."""
    return nn.AvgPool1d(
        2 * ENCODER_STRIDE, ENCODER_STRIDE, ENCODER_STRIDE // 2, ceil_mode=True, count_include_pad=False
    )


def new_gate(config: EnECGConfig, feature_sizes: Sequence[int]) -> nn.Module:
    """Return a task's gate with new weights."""
    if config.gate == "uniform":
        return UniformGate()
    if config.gate == "features":
        return FeatureGate(feature_sizes)
    return LeadGate(config) if config.gate == "leads" else EncoderGate(config)


def gate_weights(scores: torch.Tensor, temperature: float = 1.0, top_k: int | None = None) -> torch.Tensor:
    """Turn a gate's scores into weights that sum to 1.

    Args:
        scores (`torch.FloatTensor` of shape `(batch_size, num_experts)`): Higher for a better expert.
        temperature (`float`, *optional*, defaults to 1.0): Below 1 the weights are more decided, above 1 more even.
        top_k (`int`, *optional*): Keep so many experts a record; the others' weights are 0.
    """
    if top_k is None or top_k >= scores.shape[-1]:
        return (scores / temperature).softmax(dim=-1)
    is_kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(top_k, dim=-1).indices, True)
    if top_k == 1:
        # The only weight is always 1; it takes the gradient of the expert's probability, or the gate would not learn.
        probabilities = (scores / temperature).softmax(dim=-1)
        return is_kept * (1 + probabilities - probabilities.detach())
    return (scores / temperature).masked_fill(~is_kept, float("-inf")).softmax(dim=-1)
