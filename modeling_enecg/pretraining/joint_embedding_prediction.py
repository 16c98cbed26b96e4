"""Joint-embedding prediction, by which ECG-JEPA learnt: foretell the features of patches that were not seen.

Kim, "Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive Architecture",
arXiv 2410.08559; after Assran et al., arXiv 2301.08243.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import nn

from ..modeling_backbone import drop_path_ramp
from ..modeling_ecgjepa import ECGJEPABlock, ECGJEPABranchEnd, ECGJEPAConfig, ECGJEPAModel, sinusoid_positions
from .objective import Objective

NUM_BLOCKS = 4  # of a mask of blocks, which may overlap
MASK_TYPES = ("block", "random")


class JointEmbeddingPrediction(Objective):
    """See some patches, the same of all leads, and predict what a slower encoder makes of the others.

    The slower encoder, the target, sees the whole recording; its weights follow the encoder's as a moving average that
    ends at a standstill. The predictor, which is thrown away later, sees one lead at a time.

    Args:
        backbone (`ECGJEPAModel`): The encoder.
        mask_type (`str`, *optional*, defaults to `"block"`): What is taken out: `"block"`, four stretches of patches;
            `"random"`, patches here and there.
        smallest_mask (`float`, *optional*): Smallest share of the patches that a stretch, or the mask of random
            patches, takes out; by default as published, 0.175 or 0.6.
        largest_mask (`float`, *optional*): The largest; by default 0.225 or 0.7.
        target_momentum (`float`, *optional*, defaults to 0.996): Share of the target's weights that a step keeps; it
            grows linearly to 1 at the end.
        predictor_size (`int`, *optional*, defaults to 384): Width of the predictor; its MLPs are four times as wide.
        predictor_layers (`int`, *optional*, defaults to 6): Its blocks.
        predictor_heads (`int`, *optional*, defaults to 12): Its attention heads.

    Raises:
        ValueError: if the backbone is another one, or a mask is none.
    """

    backbone_class = ECGJEPAModel

    def __init__(
        self,
        backbone: ECGJEPAModel,
        mask_type: str = "block",
        smallest_mask: float | None = None,
        largest_mask: float | None = None,
        target_momentum: float = 0.996,
        predictor_size: int = 384,
        predictor_layers: int = 6,
        predictor_heads: int = 12,
    ):
        super().__init__(backbone)
        if mask_type not in MASK_TYPES:
            raise ValueError(f"mask_type: {mask_type!r} is not one of {', '.join(MASK_TYPES)}.")
        published = (0.175, 0.225) if mask_type == "block" else (0.6, 0.7)
        given = (smallest_mask, largest_mask)
        self.mask_type = mask_type
        self.mask_range = cast(
            tuple[float, float], tuple(a if b is None else b for a, b in zip(published, given, strict=True))
        )
        config = cast(ECGJEPAConfig, backbone.config)
        num_patches = config.sequence_length // config.patch_size
        low, high = self.mask_range
        if not 1 <= int(low * num_patches) <= int(high * num_patches) < num_patches:
            raise ValueError(f"smallest_mask and largest_mask: {low} to {high} of {num_patches} patches is no mask.")
        self.momentum = target_momentum
        self.target = deepcopy(backbone).eval().requires_grad_(False)
        self.target.set_drop_path_rate(0.0)
        predictor = deepcopy(config)
        predictor.hidden_size, predictor.num_attention_heads = predictor_size, predictor_heads
        predictor.intermediate_size = 4 * predictor_size
        self.entry = nn.Linear(config.hidden_size, predictor_size)
        self.mask_embedding = nn.Parameter(torch.empty(predictor_size))
        self.register_buffer("positions", sinusoid_positions(1, num_patches, predictor_size))
        rates = drop_path_ramp(config.drop_path_rate, predictor_layers)
        self.predictor = nn.ModuleList(
            ECGJEPABlock(predictor, number, rate) for number, rate in enumerate(rates, start=1)
        )
        self.norm = nn.LayerNorm(predictor_size, eps=config.layer_norm_eps)
        self.exit = nn.Linear(predictor_size, config.hidden_size)
        self._initialise(config.initializer_range)

    def _initialise(self, deviation: float) -> None:
        nn.init.trunc_normal_(self.mask_embedding, std=deviation)
        for part in (self.entry, self.predictor, self.exit):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    scale = module.scale if isinstance(module, ECGJEPABranchEnd) else 1.0
                    nn.init.trunc_normal_(module.weight, std=scale * deviation)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def train(self, mode: bool = True) -> "JointEmbeddingPrediction":
        """Train all but the target, which always computes as in evaluation."""
        super().train(mode)
        self.target.eval()
        return self

    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the `loss` of a batch, all of whose records have the same mask."""
        num_patches = input_values.shape[2] // self.backbone.config.patch_size
        is_masked = draw_mask(num_patches, self.mask_type, self.mask_range).to(input_values.device)
        kept, masked = (~is_masked).nonzero()[:, 0], is_masked.nonzero()[:, 0]
        with torch.no_grad():
            targets, is_token = self.target.encode(input_values, lead_mask, input_mask)
        num_leads = self.backbone.config.num_leads
        targets = targets.unflatten(1, (num_leads, num_patches))
        is_patch = torch.ones_like(targets[..., 0], dtype=torch.bool)
        if is_token is not None:
            is_patch = is_token.unflatten(1, (num_leads, num_patches))[..., 0]
        seen, _ = self.backbone.encode(input_values, lead_mask, input_mask, kept)
        predicted = self.predict(seen.unflatten(1, (num_leads, -1)), kept, masked, is_patch)
        return {"loss": prediction_loss(predicted, targets[:, :, masked], is_patch[:, :, masked])}

    def predict(
        self, seen: torch.Tensor, kept: torch.Tensor, masked: torch.Tensor, is_patch: torch.Tensor
    ) -> torch.Tensor:
        """Predict the tokens of patches from those of others of the same lead.

        Args:
            seen (`torch.FloatTensor` of shape `(batch_size, num_leads, num_kept, hidden_size)`): Tokens.
            kept (`torch.LongTensor` of shape `(num_kept,)`): Their patches.
            masked (`torch.LongTensor` of shape `(num_masked,)`): The patches to predict.
            is_patch (`torch.BoolTensor` of shape `(batch_size, num_leads, num_patches)`): Which were recorded; others
                are not attended to.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_leads, num_masked, hidden_size)`.
        """
        tokens = self.entry(seen)
        gaps = self.mask_embedding.to(tokens.dtype).expand(*tokens.shape[:2], len(masked), -1)
        tokens = torch.cat([tokens, gaps], dim=2).flatten(0, 1)  # (batch x leads, patches, width)
        order = torch.cat([kept, masked])
        positions, is_key = cast(torch.Tensor, self.positions)[order], is_patch[:, :, order].flatten(0, 1)
        is_key = (is_key | ~is_key.any(dim=1, keepdim=True))[:, None, None]  # a missing lead sees all of nothing
        for block in self.predictor:
            tokens = block(tokens + positions, is_key)  # as in the encoder, before every block
        return self.exit(self.norm(tokens[:, len(kept) :])).unflatten(0, seen.shape[:2])

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Let the target follow the encoder."""
        momentum = self.momentum + progress * (1 - self.momentum)
        for target, own in zip(self.target.parameters(), self.backbone.parameters(), strict=True):
            target.lerp_(own, 1 - momentum)


def draw_mask(num_patches: int, mask_type: str, mask_range: tuple[float, float]) -> torch.Tensor:
    """Draw which patches are taken out; numbers come from the generator of the CPU, alike in all processes.

    Args:
        num_patches (`int`): Patches of a lead.
        mask_type (`str`): `"block"` or `"random"`.
        mask_range (`tuple[float, float]`): Smallest and largest share of the patches, of each of four stretches or of
            the whole mask.

    Returns:
        `torch.BoolTensor` of shape `(num_patches,)`; at least one patch stays.
    """

    def number() -> int:
        low, high = mask_range
        return int(num_patches * (low + (high - low) * torch.rand(()).item()))

    mask = torch.zeros(num_patches, dtype=torch.bool)
    if mask_type == "random":
        mask[torch.randperm(num_patches)[: number()]] = True
        return mask
    for _ in range(NUM_BLOCKS):
        length = number()
        start = int(torch.randint(num_patches - length + 1, ()))
        mask[start : start + length] = True
    if mask.all():
        mask[int(torch.randint(num_patches, ()))] = False
    return mask


def prediction_loss(predicted: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the smooth L1 distance from layer-normalised targets, averaged over each record, then over the records.

    Args:
        predicted (`torch.FloatTensor` of shape `(batch_size, num_leads, num_masked, hidden_size)`): The predictions.
        targets (`torch.FloatTensor` of the same shape): What the target encoder gives; each token is normalised here,
            without weights of its own.
        counts (`torch.BoolTensor` of shape `(batch_size, num_leads, num_masked)`): Which were recorded.
    """
    targets = nn.functional.layer_norm(targets.float(), targets.shape[-1:])
    errors = nn.functional.smooth_l1_loss(predicted.float(), targets, reduction="none").mean(dim=-1)
    of_records = errors.masked_fill(~counts, 0).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1)
    return of_records.mean()


__all__ = ["JointEmbeddingPrediction", "draw_mask", "prediction_loss"]
