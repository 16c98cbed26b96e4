"""ECG-JEPA: a Vision Transformer whose tokens see their own lead and their own time (cross-pattern attention).

Kim, "Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive Architecture",
arXiv 2410.08559. Published in the repository sehunfromdaegu/ECG_JEPA under the MIT licence; no licence is stated for
the weights. Pre-trained on the Shaoxing and CODE-15 % records: 10 s at 250 Hz of I, II and V1-V6, from which the other
four leads follow; in mV, neither filtered nor normalised.
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

from .leads import LEAD_SETS, STANDARD_LEADS
from .modeling_backbone import (
    UNKNOWN_LICENCE,
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
class ECGJEPAConfig(ECGBackboneConfig):
    """Architecture of an ECG-JEPA encoder; the defaults are the published ViT-B.

    Args:
        num_leads (`int`, *optional*, defaults to 8): Leads of the input.
        leads (`list[str]`, *optional*): Their names, in order. By default the first `num_leads` of I, II, V1-V6, or
            beyond eight of the 12 standard leads.
        sampling_rate (`int`, *optional*, defaults to 250): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 2500): The longest input in samples.
        patch_size (`int`, *optional*, defaults to 50): Samples a patch.
        hidden_size (`int`, *optional*, defaults to 768): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 16): Attention heads per block.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLP's hidden layer.
        qkv_bias (`bool`, *optional*, defaults to `False`): Whether queries, keys and values have a bias.
        learnable_positions (`bool`, *optional*, defaults to `False`): Whether the table of positions is trained. By
            default it stays what it was loaded as, for a new model sines and cosines.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout on the attention's output and in the MLP.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new linear layers.

    Example:
    ```python
    >>> from modeling_enecg import ECGJEPAConfig, ECGJEPAModel
    >>> model = ECGJEPAModel(ECGJEPAConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64))
    >>> model.config.lead_names
    ['I', 'II', 'V1', 'V2', 'V3', 'V4', 'V5', 'V6']

    ```
    """

    model_type = "enecg-ecgjepa"

    num_leads: int = 8
    leads: list[str] | None = None
    sampling_rate: int = 250
    sequence_length: int = 2500
    patch_size: int = 50
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    intermediate_size: int = 3072
    qkv_bias: bool = False
    learnable_positions: bool = False
    hidden_dropout: int | float = 0.0
    attention_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def validate_leads(self) -> None:
        """Refuse names that are not those of `num_leads` standard leads, and all of these in another order."""
        leads = self.lead_names
        if len(leads) != self.num_leads or len({*leads} & {*STANDARD_LEADS}) != len(leads):
            raise ValueError(
                f"leads {leads} must name num_leads ({self.num_leads}) different ones of {', '.join(STANDARD_LEADS)}."
            )
        if len(leads) == len(STANDARD_LEADS) and leads != list(STANDARD_LEADS):
            raise ValueError(f"All 12 leads must be in the standard order; got {leads}.")

    def validate_patches(self) -> None:
        """Refuse a length that patches do not fill."""
        if self.patch_size < 1 or self.sequence_length % self.patch_size:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) must be a multiple of patch_size ({self.patch_size})."
            )

    def validate_width(self) -> None:
        """Refuse a width that heads, or the sines and cosines of leads and times, do not divide."""
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        if self.hidden_size % 4 and not self.learnable_positions:
            raise ValueError(f"hidden_size ({self.hidden_size}) must be a multiple of 4 for its table of positions.")

    @property
    def lead_names(self) -> list[str]:
        """Names of the input's leads, in order."""
        pre_training = LEAD_SETS["8 leads"]
        known = pre_training if self.num_leads <= len(pre_training) else STANDARD_LEADS
        return list(self.leads or known[: self.num_leads])

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing: the first 10 s, in mV as they are."""
        return [
            {"name": "resample", "method": "fourier"},
            {"name": "crop_or_pad", "position": "start"},
        ]


class ECGJEPAEmbeddings(nn.Module):
    """Cut each lead into patches and embed them; and hold the table of positions, a row per token."""

    position_embeddings: torch.Tensor

    def __init__(self, config: ECGJEPAConfig):
        super().__init__()
        self.num_leads, self.patch_size = config.num_leads, config.patch_size
        self.num_patches = config.sequence_length // config.patch_size
        self.projection = nn.Linear(config.patch_size, config.hidden_size)
        if config.learnable_positions:
            table = torch.zeros(config.num_leads * self.num_patches, config.hidden_size)
            self.position_embeddings = nn.Parameter(table)
        else:
            table = sinusoid_positions(config.num_leads, self.num_patches, config.hidden_size)
            self.register_buffer("position_embeddings", table.to(self.projection.weight.dtype))

    def forward(self, input_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed a batch of records, lead after lead.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): The records.

        Returns:
            `tuple[torch.FloatTensor, torch.FloatTensor]`: Tokens of shape
                `(batch_size, num_leads * num_patches, hidden_size)`, and the positions of one record's tokens.
        """
        patches = input_values.unflatten(-1, (-1, self.patch_size))  # (batch, leads, patches, patch_size)
        positions = self.position_embeddings.unflatten(0, (self.num_leads, self.num_patches))
        return self.projection(patches.flatten(1, 2)), positions[:, : patches.shape[2]].flatten(0, 1)


