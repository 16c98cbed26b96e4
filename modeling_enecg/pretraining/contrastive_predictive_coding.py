"""Contrastive predictive coding, by which ECG-CPC learnt: tell the token to come from others of the same recording.

Van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748, in the form
of Al-Masud, Lopez Alcaraz, Strodthoff, arXiv 2509.25095.
"""

from typing import cast

import torch
from torch import nn

from ..modeling_backbone import rand_for_records
from ..modeling_ecgcpc import ECGCPCConvolution, ECGCPCModel
from .objective import Objective


class ContrastivePredictiveCoding(Objective):
    """Predict what the convolutions make of the signal some tokens ahead, from what the S4 layers know by then.

    Args:
        backbone (`ECGCPCModel`): The backbone, which must not see ahead.
        steps_ahead (`int`, *optional*, defaults to 14): How far ahead, in tokens.
        num_negatives (`int`, *optional*, defaults to 128): Tokens of the same recording, drawn with replacement, that
            the right one is told from.

    Raises:
        ValueError: if the backbone is another one or sees ahead, or `steps_ahead` leads out of a recording.
    """

    backbone_class = ECGCPCModel

    def __init__(self, backbone: ECGCPCModel, steps_ahead: int = 14, num_negatives: int = 128):
        super().__init__(backbone)
        if backbone.config.is_bidirectional:
            raise ValueError("needs a backbone that does not see ahead: set is_bidirectional to false.")
        num_tokens = torch.tensor(backbone.config.sequence_length)
        for convolution in backbone.stem:
            num_tokens = cast(ECGCPCConvolution, convolution).output_length(num_tokens)
        if steps_ahead >= num_tokens:
            raise ValueError(f"steps_ahead: {steps_ahead} leads out of a recording, which has {num_tokens} tokens.")
        self.steps_ahead, self.num_negatives = steps_ahead, num_negatives
        self.prediction = nn.Linear(backbone.config.hidden_size, backbone.config.hidden_size, bias=False)

    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the `loss` of a batch, summed over the tokens and averaged over the records."""
        input_values, _, input_mask = self.backbone.prepare_input(input_values, lead_mask, input_mask)
        targets, is_token = self.backbone.embed(input_values, input_mask)
        tokens = targets
        for block in self.backbone.blocks:
            tokens = block(tokens, is_token)
        predictions = self.prediction(tokens[:, : -self.steps_ahead])
        num_records, num_tokens = targets.shape[:2]
        lengths = targets.new_full((num_records,), num_tokens) if is_token is None else is_token.sum((1, 2))
        draws = rand_for_records((*predictions.shape[:2], self.num_negatives), targets.device)
        return {"loss": contrastive_loss(predictions, targets, lengths, draws)}


def contrastive_loss(
    predictions: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor, draws: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy of finding each prediction's own target among others of its sequence.

    Similarity is the dot product. The loss is summed over the predictions and averaged over the sequences; predictions
    of a target beyond a sequence's length do not count.

    Args:
        predictions (`torch.FloatTensor` of shape `(batch_size, num_tokens - steps_ahead, size)`): Of the targets from
            `steps_ahead` on, in order.
        targets (`torch.FloatTensor` of shape `(batch_size, num_tokens, size)`): What is predicted.
        lengths (`torch.Tensor` of shape `(batch_size,)`): How many of a sequence's tokens count.
        draws (`torch.FloatTensor` of shape `(batch_size, num_tokens - steps_ahead, num_negatives)`): Uniform numbers
            in [0, 1), each of which picks a negative.
    """
    places = torch.arange(targets.shape[1] - predictions.shape[1], targets.shape[1], device=targets.device)
    negatives = negative_places(draws, places[None, :, None], lengths[:, None, None])
    with torch.autocast(targets.device.type, enabled=False):
        similarities = predictions.float() @ targets.float().mT  # (batch, predictions, tokens)
    positive = similarities.take_along_dim(places[None, :, None], dim=2)
    candidates = torch.cat([positive, similarities.take_along_dim(negatives, dim=2)], dim=2)
    losses = torch.logsumexp(candidates, dim=2) - positive[..., 0]
    return losses.masked_fill(places >= lengths[:, None], 0).sum(dim=1).mean()


def negative_places(draws: torch.Tensor, positive: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return which tokens uniform numbers in [0, 1) pick, any of the first `lengths` but the positive one."""
    num_others = (lengths - 1).clamp(min=1)
    places = torch.minimum((draws * num_others).long(), (num_others - 1).long())  # a product may round up
    return places + (places >= positive)


__all__ = ["ContrastivePredictiveCoding", "contrastive_loss", "negative_places"]
