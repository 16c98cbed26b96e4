"""ST-MEM: a Vision Transformer over per-lead patches of the ECG.

Na et al., "Guiding Masked Representation Learning to Capture Spatio-Temporal Relationship of Electrocardiogram",
ICLR 2024, arXiv 2402.09450. Published by VUNO Inc. in the repository bakqui/ST-MEM; code and weights are under
CC BY-NC 4.0 (non-commercial), so converted weights stay with their user. Pre-trained on 9 s at 250 Hz.
"""

from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .modeling_backbone import (
    ECGBackboneConfig,
    ECGBackboneModel,
    ECGBackboneOutput,
    PublishedWeights,
    RecordDropout,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    eager_attention_forward,
    masked_mean,
    outer_mask,
)


@strict
class STMEMConfig(ECGBackboneConfig):
    """Architecture of an ST-MEM encoder; the defaults are the published ViT-B with patches of 75 samples.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 250): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 2250): The longest input in samples.
        patch_size (`int`, *optional*, defaults to 75): Samples a patch.
        hidden_size (`int`, *optional*, defaults to 768): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 12): Attention heads per block.
        head_dim (`int`, *optional*, defaults to 64): Width of a head, independent of `hidden_size`.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLP's hidden layer.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout on embeddings, projections and in the MLP.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new embeddings.

    Example:
    ```python
    >>> from modeling_enecg import STMEMConfig, STMEMModel
    >>> model = STMEMModel(STMEMConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64))
    >>> model.config.feature_size
    32

    ```
    """

    model_type = "enecg-stmem"

    sampling_rate: int = 250
    sequence_length: int = 2250
    patch_size: int = 75
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    head_dim: int = 64
    intermediate_size: int = 3072
    qkv_bias: bool = True
    hidden_dropout: int | float = 0.0
    attention_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def validate_patches(self) -> None:
        """Refuse a length that patches do not fill."""
        if self.sequence_length % self.patch_size:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) must be a multiple of patch_size ({self.patch_size})."
            )

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-training and evaluation (centre crop)."""
        return [
            {"name": "resample", "method": "fourier"},
            {"name": "crop_or_pad"},
            {"name": "butterworth", "kind": "highpass", "cutoff_hz": 0.67, "order": 5},
            {"name": "butterworth", "kind": "lowpass", "cutoff_hz": 40.0, "order": 5},
            {"name": "standardize", "scope": "record"},
        ]


class STMEMEmbeddings(nn.Module):
    """Cut each lead into patches, embed them, and frame each lead by two separator tokens."""

    def __init__(self, config: STMEMConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.num_positions = config.sequence_length // config.patch_size + 2
        self.patch_norm = nn.LayerNorm(config.patch_size, eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.patch_size, config.hidden_size)
        self.projection_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.num_positions, config.hidden_size))
        self.separator_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.lead_embeddings = nn.Parameter(torch.zeros(config.num_leads, config.hidden_size))
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(self, input_values: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of records.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): The records.
            kept (`torch.LongTensor` of shape `(batch_size, num_leads, num_kept)`, *optional*): The patches of each
                lead that become tokens, as in pre-training; all by default.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_leads * (num_kept + 2), hidden_size)`.
        """
        patches = input_values.unflatten(-1, (-1, self.patch_size))  # (batch, leads, patches, patch_size)
        # Layers of 8 bit take no more than three axes.
        projected = self.projection(self.patch_norm(patches).flatten(1, 2)).unflatten(1, patches.shape[1:3])
        patches = self.projection_norm(projected)
        num_patches = patches.shape[2]
        patches = patches + self.position_embeddings[:, 1 : num_patches + 1]
        if kept is not None:
            patches = patches.take_along_dim(kept[..., None], dim=2)
        # A shorter record still ends with the last position: it marks the end, not a time.
        left, right = (self.separator_embedding + self.position_embeddings[:, [0, -1]]).unbind(1)
        shape = (patches.shape[0], patches.shape[1], 1, patches.shape[3])
        tokens = torch.cat([left[:, None, None].expand(shape), patches, right[:, None, None].expand(shape)], dim=2)
        tokens = tokens + self.lead_embeddings[:, None]
        return self.dropout(tokens.flatten(1, 2))


class STMEMAttention(nn.Module):
    """Multi-head attention over the tokens of all leads."""

    is_causal = False

    def __init__(self, config: STMEMConfig):
        super().__init__()
        self.config = config
        self.scaling = config.head_dim**-0.5
        width = config.num_attention_heads * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, 3 * width, bias=config.qkv_bias)
        # As published, one head of full width needs no output projection.
        needs_projection = config.num_attention_heads > 1 or config.head_dim != config.hidden_size
        self.output = nn.Linear(width, config.hidden_size) if needs_projection else nn.Identity()
        self.dropout = RecordDropout(config.hidden_dropout if needs_projection else 0.0)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over `(batch_size, num_tokens, hidden_size)`, to keys that the mask has; no weights under sdpa."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.config.num_attention_heads, self.config.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, head_dim)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attended, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        return self.dropout(self.output(attended.flatten(2))), weights


class STMEMMLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, config: STMEMConfig):
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        return self.dropout(self.down(self.dropout(nn.functional.gelu(self.up(hidden_states)))))


