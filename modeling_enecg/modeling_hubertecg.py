"""HuBERT-ECG: convolutions and a transformer over all leads laid end to end (HuBERT).

Coppola et al., "HuBERT-ECG as a self-supervised foundation model for broad and scalable cardiac applications",
medRxiv 2024.11.14.24317328; after Hsu et al., "HuBERT", arXiv 2106.07447. Published in the repository
Edoar-do/HuBERT-ECG; code and weights are under CC BY-NC 4.0 (non-commercial), so converted weights stay with their
user. Pre-trained on 9.1 million records, perhaps those of PTB-XL among them: 5 s at 100 Hz.
"""

from dataclasses import field
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
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
    masked_mean,
    outer_mask,
)
from .modeling_ecgfm import ECGFMMLP, ECGFMAttention, ECGFMPositionalConvolution


@strict
class HuBERTECGConfig(ECGBackboneConfig):
    """Architecture of a HuBERT-ECG encoder; the defaults are the published base model.

    The small one has `hidden_size` 512, `num_hidden_layers` 8, `num_attention_heads` 8 and `intermediate_size` 2048;
    the large one 960, 16, 12 and 3840.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6. The
            network itself takes any number of them.
        sampling_rate (`int`, *optional*, defaults to 100): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 500): Samples that the feature extractor gives; the network
            itself takes any number that makes a token.
        conv_dim (`list[int]`, *optional*, defaults to five times 512): Channels per convolution.
        conv_kernel (`list[int]`, *optional*, defaults to `[10, 3, 3, 2, 2]`): Width of each convolution in its
            samples.
        conv_stride (`list[int]`, *optional*, defaults to `[4, 2, 2, 2, 2]`): Downsampling by each convolution.
        conv_bias (`bool`, *optional*, defaults to `False`): Whether the convolutions have a bias.
        num_conv_pos_embeddings (`int`, *optional*, defaults to 128): Width of the positional convolution in tokens.
        num_conv_pos_embedding_groups (`int`, *optional*, defaults to 16): Groups of the positional convolution.
        hidden_size (`int`, *optional*, defaults to 768): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 12): Attention heads per block.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLP's hidden layer.
        feat_proj_dropout (`float`, *optional*, defaults to 0.0): Dropout on the projected convolution features.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout before the blocks and on each branch's output.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        activation_dropout (`float`, *optional*, defaults to 0.0): Dropout inside the MLP.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new linear layers.

    Example:
    ```python
    >>> from modeling_enecg import HuBERTECGConfig, HuBERTECGModel
    >>> model = HuBERTECGModel(HuBERTECGConfig(hidden_size=48, num_hidden_layers=2, intermediate_size=64))
    >>> model.config.feature_size
    48

    ```
    """

    model_type = "enecg-hubertecg"

    sampling_rate: int = 100
    sequence_length: int = 500
    conv_dim: list[int] = field(default_factory=lambda: [512] * 5)
    conv_kernel: list[int] = field(default_factory=lambda: [10, 3, 3, 2, 2])
    conv_stride: list[int] = field(default_factory=lambda: [4, 2, 2, 2, 2])
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    feat_proj_dropout: int | float = 0.0
    hidden_dropout: int | float = 0.0
    attention_dropout: int | float = 0.0
    activation_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def validate_convolutions(self) -> None:
        """Refuse convolutions that are not described each by channels, kernel and stride."""
        sizes = (self.conv_dim, self.conv_kernel, self.conv_stride)
        if not self.conv_dim or len({len(each) for each in sizes}) > 1 or min(map(min, sizes)) < 1:
            raise ValueError(
                f"conv_dim {self.conv_dim}, conv_kernel {self.conv_kernel} and conv_stride {self.conv_stride} need "
                "one positive entry a convolution."
            )

    def validate_widths(self) -> None:
        """Refuse a width that heads or groups do not divide."""
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            parts = getattr(self, name)
            if parts < 1 or self.hidden_size % parts:
                raise ValueError(f"hidden_size ({self.hidden_size}) must be a multiple of {name} ({parts}).")

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing, to the first 5 s.

        The last one lowers the rate of all leads laid end to end, as the network sees them: its filter runs across the
        joints, so that the ends of a lead depend on its neighbours.
        """
        return [
            {"name": "fir_bandpass", "cutoff_hz": [0.05, 47.0], "duration_s": 0.3},
            {"name": "resample", "method": "fourier", "sampling_rate": 500},
            {"name": "scale_to_range", "epsilon": 1e-8},
            {"name": "crop_or_pad", "position": "start"},
            {"name": "resample", "method": "decimate_end_to_end"},
        ]


class HuBERTECGConvolution(nn.Module):
    """Convolution and exact GELU; the first one norms each channel over all leads and times in between."""

    def __init__(self, config: HuBERTECGConfig, index: int):
        super().__init__()
        in_size = config.conv_dim[index - 1] if index else 1
        out_size = config.conv_dim[index]
        kernel_size, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(in_size, out_size, kernel_size, stride, bias=config.conv_bias)
        self.norm = nn.Identity() if index else nn.GroupNorm(out_size, out_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, in_size, samples)` to `(batch_size, out_size, (samples - kernel) // stride + 1)`."""
        return nn.functional.gelu(self.norm(self.conv(hidden_states)))


