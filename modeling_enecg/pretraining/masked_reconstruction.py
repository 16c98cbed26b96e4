"""Masked reconstruction, by which ST-MEM learnt: draw the patches of each lead that were taken out.

Na et al., "Guiding Masked Representation Learning to Capture Spatio-Temporal Relationship of Electrocardiogram", ICLR
2024, arXiv 2402.09450; a masked autoencoder as in He et al., arXiv 2111.06377.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import nn

from ..modeling_backbone import drop_path_ramp, outer_mask, rand_for_records
from ..modeling_stmem import STMEMBlock, STMEMConfig, STMEMModel, sinusoid_positions
from .objective import Objective

VARIANCE_FLOOR = 1e-6  # of a patch that is normalised


class MaskedReconstruction(Objective):
    """See some patches of each lead, the same number in all and other ones in each, and reconstruct the rest.

    The encoder sees all leads together. The decoder, which is thrown away later, sees one lead at a time, the same for
    all, so that the relation between leads must be in the tokens. The encoder's table of positions stays as it is.

    Args:
        backbone (`STMEMModel`): The encoder.
        mask_ratio (`float`, *optional*, defaults to 0.75): Share of each lead's patches that are taken out.
        normalize_patches (`bool`, *optional*, defaults to `True`): Whether each patch to be reconstructed is brought
            to mean 0 and variance 1.
        decoder_size (`int`, *optional*, defaults to 256): Width of the decoder; its MLPs are four times as wide.
        decoder_layers (`int`, *optional*, defaults to 4): Its blocks.
        decoder_heads (`int`, *optional*, defaults to 4): Its attention heads, each as wide as the encoder's.

    Raises:
        ValueError: if the backbone is another one, or no patch would stay or none be taken out.
    """

    backbone_class = STMEMModel

    def __init__(
        self,
        backbone: STMEMModel,
        mask_ratio: float = 0.75,
        normalize_patches: bool = True,
        decoder_size: int = 256,
        decoder_layers: int = 4,
        decoder_heads: int = 4,
    ):
        super().__init__(backbone)
        config = cast(STMEMConfig, backbone.config)
        num_patches = config.sequence_length // config.patch_size
        self.num_kept = int(num_patches * (1 - mask_ratio))
        if not 0 < self.num_kept < num_patches:
            raise ValueError(f"mask_ratio: {mask_ratio} of {num_patches} patches leaves {self.num_kept} to be seen.")
        self.normalize_patches = normalize_patches
        backbone.embeddings.position_embeddings.requires_grad_(False)
        decoder = deepcopy(config)
        decoder.hidden_size, decoder.num_attention_heads = decoder_size, decoder_heads
        decoder.intermediate_size = 4 * decoder_size
        self.entry = nn.Linear(config.hidden_size, decoder_size)
        self.mask_embedding = nn.Parameter(torch.empty(decoder_size))
        self.register_buffer("positions", sinusoid_positions(num_patches + 2, decoder_size))
        rates = drop_path_ramp(0.0, decoder_layers)
        self.decoder = nn.ModuleList(STMEMBlock(decoder, rate) for rate in rates)
        self.norm = nn.LayerNorm(decoder_size, eps=1e-6)
        self.exit = nn.Linear(decoder_size, config.patch_size)
        nn.init.normal_(self.mask_embedding, std=config.initializer_range)
        for part in (self.entry, self.decoder, self.exit):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the `loss` of a batch: the mean squared error over the patches that were taken out.

        Patches of missing leads and of padding are neither attended to nor to be reconstructed.
        """
        input_values, lead_mask, input_mask = self.backbone.prepare_input(input_values, lead_mask, input_mask)
        patches = input_values.unflatten(-1, (-1, self.backbone.config.patch_size))  # (batch, leads, patches, size)
        is_patch = torch.ones(patches.shape[:3], dtype=torch.bool, device=patches.device)
        is_recorded = outer_mask(lead_mask, input_mask)
        if is_recorded is not None:
            is_patch = is_recorded.expand(input_values.shape).unflatten(-1, patches.shape[2:]).any(dim=-1)
        order = rand_for_records(patches.shape[:3], patches.device).argsort(dim=2)
        kept, masked = order[..., : self.num_kept], order[..., self.num_kept :]
        reconstructed = self.decode(self.encode(input_values, kept, is_patch), kept, is_patch)
        return {"loss": reconstruction_loss(reconstructed, patches, masked, is_patch, self.normalize_patches)}

    def encode(self, input_values: torch.Tensor, kept: torch.Tensor, is_patch: torch.Tensor) -> torch.Tensor:
        """Return the tokens of what is seen.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): The records.
            kept (`torch.LongTensor` of shape `(batch_size, num_leads, num_kept)`): The patches that are seen.
            is_patch (`torch.BoolTensor` of shape `(batch_size, num_leads, num_patches)`): Which were recorded.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_leads, num_kept + 2, hidden_size)`, with separators.
        """
        is_seen = _framed(is_patch.take_along_dim(kept, dim=2), is_patch)
        tokens = self.backbone.embeddings(input_values, kept)
        for block in self.backbone.blocks:
            tokens = block(tokens, _key_mask(is_seen.flatten(1)))
        return self.backbone.norm(tokens).unflatten(1, is_seen.shape[1:])

    def decode(self, tokens: torch.Tensor, kept: torch.Tensor, is_patch: torch.Tensor) -> torch.Tensor:
        """Return all patches as they are reconstructed.

        Args:
            tokens (`torch.FloatTensor`): What `encode` gives.
            kept (`torch.LongTensor`): The patches that were seen.
            is_patch (`torch.BoolTensor`): Which were recorded.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_leads, num_patches, patch_size)`.
        """
        left, seen, right = self.entry(tokens).split([1, kept.shape[2], 1], dim=2)
        gaps = self.mask_embedding.to(seen.dtype).expand(*is_patch.shape, -1)
        patches = gaps.scatter(2, kept[..., None].expand_as(seen), seen)
        framed = torch.cat([left, patches, right], dim=2)
        decoded = (framed + self._positions(is_patch.shape[2]).to(framed.dtype)).flatten(0, 1)
        is_key = _key_mask(_framed(is_patch, is_patch).flatten(0, 1))
        for block in self.decoder:
            decoded = block(decoded, is_key)
        return self.exit(self.norm(decoded)[:, 1:-1]).unflatten(0, is_patch.shape[:2])

    def _positions(self, num_patches: int) -> torch.Tensor:
        """Return the decoder's positions; the last one marks the end of a shorter record as well."""
        positions = cast(torch.Tensor, self.positions)
        return torch.cat([positions[:, : num_patches + 1], positions[:, -1:]], dim=1)


