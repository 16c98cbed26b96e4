"""TimesNet: folds a series at its strongest periods into images, and convolves these.

Wu et al., "TimesNet: Temporal 2D-Variation Modeling for General Time Series Analysis", ICLR 2023, arXiv 2210.02186.
The library thuml/Time-Series-Library holds the model under the MIT licence; EnECG (arXiv 2511.22935) publishes weights
of its fork without a licence, so converted weights stay with their user. They forecast the next sample of one lead
from 10 s at 50 Hz.

Upstream picks the periods for a whole batch at once, so that its outputs depend on the batch mates. Here each record
has its own periods, which for a batch of one record is the same.
"""

import math
from typing import Any, Literal, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .modeling_backbone import (
    UNKNOWN_LICENCE,
    ECGBackboneConfig,
    ECGBackboneModel,
    ForecastingOutput,
    PublishedWeights,
    RecordDropout,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    masked_mean,
    needs_static_shapes,
    zero_missing,
)


@strict
class TimesNetConfig(ECGBackboneConfig):
    """Architecture of a TimesNet backbone; the defaults are EnECG's published sizes, but for 12 leads instead of one.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 50): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 500): Input in samples.
        horizon (`int`, *optional*, defaults to 1): Samples to forecast; with 0 there is no forecast, as upstream for
            classification, imputation and anomaly detection.
        hidden_size (`int`, *optional*, defaults to 16): Width of a token, even.
        intermediate_size (`int`, *optional*, defaults to 32): Channels between a block's two convolutions.
        num_hidden_layers (`int`, *optional*, defaults to 3): Number of blocks.
        num_kernels (`int`, *optional*, defaults to 6): Kernels that a convolution averages, of width 1, 3, 5, ...
        top_k (`int`, *optional*, defaults to 3): Periods a block folds at.
        period_selection (`str`, *optional*, defaults to `"record"`): `"record"` finds the periods of each record;
            `"batch"`, as upstream, those of the batch's mean spectrum, which makes outputs depend on batch mates.
        spectrum (`str`, *optional*, defaults to `"magnitude"`): What ranks and weighs periods: `"magnitude"`, or
            `"real_float16"`, the absolute real part in float16 that EnECG's fork takes by mistake.
        standardize_input (`bool`, *optional*, defaults to `True`): Whether the model standardises each lead itself;
            upstream's classifiers do not.
        num_time_features (`int`, *optional*, defaults to 0): Calendar features a sample that `forward` may be given;
            an ECG has none, upstream reserves weights for 4.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout on embeddings; 0.3 in EnECG's training.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of the layer norm.

    Example:
    ```python
    >>> from modeling_enecg import TimesNetConfig, TimesNetModel
    >>> model = TimesNetModel(TimesNetConfig(hidden_size=32, num_hidden_layers=2))
    >>> model.config.feature_size
    32

    ```
    """

    model_type = "enecg-timesnet"

    sampling_rate: int = 50
    sequence_length: int = 500
    horizon: int = 1
    hidden_size: int = 16
    intermediate_size: int = 32
    num_hidden_layers: int = 3
    num_kernels: int = 6
    top_k: int = 3
    period_selection: Literal["record", "batch"] = "record"
    spectrum: Literal["magnitude", "real_float16"] = "magnitude"
    standardize_input: bool = True
    num_time_features: int = 0
    hidden_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5

    def validate_sizes(self) -> None:
        """Refuse an odd width, whose sines and cosines would not pair up, and a negative horizon."""
        if self.hidden_size < 2 or self.hidden_size % 2:
            raise ValueError(f"hidden_size must be positive and even, got {self.hidden_size}.")
        if self.horizon < 0:
            raise ValueError(f"horizon must be 0 (no forecast) or a number of samples, got {self.horizon}.")

    def validate_periods(self) -> None:
        """Refuse more periods than the spectrum has frequencies above zero."""
        num_frequencies = (self.sequence_length + self.horizon) // 2
        if not 1 <= self.top_k <= num_frequencies:
            raise ValueError(
                f"top_k must be from 1 to {num_frequencies}, the frequencies of sequence_length + horizon samples; "
                f"got {self.top_k}."
            )

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing."""
        return [
            {"name": "standardize", "scope": "record"},
            {"name": "resample", "method": "fourier"},
            {"name": "crop_or_pad"},
        ]


class TimesNetEmbeddings(nn.Module):
    """Embed each sample with its two neighbours, its position and, where given, its calendar features."""

    def __init__(self, config: TimesNetConfig):
        super().__init__()
        self.convolution = nn.Conv1d(
            config.num_leads, config.hidden_size, 3, padding=1, padding_mode="circular", bias=False
        )
        if config.num_time_features:
            self.time_projection = nn.Linear(config.num_time_features, config.hidden_size, bias=False)
        self.dropout = RecordDropout(config.hidden_dropout)

    def forward(self, values: torch.Tensor, time_features: torch.Tensor | None) -> torch.Tensor:
        """Embed `(batch_size, num_leads, sequence_length)` as `(batch_size, sequence_length, hidden_size)`."""
        embedded = self.convolution(values).transpose(1, 2)  # (batch, samples, hidden)
        positions = sinusoid_positions(embedded.shape[1], embedded.shape[2], embedded.device)
        embedded = embedded + positions.to(embedded.dtype)
        if time_features is not None:
            embedded = embedded + self.time_projection(time_features)
        return self.dropout(embedded)


class PeriodFinder(nn.Module):
    """Find the strongest periods of a sequence by its Fourier spectrum, and weigh them against each other."""

    def __init__(self, config: TimesNetConfig):
        super().__init__()
        self.config = config

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return periods in samples and their weights, each `(batch_size, top_k)`; equal periods may recur."""
        spectrum = torch.fft.rfft(hidden_states.float(), dim=1)[:, 1:]  # (batch, frequencies above zero, hidden)
        is_magnitude = self.config.spectrum == "magnitude"
        strength = (spectrum.abs() if is_magnitude else spectrum.real.half().abs()).mean(dim=-1)
        ranking = strength
        if self.config.period_selection == "batch":
            ranking = strength.mean(dim=0, keepdim=True).expand_as(strength)
        strongest = ranking.topk(self.config.top_k).indices
        weights = strength.gather(1, strongest).softmax(dim=-1)
        num_samples = torch.full_like(strongest, hidden_states.shape[1])  # ONNX divides tensors alone
        return num_samples // (strongest + 1), weights.to(hidden_states.dtype)


