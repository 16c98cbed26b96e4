"""ECG-FM: convolutions and a transformer over 5 s of ECG (wav2vec 2.0 with contrast between a recording's segments).

McKeen et al., "ECG-FM: An Open Electrocardiogram Foundation Model", arXiv 2408.05178; pre-trained as in Oh et al.,
"Lead-agnostic Self-supervised Learning for Local and Global Representations of Electrocardiogram", CHIL 2022, arXiv
2203.06889. Published in the repository bowang-lab/ECG-FM on top of Jwoo5/fairseq-signals, both under the MIT licence.
Pre-trained on 5 s at 500 Hz with random leads zeroed, so a lead that is missing may be zeros.
"""

from dataclasses import field
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
)


@strict
class ECGFMConfig(ECGBackboneConfig):
    """Architecture of an ECG-FM encoder; the defaults are the published model.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 500): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 2500): Samples that the feature extractor gives; the network
            itself takes any number that makes a token.
        conv_dim (`list[int]`, *optional*, defaults to `[256, 256, 256, 256]`): Channels per convolution.
        conv_kernel (`list[int]`, *optional*, defaults to `[2, 2, 2, 2]`): Width of each convolution in its samples.
        conv_stride (`list[int]`, *optional*, defaults to `[2, 2, 2, 2]`): Downsampling by each convolution.
        conv_bias (`bool`, *optional*, defaults to `False`): Whether the convolutions have a bias.
        num_conv_pos_embeddings (`int`, *optional*, defaults to 128): Width of the positional convolution in tokens.
        num_conv_pos_embedding_groups (`int`, *optional*, defaults to 16): Groups of the positional convolution.
        hidden_size (`int`, *optional*, defaults to 768): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 12): Attention heads per block.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLP's hidden layer.
        layer_norm_first (`bool`, *optional*, defaults to `False`): Whether a block norms the input of each branch and
            the model its last tokens, instead of each sum and the first tokens.
        feat_proj_dropout (`float`, *optional*, defaults to 0.0): Dropout on the projected convolution features.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout before the blocks and on each branch's output.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        activation_dropout (`float`, *optional*, defaults to 0.0): Dropout inside the MLP; upstream fine-tunes at 0.1.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new linear layers.

    Example:
    ```python
    >>> from modeling_enecg import ECGFMConfig, ECGFMModel
    >>> model = ECGFMModel(ECGFMConfig(hidden_size=48, num_hidden_layers=2, intermediate_size=64))
    >>> model.config.feature_size
    48

    ```
    """

    model_type = "enecg-ecgfm"

    sampling_rate: int = 500
    sequence_length: int = 2500
    conv_dim: list[int] = field(default_factory=lambda: [256] * 4)
    conv_kernel: list[int] = field(default_factory=lambda: [2] * 4)
    conv_stride: list[int] = field(default_factory=lambda: [2] * 4)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    layer_norm_first: bool = False
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
        """Return the steps of the published pre-processing.

        Each lead is standardised over the whole recording before the cut. Upstream cuts every 5 s segment and averages
        their predictions; here the middle one is taken.
        """
        return [
            {"name": "resample", "method": "linear"},
            {"name": "standardize", "scope": "lead"},
            {"name": "crop_or_pad"},
        ]