class STMEMBlock(ResidualBlock):
    """A pre-norm transformer block with stochastic depth on both branches."""

    def __init__(self, config: STMEMConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = STMEMAttention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = STMEMMLP(config)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask)
        hidden_states = hidden_states + drop_path(attended, self.drop_path_rate, self.training)
        transformed = self.mlp(self.mlp_norm(hidden_states))
        return hidden_states + drop_path(transformed, self.drop_path_rate, self.training)


class STMEMModel(ECGBackboneModel):
    """The ST-MEM encoder, from standardised ECG to tokens and a pooled feature vector."""

    config_class = STMEMConfig
    published = PublishedWeights(
        architecture="ViT-B over patches of each lead",
        source="https://github.com/bakqui/ST-MEM",
        checkpoint="encoder.pth",
        licence="CC BY-NC 4.0: not for commercial use",
        licence_id="cc-by-nc-4.0",
    )
    mask_rule = "Missing leads, and patches of padding alone, are neither attended to nor pooled."
    pooling_parameters = ("norm.",)
    _no_split_modules = ["STMEMEmbeddings", "STMEMBlock"]
    _can_record_outputs = {"hidden_states": STMEMBlock, "attentions": STMEMAttention}

    def __init__(self, config: STMEMConfig):
        super().__init__(config)
        self.embeddings = STMEMEmbeddings(config)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(STMEMBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @property
    def num_token_rows(self) -> int:
        """One per lead, with its separators."""
        return self.config.num_leads

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The transformer blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Embeddings, each block, and the final norm with the last block."""
        groups = [("embeddings.",), *((f"blocks.{index}.",) for index in range(len(self.blocks)))]
        return [*groups[:-1], (*groups[-1], "norm.")]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, STMEMEmbeddings):
            init.copy_(module.position_embeddings, sinusoid_positions(module.num_positions, self.config.hidden_size))
            init.normal_(module.separator_embedding, std=self.config.initializer_range)
            init.normal_(module.lead_embeddings, std=self.config.initializer_range)

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
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): What the feature extractor
                gives: `config.sampling_rate` Hz, filtered and standardised. `samples` is a multiple of
                `config.patch_size` and at most `config.sequence_length`.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. The tokens of a missing one are neither attended to nor pooled, as if the model knew only the
                others.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. Patches of padding alone are neither attended to nor pooled, as
                if the record ended before them; in the last one it is zeros.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention only) and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape
                `(batch_size, num_leads * (num_patches + 2), hidden_size)` with each lead's two separators, and
                `pooler_output` of shape `(batch_size, hidden_size)`: the normed mean over recorded patches.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        tokens = self.embeddings(input_values)
        is_recorded = outer_mask(lead_mask, input_mask)
        is_patch, is_key = None, None
        if is_recorded is not None:
            is_patch, is_key = self._token_masks(is_recorded.expand(input_values.shape))
        for block in self.blocks:
            tokens = block(tokens, is_key)
        patches = tokens.unflatten(1, (self.config.num_leads, -1))[:, :, 1:-1]
        pooled = self.norm(masked_mean(patches, is_patch, dim=(1, 2)))
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=pooled,
            token_mask=None if is_key is None else is_key[:, 0, 0],
        )

    def _token_masks(self, is_recorded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which patches to pool and which tokens to attend to.

        Args:
            is_recorded (`torch.BoolTensor` of shape `(batch_size, num_leads, samples)`): Which samples there are.

        Returns:
            `tuple[torch.BoolTensor, torch.BoolTensor]`: `(batch_size, num_leads, num_patches, 1)`, and
                `(batch_size, 1, 1, num_tokens)` for all heads and queries.
        """
        is_patch = is_recorded.unflatten(-1, (-1, self.config.patch_size)).any(dim=-1)
        is_separator = is_patch.any(dim=-1, keepdim=True)  # of a recorded lead
        is_token = torch.cat([is_separator, is_patch, is_separator], dim=-1)  # (batch, leads, patches + 2)
        return is_patch[..., None], is_token.flatten(1)[:, None, None]

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless leads and samples fit the model."""
        super().check_input(input_values)
        samples, patch_size, longest = input_values.shape[2], self.config.patch_size, self.config.sequence_length
        if samples % patch_size or not 0 < samples <= longest:
            raise ValueError(
                f"ST-MEM expects a multiple of {patch_size} samples, at most {longest}; got {samples}. "
                "Its feature extractor crops and pads."
            )


def sinusoid_positions(num_positions: int, hidden_size: int) -> torch.Tensor:
    """Return the pre-training's position table of shape `(1, num_positions, hidden_size)`.

    Sines in the first half of a row, cosines in the second; the separators' rows, first and last, are zero.
    """
    num_frequencies = hidden_size // 2
    frequencies = 10000.0 ** (-torch.arange(num_frequencies, dtype=torch.float64) / num_frequencies)
    angles = torch.arange(num_positions - 2, dtype=torch.float64)[:, None] * frequencies
    table = torch.zeros(1, num_positions, hidden_size)
    table[0, 1:-1, : 2 * num_frequencies] = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    return table


__all__ = ["STMEMConfig", "STMEMModel"]
