"""MOMENT: a T5 encoder over patches of one lead at a time, pre-trained on time series of all kinds.

Goswami et al., "MOMENT: A Family of Open Time-series Foundation Models", ICML 2024, arXiv 2402.03885. Published by the
Auton Lab (CMU) in the repository moment-timeseries-foundation-model/moment under the MIT licence, the weights as
AutonLab/MOMENT-1-small, -base and -large. Pre-trained on 512 samples; every lead is normalised inside the model, so
the unit of the input does not matter. Leads share the network and never interact before they are averaged.
"""

import math
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .modeling_backbone import (
    ECGBackboneConfig,
    ECGBackboneModel,
    ECGBackboneOutput,
    PublishedWeights,
    RecordDropout,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    masked_mean,
)

NORMALIZATION_EPSILON = 1e-5
FLOATING_TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


@strict
class MomentConfig(ECGBackboneConfig):
    """Architecture of a MOMENT encoder; the defaults are the published MOMENT-1-small.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`float`, *optional*, defaults to 51.2): Samples per second (Hz) of what the extractor gives;
            10 s fill the 512 samples of the pre-training.
        sequence_length (`int`, *optional*, defaults to 512): Samples that the feature extractor gives; the network
            itself takes any multiple of `patch_size`, such as 5000 (with a `sampling_rate` of 500).
        patch_size (`int`, *optional*, defaults to 8): Samples a patch.
        hidden_size (`int`, *optional*, defaults to 512): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 8): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 6): Attention heads per block.
        head_dim (`int`, *optional*, defaults to 64): Width of a head, independent of `hidden_size`.
        intermediate_size (`int`, *optional*, defaults to 1024): Width of the gated feed-forward's hidden layer.
        hidden_act (`str`, *optional*, defaults to `"gelu_pytorch_tanh"`): Activation of the feed-forward's gate: T5's
            `"gelu_new"`, computed faster.
        relative_attention_num_buckets (`int`, *optional*, defaults to 32): Classes of distance between two patches.
        relative_attention_max_distance (`int`, *optional*, defaults to 128): Distance in patches from which on all
            share a class.
        dropout (`float`, *optional*, defaults to 0.1): Dropout on tokens, branches and attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_epsilon (`float`, *optional*, defaults to 1e-6): Epsilon of all RMS norms.

    Example:
    ```python
    >>> from modeling_enecg import MomentConfig, MomentModel
    >>> model = MomentModel(MomentConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64))
    >>> model.config.feature_size
    32

    ```
    """

    model_type = "enecg-moment"
    # T5's layers read this config as if it were theirs.
    attribute_map = {
        "d_model": "hidden_size",
        "d_kv": "head_dim",
        "d_ff": "intermediate_size",
        "num_heads": "num_attention_heads",
        "num_layers": "num_hidden_layers",
        "dropout_rate": "dropout",
    }
    is_decoder = False

    sampling_rate: int | float = 51.2
    sequence_length: int = 512
    patch_size: int = 8
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 6
    head_dim: int = 64
    intermediate_size: int = 1024
    hidden_act: str = "gelu_pytorch_tanh"
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout: int | float = 0.1
    layer_norm_epsilon: float = 1e-6

    def validate_patches(self) -> None:
        """Refuse a length that patches do not fill."""
        if self.sequence_length < 1 or self.sequence_length % self.patch_size:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) must be a multiple of patch_size ({self.patch_size})."
            )

    def validate_sizes(self) -> None:
        """Refuse a model without blocks, and widths that sines and cosines do not share evenly."""
        if self.num_hidden_layers < 1:
            raise ValueError(f"num_hidden_layers must be at least 1, got {self.num_hidden_layers}.")
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size must be even, got {self.hidden_size}.")

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps that give the model a whole record in its own length."""
        return [{"name": "resample", "method": "fourier"}, {"name": "crop_or_pad"}]


def normalize_leads(input_values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Bring each lead to zero mean and unit deviation over its observed samples, in float32.

    Args:
        input_values (`torch.Tensor` of shape `(batch_size, num_leads, samples)`): Leads in any unit.
        observed (`torch.BoolTensor` of shape `(batch_size, 1 or num_leads, samples)`): Which samples count for mean
            and deviation; NaN never does.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_leads, samples)`: all samples normalised. A NaN or infinite one is 0,
            and so is a flat lead.
    """
    values = input_values.float()
    observed = observed & ~values.isnan()
    count = observed.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = values.where(observed, 0.0).sum(dim=-1, keepdim=True) / count
    lowest = values.where(observed, math.inf).amin(dim=-1, keepdim=True)
    highest = values.where(observed, -math.inf).amax(dim=-1, keepdim=True)
    # A flat lead's mean is exactly its value; its rounding error would be blown up by the division.
    centred = values - mean.clamp(lowest, highest)
    variance = centred.square().where(observed, 0.0).sum(dim=-1, keepdim=True) / count
    # As published, the epsilon stands outside the root.
    return (centred / (variance.sqrt() + NORMALIZATION_EPSILON)).nan_to_num(0.0, posinf=0.0, neginf=0.0)