class ECGFMConvolution(nn.Module):
    """Convolution and exact GELU; the first one norms each channel over time in between."""

    def __init__(self, config: ECGFMConfig, index: int):
        super().__init__()
        in_size = config.conv_dim[index - 1] if index else config.num_leads
        out_size = config.conv_dim[index]
        kernel_size, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(in_size, out_size, kernel_size, stride, bias=config.conv_bias)
        self.norm = nn.Identity() if index else nn.GroupNorm(out_size, out_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, in_size, samples)` to `(batch_size, out_size, (samples - kernel) // stride + 1)`."""
        return nn.functional.gelu(self.norm(self.conv(hidden_states)))


class ECGFMPositionalConvolution(nn.Conv1d):
    """Add to each token what a wide grouped convolution sees around it, which tells the token its place."""

    def __init__(self, config: ECGFMConfig):
        size, kernel_size = config.hidden_size, config.num_conv_pos_embeddings
        groups = config.num_conv_pos_embedding_groups
        super().__init__(size, size, kernel_size, padding=kernel_size // 2, groups=groups)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        positions = super().forward(hidden_states.transpose(1, 2))  # (batch, hidden_size, tokens)
        positions = positions[:, :, : hidden_states.shape[1]]  # an even kernel gives one too many at the end
        return hidden_states + nn.functional.gelu(positions).transpose(1, 2)


class ECGFMEmbeddings(nn.Module):
    """Turn the signal into tokens: convolutions over all leads, norm, projection and positions."""

    def __init__(self, config: ECGFMConfig):
        super().__init__()
        self.convolutions = nn.Sequential(*(ECGFMConvolution(config, index) for index in range(len(config.conv_dim))))
        conv_size = config.conv_dim[-1]
        self.norm = nn.LayerNorm(conv_size, eps=config.layer_norm_eps)
        # As published, features that are as wide as the tokens are not projected.
        needs_projection = conv_size != config.hidden_size
        self.projection = nn.Linear(conv_size, config.hidden_size) if needs_projection else nn.Identity()
        self.dropout = RecordDropout(config.feat_proj_dropout)
        self.positions = ECGFMPositionalConvolution(config)

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Embed `(batch_size, num_leads, samples)` as `(batch_size, num_tokens, hidden_size)`."""
        features = self.norm(self.convolutions(input_values).transpose(1, 2))  # (batch, tokens, conv_size)
        return self.positions(self.dropout(self.projection(features)))


class ECGFMAttention(nn.Module):
    """Multi-head attention over the tokens of a record."""

    is_causal = False

    def __init__(self, config: ECGFMConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over `(batch_size, num_tokens, hidden_size)`, to keys that the mask has; no weights under sdpa."""
        query, key, value = (
            projection(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )  # each (batch, heads, tokens, head_dim)
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


class ECGFMMLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, config: ECGFMConfig):
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation_dropout = RecordDropout(config.activation_dropout)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        activated = self.activation_dropout(nn.functional.gelu(self.up(hidden_states)))
        return self.dropout(self.down(activated))


class ECGFMBlock(ResidualBlock):
    """A transformer block that norms its sums or, with `layer_norm_first`, the inputs of its branches."""

    def __init__(self, config: ECGFMConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.layer_norm_first = config.layer_norm_first
        self.attention = ECGFMAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ECGFMMLP(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        if self.layer_norm_first:
            attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask)
            hidden_states = self._add(hidden_states, attended)
            return self._add(hidden_states, self.mlp(self.mlp_norm(hidden_states)))
        attended, _ = self.attention(hidden_states, attention_mask)
        hidden_states = self.attention_norm(self._add(hidden_states, attended))
        return self.mlp_norm(self._add(hidden_states, self.mlp(hidden_states)))

    def _add(self, hidden_states: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        return hidden_states + drop_path(branch, self.drop_path_rate, self.training)


class ECGFMModel(ECGBackboneModel):
    """The ECG-FM encoder, from standardised ECG to tokens and their mean."""

    config_class = ECGFMConfig
    published = PublishedWeights(
        architecture="convolutions and transformer (wav2vec 2.0)",
        source="https://huggingface.co/wanglab/ecg-fm",
        checkpoint="mimic_iv_ecg_physionet_pretrained.pt",
        licence="repository MIT; check the model page",
        licence_id="mit",
    )
    mask_rule = (
        "Missing leads count as zeros, as in its pre-training; tokens with padding in them are neither "
        "attended to nor pooled, and its convolutions see zeros there."
    )
    _no_split_modules = ["ECGFMEmbeddings", "ECGFMBlock"]
    _can_record_outputs = {"hidden_states": ECGFMBlock, "attentions": ECGFMAttention}

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        self.embeddings = ECGFMEmbeddings(config)
        norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if not config.layer_norm_first:
            self.norm = norm
        self.dropout = RecordDropout(config.hidden_dropout)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(ECGFMBlock(config, rate) for rate in rates)
        if config.layer_norm_first:
            self.norm = norm
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The transformer blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Embeddings and each block; the norm belongs to its neighbour."""
        groups = [("embeddings.",), *((f"blocks.{index}.",) for index in range(len(self.blocks)))]
        neighbour = len(groups) - 1 if self.config.layer_norm_first else 0
        return [(*group, "norm.") if index == neighbour else group for index, group in enumerate(groups)]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ECGFMPositionalConvolution):
            init.normal_(module.weight, std=(4 / (module.kernel_size[0] * module.in_channels)) ** 0.5)
        elif isinstance(module, nn.Conv1d):
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
                gives: `config.sampling_rate` Hz, each lead standardised; any number of samples that makes a token.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is zeros, as were random leads in pre-training.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. As published, the convolutions and their norm see it as zeros;
                attention and pooling leave out tokens with padding in them.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention only) and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape `(batch_size, num_tokens, hidden_size)`, 156
                tokens for 2500 samples in the published model and zeros where a token is padding, and `pooler_output`
                of shape `(batch_size, hidden_size)`: the mean over the tokens that are not.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        input_values, _, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        tokens = self.embeddings(input_values)
        is_token, is_key = None, None
        if input_mask is not None:
            is_token = self._token_mask(input_mask)
            is_key = is_token.transpose(1, 2)[:, None]  # (batch, 1 for all heads, 1 for all queries, tokens)
            tokens = tokens.masked_fill(~is_token, 0)
        tokens = self.dropout(tokens if self.config.layer_norm_first else self.norm(tokens))
        for block in self.blocks:
            tokens = block(tokens, is_key)
        if self.config.layer_norm_first:
            tokens = self.norm(tokens)
        if is_token is not None:
            tokens = tokens.masked_fill(~is_token, 0)
        # Upstream divides by the number of values that are not zero: the same, but for a value that is 0 by chance.
        pooled = masked_mean(tokens, is_token, dim=1)
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=pooled,
            token_mask=None if is_token is None else is_token[..., 0],
        )

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless the leads fit the model and the samples make a token."""
        super().check_input(input_values)
        if self._num_tokens(input_values.shape[2]) < 1:
            raise ValueError(f"ECG-FM's convolutions make no token of {input_values.shape[2]} samples.")

    def _num_tokens(self, samples: Any) -> Any:
        """Return how many tokens a number of samples, or each of a tensor of numbers, makes."""
        for kernel_size, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel_size) // stride + 1
        return samples

    def _token_mask(self, input_mask: torch.Tensor) -> torch.Tensor:
        """Return which tokens are a record's own, of shape `(batch_size, num_tokens, 1)`."""
        lengths = self._num_tokens(input_mask.sum(dim=1))
        num_tokens = self._num_tokens(input_mask.shape[1])
        return (torch.arange(num_tokens, device=lengths.device) < lengths[:, None])[:, :, None]


__all__ = ["ECGFMConfig", "ECGFMModel"]
