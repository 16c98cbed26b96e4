"""ECG-CPC: convolutions and four S4 layers, pre-trained to tell what comes next from what does not.

Al-Masud, Lopez Alcaraz, Strodthoff, "Benchmarking ECG Foundational Models: A Reality Check Across Clinical Tasks",
ICLR 2026, arXiv 2509.25095; contrastive predictive coding as in van den Oord et al., arXiv 1807.03748. Published in
the repository AI4HealthUOL/ecg-fm-benchmarking without a licence; written anew here. Pre-trained on the Harvard-Emory
ECG Database, 10 s at 240 Hz, unfiltered, in mV.

Without convolutions and with S4 in both directions it is the supervised baseline "S4" of the same paper and of Mehari
and Strodthoff, arXiv 2308.15291: `ECGCPCConfig(conv_dim=[], conv_kernel=[], conv_stride=[], conv_dilation=[],
is_bidirectional=True, sampling_rate=100, sequence_length=1000)`.
"""

from dataclasses import field
from typing import Any, Unpack, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

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
    masked_mean,
)
from .s4 import S4Kernel, S4Layer, TiedDropout

CONV_NORMS = ("batch", "layer", "none")


@strict
class ECGCPCConfig(ECGBackboneConfig):
    """Architecture of an ECG-CPC encoder; the defaults are the published model.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`int`, *optional*, defaults to 240): Samples per second (Hz) that the model is trained on.
        sequence_length (`int`, *optional*, defaults to 2400): Samples that the feature extractor gives; the network
            itself takes any number. The benchmark fine-tunes and tests on windows of 600.
        conv_dim (`list[int]`, *optional*, defaults to `[512, 512, 512, 512]`): Channels per convolution; may be empty.
        conv_kernel (`list[int]`, *optional*, defaults to `[3, 1, 1, 1]`): Width of each convolution in its samples.
        conv_stride (`list[int]`, *optional*, defaults to `[2, 1, 1, 1]`): Downsampling by each convolution.
        conv_dilation (`list[int]`, *optional*, defaults to `[1, 1, 1, 1]`): Spacing of what each convolution sees.
        conv_norm (`str`, *optional*, defaults to `"batch"`): What norms a convolution's output: `"batch"`, `"layer"`
            (over channels) or `"none"`; then it has a bias.
        hidden_size (`int`, *optional*, defaults to 512): Width of a token. Where the last convolution, or without any
            the leads, have another one, a linear layer follows.
        state_size (`int`, *optional*, defaults to 8): Size of the state of each channel in an S4 layer; even.
        num_hidden_layers (`int`, *optional*, defaults to 4): Number of S4 layers.
        is_bidirectional (`bool`, *optional*, defaults to `False`): Whether tokens see those after them, too.
        layer_norm_first (`bool`, *optional*, defaults to `False`): Whether a block norms the input of its branch
            instead of the sum.
        use_batch_norm (`bool`, *optional*, defaults to `False`): Whether blocks have batch norm. As upstream, a block
            that norms its output then has no shortcut.
        hidden_dropout (`float`, *optional*, defaults to 0.2): Dropout in each S4 layer and on its output.
        is_dropout_tied (`bool`, *optional*, defaults to `True`): Whether dropout takes a channel at all times or none.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of all norms.

    Example:
    ```python
    >>> from modeling_enecg import ECGCPCConfig, ECGCPCModel
    >>> model = ECGCPCModel(ECGCPCConfig(conv_dim=[16, 16, 16, 16], hidden_size=32, num_hidden_layers=2))
    >>> model.config.feature_size
    32

    ```
    """

    model_type = "enecg-ecgcpc"

    sampling_rate: int = 240
    sequence_length: int = 2400
    conv_dim: list[int] = field(default_factory=lambda: [512] * 4)
    conv_kernel: list[int] = field(default_factory=lambda: [3, 1, 1, 1])
    conv_stride: list[int] = field(default_factory=lambda: [2, 1, 1, 1])
    conv_dilation: list[int] = field(default_factory=lambda: [1] * 4)
    conv_norm: str = "batch"
    hidden_size: int = 512
    state_size: int = 8
    num_hidden_layers: int = 4
    is_bidirectional: bool = False
    layer_norm_first: bool = False
    use_batch_norm: bool = False
    hidden_dropout: int | float = 0.2
    is_dropout_tied: bool = True
    layer_norm_eps: float = 1e-5

    def validate_convolutions(self) -> None:
        """Refuse convolutions that are not described each by channels, kernel, stride and dilation."""
        sizes = (self.conv_dim, self.conv_kernel, self.conv_stride, self.conv_dilation)
        if len({len(each) for each in sizes}) > 1 or any(number < 1 for each in sizes for number in each):
            raise ValueError(
                f"conv_dim {self.conv_dim}, conv_kernel {self.conv_kernel}, conv_stride {self.conv_stride} and "
                f"conv_dilation {self.conv_dilation} need one positive entry a convolution."
            )
        if self.conv_norm not in CONV_NORMS:
            raise ValueError(f"conv_norm must be one of {', '.join(CONV_NORMS)}; got {self.conv_norm!r}.")

    def validate_state(self) -> None:
        """Refuse a state that is not made of pairs, real and imaginary part."""
        if self.state_size < 2 or self.state_size % 2:
            raise ValueError(f"state_size must be positive and even; got {self.state_size}.")

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the steps of the published pre-processing: neither filtered nor standardised."""
        return [
            {"name": "clip", "limit_mv": 3.0},
            {"name": "resample", "method": "kaiser"},
            {"name": "crop_or_pad"},
        ]


class SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor; its gradient is the sum of every process's gradient."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        """Sum, the same in all processes."""
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Sum the gradients likewise."""
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of each channel of `(batch_size, num_tokens, hidden_size)`, over the batch of all processes."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Norm over records and tokens."""
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.training and is_distributed and torch.distributed.get_world_size() > 1:
            return self._norm_over_processes(hidden_states)
        return super().forward(hidden_states.transpose(1, 2)).transpose(1, 2)

    def _norm_over_processes(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Norm with the mean and variance of all processes' records: torch's own layer for this needs GPUs."""
        values = hidden_states.float().flatten(0, 1)  # (records x tokens, channels)
        count = SumOverProcesses.apply(values.new_tensor(len(values)))
        mean = SumOverProcesses.apply(values.sum(dim=0)) / count
        variance = SumOverProcesses.apply((values - mean).square().sum(dim=0)) / count
        with torch.no_grad():
            cast(torch.Tensor, self.num_batches_tracked).add_(1)
            cast(torch.Tensor, self.running_mean).lerp_(mean, cast(float, self.momentum))
            unbiased = variance * count / (count - 1)
            cast(torch.Tensor, self.running_var).lerp_(unbiased, cast(float, self.momentum))
        normed = (hidden_states.float() - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return normed.to(hidden_states.dtype)


class ECGCPCConvolution(nn.Module):
    """Convolution, norm and ReLU."""

    def __init__(self, config: ECGCPCConfig, index: int):
        super().__init__()
        in_size = config.conv_dim[index - 1] if index else config.num_leads
        out_size, kernel_size = config.conv_dim[index], config.conv_kernel[index]
        self.convolution = nn.Conv1d(
            in_size,
            out_size,
            kernel_size,
            config.conv_stride[index],
            padding=(kernel_size - 1) // 2,
            dilation=config.conv_dilation[index],
            bias=config.conv_norm == "none",
        )
        norms = {"batch": TokenBatchNorm, "layer": nn.LayerNorm, "none": nn.Identity}
        self.norm = norms[config.conv_norm](out_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_times, in_size)` to `(batch_size, fewer times, out_size)`."""
        convolved = self.convolution(hidden_states.transpose(1, 2)).transpose(1, 2)
        return nn.functional.relu(self.norm(convolved))

    def output_length(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return how many times come out of so many."""
        (kernel_size,), (stride,) = self.convolution.kernel_size, self.convolution.stride
        (padding,), (dilation,) = cast(tuple[int], self.convolution.padding), self.convolution.dilation
        return (lengths + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


class ECGCPCBlock(ResidualBlock):
    """An S4 layer with a shortcut, stochastic depth on its branch, and a norm of the sum or of the branch's input."""

    def __init__(self, config: ECGCPCConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.is_norm_first = config.layer_norm_first
        # With batch norm of its output, upstream norms the branch alone.
        self.has_shortcut = config.layer_norm_first or not config.use_batch_norm
        self.s4 = S4Layer(
            config.hidden_size,
            config.state_size,
            config.is_bidirectional,
            config.hidden_dropout,
            config.is_dropout_tied,
        )
        self.dropout = (TiedDropout if config.is_dropout_tied else RecordDropout)(config.hidden_dropout)
        norm = TokenBatchNorm if config.use_batch_norm else nn.LayerNorm
        self.norm = norm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor, is_token: torch.Tensor | None = None) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape, where the others are zeros to each token."""
        branch = self.norm(hidden_states) if self.is_norm_first else hidden_states
        if is_token is not None:
            branch = branch * is_token
        branch = drop_path(self.dropout(self.s4(branch)), self.drop_path_rate, self.training)
        output = hidden_states + branch if self.has_shortcut else branch
        return output if self.is_norm_first else self.norm(output)


class ECGCPCModel(ECGBackboneModel):
    """The ECG-CPC encoder, from ECG in mV to tokens and their mean."""

    config_class = ECGCPCConfig
    published = PublishedWeights(
        architecture="convolutions and S4 layers (contrastive predictive coding)",
        source="https://github.com/AI4HealthUOL/ecg-fm-benchmarking",
        checkpoint="last_11597276.ckpt",
        licence="none stated: ask its authors; check the figshare page",
        licence_id=UNKNOWN_LICENCE,
    )
    mask_rule = "Missing leads count as zeros; padding counts as if the record ended before it."
    _no_split_modules = ["ECGCPCConvolution", "ECGCPCBlock"]
    _can_record_outputs = {"hidden_states": ECGCPCBlock}

    def __init__(self, config: ECGCPCConfig):
        super().__init__(config)
        self.stem = nn.ModuleList(ECGCPCConvolution(config, index) for index in range(len(config.conv_dim)))
        in_size = config.conv_dim[-1] if config.conv_dim else config.num_leads
        # As published, features that are as wide as the tokens are not projected.
        needs_projection = in_size != config.hidden_size
        self.projection = nn.Linear(in_size, config.hidden_size) if needs_projection else nn.Identity()
        rates = drop_path_ramp(config.drop_path_rate, config.num_hidden_layers)
        self.blocks = nn.ModuleList(ECGCPCBlock(config, rate) for rate in rates)
        self.post_init()

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The blocks, first to last."""
        return [cast(ResidualBlock, block) for block in self.blocks]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """The convolutions, then the S4 layers; upstream's learning rates differ by a factor of 10 between them."""
        projection = ("projection.",) if isinstance(self.projection, nn.Linear) else ()
        return [*([("stem.",)] if len(self.stem) else []), (*projection, "blocks.")]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d | nn.Linear | S4Kernel | S4Layer):
            module.reset_parameters()  # torch's own initialisation, or S4's

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
                gives: `config.sampling_rate` Hz, in mV; any number of samples.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True where the lead was
                recorded. A missing one is zeros.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True where a sample was
                recorded, False for padding at the end. The record counts as if it ended before that.
            kwargs: `output_hidden_states` and `return_dict`.

        Returns:
            `ECGBackboneOutput`: `last_hidden_state` of shape `(batch_size, num_tokens, hidden_size)`, a token
                for two samples in the published model, and `pooler_output` of shape `(batch_size, hidden_size)`: their
                mean.

        Raises:
            ValueError: if the number of leads or a mask does not fit, or a record has no lead.
        """
        input_values, _, input_mask = self.prepare_input(input_values, lead_mask, input_mask)
        tokens, is_token = self.embed(input_values, input_mask)
        for block in self.blocks:
            tokens = block(tokens, is_token)
        return ECGBackboneOutput(
            last_hidden_state=tokens,
            pooler_output=masked_mean(tokens, is_token, dim=1),
            token_mask=None if is_token is None else is_token[..., 0],
        )

    def embed(
        self, input_values: torch.Tensor, input_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the tokens before the first block, and which of them a record has as if it ended before its padding.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): What `prepare_input` gives.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): The same.

        Returns:
            `tuple`: Tokens of shape `(batch_size, num_tokens, hidden_size)`, and a mask of shape
                `(batch_size, num_tokens, 1)`, None where all count.
        """
        tokens = input_values.transpose(1, 2)  # (batch, samples, leads)
        is_token = None if input_mask is None else input_mask[..., None]
        for convolution in cast(list[ECGCPCConvolution], self.stem):
            tokens = convolution(tokens)
            if is_token is not None:
                lengths = convolution.output_length(is_token.sum(1))  # (batch, 1)
                is_token = (torch.arange(tokens.shape[1], device=tokens.device) < lengths)[..., None]
                tokens = tokens * is_token
        return self.projection(tokens), is_token


__all__ = ["ECGCPCConfig", "ECGCPCModel"]
