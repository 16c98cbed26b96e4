"""TEMPO: a GPT-2 over the patches of each lead's trend, seasonal and residual part.

Cao et al., "TEMPO: Prompt-based Generative Pre-trained Transformer for Time Series Forecasting", ICLR 2024, arXiv
2310.04948. Published in the repository DC-research/TEMPO, whose licence file is MIT (its README says Apache-2.0); the
terms of the weights TEMPO-80M are those of their page on the Hub. The ensemble of arXiv 2511.22935 feeds it 10 s as
336 samples (33.6 Hz). The model takes one lead; several leads are rows of their own, and their features are averaged.
"""

from dataclasses import field
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import GPT2Config
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Attention, GPT2PreTrainedModel
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .modeling_backbone import (
    ECGBackboneConfig,
    ECGBackboneModel,
    ForecastingOutput,
    PublishedWeights,
    RecordDropout,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    masked_mean,
    outer_mask,
    zero_missing,
)

COMPONENTS = ("trend", "seasonal", "residual")
# GPT-2's tokens of "Predict the future time step given the", and of each component's name.
PROMPT_TOKENS = [47, 17407, 262, 2003, 640, 2239, 1813, 262]
COMPONENT_TOKENS = [5182, 1622, 29598]
# As published: how many prompts of a pool a component gets, and tokens of each.
POOL_CHOICES = 3
POOL_PROMPT_LENGTH = 3
VARIANCE_EPS = 1e-5


