"""EnECG: experts, a head per expert and task, a gate per task, and the gated sum.

Xu et al., "EnECG: Efficient Ensemble Learning for Electrocardiogram Multi-task Foundation Model", arXiv 2511.22935.
One expert is a legal ensemble: its gate is the constant 1.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .backbones import backbone_class
from .configuration_enecg import EnECGConfig, Task
from .losses import task_loss
from .modeling_backbone import ECGBackboneModel, RecordDropout


@dataclass
class EnECGOutput(ModelOutput):
    """Output of an [`EnECGModel`]; every dict is keyed by task name.

    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of the tasks' losses, where labels were given.
        logits (`dict[str, torch.FloatTensor]`): Each task's outputs of shape `(batch_size, num_outputs)`; for a
            regression in the target's own unit.
        gate_weights (`dict[str, torch.FloatTensor]`): Each expert's weight, `(batch_size, num_experts)`; rows
            sum to 1.
        expert_logits (`dict[str, torch.FloatTensor]`): Each expert's own outputs,
            `(batch_size, num_experts, num_outputs)`.
    """

    loss: torch.Tensor | None = None
    logits: dict[str, torch.Tensor] | None = None
    gate_weights: dict[str, torch.Tensor] | None = None
    expert_logits: dict[str, torch.Tensor] | None = None


class TaskHead(nn.Module):
    """One expert's output network for one task: linear layers with ReLU between, dropout before each."""

    def __init__(self, config: EnECGConfig, feature_size: int, num_outputs: int):
        super().__init__()
        sizes = [feature_size, *(config.head_hidden_sizes or [])]
        layers: list[nn.Module] = []
        for in_size, out_size in pairwise(sizes):
            layers += [RecordDropout(config.head_dropout), nn.Linear(in_size, out_size), nn.ReLU()]
        self.layers = nn.Sequential(*layers, RecordDropout(config.head_dropout), nn.Linear(sizes[-1], num_outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, feature_size)` to `(batch_size, num_outputs)`."""
        return self.layers(features)


class UniformLinear(nn.Linear):
    """A linear layer that starts with zeros, so that a softmax over its outputs starts uniform."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        init.zeros_(self.weight)
        init.zeros_(self.bias)


class FeatureGate(nn.Module):
    """Softmax weights of the experts from all experts' features; uniform before training."""

    def __init__(self, feature_sizes: Sequence[int]):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in feature_sizes)
        self.linear = UniformLinear(sum(feature_sizes), len(feature_sizes))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Map each expert's `(batch_size, feature_size)` to weights of shape `(batch_size, num_experts)`."""
        normed = [norm(feature) for norm, feature in zip(self.norms, features, strict=True)]
        return self.linear(torch.cat(normed, dim=-1)).softmax(dim=-1)


class ConstantGate(nn.Module):
    """The gate of a single expert."""

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return ones of shape `(batch_size, 1)`."""
        return features[0].new_ones(features[0].shape[0], 1)


class EnECGModel(PreTrainedModel):
    """An ensemble of ECG backbones for one or several tasks.

    Args:
        config ([`EnECGConfig`]): Experts, tasks and heads.
        experts (`Mapping[str, ECGBackboneModel]`, *optional*): The experts themselves; by default they are built from
            the config with random weights.

    Example:
    ```python
    >>> import torch
    >>> from modeling_enecg import ECGFounderConfig, EnECGConfig, EnECGModel
    >>> expert = ECGFounderConfig(stem_size=16, hidden_sizes=[16, 32], depths=[1, 1])
    >>> task = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": ["AFIB", "SR"]}
    >>> model = EnECGModel(EnECGConfig(experts={"ecgfounder": expert.to_diff_dict()}, tasks=[task])).eval()
    >>> model(torch.zeros(3, 12, 500)).logits["rhythm"].shape
    torch.Size([3, 2])

    ```
    """

    config_class = EnECGConfig
    base_model_prefix = "enecg"
    main_input_name = "input_values"
    input_modalities = ["time"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over the batch, not normalised by `num_items_in_batch`
    _supports_sdpa = True

    def __init__(self, config: EnECGConfig, experts: Mapping[str, ECGBackboneModel] | None = None):
        super().__init__(config)
        if not config.experts or not config.tasks:
            raise ValueError("An EnECG model needs at least one expert and one task; see EnECGModel.from_experts.")
        self.tasks = {task.name: task for task in config.get_tasks()}
        self.experts = nn.ModuleDict(experts or {name: self._new_expert(name) for name in config.experts})
        sizes = {name: expert.config.feature_size for name, expert in self.backbones.items()}
        self.heads = nn.ModuleDict(
            {
                name: nn.ModuleDict(
                    {expert: TaskHead(config, size, task.num_outputs) for expert, size in sizes.items()}
                )
                for name, task in self.tasks.items()
            }
        )
        self.gates = nn.ModuleDict(
            {name: FeatureGate(list(sizes.values())) if len(sizes) > 1 else ConstantGate() for name in self.tasks}
        )
        self.post_init()

    @property
    def backbones(self) -> dict[str, ECGBackboneModel]:
        """The experts by name."""
        return {name: cast(ECGBackboneModel, expert) for name, expert in self.experts.items()}

    def _new_expert(self, name: str) -> ECGBackboneModel:
        fields = dict(self.config.experts[name])
        model_class = backbone_class(fields.pop("model_type", None))
        fields["attn_implementation"] = self.config._attn_implementation
        return model_class(model_class.config_class(**fields))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            module.reset_parameters()  # torch's own, or the gate's

    @classmethod
    def from_experts(
        cls,
        experts: Mapping[str, str | os.PathLike[str] | ECGBackboneModel],
        tasks: Sequence[Mapping[str, Any] | Task],
        **config_fields: Any,
    ) -> "EnECGModel":
        """Build an ensemble from trained backbones, with new heads and gates.

        Args:
            experts (`Mapping[str, str | ECGBackboneModel]`): From a name to a backbone: a folder, a Hub id, or the
                model itself.
            tasks (`Sequence[Mapping]`): The fields of each [`Task`].
            config_fields: Further fields of [`EnECGConfig`].

        Returns:
            [`EnECGModel`] in eval mode.

        Raises:
            ValueError: if an expert is not a backbone of this package, or a task is not legal.
            OSError: if a folder or Hub id cannot be loaded.
        """
        loaded = {
            name: _load_backbone(os.fspath(expert)) if isinstance(expert, str | os.PathLike) else expert
            for name, expert in experts.items()
        }
        config = EnECGConfig(
            experts={name: _own_fields(expert.config) for name, expert in loaded.items()},
            tasks=[dict(vars(task)) if isinstance(task, Task) else dict(task) for task in tasks],
            **config_fields,
        )
        return cls(config, loaded).eval()

    def train(self, mode: bool = True) -> "EnECGModel":
        """Set training mode; an expert without trainable weights stays in eval mode.

        A frozen expert thus keeps its batch-norm statistics and has no dropout: its features never change.
        """
        super().train(mode)
        for expert in self.experts.values():
            if not any(parameter.requires_grad for parameter in expert.parameters()):
                expert.eval()
        return self

    def freeze_experts(self) -> None:
        """Stop training the experts; they go to eval mode and stay there."""
        self.experts.requires_grad_(False)
        self.experts.eval()

    def unfreeze_experts(self) -> None:
        """Train the experts as well, but for what only their forecasts need."""
        for expert in self.backbones.values():
            for name, parameter in expert.named_parameters():
                parameter.requires_grad_(not name.startswith(expert.forecast_parameters))
        self.train(self.training)

    def set_drop_path_rate(self, rate: float) -> None:
        """Set every expert's stochastic depth; see [`ECGBackboneModel.set_drop_path_rate`]."""
        for name, expert in self.backbones.items():
            expert.set_drop_path_rate(rate)
            self.config.experts[name]["drop_path_rate"] = rate

    def set_head_dropout(self, rate: float) -> None:
        """Set the dropout of all heads."""
        self.config.head_dropout = rate
        for module in self.heads.modules():
            if isinstance(module, RecordDropout):
                module.rate = rate

    def extract_features(self, input_values: torch.Tensor | Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return each expert's pooled features, `(batch_size, feature_size)`.

        Args:
            input_values: As in `forward`.

        Raises:
            ValueError: if a list has not one entry an expert.
        """
        if isinstance(input_values, torch.Tensor):
            input_values = [input_values] * len(self.experts)
        if len(input_values) != len(self.experts):
            raise ValueError(
                f"Got {len(input_values)} input tensors for {len(self.experts)} experts ({', '.join(self.experts)}); "
                "pass one tensor for all, or a list with one an expert in this order."
            )
        return {
            name: expert(values).pooler_output
            for (name, expert), values in zip(self.backbones.items(), input_values, strict=True)
        }

    def forward(
        self,
        input_values: torch.Tensor | Sequence[torch.Tensor] | None = None,
        labels: Mapping[str, torch.Tensor] | torch.Tensor | None = None,
        expert_features: Mapping[str, torch.Tensor] | None = None,
        return_dict: bool | None = None,
    ) -> EnECGOutput | tuple[Any, ...]:
        """Predict all tasks.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`, *optional*): What
                the feature extractor gives. Where experts take different inputs, a list with one tensor an expert, in
                the order of `config.experts`.
            labels (`dict[str, torch.Tensor]`, *optional*): From a task's name to its labels, as `task_loss` describes;
                tasks may be left out. With one task, its labels alone will do.
            expert_features (`dict[str, torch.FloatTensor]`, *optional*): Each expert's pooled features, computed
                before; the experts are then not run.
            return_dict (`bool`, *optional*): `False` for a plain tuple.

        Returns:
            [`EnECGOutput`]

        Raises:
            ValueError: if neither `input_values` nor `expert_features` is given, or labels do not fit the tasks.
        """
        if expert_features is None:
            if input_values is None:
                raise ValueError("Pass input_values, or expert_features computed before.")
            expert_features = self.extract_features(input_values)
        features = [expert_features[name] for name in self.experts]
        logits, gate_weights, expert_logits = {}, {}, {}
        for name, task in self.tasks.items():
            heads = cast(nn.ModuleDict, self.heads[name])
            outputs = [head(feature) for head, feature in zip(heads.values(), features, strict=True)]
            expert_logits[name] = _in_own_unit(task, torch.stack(outputs, dim=1))  # (batch, experts, outputs)
            gate_weights[name] = self.gates[name](features)  # (batch, experts)
            logits[name] = (gate_weights[name][..., None] * expert_logits[name]).sum(dim=1)
        loss = None if labels is None else self._loss(logits, labels)
        output = EnECGOutput(loss=loss, logits=logits, gate_weights=gate_weights, expert_logits=expert_logits)
        return output.to_tuple() if return_dict is False else output

    def _loss(
        self, logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor] | torch.Tensor
    ) -> torch.Tensor:
        if isinstance(labels, torch.Tensor):
            if len(self.tasks) > 1:
                raise ValueError(f"With several tasks pass labels as a dict keyed by {', '.join(self.tasks)}.")
            labels = {next(iter(self.tasks)): labels}
        unknown = sorted(labels.keys() - self.tasks.keys())
        if unknown or not labels:
            raise ValueError(f"Labels for unknown tasks {unknown}; this model has {', '.join(self.tasks)}.")
        losses = [
            self.tasks[name].loss_weight * task_loss(self.tasks[name], logits[name], labels[name]) for name in labels
        ]
        return torch.stack(losses).sum()

    def probabilities(self, logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn each task's logits into probabilities; a regression's values stay as they are."""
        return {name: output_probabilities(self.tasks[name], logits[name]) for name in logits}


def output_probabilities(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """Apply a task's output activation: sigmoid, softmax over the last axis, or nothing for a regression."""
    if task.problem_type == "multi_label_classification":
        return logits.sigmoid()
    return logits if task.is_regression else logits.softmax(dim=-1)


def _in_own_unit(task: Task, outputs: torch.Tensor) -> torch.Tensor:
    """Bring a regression's standardised outputs into the target's unit."""
    if not task.is_regression:
        return outputs
    return outputs * outputs.new_tensor(task.target_std) + outputs.new_tensor(task.target_mean)


def _load_backbone(path: str) -> ECGBackboneModel:
    config, _ = PreTrainedConfig.get_config_dict(path)
    return backbone_class(config.get("model_type")).from_pretrained(path)


def _own_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """Return what a backbone's config says beyond defaults, without notes on how and where it was saved."""
    notes = {"architectures", "auto_map", "dtype", "transformers_version"}
    return {key: value for key, value in config.to_diff_dict().items() if key not in notes}


__all__ = ["EnECGModel", "EnECGOutput"]
