"""DLinear: a linear forecast of each lead's trend and of what remains of it.

Zeng et al., "Are Transformers Effective for Time Series Forecasting?", AAAI 2023, arXiv 2205.13504. The library
thuml/Time-Series-Library holds the model under the MIT licence; EnECG (arXiv 2511.22935) publishes weights without a
licence, so converted weights stay with their user. They forecast the next sample of 10 s at 50 Hz. There is no hidden
layer: the features are the two forecasts before they are added, so a new expert wants a horizon of 16 samples or more
and a moving average of about half a second.
"""

from typing import Any, Unpack

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
    ResidualBlock,
)


@strict
class DLinearConfig(ECGBackboneConfig):
    """Architecture of a DLinear backbone; the defaults are EnECG's published model.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 50): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 500): Input in samples.
        horizon (`int`, *optional*, defaults to 1): Samples to forecast.
        kernel_size (`int`, *optional*, defaults to 1001): Odd width of the moving average in samples; may exceed
            `sequence_length`, and at the default makes the trend a straight line.
        individual (`bool`, *optional*, defaults to `False`): Whether each lead has weights of its own.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Common to all backbones; acts on nothing here, as there
            is no residual block.

    Example:
    ```python
    >>> from modeling_enecg import DLinearConfig, DLinearModel
    >>> model = DLinearModel(DLinearConfig(horizon=16, kernel_size=25))
    >>> model.config.feature_size
    384

    ```
    """

    model_type = "enecg-dlinear"

    sampling_rate: int = 50
    sequence_length: int = 500
    horizon: int = 1
    kernel_size: int = 1001
    individual: bool = False

    def validate_horizon(self) -> None:
        """Refuse a model that forecasts nothing."""
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 sample, got {self.horizon}.")

    def validate_kernel(self) -> None:
        """Refuse an even moving average, which has no middle sample."""
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be a positive odd number of samples, got {self.kernel_size}.")

    @property
    def hidden_size(self) -> int:
        """Width of a token of `last_hidden_state`: a lead's two forecasts."""
        return 2 * self.horizon

    @property
    def feature_size(self) -> int:
        """Width of `pooler_output`."""
        return self.num_leads * self.hidden_size

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing."""
        return [
            {"name": "standardize", "scope": "record"},
            {"name": "resample", "method": "fourier"},
            {"name": "crop_or_pad"},
        ]


class MovingAverage(nn.Module):
    """Average over `kernel_size` samples around each; beyond the ends the first and last sample go on."""

    def __init__(self, kernel_size: int):
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Smooth `(batch_size, num_leads, samples)`."""
        reach = self.kernel_size // 2
        padded = nn.functional.pad(values, (reach + 1, reach), mode="replicate")
        # A window's sum is a difference of running sums: no cost per sample of the window, and exact in float64.
        sums = padded.double().cumsum(dim=-1)
        return ((sums[..., self.kernel_size :] - sums[..., : -self.kernel_size]) / self.kernel_size).to(values.dtype)

    def extra_repr(self) -> str:
        """Show the width when the module is printed."""
        return f"kernel_size={self.kernel_size}"


class LeadLinear(nn.Module):
    """A linear layer over time with one set of weights for all leads, or one per lead."""

    def __init__(self, config: DLinearConfig):
        super().__init__()
        num_sets = config.num_leads if config.individual else 1
        self.weight = nn.Parameter(torch.empty(num_sets, config.horizon, config.sequence_length))
        self.bias = nn.Parameter(torch.empty(num_sets, config.horizon))

    def reset_parameters(self) -> None:
        """Draw uniform weights, as `nn.Linear` does."""
        bound = self.weight.shape[-1] ** -0.5
        init.uniform_(self.weight, -bound, bound)
        init.uniform_(self.bias, -bound, bound)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_leads, sequence_length)` to `(batch_size, num_leads, horizon)`."""
        return torch.einsum("bls,lhs->blh", values, self.weight.expand(values.shape[1], -1, -1)) + self.bias


class DLinearModel(ECGBackboneModel):
    """The DLinear network, from standardised ECG to two linear forecasts a lead."""

    config_class = DLinearConfig
    published = PublishedWeights(
        architecture="two linear layers on trend and remainder",
        source="https://github.com/yuhaoxu99/EnECG",
        checkpoint="checkpoint.pth",
        licence="none stated: ask its authors",
        licence_id=UNKNOWN_LICENCE,
    )
    mask_rule = "A missing lead has the features of a flat one, and padding counts as zeros."
    supports_gradient_checkpointing = False  # there is no block to run again
    _can_record_outputs = {"hidden_states": LeadLinear}

    def __init__(self, config: DLinearConfig):
        super().__init__(config)
        self.moving_average = MovingAverage(config.kernel_size)
        self.seasonal = LeadLinear(config)
        self.trend = LeadLinear(config)
        self.post_init()

    @property
    def num_token_rows(self) -> int:
        """One per lead, of a single token."""
        return self.config.num_leads

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """There are none."""
        return []

    def layer_groups(self) -> list[tuple[str, ...]]:
        """One group: both linear layers stand at the same depth."""
        return [("seasonal.", "trend.")]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LeadLinear):
            module.reset_parameters()

    @can_return_tuple
    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ForecastingOutput:
        """Encode a batch of records.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`): What the feature
                extractor gives: standardised, at `config.sampling_rate` Hz.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one has the features of a flat lead at zero, the mean of a standardised record: the
                biases.
            input_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*): True where a sample
                was recorded, False for padding at the end. It is zeros, which add nothing to a forecast but through
                the moving average over its edge.
            kwargs: `output_hidden_states` and `return_dict`.

        Returns:
            `ForecastingOutput`: `last_hidden_state`, `pooler_output` and `forecast`.

        Raises:
            ValueError: if the number of leads or samples or a mask does not fit, or a record has no lead.
        """
        input_values, lead_mask, _ = self.prepare_input(input_values, lead_mask, input_mask)
        trend = self.moving_average(input_values)
        seasonal_forecast = self.seasonal(input_values - trend)
        trend_forecast = self.trend(trend)
        tokens = torch.cat([seasonal_forecast, trend_forecast], dim=-1)  # (batch, leads, 2 * horizon)
        return ForecastingOutput(
            last_hidden_state=tokens,
            pooler_output=tokens.flatten(1),
            token_mask=lead_mask,
            forecast=seasonal_forecast + trend_forecast,
        )

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless leads and samples fit the model."""
        super().check_input(input_values)
        samples, wanted = input_values.shape[2], self.config.sequence_length
        if samples != wanted:
            raise ValueError(f"DLinear expects {wanted} samples; got {samples}. Its feature extractor crops and pads.")


__all__ = ["DLinearConfig", "DLinearModel"]
