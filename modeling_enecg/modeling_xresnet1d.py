"""xresnet1d: a one-dimensional residual CNN that is trained from scratch, as the strong supervised baseline.

Strodthoff et al., "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL", IEEE JBHI 2021, arXiv
2004.13701, where xresnet1d101 is among the best; after He et al., "Bag of Tricks for Image Classification with
Convolutional Neural Networks", CVPR 2019. Published in the repository helme/ecg_ptbxl_benchmarking
under the GNU GPL 3; written anew here. Trained on PTB-XL alone: 100 Hz, random crops of 2.5 s, no filter.
"""

from dataclasses import field
from itertools import pairwise
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults

from .modeling_backbone import (
    UNKNOWN_LICENCE,
    ECGBackboneConfig,
    ECGBackboneModel,
    ECGBackboneOutput,
    PublishedWeights,
    ResidualBlock,
    drop_path,
    drop_path_ramp,
    stage_outputs,
)


@strict
class XResNet1dConfig(ECGBackboneConfig):
    """Architecture of an xresnet1d backbone; the defaults are the benchmark's xresnet1d101.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 100): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 1000): Samples that the feature extractor gives: a whole record
            of PTB-XL. The network itself takes any number; the benchmark trains and tests on windows of 250.
        stem_sizes (`list[int]`, *optional*, defaults to `[32, 32, 64]`): Channels of the stem's convolutions.
        stem_kernel_size (`int`, *optional*, defaults to 5): Width of the stem's convolutions in samples.
        inner_sizes (`list[int]`, *optional*, defaults to `[64, 64, 64, 64]`): Channels inside a stage's blocks.
        depths (`list[int]`, *optional*, defaults to `[3, 4, 23, 3]`): Residual blocks a stage.
        expansion (`int`, *optional*, defaults to 4): Output channels of a block, relative to its inner ones. With 1, a
            block has two wide convolutions (xresnet1d18 and 34) instead of a bottleneck around one.
        kernel_size (`int`, *optional*, defaults to 5): Width of the blocks' convolutions in samples; odd.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.

    Example:
    ```python
    >>> from modeling_enecg import XResNet1dConfig, XResNet1dModel
    >>> model = XResNet1dModel(XResNet1dConfig(stem_sizes=[8, 8, 16], inner_sizes=[4, 8], depths=[1, 1]))
    >>> model.config.feature_size  # maximum and mean of 32 channels
    64

    ```
    """

    model_type = "enecg-xresnet1d"

    sampling_rate: int | float = 100
    sequence_length: int = 1000
    stem_sizes: list[int] = field(default_factory=lambda: [32, 32, 64])
    stem_kernel_size: int = 5
    inner_sizes: list[int] = field(default_factory=lambda: [64, 64, 64, 64])
    depths: list[int] = field(default_factory=lambda: [3, 4, 23, 3])
    expansion: int = 4
    kernel_size: int = 5

    def validate_stages(self) -> None:
        """Refuse stages that do not fit each other, and kernels for which branch and shortcut differ in length."""
        if not self.inner_sizes or len(self.inner_sizes) != len(self.depths):
            raise ValueError(f"inner_sizes {self.inner_sizes} and depths {self.depths} need one entry a stage.")
        if not self.stem_sizes:
            raise ValueError("stem_sizes needs an entry for each convolution of the stem, one at least.")
        for name in ("stem_sizes", "inner_sizes", "depths"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        for name in ("stem_kernel_size", "expansion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be positive and odd; got {self.kernel_size}.")

    @property
    def hidden_size(self) -> int:
        """Width of a token of `last_hidden_state`."""
        return self.inner_sizes[-1] * self.expansion

    @property
    def feature_size(self) -> int:
        """Width of `pooler_output`: maximum and mean of each channel."""
        return 2 * self.hidden_size

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the benchmark's pre-processing, but for one.

        The benchmark subtracts one mean (-0.0008 mV) and divides by one deviation (0.239 mV) of all its training
        records; here each record has its own, which needs no statistics of a dataset.
        """
        return [
            {"name": "resample", "method": "fourier"},
            {"name": "standardize", "scope": "record"},
            {"name": "crop_or_pad"},
        ]


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless a sum follows, ReLU."""

    def __init__(self, in_size: int, out_size: int, kernel_size: int, stride: int = 1, is_activated: bool = True):
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.convolution = nn.Conv1d(in_size, out_size, kernel_size, stride, padding, bias=False)
        self.norm = nn.BatchNorm1d(out_size)
        self.activation = nn.ReLU() if is_activated else nn.Identity()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, in_size, samples)` to `(batch_size, out_size, ceil(samples / stride))`."""
        return self.activation(self.norm(self.convolution(hidden_states)))


class XResNet1dBlock(ResidualBlock):
    """A bottleneck block, or without expansion a plain one, with average pooling in a strided shortcut."""

    def __init__(self, config: XResNet1dConfig, in_size: int, inner_size: int, stride: int, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.stride = stride
        out_size = inner_size * config.expansion
        if config.expansion == 1:
            layers = [
                ConvNorm(in_size, inner_size, config.kernel_size, stride),
                ConvNorm(inner_size, out_size, config.kernel_size, is_activated=False),
            ]
        else:
            layers = [
                ConvNorm(in_size, inner_size, 1),
                ConvNorm(inner_size, inner_size, config.kernel_size, stride),
                ConvNorm(inner_size, out_size, 1, is_activated=False),
            ]
        self.branch = nn.Sequential(*layers)
        has_projection = in_size != out_size
        self.shortcut = ConvNorm(in_size, out_size, 1, is_activated=False) if has_projection else nn.Identity()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, in_size, samples)` to `(batch_size, out_size, ceil(samples / stride))`."""
        branch = drop_path(self.branch(hidden_states), self.drop_path_rate, self.training)
        if self.stride > 1:  # an odd number of samples leaves the last one alone in its window
            hidden_states = nn.functional.avg_pool1d(hidden_states, self.stride, ceil_mode=True)
        return nn.functional.relu(branch + self.shortcut(hidden_states), inplace=True)


class XResNet1dModel(ECGBackboneModel):
    """The xresnet1d network, from standardised ECG to a feature sequence, its maximum and its mean.

    Batch norm makes it train differently from the other backbones: records of a batch share their statistics, and
    several processes each have those of their own part.
    """

    config_class = XResNet1dConfig
    published = PublishedWeights(
        architecture="residual CNN (xresnet1d101): the supervised baseline, trained on PTB-XL alone",
        source="https://github.com/helme/ecg_ptbxl_benchmarking",
        checkpoint="fastai_xresnet1d101.pth",
        licence="none stated: ask its authors; repository GPL 3",
        licence_id=UNKNOWN_LICENCE,
    )
    mask_rule = "Missing leads and padding count as zeros."
    _no_split_modules = ["XResNet1dBlock"]

    def __init__(self, config: XResNet1dConfig):
        super().__init__(config)
        sizes = [config.num_leads, *config.stem_sizes]
        self.stem = nn.Sequential(
            *(
                ConvNorm(in_size, out_size, config.stem_kernel_size, stride=2 if index == 0 else 1)
                for index, (in_size, out_size) in enumerate(pairwise(sizes))
            )
        )
        self.stages = nn.ModuleList()
        rates = iter(drop_path_ramp(config.drop_path_rate, sum(config.depths)))
        in_size = config.stem_sizes[-1]
        for inner_size, depth in zip(config.inner_sizes, config.depths, strict=True):
            out_size, stride = inner_size * config.expansion, 2 if len(self.stages) else 1
            blocks = [XResNet1dBlock(config, in_size, inner_size, stride, next(rates))]
            blocks += [XResNet1dBlock(config, out_size, inner_size, 1, next(rates)) for _ in range(depth - 1)]
            self.stages.append(nn.ModuleList(blocks))
            in_size = out_size
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The residual blocks of all stages, first to last."""
        return [cast(ResidualBlock, block) for stage in self.stages for block in cast(nn.ModuleList, stage)]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """The stem, then each stage."""
        return [("stem.",), *((f"stages.{index}.",) for index in range(len(self.stages)))]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")

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
                gives: `config.sampling_rate` Hz, standardised; any number of samples.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is zeros, the mean of a standardised record.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. It is zeros, too, as the published model sees more than 10 s
                around each token.
            kwargs: `output_hidden_states` and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape `(batch_size, num_tokens, hidden_size)`, 32
                tokens for 1000 samples in the published model, and `pooler_output` of shape
                `(batch_size, feature_size)`, their maximum and then their mean.

        Raises:
            ValueError: if the number of leads or a mask does not fit, or a record has no lead.
        """
        input_values, _, _ = self.prepare_input(input_values, lead_mask, input_mask)
        hidden_states = nn.functional.max_pool1d(self.stem(input_values), kernel_size=3, stride=2, padding=1)
        outputs = stage_outputs(self.stages, hidden_states)
        tokens = outputs[-1]
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=torch.cat([tokens.max(dim=1).values, tokens.mean(dim=1)], dim=1),
            hidden_states=outputs if kwargs.get("output_hidden_states", self.config.output_hidden_states) else None,
        )


__all__ = ["XResNet1dConfig", "XResNet1dModel"]