def _framed(is_token: torch.Tensor, is_patch: torch.Tensor) -> torch.Tensor:
    """Add the two separators of each lead, which are there if any patch of the lead is."""
    is_lead = is_patch.any(dim=2, keepdim=True)
    return torch.cat([is_lead, is_token, is_lead], dim=2)


def _key_mask(is_key: torch.Tensor) -> torch.Tensor | None:
    """Return `(batch_size, num_tokens)` for all heads and queries; a sequence without any key sees all of nothing."""
    if is_key.all():
        return None
    return (is_key | ~is_key.any(dim=1, keepdim=True))[:, None, None]


def reconstruction_loss(
    reconstructed: torch.Tensor,
    patches: torch.Tensor,
    masked: torch.Tensor,
    is_patch: torch.Tensor,
    normalize_patches: bool = True,
) -> torch.Tensor:
    """Return the mean squared error over each record's patches that were taken out, averaged over the records.

    Args:
        reconstructed (`torch.FloatTensor` of shape `(batch_size, num_leads, num_patches, patch_size)`): All patches.
        patches (`torch.FloatTensor` of the same shape): As they are.
        masked (`torch.LongTensor` of shape `(batch_size, num_leads, num_masked)`): Which were taken out.
        is_patch (`torch.BoolTensor` of shape `(batch_size, num_leads, num_patches)`): Which were recorded; others do
            not count.
        normalize_patches (`bool`, *optional*, defaults to `True`): Whether to bring each patch to mean 0 and, in its
            unbiased estimate, variance 1 first.
    """
    targets = patches.float()
    if normalize_patches:
        centred = targets - targets.mean(dim=-1, keepdim=True)
        targets = centred / (targets.var(dim=-1, keepdim=True) + VARIANCE_FLOOR).sqrt()
    errors = (reconstructed.float() - targets).square().mean(dim=-1).take_along_dim(masked, dim=2)
    counts = is_patch.take_along_dim(masked, dim=2)
    of_records = errors.masked_fill(~counts, 0).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1)
    return of_records.mean()


__all__ = ["MaskedReconstruction", "reconstruction_loss"]
