"""How unlike the records that a model knows a recording is: a distance of its features from theirs.

The standardised features of all experts are described by a Gaussian of low rank, probabilistic PCA in closed form
(Tipping, Bishop, "Probabilistic Principal Component Analysis", J. R. Stat. Soc. B 61 (1999)), whose variances are
shrunk towards their mean, so that a few records will do. A recording's squared Mahalanobis distance (Lee et al., "A
Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", arXiv 1807.03888) is held
against those of the validation records, which neither the experts' nor the Gaussian's training saw.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from .decisions import LEVELS, rank_among
from .heads import PRIOR_RECORDS, FeatureNorm, feature_statistics
from .probabilities import full_precision

LARGEST_RANK, RECORDS_PER_AXIS = 16, 3


class Novelty(nn.Module):
    """A Gaussian of the experts' features over training records, and how far validation records lie from its mean.

    Args:
        feature_size (`int`): Number of features of all experts together.
        rank (`int`): Number of axes along which the Gaussian has a variance of its own.
    """

    axes: torch.Tensor
    variances: torch.Tensor
    residual_variance: torch.Tensor
    quantiles: torch.Tensor

    def __init__(self, feature_size: int, rank: int):
        super().__init__()
        self.rank = rank
        self.norm = FeatureNorm(feature_size)
        self.register_buffer("axes", torch.zeros(rank, feature_size))
        self.register_buffer("variances", torch.ones(rank))
        self.register_buffer("residual_variance", torch.ones(()))
        self.register_buffer("quantiles", torch.zeros(len(LEVELS)))

    @classmethod
    def fit(cls, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]) -> "Novelty":
        """Describe training records, and measure the distances of validation records.

        The rank is 16 at most, and at most a third of the number of training records.

        Args:
            train (`Sequence[np.ndarray]`): Each expert's features, of shape `(num_records, feature_size)`.
            validation (`Sequence[np.ndarray]`): The same of records that did not train.

        Raises:
            ValueError: if there are no records, or a feature is not finite.
        """
        for what, features in (("training", train), ("validation", validation)):
            if not all(len(values) and np.isfinite(values).all() for values in features):
                raise ValueError(f"Novelty needs {what} records, and finite features of them.")
        statistics = [feature_statistics(values) for values in train]
        mean, std = (torch.cat(each) for each in zip(*statistics, strict=True))
        num_records, feature_size = len(train[0]), len(mean)
        rank = min(LARGEST_RANK, num_records // RECORDS_PER_AXIS, feature_size - 1)
        novelty = cls(feature_size, rank)
        novelty.norm.mean.copy_(mean)
        novelty.norm.std.copy_(std)
        standardised = (np.concatenate(train, axis=1) - mean.double().numpy()) / std.double().numpy()
        singular_values, axes = np.linalg.svd(standardised, full_matrices=False)[1:]
        variances, residual_variance = _shrunk_variances(singular_values**2 / num_records, rank, standardised.shape)
        novelty.axes.copy_(torch.from_numpy(axes[:rank]))
        novelty.variances.copy_(torch.from_numpy(variances))
        novelty.residual_variance.fill_(residual_variance)
        distances = novelty([torch.from_numpy(np.array(values, dtype=np.float32)) for values in validation])
        novelty.quantiles.copy_(torch.from_numpy(np.quantile(distances.double().numpy(), LEVELS)))
        return novelty

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return squared Mahalanobis distances per feature, about 1 for records like those of training.

        Args:
            features (`Sequence[torch.FloatTensor]`): Each expert's, of shape `(batch_size, feature_size)`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size,)`.
        """
        values = self.norm(full_precision(torch.cat(list(features), dim=-1)))
        along_axes = values @ self.axes.to(values.dtype).T  # (batch_size, rank)
        rest = (values.square().sum(dim=-1) - along_axes.square().sum(dim=-1)).clamp(min=0)
        squares = (along_axes.square() / self.variances).sum(dim=-1) + rest / self.residual_variance
        return squares / values.shape[-1]

    def ranks(self, distances: torch.Tensor) -> torch.Tensor:
        """Return the share of validation records that lie nearer, between the quantiles interpolated.

        Args:
            distances (`torch.FloatTensor` of shape `(batch_size,)`): As `forward` gives them.

        Returns:
            `torch.DoubleTensor` of shape `(batch_size,)`.
        """
        values, quantiles = (each.detach().double().cpu().numpy() for each in (distances, self.quantiles))
        return torch.from_numpy(rank_among(values, quantiles))


def _shrunk_variances(variances: np.ndarray, rank: int, shape: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Return the variances along the first axes, and the mean one of all others.

    Each is shrunk towards the mean of all, as if further records had that; axes along which nothing varies count.

    Args:
        variances (`np.ndarray`): Along the principal axes, largest first.
        rank (`int`): Number of axes that keep their own.
        shape (`tuple[int, int]`): Numbers of records and of features.
    """
    num_records, feature_size = shape
    mean = variances.sum() / feature_size or 1.0
    kept, residual = variances[:rank], variances[rank:].sum() / (feature_size - rank)
    weight = num_records / (num_records + PRIOR_RECORDS)
    return weight * kept + (1 - weight) * mean, float(weight * residual + (1 - weight) * mean)


__all__ = ["Novelty"]