class _ImageGrid:
    """Where the pixels of images of several periods lie, each image laid out row by row as one sequence."""

    def __init__(self, periods: torch.Tensor, num_samples: int, length: int):
        self.periods = periods[:, None]  # (images, 1)
        self.ends = (num_samples + self.periods - 1) // self.periods * self.periods
        self.places = torch.arange(length, device=periods.device)[None]
        self.columns = self.places % self.periods

    def rows_away(self, images: torch.Tensor, rows: int) -> torch.Tensor:
        """Return each pixel's neighbour in another row of `(images, length, channels)`, 0 beyond the image."""
        sources = self.places + rows * self.periods
        is_inside = (sources >= 0) & (sources < self.ends)
        sources = sources.clamp(0, images.shape[1] - 1)[..., None].expand_as(images)
        return images.gather(1, sources) * is_inside[..., None].to(images.dtype)

    def columns_away(self, images: torch.Tensor, columns: int) -> torch.Tensor:
        """Return each pixel's neighbour in another column of the same row, 0 beyond the image."""
        is_inside = (self.columns + columns >= 0) & (self.columns + columns < self.periods)
        return images.roll(-columns, dims=1) * is_inside[..., None].to(images.dtype)


class MeanKernel(nn.Module):
    """Square kernels of width 1, 3, 5, ..., and their mean, each widened to the largest by zeros."""

    def __init__(self, in_size: int, out_size: int, num_kernels: int):
        super().__init__()
        for index in range(num_kernels):
            width = 2 * index + 1
            self.register_parameter(str(index), nn.Parameter(torch.empty(out_size, in_size, width, width)))

    def forward(self) -> torch.Tensor:
        """Return the mean kernel of shape `(out_size, in_size, width, width)`."""
        kernels = list(self.parameters())
        width = kernels[-1].shape[-1]
        return torch.stack([nn.functional.pad(each, ((width - each.shape[-1]) // 2,) * 4) for each in kernels]).mean(0)


class InceptionConvolution(nn.Module):
    """The mean of square convolutions of width 1, 3, 5, ..., computed as one convolution with the mean kernel."""

    def __init__(self, in_size: int, out_size: int, num_kernels: int):
        super().__init__()
        self.kernels = MeanKernel(in_size, out_size, num_kernels)
        self.bias = nn.Parameter(torch.empty(num_kernels, out_size))

    def reset_parameters(self) -> None:
        """Draw kernels that keep the gradient's variance, as upstream does."""
        for kernel in self.kernels.parameters():
            init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
        init.zeros_(self.bias)

    def forward(self, images: torch.Tensor, grid: _ImageGrid | None = None) -> torch.Tensor:
        """Map `(batch_size, in_size, cycles, period)` to `(batch_size, out_size, cycles, period)`.

        With a `grid` images are laid out flat: `(num_images, length, in_size)` to `(num_images, length, out_size)`.
        """
        kernel, bias = self.kernels(), self.bias.mean(dim=0)
        reach = kernel.shape[-1] // 2
        if grid is None:
            return nn.functional.conv2d(images, kernel, bias, padding=reach)
        offsets = range(-reach, reach + 1)
        rows = torch.cat([grid.rows_away(images, each) for each in offsets], dim=-1)
        # One product for all columns: its outputs are moved, being narrower than what they are made of.
        by_column = rows @ kernel.permute(2, 1, 3, 0).flatten(0, 1).flatten(1)  # (images, length, columns * out)
        columns = by_column.chunk(kernel.shape[-1], dim=-1)
        moved = (grid.columns_away(each, column) for each, column in zip(columns, offsets, strict=True))
        return sum(moved, bias)


class TimesNetBlock(ResidualBlock):
    """Fold the sequence at each of its periods into an image, convolve that, and add the weighted results."""

    def __init__(self, config: TimesNetConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.period_finder = PeriodFinder(config)
        self.up = InceptionConvolution(config.hidden_size, config.intermediate_size, config.num_kernels)
        self.down = InceptionConvolution(config.intermediate_size, config.hidden_size, config.num_kernels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_samples, hidden_size)` to the same shape."""
        periods, weights = self.period_finder(hidden_states)
        if needs_static_shapes():
            branch = self._convolve_all(hidden_states, periods, weights)
            return hidden_states + drop_path(branch, self.drop_path_rate, self.training)
        branch = torch.zeros_like(hidden_states)
        for period in periods.unique().tolist():
            is_here = periods == period
            records = is_here.any(dim=1).nonzero().squeeze(1)
            weight = (weights * is_here).sum(dim=1)[records, None, None]
            branch = branch.index_add(0, records, weight * self._convolve(hidden_states[records], period))
        return hidden_states + drop_path(branch, self.drop_path_rate, self.training)

    def _convolve(self, hidden_states: torch.Tensor, period: int) -> torch.Tensor:
        num_samples = hidden_states.shape[1]
        filled = nn.functional.pad(hidden_states, (0, 0, 0, -num_samples % period))
        images = filled.unflatten(1, (-1, period)).permute(0, 3, 1, 2)  # (records, hidden, cycles, period)
        images = self.down(nn.functional.gelu(self.up(images)))
        return images.flatten(2)[..., :num_samples].transpose(1, 2)  # (records, num_samples, hidden)

    def _convolve_all(self, hidden_states: torch.Tensor, periods: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Do the same for all periods at once, in shapes that do not depend on them: slower, and fit for a graph.

        No image is made: a convolution gathers a pixel's neighbours where they lie in the sequence.
        """
        num_samples = hidden_states.shape[1]
        length = num_samples + num_samples // 2  # an image ends less than half of the samples behind their end
        filled = nn.functional.pad(hidden_states, (0, 0, 0, length - num_samples))
        grid = _ImageGrid(periods.flatten(), num_samples, length)
        images = filled.repeat_interleave(periods.shape[1], dim=0)  # (records * periods, length, hidden)
        images = self.down(nn.functional.gelu(self.up(images, grid)), grid)
        images = images[:, :num_samples].unflatten(0, periods.shape)  # (records, periods, num_samples, hidden)
        return (weights[:, :, None, None] * images).sum(dim=1)


class TimesNetModel(ECGBackboneModel):
    """The TimesNet network, from standardised ECG to one token a sample, their mean and a forecast."""

    config_class = TimesNetConfig
    published = PublishedWeights(
        architecture="convolutions over periods folded to images",
        source="https://github.com/yuhaoxu99/EnECG",
        checkpoint="checkpoint.pth",
        licence="none stated: ask its authors",
        licence_id=UNKNOWN_LICENCE,
    )
    mask_rule = (
        "Missing leads count as zeros; padding is not in a lead's mean and deviation, counts as that mean and "
        "is not pooled."
    )
    forecast_parameters = ("forecast_head.",)
    _no_split_modules = ["TimesNetEmbeddings", "TimesNetBlock"]
    _can_record_outputs = {"hidden_states": TimesNetBlock}

    def __init__(self, config: TimesNetConfig):
        super().__init__(config)
        self.embeddings = TimesNetEmbeddings(config)
        if config.horizon:
            self.extension = nn.Linear(config.sequence_length, config.sequence_length + config.horizon)
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(TimesNetBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.horizon:
            self.forecast_head = nn.Linear(config.hidden_size, config.num_leads)
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Embeddings and the extension over time, each block, and the norm and the forecast with the last block."""
        groups = [("embeddings.", "extension."), *((f"blocks.{index}.",) for index in range(len(self.blocks)))]
        return [*groups[:-1], (*groups[-1], "norm.", "forecast_head.")]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | InceptionConvolution):
            module.reset_parameters()
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
        time_features: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ForecastingOutput:
        """Encode a batch of records.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`): What the feature
                extractor gives: standardised, at `config.sampling_rate` Hz.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is zeros, which add nothing to the embedding's sum over leads.
            input_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*): True where a sample
                was recorded, False for padding at the end. As upstream, it is left out of a lead's mean and deviation,
                standardises to zeros and is not pooled; periods, convolutions and the forecast see the zeros.
            time_features (`torch.FloatTensor`, *optional*): Calendar features of each sample, of shape
                `(batch_size, sequence_length, num_time_features)`, for a model that is configured for them.
            kwargs: `output_hidden_states` and `return_dict`.

        Returns:
            `ForecastingOutput`: `last_hidden_state`, `pooler_output` and, with a horizon, `forecast`.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, a record has no lead, or the model
                takes no time features.
        """
        input_values, lead_mask, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        if time_features is not None and not self.config.num_time_features:
            raise ValueError("This TimesNet takes no time_features; its config.num_time_features is 0.")
        mean, scale = self._lead_statistics(input_values, input_mask)
        standardized = zero_missing((input_values - mean) / scale, None, input_mask)
        tokens = self.embeddings(standardized, time_features)
        if self.config.horizon:
            tokens = self.extension(tokens.transpose(1, 2)).transpose(1, 2)  # (batch, samples + horizon, hidden)
        for block in self.blocks:
            tokens = self.norm(block(tokens))
        is_recorded = None if input_mask is None else input_mask[:, :, None]
        pooled = masked_mean(tokens[:, : self.config.sequence_length], is_recorded, dim=1)
        # The horizon's tokens count.
        is_token = None if input_mask is None else nn.functional.pad(input_mask, (0, self.config.horizon), value=True)
        output = ForecastingOutput(last_hidden_state=tokens, pooler_output=pooled, token_mask=is_token)
        if self.config.horizon:
            ahead = self.forecast_head(tokens[:, self.config.sequence_length :]).transpose(1, 2)
            output.forecast = ahead * scale + mean  # (batch, leads, horizon)
        return output

    def _lead_statistics(
        self, input_values: torch.Tensor, input_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to subtract from each lead, and what to divide it by."""
        if not self.config.standardize_input:
            return input_values.new_zeros(()), input_values.new_ones(())
        if input_mask is None:
            variance, mean = torch.var_mean(input_values, dim=-1, correction=0, keepdim=True)
        else:
            mean = masked_mean(input_values, input_mask[:, None], dim=-1, keepdim=True)
            variance = masked_mean((input_values - mean).square(), input_mask[:, None], dim=-1, keepdim=True)
        return mean, (variance + 1e-5).sqrt()

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless leads and samples fit the model."""
        super().check_input(input_values)
        samples, wanted = input_values.shape[2], self.config.sequence_length
        if samples != wanted:
            raise ValueError(
                f"TimesNet expects {wanted} samples; got {samples}. Its feature extractor crops and pads."
            )


def sinusoid_positions(num_positions: int, hidden_size: int, device: torch.device) -> torch.Tensor:
    """Return the position table of shape `(num_positions, hidden_size)`: sines and cosines in turn, in float32."""
    even = torch.arange(0, hidden_size, 2, device=device)
    angles = torch.arange(num_positions, device=device)[:, None] * (even * (-math.log(10000.0) / hidden_size)).exp()
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


__all__ = ["TimesNetConfig", "TimesNetModel"]
