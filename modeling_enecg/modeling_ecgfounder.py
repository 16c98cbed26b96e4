"""ECGFounder: a one-dimensional residual CNN with squeeze-excitation (Net1D).

Li et al., "An Electrocardiogram Foundation Model Built on over 10 Million Recordings with External Evaluation across
Multiple Domains", NEJM AI 2025, arXiv 2410.04133. Published in the repository PKUDigitalHealth/ECGFounder under the
MIT licence. Pre-trained on 10 s at 500 Hz, as a 12-lead and as a 1-lead model.
"""

from dataclasses import field
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults

from .modeling_backbone import (
    ECGBackboneConfig,
    ECGBackboneModel,
    ECGBackboneOutput,
    PublishedWeights,
    RecordDropout,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    stage_outputs,
)

MAINS_HZ = 50.0


@strict
class ECGFounderConfig(ECGBackboneConfig):
    """Architecture of an ECGFounder backbone; the defaults are the published 12-lead model.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 500): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 5000): Samples that the feature extractor gives; the network
            itself takes any number.
        stem_size (`int`, *optional*, defaults to 64): Channels of the first convolution.
        hidden_sizes (`list[int]`, *optional*, defaults to `[64, 160, 160, 400, 400, 1024, 1024]`): Channels per stage.
        depths (`list[int]`, *optional*, defaults to `[2, 2, 2, 3, 3, 4, 4]`): Residual blocks a stage.
        expansion (`int | float`, *optional*, defaults to 1): Inner channels of a block, relative to its output.
        kernel_size (`int`, *optional*, defaults to 16): Width of the convolutions in samples.
        stride (`int`, *optional*, defaults to 2): Downsampling of a stage's first block; the stem's is always 2.
        group_width (`int`, *optional*, defaults to 16): Channels per group of the grouped convolution.
        use_batch_norm (`bool`, *optional*, defaults to `False`): Batch norm before each convolution but the first.
        dropout (`float`, *optional*, defaults to 0.0): Dropout after each activation; 0.5 where upstream uses it.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.

    Example:
    ```python
    >>> from modeling_enecg import ECGFounderConfig, ECGFounderModel
    >>> model = ECGFounderModel(ECGFounderConfig(stem_size=16, hidden_sizes=[16, 32], depths=[1, 1]))
    >>> model.config.feature_size
    32

    ```
    """

    model_type = "enecg-ecgfounder"

    sampling_rate: int = 500
    sequence_length: int = 5000
    stem_size: int = 64
    hidden_sizes: list[int] = field(default_factory=lambda: [64, 160, 160, 400, 400, 1024, 1024])
    depths: list[int] = field(default_factory=lambda: [2, 2, 2, 3, 3, 4, 4])
    expansion: int | float = 1
    kernel_size: int = 16
    stride: int = 2
    group_width: int = 16
    use_batch_norm: bool = False
    dropout: int | float = 0.0

    def validate_stages(self) -> None:
        """Refuse stages that do not fit each other or the groups."""
        if not self.hidden_sizes or len(self.hidden_sizes) != len(self.depths) or min(self.depths) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} and depths {self.depths} need one entry a stage.")
        for size in self.hidden_sizes:
            groups, inner = size // self.group_width, int(size * self.expansion)
            if groups < 1 or inner % groups:
                raise ValueError(
                    f"hidden_sizes entry {size} does not divide into groups: group_width {self.group_width} gives "
                    f"{groups} groups for {inner} inner channels."
                )

    @property
    def hidden_size(self) -> int:
        """Width of a token of `last_hidden_state`."""
        return self.hidden_sizes[-1]

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing."""
        notch = {"name": "notch", "frequency_hz": MAINS_HZ, "quality": 30.0}
        return [
            {"name": "resample", "method": "fourier"},
            *([notch] if self.sampling_rate > 2 * MAINS_HZ else []),
            # Transfer-function form as published: second-order sections would differ in the last digits.
            {"name": "butterworth", "kind": "bandpass", "cutoff_hz": [0.67, 40.0], "order": 4, "form": "ba"},
            {"name": "remove_baseline", "window_s": 0.4},
            {"name": "standardize", "scope": "record", "epsilon": 1e-8},
            {"name": "crop_or_pad"},
        ]


class SamePadConv1d(nn.Conv1d):
    """Convolution whose output has `ceil(samples / stride)` samples; an odd padding's extra sample goes right."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Convolve `(batch_size, channels, samples)`."""
        samples, stride, kernel_size = hidden_states.shape[-1], self.stride[0], self.kernel_size[0]
        padding = max(0, (-(-samples // stride) - 1) * stride + kernel_size - samples)
        return super().forward(nn.functional.pad(hidden_states, (padding // 2, padding - padding // 2)))


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a gate computed from all channels' means."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.squeeze = nn.Linear(hidden_size, hidden_size // 2)
        self.excite = nn.Linear(hidden_size // 2, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Scale `(batch_size, channels, samples)` channel by channel."""
        gate = self.excite(nn.functional.silu(self.squeeze(hidden_states.mean(dim=-1)))).sigmoid()
        return hidden_states * gate[:, :, None]


class ECGFounderBlock(ResidualBlock):
    """A pre-activated bottleneck block: 1x1, grouped and 1x1 convolution, squeeze-excitation, shortcut."""

    def __init__(
        self, config: ECGFounderConfig, in_size: int, out_size: int, stride: int, is_first: bool, drop_path_rate: float
    ):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.stride = stride
        self.extra_channels = out_size - in_size
        inner_size, groups = int(out_size * config.expansion), out_size // config.group_width
        # The stem has just been activated, so the network's first block starts with its convolution.
        self.activation1 = nn.Identity() if is_first else self._activation(config, in_size)
        self.conv1 = SamePadConv1d(in_size, inner_size, 1)
        self.activation2 = self._activation(config, inner_size)
        self.conv2 = SamePadConv1d(inner_size, inner_size, config.kernel_size, stride, groups=groups)
        self.activation3 = self._activation(config, inner_size)
        self.conv3 = SamePadConv1d(inner_size, out_size, 1)
        self.squeeze_excitation = SqueezeExcitation(out_size)

    @staticmethod
    def _activation(config: ECGFounderConfig, size: int) -> nn.Module:
        norm = nn.BatchNorm1d(size) if config.use_batch_norm else nn.Identity()
        return nn.Sequential(norm, nn.SiLU(), RecordDropout(config.dropout))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, in_size, samples)` to `(batch_size, out_size, ceil(samples / stride))`."""
        branch = self.conv1(self.activation1(hidden_states))
        branch = self.conv2(self.activation2(branch))
        branch = self.conv3(self.activation3(branch))
        branch = self.squeeze_excitation(branch)
        return drop_path(branch, self.drop_path_rate, self.training) + self._shortcut(hidden_states)

    def _shortcut(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            # Zeros, not minus infinity, as published: an incomplete last window is compared with 0.
            padding = self.stride - 1
            hidden_states = nn.functional.pad(hidden_states, (padding // 2, padding - padding // 2))
            hidden_states = nn.functional.max_pool1d(hidden_states, self.stride)
        before = self.extra_channels // 2
        return nn.functional.pad(hidden_states, (0, 0, before, self.extra_channels - before))


class ECGFounderModel(ECGBackboneModel):
    """The ECGFounder network, from filtered and standardised ECG to a feature sequence and its mean."""

    config_class = ECGFounderConfig
    published = PublishedWeights(
        architecture="residual CNN (Net1D)",
        source="https://huggingface.co/PKUDigitalHealth/ECGFounder",
        checkpoint="12_lead_ECGFounder.pth",
        licence="repository MIT; check the model page",
        licence_id="mit",
    )
    mask_rule = "Missing leads and padding count as zeros."
    _no_split_modules = ["ECGFounderBlock"]

    def __init__(self, config: ECGFounderConfig):
        super().__init__(config)
        self.stem = SamePadConv1d(config.num_leads, config.stem_size, config.kernel_size, stride=2)
        self.stem_norm = nn.BatchNorm1d(config.stem_size) if config.use_batch_norm else nn.Identity()
        self.stages = nn.ModuleList()
        rates = iter(drop_path_ramp(config.drop_path_rate, sum(config.depths)))
        in_size = config.stem_size
        for out_size, depth in zip(config.hidden_sizes, config.depths, strict=True):
            is_first = not self.stages
            blocks = [ECGFounderBlock(config, in_size, out_size, config.stride, is_first, next(rates))]
            blocks += [ECGFounderBlock(config, out_size, out_size, 1, False, next(rates)) for _ in range(depth - 1)]
            self.stages.append(nn.ModuleList(blocks))
            in_size = out_size
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The residual blocks of all stages, first to last."""
        return [cast(ResidualBlock, block) for stage in self.stages for block in cast(nn.ModuleList, stage)]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """The stem, then each stage."""
        return [("stem.", "stem_norm."), *((f"stages.{index}.",) for index in range(len(self.stages)))]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.reset_parameters()  # torch's own initialisation, as upstream trains from

    @can_return_tuple
    @merge_with_config_defaults
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
                gives: `config.sampling_rate` Hz, filtered and standardised; any number of samples.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is zeros, the mean of a standardised record.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. It is zeros, too, as its convolutions and gates see the whole
                record at once.
            kwargs: `output_hidden_states` and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape `(batch_size, num_tokens, feature_size)`, 20
                tokens for 5000 samples in the published model, and `pooler_output` of shape
                `(batch_size, feature_size)`, their mean.

        Raises:
            ValueError: if the number of leads or a mask does not fit, or a record has no lead.
        """
        input_values, _, _ = self.prepare_input(input_values, lead_mask, input_mask)
        hidden_states = nn.functional.silu(self.stem_norm(self.stem(input_values)))
        outputs = stage_outputs(self.stages, hidden_states)
        tokens = outputs[-1]
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=tokens.mean(dim=1),
            hidden_states=outputs if kwargs.get("output_hidden_states", self.config.output_hidden_states) else None,
        )


__all__ = ["ECGFounderConfig", "ECGFounderModel"]
