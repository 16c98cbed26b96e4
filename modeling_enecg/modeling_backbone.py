"""The base of every ECG backbone: the input contract, stochastic depth, dropout and layer groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .leads import STANDARD_LEADS
from .loading import StrictLoading

UNKNOWN_LICENCE = "unknown"


def needs_static_shapes() -> bool:
    """Whether a graph is being made, by `torch.compile`, `torch.export` or tracing, which must not look at values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def rand_for_records(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Draw uniform numbers in [0, 1) for a batch of records, whoever holds them.

    Under data parallelism every process draws the numbers of the whole batch and takes its own records' part. With
    equally seeded processes a run then drops the same paths and units on one process as on several.

    Args:
        shape (`Sequence[int]`): The wanted shape; its first entry is this process's number of records.
        device (`torch.device`): Where to draw.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return torch.rand(*shape, device=device)
    num_records = shape[0]
    start = torch.distributed.get_rank() * num_records
    everyones = torch.rand(torch.distributed.get_world_size() * num_records, *shape[1:], device=device)
    return everyones[start : start + num_records]


def drop_path(hidden_states: torch.Tensor, rate: float, training: bool) -> torch.Tensor:
    """Stochastic depth: in training, zero a residual branch for a random share of the records.

    Kept branches are scaled by `1 / (1 - rate)`. Huang et al., "Deep Networks with Stochastic Depth",
    arXiv 1603.09382, with one decision a record.

    Args:
        hidden_states (`torch.Tensor` of shape `(batch_size, ...)`): The output of a residual branch.
        rate (`float`): Probability of dropping the branch, in [0, 1).
        training (`bool`): Whether the model trains; otherwise the branch is returned as it is.
    """
    if rate == 0 or not training:
        return hidden_states
    shape = (hidden_states.shape[0],) + (1,) * (hidden_states.ndim - 1)
    keep = rand_for_records(shape, hidden_states.device) >= rate
    return hidden_states * (keep / (1 - rate)).to(hidden_states.dtype)


def drop_path_ramp(rate: float, num_blocks: int) -> list[float]:
    """Return each block's stochastic-depth rate, growing linearly from 0 at the first block to `rate` at the last."""
    return [rate * block / max(num_blocks - 1, 1) for block in range(num_blocks)]


def check_rate(name: str, rate: float) -> None:
    """Raise a `ValueError` unless a rate of dropping something is in [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {rate}.")


class RecordDropout(nn.Module):
    """Dropout that zeroes the same units on one process as on several; see `rand_for_records`.

    Args:
        rate (`float`): Probability of zeroing a unit, in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Drop units of `hidden_states` of shape `(batch_size, ...)` in training."""
        if self.rate == 0 or not self.training:
            return hidden_states
        keep = rand_for_records(hidden_states.shape, hidden_states.device) >= self.rate
        return hidden_states * keep / (1 - self.rate)

    def extra_repr(self) -> str:
        """Show the rate when the module is printed."""
        return f"rate={self.rate}"


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention, for `ALL_ATTENTION_FUNCTIONS` where no faster one is wanted.

    Args:
        module (`nn.Module`): The attention module; its mode decides on dropout.
        query (`torch.Tensor` of shape `(batch_size, num_heads, num_tokens, head_dim)`): Queries.
        key (`torch.Tensor`): Keys, of the same shape.
        value (`torch.Tensor`): Values, of the same shape.
        attention_mask (`torch.BoolTensor`, *optional*): True where a query may look at a key.
        scaling (`float`): Factor on the scores.
        dropout (`float`, *optional*, defaults to 0.0): Dropout on the weights.
        kwargs: What other implementations take; not used.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: `(batch_size, num_tokens, num_heads, head_dim)`, and the weights.
    """
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = nn.functional.dropout(scores.softmax(dim=-1), p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def outer_mask(lead_mask: torch.Tensor | None, time_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return which leads are there at which times, to broadcast to `(batch_size, num_leads, num_times)`.

    Args:
        lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): Which leads are there; all by
            default.
        time_mask (`torch.BoolTensor` of shape `(batch_size, num_times)`, *optional*): Which samples or patches are
            there; all by default. Without both masks there is none to return.
    """
    if lead_mask is None:
        return None if time_mask is None else time_mask[:, None]
    return lead_mask[:, :, None] if time_mask is None else lead_mask[:, :, None] & time_mask[:, None]


def zero_missing(
    values: torch.Tensor, lead_mask: torch.Tensor | None, input_mask: torch.Tensor | None
) -> torch.Tensor:
    """Set missing leads and padded samples of `(batch_size, num_leads, samples)` to zero, NaN included."""
    is_recorded = outer_mask(lead_mask, input_mask)
    return values if is_recorded is None else values.masked_fill(~is_recorded, 0)


def masked_mean(
    values: torch.Tensor, is_kept: torch.Tensor | None, dim: int | tuple[int, ...], keepdim: bool = False
) -> torch.Tensor:
    """Average over the entries that are kept.

    Args:
        values (`torch.Tensor`): What to average.
        is_kept (`torch.BoolTensor`, *optional*): Which entries count, broadcastable to `values`; all by default.
        dim (`int` or `tuple[int, ...]`): The dimensions to average over.
        keepdim (`bool`, *optional*, defaults to `False`): Whether they stay, with length 1.

    Returns:
        `torch.Tensor`: The mean, 0 where no entry is kept.
    """
    if is_kept is None:
        return values.mean(dim=dim, keepdim=keepdim)
    count = is_kept.expand_as(values).sum(dim, keepdim=keepdim)
    wide = torch.promote_types(values.dtype, torch.float32)  # a sum may exceed what half precision holds
    total = values.masked_fill(~is_kept, 0).sum(dim, keepdim=keepdim, dtype=wide)
    return (total / count.clamp(min=1)).to(values.dtype)


@strict
class ECGBackboneConfig(PreTrainedConfig):
    """What every backbone's configuration has.

    Args:
        num_leads (`int`, *optional*, defaults to 12): Leads, in the order I, II, III, aVR, aVL, aVF, V1-V6.
        sampling_rate (`float`, *optional*, defaults to 500): Samples per second (Hz) of the input.
        sequence_length (`int`, *optional*, defaults to 5000): Samples that the feature extractor gives.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block; 0 at the first.
        weights_source (`str`, *optional*): Where the weights were published; none for weights of one's own.
        weights_licence (`str`, *optional*): Their licence as the Hub names it, `"unknown"` where none is stated.
    """

    num_leads: int = 12
    sampling_rate: int | float = 500
    sequence_length: int = 5000
    drop_path_rate: int | float = 0.0
    weights_source: str | None = None
    weights_licence: str | None = None

    def validate_rates(self) -> None:
        """Refuse rates of dropout and stochastic depth outside [0, 1)."""
        for name in self.__dataclass_fields__:
            if name.endswith("dropout") or name == "drop_path_rate":
                check_rate(name, getattr(self, name))

    @property
    def feature_size(self) -> int:
        """Width of `pooler_output`."""
        return cast(Any, self).hidden_size

    @property
    def lead_names(self) -> list[str]:
        """Names of the leads of `input_values`, in order."""
        return list(STANDARD_LEADS[: self.num_leads])

    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """Return the feature extractor's steps, as they were in pre-training."""
        raise NotImplementedError

    def feature_extractor_settings(self) -> dict[str, Any]:
        """Return the `ECGFeatureExtractor` arguments that give the model what it was pre-trained on."""
        return {
            "sampling_rate": self.sampling_rate,
            "sequence_length": self.sequence_length,
            "lead_names": self.lead_names,
            "steps": self.preprocessing_steps(),
        }


@dataclass
class ECGBackboneOutput(BaseModelOutputWithPooling):
    """Output of a backbone.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`): The tokens.
        pooler_output (`torch.FloatTensor` of shape `(batch_size, feature_size)`): The features.
        hidden_states (`tuple`, *optional*): What the layers give, where asked for.
        attentions (`tuple`, *optional*): The attention weights, where asked for.
        token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`, *optional*): True for tokens that count,
            False for those of what is missing; None where all count.
    """

    token_mask: torch.Tensor | None = None


@dataclass
class ForecastingOutput(ECGBackboneOutput):
    """Output of a backbone that also forecasts; all else as in [`ECGBackboneOutput`].

    Args:
        forecast (`torch.FloatTensor` of shape `(batch_size, num_leads, horizon)`, *optional*): The samples that follow
            the input, in its unit; None where the model has no forecast.
    """

    forecast: torch.FloatTensor | None = None


@dataclass(frozen=True)
class PublishedWeights:
    """Where a backbone's weights come from, and on what terms.

    Args:
        architecture (`str`): The architecture in a few words.
        source (`str`): Address of the publication.
        checkpoint (`str`): The published file, or what to look for.
        licence (`str`): Of the weights, as far as it is stated.
        licence_id (`str`): The same as the Hub names it; `UNKNOWN_LICENCE` where none is stated.
    """

    architecture: str
    source: str
    checkpoint: str
    licence: str
    licence_id: str


class ResidualBlock(GradientCheckpointingLayer):
    """A block whose residual branches are dropped at `drop_path_rate` in training."""

    drop_path_rate: float


def stage_outputs(stages: nn.ModuleList, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Run the stages of a convolutional network, each a list of blocks.

    Args:
        stages (`nn.ModuleList`): The stages.
        hidden_states (`torch.FloatTensor` of shape `(batch_size, channels, samples)`): What the stem gives.

    Returns:
        `tuple[torch.FloatTensor]`: The stem's output and each stage's, as `(batch_size, num_tokens, channels)`.
    """
    outputs = [hidden_states.transpose(1, 2)]
    for stage in stages:
        hidden_states = outputs[-1].transpose(1, 2)  # from what is given out, which thus has a gradient
        for block in cast(nn.ModuleList, stage):
            hidden_states = block(hidden_states)
        outputs.append(hidden_states.transpose(1, 2))
    return tuple(outputs)


class ECGBackboneModel(StrictLoading):
    """Base of all ECG backbones.

    A backbone turns `input_values` of shape `(batch_size, num_leads, sequence_length)` into `last_hidden_state` of
    shape `(batch_size, num_tokens, hidden_size)` and `pooler_output` of shape `(batch_size, feature_size)`, and knows
    nothing of tasks. A record's output never depends on the other records of its batch.

    Each `forward` also takes a `lead_mask` for records that lack leads and an `input_mask` for records padded at their
    end. What stands there never matters, be it NaN; a mask that lacks nothing is the same as none; and the tokens of
    what is missing mean nothing. `mask_rule` says how `pooler_output` heeds them; `token_mask` of the output says
    which tokens these are.

    A subclass implements `residual_blocks` and `layer_groups`. It says in `mask_rule` how it treats what is missing,
    and in `published` where weights for it are published, if they are. In `forecast_parameters` it names the prefixes
    of parameters that only a forecast needs, and in `pooling_parameters` of those that only `pooler_output` needs:
    training on features, or on tokens, leaves them alone.
    """

    main_input_name = "input_values"
    input_modalities = ["time"]
    config_class: type[PreTrainedConfig]
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # a backbone without attention runs alike under any implementation
    accepts_loss_kwargs = False
    forecast_parameters: tuple[str, ...] = ()
    pooling_parameters: tuple[str, ...] = ()
    published: PublishedWeights | None = None
    mask_rule: str

    @property
    def num_token_rows(self) -> int:
        """How many rows over time the tokens are, one after the other: 1, or for instance one per lead."""
        return 1

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The residual blocks from input to output."""
        raise NotImplementedError

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Prefixes of parameter names in groups from input to output, for layer-wise learning rates.

        Every parameter belongs to exactly one group.
        """
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a batch norm whose weights are frozen stays in eval mode.

        Its statistics are the base's, which an adapter does not store.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d) and not any(each.requires_grad for each in module.parameters()):
                module.eval()
        return self

    def set_drop_path_rate(self, rate: float) -> None:
        """Set stochastic depth to `rate` at the last residual block, falling linearly to 0 at the first.

        Raises:
            ValueError: if `rate` is not in [0, 1).
        """
        check_rate("drop_path_rate", rate)
        self.config.drop_path_rate = rate
        blocks = self.residual_blocks
        for block, block_rate in zip(blocks, drop_path_ramp(rate, len(blocks)), strict=True):
            block.drop_path_rate = block_rate

    def prepare_input(
        self, input_values: torch.Tensor, lead_mask: torch.Tensor | None, input_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Check a batch and set what it lacks to zero.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, samples)`): The records.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): True for recorded leads.
            input_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*): True for recorded samples.

        Returns:
            `tuple`: The records with zeros in missing leads and padding, and the masks as booleans; None for a mask
                that lacks nothing. While a graph is made nothing is checked but shapes, and each mask given is kept.

        Raises:
            ValueError: if the records do not fit the model, a mask does not fit them or holds anything but True and
                False or 1 and 0, or a record has no lead.
        """
        self.check_input(input_values)
        batch_size, num_leads, samples = input_values.shape
        lead_mask = _checked_mask("lead_mask", lead_mask, (batch_size, num_leads))
        input_mask = _checked_mask("input_mask", input_mask, (batch_size, samples))
        if lead_mask is not None and not needs_static_shapes() and not lead_mask.any(dim=1).all():
            empty = (~lead_mask.any(dim=1)).nonzero().flatten().tolist()
            raise ValueError(f"lead_mask must be True for a lead of each record; it is for none of records {empty}.")
        return zero_missing(input_values, lead_mask, input_mask), lead_mask, input_mask

    def check_input(self, input_values: torch.Tensor) -> None:
        """Raise a `ValueError` unless `input_values` has the shape `(batch_size, config.num_leads, samples)`."""
        if input_values.ndim != 3 or input_values.shape[1] != self.config.num_leads:
            raise ValueError(
                f"{type(self).__name__} expects input_values of shape (batch_size, {self.config.num_leads}, "
                f"sequence_length), leads before samples; got {tuple(input_values.shape)}."
            )


def _checked_mask(name: str, mask: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor | None:
    """Return a mask as booleans, or None where it lacks nothing; in a graph its values are not looked at."""
    if mask is None:
        return None
    if mask.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(mask.shape)}.")
    if needs_static_shapes():
        return mask.bool()
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"{name} must hold True and False or 1 and 0, got {mask.unique().tolist()}.")
    return None if mask.all() else mask.bool()