class ECGJEPABranchEnd(nn.Linear):
    """The last layer of a residual branch: the deeper its block, numbered from 1, the smaller its new weights."""

    def __init__(self, in_size: int, out_size: int, number: int):
        super().__init__(in_size, out_size)
        self.scale = (2 * number) ** -0.5


class ECGJEPAAttention(nn.Module):
    """Multi-head attention over the tokens of all leads, as far as the mask allows."""

    is_causal = False

    def __init__(self, config: ECGJEPAConfig, number: int):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.output = ECGJEPABranchEnd(config.hidden_size, config.hidden_size, number)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over `(batch_size, num_tokens, hidden_size)`, to keys that the mask has; no weights under sdpa."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.config.num_attention_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, head_dim)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attended, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.head_dim**-0.5,
        )
        return self.dropout(self.output(attended.flatten(2))), weights


class ECGJEPAMLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, config: ECGJEPAConfig, number: int):
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = ECGJEPABranchEnd(config.intermediate_size, config.hidden_size, number)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        return self.dropout(self.down(self.dropout(nn.functional.gelu(self.up(hidden_states)))))


class ECGJEPABlock(ResidualBlock):
    """A pre-norm transformer block with stochastic depth on both branches."""

    def __init__(self, config: ECGJEPAConfig, number: int, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ECGJEPAAttention(config, number)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ECGJEPAMLP(config, number)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask)
        hidden_states = hidden_states + drop_path(attended, self.drop_path_rate, self.training)
        transformed = self.mlp(self.mlp_norm(hidden_states))
        return hidden_states + drop_path(transformed, self.drop_path_rate, self.training)