def sinusoid_positions(num_positions: int, hidden_size: int, device: torch.device | None = None) -> torch.Tensor:
    """Return the table of shape `(num_positions, hidden_size)`: sines in even columns, cosines in odd ones."""
    columns = torch.arange(0, hidden_size, 2, dtype=torch.float32, device=device)
    frequencies = torch.exp(columns * (-math.log(10000.0) / hidden_size))
    angles = torch.arange(num_positions, dtype=torch.float32, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (positions, frequencies, 2) -> columns


class MomentEmbeddings(nn.Module):
    """Normalise each lead, cut it into patches, embed them and add their positions in time."""

    mask_embedding: torch.Tensor

    def __init__(self, config: MomentConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Linear(config.patch_size, config.hidden_size, bias=False)
        # Only masked pre-training teaches it, which is not done here: kept with the weights, but not trained.
        self.register_buffer("mask_embedding", torch.zeros(config.hidden_size))
        self.dropout = RecordDropout(config.dropout)

    def forward(self, input_values: torch.Tensor, observed: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Embed all leads' patches.

        Args:
            input_values (`torch.Tensor` of shape `(batch_size, num_leads, samples)`): Leads in any unit.
            observed (`torch.BoolTensor` of shape `(batch_size, samples)`): Which samples are no padding.
            visible (`torch.BoolTensor` of shape `(batch_size, num_patches)`): Which patches are; the others get
                `mask_embedding` in place of their projection, and keep their position.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_leads * num_patches, hidden_size)`.
        """
        values = normalize_leads(input_values, observed[:, None]).to(self._dtype())
        patches = values.unflatten(-1, (-1, self.patch_size))
        # Layers of 8 bit take no more than three axes.
        patches = self.projection(patches.flatten(1, 2)).unflatten(
            1, patches.shape[1:3]
        )  # (batch, leads, patches, hidden)
        patches = patches.where(visible[:, None, :, None], self.mask_embedding)
        positions = sinusoid_positions(patches.shape[2], patches.shape[3], patches.device)
        return self.dropout((patches + positions.to(patches.dtype)).flatten(1, 2))

    def _dtype(self) -> torch.dtype:
        """Return the type to compute in: the weight's, or the buffer's where the weight is quantised."""
        dtype = getattr(self.projection.weight, "dtype", None)
        return dtype if dtype in FLOATING_TYPES else self.mask_embedding.dtype


class MomentMLP(nn.Module):
    """T5's gated MLP; its own casts to the weights' type, which for quantised ones is one of packed integers."""

    def __init__(self, config: MomentConfig):
        super().__init__()
        self.wi_0 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.wi_1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.dropout = RecordDropout(config.dropout)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        return self.wo(self.dropout(self.act(self.wi_0(hidden_states)) * self.wi_1(hidden_states)))


class MomentBlock(ResidualBlock):
    """A T5 encoder block on each lead, with stochastic depth on both branches."""

    def __init__(self, config: MomentConfig, layer_index: int, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.num_leads = config.num_leads
        t5_config = cast(Any, config)
        self.attention_norm = T5LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        # The first block holds the distances' biases, which all blocks share.
        self.attention = T5Attention(t5_config, has_relative_attention_bias=layer_index == 0, layer_idx=layer_index)
        self.mlp_norm = T5LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = MomentMLP(config)
        self.dropout = RecordDropout(config.dropout)

    def forward(self, hidden_states: torch.Tensor, position_bias: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_leads * num_patches, hidden_size)` to the same shape.

        Args:
            hidden_states (`torch.Tensor`): The tokens of all leads, lead after lead.
            position_bias (`torch.Tensor`, *optional*): What to add to the attention scores within a lead, of shape
                `(1 or batch_size * num_leads, num_heads, num_patches, num_patches)`.
        """
        tokens = self.attention_norm(hidden_states)
        leads = tokens.unflatten(1, (self.num_leads, -1)).flatten(0, 1)  # (batch * leads, patches, hidden)
        attended = self.attention(leads, position_bias=position_bias)[0]
        attended = attended.unflatten(0, (-1, self.num_leads)).flatten(1, 2)  # (batch, leads * patches, hidden)
        hidden_states = hidden_states + drop_path(self.dropout(attended), self.drop_path_rate, self.training)
        transformed = self.mlp(self.mlp_norm(hidden_states))
        return hidden_states + drop_path(self.dropout(transformed), self.drop_path_rate, self.training)


class MomentModel(ECGBackboneModel):
    """The MOMENT encoder, from ECG of any unit to tokens and their mean over leads and time."""

    config_class = MomentConfig
    published = PublishedWeights(
        architecture="T5 encoder over patches (small, base, large)",
        source="https://huggingface.co/AutonLab/MOMENT-1-small",
        checkpoint="model.safetensors",
        licence="MIT",
        licence_id="mit",
    )
    mask_rule = (
        "Missing leads are not pooled; padding is not in a lead's mean and deviation, and patches with "
        "padding in them are neither attended to nor pooled."
    )
    _no_split_modules = ["MomentEmbeddings", "MomentBlock"]
    _can_record_outputs = {"hidden_states": MomentBlock, "attentions": OutputRecorder(T5Attention, index=2)}

    def __init__(self, config: MomentConfig):
        super().__init__(config)
        self.embeddings = MomentEmbeddings(config)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(MomentBlock(config, index, rate) for index, rate in enumerate(rates))
        self.norm = T5LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.dropout = RecordDropout(config.dropout)
        self.post_init()

    @property
    def num_token_rows(self) -> int:
        """One per lead."""
        return self.config.num_leads

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The encoder blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Embeddings, each block (the shared position biases with the first), and the final norm with the last."""
        groups = [("embeddings.",), *((f"blocks.{index}.",) for index in range(len(self.blocks)))]
        return [*groups[:-1], (*groups[-1], "norm.")]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MomentEmbeddings):
            init.normal_(module.projection.weight, std=self.config.patch_size**-0.5)
            init.zeros_(module.mask_embedding)
        elif isinstance(module, T5LayerNorm):
            init.ones_(module.weight)

    @can_return_tuple
    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ECGBackboneOutput:
        """Encode a batch of records.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): Leads in any unit;
                `samples` is a multiple of `config.patch_size`. NaN samples are left out.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is not pooled; leads do not interact before.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. As published, it is left out of a lead's mean and deviation,
                and a patch with padding in it is neither attended to nor pooled.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention only; the rows are leads of records)
                and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape
                `(batch_size, num_leads * num_patches, hidden_size)`, lead after lead, and `pooler_output` of shape
                `(batch_size, hidden_size)`: the mean over recorded leads and patches.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        observed = torch.ones_like(input_values[:, 0], dtype=torch.bool) if input_mask is None else input_mask
        visible = observed.unflatten(-1, (-1, self.config.patch_size)).all(dim=-1)  # (batch, patches)
        tokens = self.embeddings(input_values, observed, visible)
        position_bias = self._position_bias(tokens, visible.shape[1], None if input_mask is None else visible)
        for block in self.blocks:
            tokens = block(tokens, position_bias)
        tokens = self.dropout(self.norm(tokens))
        is_kept = visible[:, None].expand(-1, self.config.num_leads, -1)  # (batch, leads, patches)
        if lead_mask is not None:
            is_kept = is_kept & lead_mask[:, :, None]
        is_token = is_kept.flatten(1)
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=masked_mean(tokens, is_token[:, :, None], dim=1),
            token_mask=None if lead_mask is None and input_mask is None else is_token,
        )

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless leads and samples fit the model."""
        super().check_input(input_values)
        samples, patch_size = input_values.shape[2], self.config.patch_size
        if samples % patch_size or not samples:
            raise ValueError(
                f"MOMENT expects a multiple of {patch_size} samples; got {samples}. "
                "Its feature extractor crops and pads."
            )

    def _position_bias(self, tokens: torch.Tensor, num_patches: int, visible: torch.Tensor | None) -> torch.Tensor:
        """Return the attention scores' bias by distance, the smallest number where a patch is not visible."""
        attention = cast(MomentBlock, self.blocks[0]).attention
        # The tokens know the device, also where weights are offloaded: (1, heads, patches, patches)
        bias = attention.compute_bias(num_patches, num_patches, device=tokens.device)
        if visible is None:
            return bias
        leads = visible.repeat_interleave(self.config.num_leads, dim=0)  # (batch * leads, patches)
        return bias.masked_fill(~leads[:, None, None], torch.finfo(bias.dtype).min)


__all__ = ["MomentConfig", "MomentModel"]