class HuBERTECGEmbeddings(nn.Module):
    """Turn the signal into tokens: convolutions over the leads laid end to end, norm and projection."""

    def __init__(self, config: HuBERTECGConfig):
        super().__init__()
        convolutions = (HuBERTECGConvolution(config, index) for index in range(len(config.conv_dim)))
        self.convolutions = nn.Sequential(*convolutions)
        self.norm = nn.LayerNorm(config.conv_dim[-1], eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.dropout = RecordDropout(config.feat_proj_dropout)

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Embed `(batch_size, num_leads, samples)` as `(batch_size, num_tokens, hidden_size)`."""
        features = self.convolutions(input_values.flatten(1)[:, None])  # (batch, conv_size, tokens)
        return self.dropout(self.projection(self.norm(features.transpose(1, 2))))


class HuBERTECGBlock(ResidualBlock):
    """A transformer block that norms its sums, with stochastic depth on both branches; its layers are ECG-FM's."""

    def __init__(self, config: HuBERTECGConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.attention = ECGFMAttention(cast(Any, config))
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ECGFMMLP(cast(Any, config))
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        attended, _ = self.attention(hidden_states, attention_mask)
        hidden_states = self.attention_norm(hidden_states + drop_path(attended, self.drop_path_rate, self.training))
        transformed = self.mlp(hidden_states)
        return self.mlp_norm(hidden_states + drop_path(transformed, self.drop_path_rate, self.training))


class HuBERTECGModel(ECGBackboneModel):
    """The HuBERT-ECG encoder, from filtered and scaled ECG to tokens and their mean."""

    config_class = HuBERTECGConfig
    published = PublishedWeights(
        architecture="convolutions and transformer (HuBERT; small, base, large)",
        source="https://huggingface.co/Edoardo-BS/hubert-ecg-base",
        checkpoint="model.safetensors",
        licence="CC BY-NC 4.0: not for commercial use",
        licence_id="cc-by-nc-4.0",
    )
    mask_rule = (
        "Tokens with a missing lead or padding in them are neither attended to nor pooled"
        "; its convolutions see zeros there."
    )
    _no_split_modules = ["HuBERTECGEmbeddings", "HuBERTECGBlock"]
    _can_record_outputs = {"hidden_states": HuBERTECGBlock, "attentions": ECGFMAttention}

    def __init__(self, config: HuBERTECGConfig):
        super().__init__(config)
        self.embeddings = HuBERTECGEmbeddings(config)
        self.positions = ECGFMPositionalConvolution(cast(Any, config))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = RecordDropout(config.hidden_dropout)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(HuBERTECGBlock(config, rate) for rate in rates)
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The transformer blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """All before the blocks, and each block."""
        before = ("embeddings.", "positions.", "norm.")
        return [before, *((f"blocks.{index}.",) for index in range(len(self.blocks)))]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)

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
                gives: `config.sampling_rate` Hz, filtered, each lead scaled to [-1, 1]; any number of samples that
                makes a token.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. The convolutions and their norm see a missing one as zeros; attention and pooling leave out
                tokens with any of it in them.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end of each lead, which counts like a missing lead.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention only) and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape `(batch_size, num_tokens, hidden_size)`, 93
                tokens for 12 leads of 500 samples in the published models, and `pooler_output` of shape
                `(batch_size, hidden_size)`: their mean.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        tokens = self.embeddings(input_values)
        is_token, is_key = None, None
        is_recorded = outer_mask(lead_mask, input_mask)
        if is_recorded is not None:
            is_token = self._token_mask(is_recorded.expand(input_values.shape))
            is_key = is_token.transpose(1, 2)[:, None]  # (batch, 1 for all heads, 1 for all queries, tokens)
            tokens = tokens.masked_fill(~is_token, 0)
        tokens = self.dropout(self.norm(self.positions(tokens)))
        for block in self.blocks:
            tokens = block(tokens, is_key)
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=masked_mean(tokens, is_token, dim=1),
            token_mask=None if is_token is None else is_token[..., 0],
        )

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless the leads fit the model and the samples make a token."""
        super().check_input(input_values)
        samples = input_values.shape[1] * input_values.shape[2]
        for kernel_size, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel_size) // stride + 1
        if samples < 1:
            raise ValueError(
                f"HuBERT-ECG's convolutions make no token of {input_values.shape[2]} samples of each lead."
            )

    def _token_mask(self, is_recorded: torch.Tensor) -> torch.Tensor:
        """Return which tokens come of recorded samples alone.

        Args:
            is_recorded (`torch.BoolTensor` of shape `(batch_size, num_leads, samples)`): Which samples there are.

        Returns:
            `torch.BoolTensor` of shape `(batch_size, num_tokens, 1)`.
        """
        is_missing = (~is_recorded).flatten(1)[:, None].float()
        for kernel_size, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            is_missing = nn.functional.max_pool1d(is_missing, kernel_size, stride)
        return is_missing.transpose(1, 2) == 0


__all__ = ["HuBERTECGConfig", "HuBERTECGModel"]