@strict
class TempoConfig(ECGBackboneConfig):
    """Architecture of a TEMPO backbone; the defaults are the published TEMPO-80M, given 12 leads.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`float`, *optional*, defaults to 33.6): Samples per second (Hz): 10 s fill `sequence_length`.
        sequence_length (`int`, *optional*, defaults to 336): Samples of the input; the model takes no other number.
        horizon (`int`, *optional*, defaults to 96): Samples of the forecast.
        patch_size (`int`, *optional*, defaults to 16): Samples a patch.
        patch_stride (`int`, *optional*, defaults to 8): Samples from one patch to the next.
        trend_window (`int`, *optional*, defaults to 25): Samples of the moving average before the trend's linear map.
        hidden_size (`int`, *optional*, defaults to 768): Width of a token.
        num_hidden_layers (`int`, *optional*, defaults to 6): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 12): Attention heads per block.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLP's hidden layer.
        vocab_size (`int`, *optional*, defaults to 50257): Tokens of GPT-2's vocabulary, for the prompts.
        max_position_embeddings (`int`, *optional*, defaults to 1024): The most tokens of one lead, prompts included.
        prompt_token_ids (`list[list[int]]`, *optional*): Tokens of the prompts for trend, seasonal and residual part;
            "Predict the future time step given the trend" (or "season", "residual") by default.
        prompt_pool_size (`int`, *optional*, defaults to 0): Learned prompts, of which each lead's likeliest take the
            place of words; 0 for words.
        forecast_from_prompt (`bool`, *optional*, defaults to `False`): Whether the forecast also reads the outputs at
            the prompts' tokens.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout on embeddings and residual branches.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of new weights.

    Example:
    ```python
    >>> from modeling_enecg import TempoConfig, TempoModel
    >>> model = TempoModel(TempoConfig(hidden_size=24, num_hidden_layers=2, intermediate_size=48))
    >>> model.config.feature_size
    72

    ```
    """

    model_type = "enecg-tempo"

    sampling_rate: int | float = 33.6
    sequence_length: int = 336
    horizon: int = 96
    patch_size: int = 16
    patch_stride: int = 8
    trend_window: int = 25
    hidden_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 50257
    max_position_embeddings: int = 1024
    prompt_token_ids: list[list[int]] = field(
        default_factory=lambda: [[*PROMPT_TOKENS, component] for component in COMPONENT_TOKENS]
    )
    prompt_pool_size: int = 0
    forecast_from_prompt: bool = False
    hidden_dropout: int | float = 0.0
    attention_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def validate_sizes(self) -> None:
        """Refuse patches, a window or heads that do not fit."""
        if not 0 < self.patch_size <= self.sequence_length or self.patch_stride < 1:
            raise ValueError(
                f"patch_size ({self.patch_size}) must be at most sequence_length ({self.sequence_length}), and "
                f"patch_stride ({self.patch_stride}) at least 1."
            )
        if self.trend_window < 1 or self.trend_window % 2 == 0:
            raise ValueError(f"trend_window ({self.trend_window}) must be odd.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )

    def validate_prompts(self) -> None:
        """Refuse prompts that are not three of one length, outside the vocabulary, or too long."""
        prompts = self.prompt_token_ids
        if len(prompts) != len(COMPONENTS) or len({len(prompt) for prompt in prompts}) != 1:
            raise ValueError(f"prompt_token_ids must be 3 lists of one length, got {prompts}.")
        if any(not 0 <= token < self.vocab_size for prompt in prompts for token in prompt):
            raise ValueError(f"prompt_token_ids must be below vocab_size ({self.vocab_size}), got {prompts}.")
        if self.prompt_pool_size and self.prompt_pool_size < POOL_CHOICES:
            raise ValueError(f"prompt_pool_size ({self.prompt_pool_size}) must be 0 or at least {POOL_CHOICES}.")
        num_tokens = len(COMPONENTS) * (self.prompt_length + self.num_patches)
        if num_tokens > self.max_position_embeddings:
            raise ValueError(
                f"A lead has {num_tokens} tokens, more than max_position_embeddings ({self.max_position_embeddings}); "
                "take larger patches or a larger stride."
            )

    @property
    def num_patches(self) -> int:
        """Patches a component; one more than fit, as the last sample is repeated for `patch_stride` samples."""
        return (self.sequence_length - self.patch_size) // self.patch_stride + 2

    @property
    def prompt_length(self) -> int:
        """Prompt tokens a component."""
        return POOL_CHOICES * POOL_PROMPT_LENGTH if self.prompt_pool_size else len(self.prompt_token_ids[0])

    @property
    def feature_size(self) -> int:
        """Width of `pooler_output`: a lead's three components in a row."""
        return len(COMPONENTS) * self.hidden_size

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the ensemble of arXiv 2511.22935."""
        return [
            {"name": "standardize", "scope": "record"},
            {"name": "resample", "method": "fourier"},
            {"name": "crop_or_pad"},
        ]


class TempoNormalization(nn.Module):
    """Reversible normalisation of each lead (RevIN, Kim et al., ICLR 2022), with one learned scale and shift."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def statistics(
        self, signal: torch.Tensor, is_recorded: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation `(rows, 1)` of the recorded samples of `(rows, samples)`."""
        mean = masked_mean(signal, is_recorded, dim=-1, keepdim=True)
        if is_recorded is None:
            variance = signal.var(-1, correction=0, keepdim=True)
        else:
            variance = masked_mean((signal - mean).square(), is_recorded, dim=-1, keepdim=True)
        return mean, (variance + VARIANCE_EPS).sqrt()

    def forward(
        self,
        signal: torch.Tensor,
        is_recorded: torch.Tensor | None = None,
        to_reverse: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalise `(rows, samples)`; what was not recorded counts as its row's mean.

        With `to_reverse` of shape `(rows, horizon)`, give this the unit of `signal` instead.
        """
        mean, deviation = self.statistics(signal, is_recorded)
        if to_reverse is not None:
            return (to_reverse - self.bias) / (self.weight + VARIANCE_EPS**2) * deviation + mean
        normalized = (signal - mean) / deviation
        if is_recorded is not None:
            normalized = normalized.masked_fill(~is_recorded, 0)
        return normalized * self.weight + self.bias


class TempoDecomposition(nn.Module):
    """Learned split of a normalised lead into trend, seasonal and residual part."""

    def __init__(self, config: TempoConfig):
        super().__init__()
        self.window = config.trend_window
        samples = config.sequence_length
        self.trend = nn.Linear(samples, samples)
        self.seasonal = nn.Sequential(nn.Linear(samples, 4 * samples), nn.ReLU(), nn.Linear(4 * samples, samples))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Split `(rows, samples)` into `(rows, 3, samples)`."""
        padded = nn.functional.pad(signal[:, None], (self.window // 2, self.window // 2), mode="replicate")
        trend = self.trend(nn.functional.avg_pool1d(padded, self.window, stride=1)[:, 0])
        seasonal = self.seasonal(signal - trend)
        return torch.stack([trend, seasonal, signal - trend - seasonal], dim=1)


class TempoLinears(nn.ModuleDict):
    """One linear layer for each component."""

    def __init__(self, in_size: int, out_size: int):
        super().__init__({component: nn.Linear(in_size, out_size) for component in COMPONENTS})

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(rows, 3, ..., in_size)` to `(rows, 3, ..., out_size)`."""
        parts = zip(self.values(), hidden_states.unbind(1), strict=True)
        # Contiguous, as torch multiplies views in one of two ways that differ in the last digit.
        return torch.stack([layer(part.contiguous()) for layer, part in parts], dim=1)


class TempoPrompts(nn.Module):
    """A prompt in words for each component, the same for all leads."""

    def __init__(self, config: TempoConfig):
        super().__init__()
        self.token_ids = config.prompt_token_ids
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.projection = TempoLinears(config.hidden_size, config.hidden_size)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return `(rows, 3, prompt_length, hidden_size)` for patches `(rows, 3, num_patches, hidden_size)`."""
        token_ids = torch.tensor([self.token_ids], device=patches.device)
        return self.projection(self.word_embeddings(token_ids)).expand(patches.shape[0], -1, -1, -1)


class TempoPromptPool(nn.Module):
    """For each lead and component, the prompts of a common pool whose keys point most in its patches' direction."""

    def __init__(self, config: TempoConfig):
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(config.prompt_pool_size, config.hidden_size))
        self.prompts = nn.Parameter(torch.zeros(config.prompt_pool_size, POOL_PROMPT_LENGTH, config.hidden_size))
        self.summary = nn.Linear(config.num_patches, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return `(rows, 3, prompt_length, hidden_size)` for patches `(rows, 3, num_patches, hidden_size)`."""
        # As published, the numbers are regrouped without a transposition, so a summary mixes patches and features.
        summary = self.summary(patches.flatten(2).unflatten(2, (-1, patches.shape[2])))[..., 0]  # (rows, 3, hidden)
        summary, keys = (nn.functional.normalize(each, dim=-1, eps=1e-6) for each in (summary, self.keys))
        chosen = (summary @ keys.T).topk(POOL_CHOICES).indices  # (rows, 3, POOL_CHOICES), the likeliest first
        return self.prompts[chosen].flatten(2, 3)


class TempoBlock(ResidualBlock):
    """A block of GPT-2 with stochastic depth on both branches; each lead is a record of its own."""

    def __init__(self, config: GPT2Config, layer_idx: int, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer_idx=layer_idx)
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config.n_inner, config)
        self.dropout = RecordDropout(config.embd_pdrop)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(rows, num_tokens, hidden_size)` to the same shape."""
        attended, _ = self.attn(self.ln_1(hidden_states), attention_mask=attention_mask)
        hidden_states = hidden_states + drop_path(self.dropout(attended), self.drop_path_rate, self.training)
        transformed = self.mlp(self.ln_2(hidden_states))
        return hidden_states + drop_path(self.dropout(transformed), self.drop_path_rate, self.training)


class TempoDecoder(GPT2PreTrainedModel):
    """GPT-2 without its vocabulary: from embeddings to causal features."""

    _can_record_outputs = {"hidden_states": TempoBlock, "attentions": GPT2Attention}

    def __init__(self, config: TempoConfig):
        gpt2_config = GPT2Config(
            n_positions=config.max_position_embeddings,
            n_embd=config.hidden_size,
            n_layer=config.num_hidden_layers,
            n_head=config.num_attention_heads,
            n_inner=config.intermediate_size,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own function in one pass over memory, not seven
            embd_pdrop=config.hidden_dropout,
            resid_pdrop=0.0,  # in `TempoBlock`, as `RecordDropout`
            attn_pdrop=config.attention_dropout,
            layer_norm_epsilon=config.layer_norm_eps,
            initializer_range=config.initializer_range,
            use_cache=False,
        )
        gpt2_config._attn_implementation = config._attn_implementation
        super().__init__(gpt2_config)
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = RecordDropout(config.hidden_dropout)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.h = nn.ModuleList(TempoBlock(gpt2_config, index, rate) for index, rate in enumerate(rates))
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, embeddings: torch.Tensor, is_token: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(rows, num_tokens, hidden_size)` to the same shape; a token sees itself and those before it.

        Args:
            embeddings (`torch.Tensor`): The tokens.
            is_token (`torch.BoolTensor` of shape `(rows, num_tokens)`, *optional*): Which tokens are seen at all.
        """
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)
        mask = create_causal_mask(self.config, embeddings, attention_mask=is_token, past_key_values=None)
        hidden_states = self.dropout(embeddings + self.wpe(positions))
        for block in self.h:
            hidden_states = block(hidden_states, mask)
        return self.ln_f(hidden_states)


class TempoModel(ECGBackboneModel):
    """The TEMPO network, from ECG to the tokens of its components, features and a forecast."""

    config_class = TempoConfig
    published = PublishedWeights(
        architecture="GPT-2 over trend, season and remainder",
        source="https://github.com/DC-research/TEMPO",
        checkpoint="TEMPO-80M_v1.pth",
        licence="repository MIT; check the model page",
        licence_id="mit",
    )
    mask_rule = (
        "Missing leads are not pooled; padding is not in a lead's mean and deviation and counts as that mean, "
        "and patches of padding alone are neither attended to nor pooled."
    )
    forecast_parameters = ("forecaster.",)
    _no_split_modules = ["TempoBlock"]
    _can_record_outputs = {"hidden_states": TempoBlock, "attentions": GPT2Attention}

    def __init__(self, config: TempoConfig):
        super().__init__(config)
        self.normalization = TempoNormalization()
        self.decomposition = TempoDecomposition(config)
        self.embeddings = TempoLinears(config.patch_size, config.hidden_size)
        self.prompts = TempoPromptPool(config) if config.prompt_pool_size else TempoPrompts(config)
        self.decoder = TempoDecoder(config)
        num_read = config.num_patches + (config.prompt_length if config.forecast_from_prompt else 0)
        self.forecaster = TempoLinears(num_read * config.hidden_size, config.horizon)
        self.post_init()

    @property
    def num_token_rows(self) -> int:
        """One per lead and component."""
        return self.config.num_leads * len(COMPONENTS)

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The blocks of GPT-2, first to last."""
        return [cast(ResidualBlock, block) for block in self.decoder.h]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """All that makes embeddings, each block, and the final norm and forecast with the last block."""
        embeddings = ("normalization.", "decomposition.", "embeddings.", "prompts.", "decoder.wpe.")
        groups = [embeddings, *((f"decoder.h.{index}.",) for index in range(len(self.decoder.h)))]
        return [*groups[:-1], (*groups[-1], "decoder.ln_f.", "forecaster.")]

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless `input_values` is `(batch_size, config.num_leads, config.sequence_length)`."""
        super().check_input(input_values)
        if input_values.shape[2] != self.config.sequence_length:
            raise ValueError(
                f"TempoModel takes {self.config.sequence_length} samples; got {input_values.shape[2]}. "
                "Resample, crop or pad the records."
            )

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, TempoNormalization):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, TempoPromptPool):
            init.normal_(module.keys, std=self.config.initializer_range)
            init.normal_(module.prompts, std=self.config.initializer_range)

    @can_return_tuple
    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
        trend: torch.Tensor | None = None,
        seasonal: torch.Tensor | None = None,
        residual: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ForecastingOutput:
        """Encode a batch of records.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`): What the feature
                extractor gives, in any unit: each lead is normalised here.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is not pooled; leads do not interact before.
            input_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*): True where a sample
                was recorded, False for padding at the end. It is left out of a lead's mean and deviation and counts as
                the mean in the decomposition; patches of padding alone are neither attended to nor pooled, but the
                forecast reads them.
            trend (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`, *optional*): Taken as it
                is, with `seasonal` and `residual`, in place of the model's own parts of the normalised lead, with
                which the published weights were trained.
            seasonal (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`, *optional*): As `trend`.
            residual (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`, *optional*): As `trend`.
            kwargs: `output_hidden_states` and `output_attentions` (eager attention only), both with leads as rows and
                with the prompts' tokens, and `return_dict`.

        Returns:
            `ForecastingOutput`: `last_hidden_state` of shape `(batch_size, num_leads * 3 * num_patches, hidden_size)`,
                without the prompts' tokens; `pooler_output` of shape `(batch_size, 3 * hidden_size)`: each
                component's mean over recorded patches and leads; and `forecast` of shape
                `(batch_size, num_leads, horizon)`.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, a record has no lead, or only some
                parts are given.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        batch_size = input_values.shape[0]
        signal = input_values.flatten(0, 1)  # (rows, samples), a row for each lead
        is_recorded = None if input_mask is None else input_mask.repeat_interleave(self.config.num_leads, dim=0)
        given = [part for part in (trend, seasonal, residual) if part is not None]
        if not given:
            parts = self.decomposition(self.normalization(signal, is_recorded))
        elif len(given) == len(COMPONENTS) and all(part.shape == input_values.shape for part in given):
            recorded = [zero_missing(part, lead_mask, input_mask) for part in given]
            parts = torch.stack(recorded, dim=2).flatten(0, 1)  # (rows, 3, samples)
        else:
            raise ValueError(
                f"Give all of {', '.join(COMPONENTS)}, or none, in the shape of input_values "
                f"{tuple(input_values.shape)}; got {[tuple(part.shape) for part in given]}."
            )
        patch_mask = None if input_mask is None else self._cut(input_mask.float()).any(dim=-1)  # (batch, patches)
        tokens = self._encode(parts, patch_mask)
        # (batch, leads, 3, patches, hidden)
        patches = tokens[:, :, self.config.prompt_length :].unflatten(0, (batch_size, -1))
        is_kept = outer_mask(lead_mask, patch_mask)
        if is_kept is not None:
            is_kept = is_kept[:, :, None, :, None]
        read = tokens if self.config.forecast_from_prompt else tokens[:, :, self.config.prompt_length :]
        forecast = self.normalization(signal, is_recorded, to_reverse=self.forecaster(read.flatten(2)).sum(dim=1))
        return ForecastingOutput(
            last_hidden_state=patches.flatten(1, 3),
            pooler_output=masked_mean(patches, is_kept, dim=(1, 3)).flatten(1),
            token_mask=None if is_kept is None else is_kept[..., 0].expand(patches.shape[:-1]).flatten(1),
            forecast=forecast.unflatten(0, (batch_size, -1)),
        )

    def _cut(self, samples: torch.Tensor) -> torch.Tensor:
        """Cut `(rows, ..., samples)` into patches `(rows, ..., num_patches, patch_size)`."""
        padded = nn.functional.pad(samples, (0, self.config.patch_stride), mode="replicate")
        return padded.unfold(-1, self.config.patch_size, self.config.patch_stride)

    def _encode(self, parts: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
        """Map components `(rows, 3, samples)` to tokens `(rows, 3, prompt_length + num_patches, hidden_size)`.

        Patches that `patch_mask` of shape `(batch_size, num_patches)` lacks are not attended to.
        """
        patches = self.embeddings(self._cut(parts))
        tokens = torch.cat([self.prompts(patches), patches], dim=2)
        is_token = None
        if patch_mask is not None:
            is_token = nn.functional.pad(patch_mask, (self.config.prompt_length, 0), value=True)
            is_token = is_token.repeat(1, len(COMPONENTS)).repeat_interleave(self.config.num_leads, dim=0)
        # One causal pass: seasonal tokens see the trend, residual tokens see both.
        return self.decoder(tokens.flatten(1, 2), is_token).unflatten(1, (len(COMPONENTS), -1))


__all__ = ["TempoConfig", "TempoModel"]