class ECGJEPAModel(ECGBackboneModel):
    """The ECG-JEPA encoder, from an ECG in mV to tokens and their mean."""

    config_class = ECGJEPAConfig
    published = PublishedWeights(
        architecture="ViT-B whose tokens see their own lead and time",
        source="https://github.com/sehunfromdaegu/ECG_JEPA",
        checkpoint="multiblock_epoch100.pth",
        licence="none stated: ask its authors; repository MIT",
        licence_id=UNKNOWN_LICENCE,
    )
    mask_rule = "Missing leads, and patches of padding alone, are neither attended to nor pooled."
    _no_split_modules = ["ECGJEPAEmbeddings", "ECGJEPABlock"]
    _can_record_outputs = {"hidden_states": ECGJEPABlock, "attentions": ECGJEPAAttention}

    def __init__(self, config: ECGJEPAConfig):
        super().__init__(config)
        self.embeddings = ECGJEPAEmbeddings(config)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(ECGJEPABlock(config, number, rate) for number, rate in enumerate(rates, start=1))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @property
    def num_token_rows(self) -> int:
        """One per lead."""
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
            scale = module.scale if isinstance(module, ECGJEPABranchEnd) else 1.0
            init.trunc_normal_(module.weight, std=scale * self.config.initializer_range)
        elif isinstance(module, ECGJEPAEmbeddings):
            if self.config.learnable_positions:
                init.uniform_(module.position_embeddings, -0.02, 0.02)
            else:
                table = sinusoid_positions(module.num_leads, module.num_patches, self.config.hidden_size)
                init.copy_(module.position_embeddings, table)

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
                gives: the leads of `config.lead_names` at `config.sampling_rate` Hz in mV. `samples` is a multiple of
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
                `(batch_size, num_leads * num_patches, hidden_size)`, normed, lead after lead, and `pooler_output` of
                shape `(batch_size, hidden_size)`: their mean.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        tokens, is_token = self.encode(input_values, lead_mask, input_mask)
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=masked_mean(tokens, is_token, dim=1),
            token_mask=None if is_token is None else is_token[..., 0],
        )

    def encode(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
        kept: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the tokens of all patches, or as in pre-training of some alone, as if there were no others.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): As in `forward`.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): As in `forward`.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): As in `forward`.
            kept (`torch.LongTensor` of shape `(num_kept,)`, *optional*): The patches that there are, of every lead.

        Returns:
            `tuple`: Normed tokens of shape `(batch_size, num_leads * num_patches, hidden_size)`, lead after lead, and
                which of them were recorded, of shape `(batch_size, num_leads * num_patches, 1)`; None where all were.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        tokens, positions = self.embeddings(input_values)
        num_leads, num_patches = self.config.num_leads, input_values.shape[2] // self.config.patch_size
        is_visible = cross_pattern(num_leads, num_patches, tokens.device)[None, None]
        is_token = None
        is_recorded = outer_mask(lead_mask, input_mask)
        if is_recorded is not None:
            patches = is_recorded.expand(input_values.shape).unflatten(-1, (-1, self.config.patch_size))
            is_token = patches.any(dim=-1).flatten(1)[:, :, None]  # (batch, tokens, 1)
        if kept is not None:
            index = (torch.arange(num_leads, device=kept.device)[:, None] * num_patches + kept).flatten()
            tokens, positions, is_visible = tokens[:, index], positions[index], is_visible[..., index, :][..., index]
            is_token = None if is_token is None else is_token[:, index]
        if is_token is not None:
            is_visible = is_visible & is_token.transpose(1, 2)[:, None]  # (batch, 1 for all heads, tokens, tokens)
            # A token of a missing lead at a padded time would see nothing, which some kernels answer with NaN.
            is_visible = is_visible | ~is_visible.any(dim=-1, keepdim=True)
        for block in self.blocks:
            tokens = block(tokens + positions, is_visible)  # as published, before every block
        return self.norm(tokens), is_token

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless leads and samples fit the model."""
        super().check_input(input_values)
        samples, patch_size, longest = input_values.shape[2], self.config.patch_size, self.config.sequence_length
        if samples % patch_size or not 0 < samples <= longest:
            raise ValueError(
                f"ECG-JEPA expects a multiple of {patch_size} samples, at most {longest}; got {samples}. "
                "Its feature extractor crops and pads."
            )


def cross_pattern(num_leads: int, num_patches: int, device: torch.device | None = None) -> torch.Tensor:
    """Return which tokens see each other, those of one lead or one time: bool, `(num_tokens, num_tokens)`."""
    index = torch.arange(num_leads * num_patches, device=device)
    lead, patch = index // num_patches, index % num_patches
    return (lead[:, None] == lead) | (patch[:, None] == patch)


def sinusoid_positions(num_leads: int, num_patches: int, hidden_size: int) -> torch.Tensor:
    """Return the pre-training's position table of shape `(num_leads * num_patches, hidden_size)`.

    The first half of a row tells the patch, the second half the lead; each by sines, then cosines.
    """
    num_frequencies = hidden_size // 4
    frequencies = 10000.0 ** (-torch.arange(num_frequencies, dtype=torch.float64) / num_frequencies)
    index = torch.arange(num_leads * num_patches, dtype=torch.float64)
    patch_angles, lead_angles = (
        place[:, None] * frequencies for place in (index % num_patches, torch.floor(index / num_patches))
    )
    parts = [patch_angles.sin(), patch_angles.cos(), lead_angles.sin(), lead_angles.cos()]
    return torch.cat(parts, dim=1).float()


__all__ = ["ECGJEPAConfig", "ECGJEPAModel"]
