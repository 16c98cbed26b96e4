"""EnECG: experts, a head per expert and task, a gate per task, and the gated sum.

Xu et al., "EnECG: Efficient Ensemble Learning for Electrocardiogram Multi-task Foundation Model", arXiv 2511.22935.
One expert is a legal ensemble: its gate is the constant 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers.utils import ModelOutput

from .configuration_enecg import EnECGConfig
from .gates import gate_weights, new_gate
from .heads import FeatureNorm, TaskHead, feature_size, heads_input
from .lead_dropout import expert_lead_mask, masked_gate_values, random_lead_mask
from .losses import load_balancing_loss, task_loss
from .modeling_backbone import (
    ECGBackboneModel,
    ECGBackboneOutput,
    RecordDropout,
    check_rate,
    needs_static_shapes,
)
from .novelty import Novelty
from .pretrained_enecg import EnECGPreTrainedModel
from .probabilities import calibrated_probabilities, in_own_unit, output_probabilities
from .tasks import Task


@dataclass
class EnECGOutput(ModelOutput):
    """Output of an [`EnECGModel`]; dicts are keyed by task name where nothing else is said.

    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of the tasks' losses, where labels were given.
        logits (`dict[str, torch.FloatTensor]`): Each task's outputs of shape `(batch_size, num_outputs)`; for a
            regression in the target's own unit.
        gate_weights (`dict[str, torch.FloatTensor]`): Each expert's weight, `(batch_size, num_experts)`; rows
            sum to 1.
        expert_logits (`dict[str, torch.FloatTensor]`): Each expert's own outputs,
            `(batch_size, num_experts, num_outputs)`; NaN where `top_k` left an expert uncomputed.
        hidden_states (`dict[str, tuple]`, *optional*): By expert, what its layers give, where asked for.
        attentions (`dict[str, tuple]`, *optional*): By expert that has attention, its weights, where asked for.
    """

    loss: torch.Tensor | None = None
    logits: dict[str, torch.Tensor] | None = None
    gate_weights: dict[str, torch.Tensor] | None = None
    expert_logits: dict[str, torch.Tensor] | None = None
    hidden_states: dict[str, tuple[torch.Tensor, ...]] | None = None
    attentions: dict[str, tuple[torch.Tensor, ...]] | None = None


class EnECGModel(EnECGPreTrainedModel):
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

    novelty: Novelty | None

    def __init__(self, config: EnECGConfig, experts: Mapping[str, ECGBackboneModel] | None = None):
        super().__init__(config)
        if not config.experts or not config.tasks:
            raise ValueError("An EnECG model needs at least one expert and one task; see EnECGModel.from_experts.")
        self.lead_dropout = 0.0
        self.experts = nn.ModuleDict(experts or {name: self._new_expert(name) for name in config.experts})
        self.feature_norms = nn.ModuleDict(
            {name: FeatureNorm(feature_size(config, expert)) for name, expert in self.backbones.items()}
        )
        self.novelty = None
        if config.novelty_rank is not None:
            num_features = sum(expert.config.feature_size for expert in self.backbones.values())
            self.novelty = Novelty(num_features, config.novelty_rank)
        self.heads, self.gates = nn.ModuleDict(), nn.ModuleDict()
        for task in config.get_tasks():
            self._add_heads(task)
        self.post_init()
        self._no_split_modules = {
            name for expert in self.backbones.values() for name in expert._no_split_modules or ()
        }

    def _add_heads(self, task: Task) -> None:
        sizes = {name: feature_size(self.config, expert) for name, expert in self.backbones.items()}
        try:
            heads = {name: TaskHead(self.config, size, task.num_outputs) for name, size in sizes.items()}
        except ValueError as error:
            raise ValueError(f"pooling_heads: {error}") from error
        self.heads[task.name] = nn.ModuleDict(heads)
        self.gates[task.name] = new_gate(self.config, list(sizes.values()))

    def add_task(self, task: Mapping[str, Any] | Task, like: str | None = None) -> None:
        """Add a task with new heads and a new gate.

        Args:
            task (`Mapping` or [`Task`]): The task.
            like (`str`, *optional*): Take the gate and the heads' pools and hidden layers of this task; the final
                layers, which know the labels, are new in any case.

        Raises:
            ValueError: if the model has a task of this name, or none to be like.
        """
        task = task if isinstance(task, Task) else Task.from_dict(dict(task))
        if task.name in self.tasks:
            raise ValueError(f"There is a task {task.name!r} already.")
        if like is not None and like not in self.tasks:
            raise ValueError(f"There is no task {like!r} to be like; there are {', '.join(self.tasks)}.")
        self._add_heads(task)
        self._set_tasks([*self.tasks.values(), task])
        if like is not None:
            self.gates[task.name].load_state_dict(self.gates[like].state_dict())
            for new, old in zip(self.task_heads(task.name), self.task_heads(like), strict=True):
                new.start_like(old)
        cast(nn.Module, self).to(self.device, self.dtype)
        self.train(self.training)

    def remove_task(self, name: str) -> None:
        """Remove a task with its heads and gate.

        Raises:
            ValueError: if there is no such task, or no other.
        """
        if name not in self.tasks or len(self.tasks) == 1:
            raise ValueError(f"Cannot remove the task {name!r} of {', '.join(self.tasks)}: a model needs one task.")
        del self.heads[name], self.gates[name]
        self._set_tasks([task for task in self.tasks.values() if task.name != name])

    def task_heads(self, name: str) -> list[TaskHead]:
        """Return each expert's head for a task."""
        return [cast(TaskHead, head) for head in cast(nn.ModuleDict, self.heads[name]).values()]

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
        """Train the experts as well, but for what only their forecasts need, or only a pooling that is not used."""
        for expert in self.backbones.values():
            unused = expert.forecast_parameters + (expert.pooling_parameters if self.config.pools_tokens else ())
            for name, parameter in expert.named_parameters():
                parameter.requires_grad_(not name.startswith(unused))
        self.train(self.training)

    def set_feature_statistics(self, statistics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Set by which mean and standard deviation each expert's features are standardised.

        Args:
            statistics (`Mapping[str, tuple[torch.Tensor, torch.Tensor]]`): By expert, both of shape `(feature_size,)`,
                or `(hidden_size,)` of tokens; for instance over the training records.
        """
        for name, (mean, std) in statistics.items():
            norm = cast(FeatureNorm, self.feature_norms[name])
            norm.mean.copy_(mean)
            norm.std.copy_(std)

    def fit_novelty(self, train: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray]) -> None:
        """Let the model tell how unlike the records that it knows a recording is; see [`Novelty`].

        Args:
            train (`Mapping[str, np.ndarray]`): By expert, the features of training records, of shape
                `(num_records, feature_size)`, as the experts give them now.
            validation (`Mapping[str, np.ndarray]`): The same of records that did not train.

        Raises:
            ValueError: if an expert's are missing, there are no records, or a feature is not finite.
        """
        missing = sorted(name for name in self.experts if name not in train or name not in validation)
        if missing:
            raise ValueError(f"The features of {', '.join(missing)} are missing.")
        self.set_novelty(Novelty.fit(*([features[name] for name in self.experts] for features in (train, validation))))

    def set_novelty(self, novelty: Novelty | None) -> None:
        """Take over what was fitted for the same experts; `None` for a model that cannot tell."""
        self.novelty = None if novelty is None else novelty.to(self.device, self.dtype)
        self.config.novelty_rank = None if novelty is None else novelty.rank

    def novelty_of(self, expert_features: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how unlike the records that the model knows some records are.

        Args:
            expert_features (`Mapping[str, torch.FloatTensor]`): All experts' features, as `extract_features` gives
                them.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Distances, and the share of validation records that lie nearer, both
                of shape `(batch_size,)`; see [`Novelty`].

        Raises:
            ValueError: if the model cannot tell, since `fit_novelty` was not called.
        """
        if self.novelty is None:
            raise ValueError("This model knows no records to compare with; call fit_novelty with features of some.")
        distances = self.novelty([expert_features[name] for name in self.experts])
        return distances, self.novelty.ranks(distances)

    def set_drop_path_rate(self, rate: float) -> None:
        """Set every expert's stochastic depth; see [`ECGBackboneModel.set_drop_path_rate`]."""
        for name, expert in self.backbones.items():
            expert.set_drop_path_rate(rate)
            self.config.experts[name]["drop_path_rate"] = rate

    def set_lead_dropout(self, rate: float) -> None:
        """Set the probability of each lead to be missing from a training record; see `random_lead_mask`.

        Raises:
            ValueError: if `rate` is not in [0, 1).
        """
        check_rate("lead_dropout", rate)
        self.lead_dropout = rate

    def set_head_dropout(self, rate: float) -> None:
        """Set the dropout of all heads."""
        self.config.head_dropout = rate
        for module in self.heads.modules():
            if isinstance(module, RecordDropout):
                module.rate = rate

    def extract_features(
        self,
        input_values: torch.Tensor | Sequence[torch.Tensor],
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | Sequence[torch.Tensor] | None = None,
        is_wanted: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return what the heads take of each expert, as `heads_input` gives it.

        These are its pooled features, `(batch_size, feature_size)`, or with attention pooling its tokens, each with a
        flag, `(batch_size, num_tokens, hidden_size + 1)`.

        Args:
            input_values: As in `forward`.
            lead_mask: As in `forward`.
            input_mask: As in `forward`.
            is_wanted (`torch.BoolTensor` of shape `(batch_size, num_experts)`, *optional*): Which features to compute;
                the others are 0. By default all.

        Raises:
            ValueError: if a list has not one entry per expert.
        """
        features = {}
        for index, (name, views) in enumerate(self.expert_inputs(input_values, lead_mask, input_mask).items()):
            wanted = None if is_wanted is None else is_wanted[:, index]
            features[name] = self._features(name, views) if wanted is None else self._of_some(name, views, wanted)
        return features

    def _features(self, name: str, views: Mapping[str, torch.Tensor | None]) -> torch.Tensor:
        return self._of_output(name, self.experts[name](**views))

    def _of_output(self, name: str, output: ECGBackboneOutput) -> torch.Tensor:
        return heads_input(self.config, self.backbones[name], output)

    def _of_some(self, name: str, views: Mapping[str, torch.Tensor | None], is_wanted: torch.Tensor) -> torch.Tensor:
        """Run an expert on the wanted records of a batch only; the others' features are 0."""
        if not is_wanted.any():
            size = feature_size(self.config, self.backbones[name])
            shape = (len(is_wanted), 1, size + 1) if self.config.pools_tokens else (len(is_wanted), size)
            return torch.zeros(shape, dtype=self.dtype, device=is_wanted.device)
        wanted = self._features(name, {key: None if view is None else view[is_wanted] for key, view in views.items()})
        features = wanted.new_zeros(len(is_wanted), *wanted.shape[1:])
        features[is_wanted] = wanted
        return features

    def expert_inputs(
        self, input_values: Any, lead_mask: torch.Tensor | None = None, input_mask: Any = None
    ) -> dict[str, dict[str, Any]]:
        """Return what each expert's `forward` takes of the arguments of this model's."""
        values = self._of_experts("input tensors", input_values)
        masks = self._of_experts("input masks", input_mask)
        return {
            name: {
                "input_values": values[index],
                "lead_mask": expert_lead_mask(lead_mask, expert),
                "input_mask": masks[index],
            }
            for index, (name, expert) in enumerate(self.backbones.items())
        }

    def _of_experts(self, what: str, given: Any) -> Sequence[Any]:
        """Return a list with one entry per expert."""
        if given is None or isinstance(given, torch.Tensor):
            return [given] * len(self.experts)
        if len(given) != len(self.experts):
            raise ValueError(
                f"Got {len(given)} {what} for {len(self.experts)} experts ({', '.join(self.experts)}); "
                "pass one tensor for all, or a list with one an expert in this order."
            )
        return given

    def forward(
        self,
        input_values: torch.Tensor | Sequence[torch.Tensor] | None = None,
        labels: Mapping[str, torch.Tensor] | torch.Tensor | None = None,
        expert_features: Mapping[str, torch.Tensor] | None = None,
        gate_values: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | Sequence[torch.Tensor] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EnECGOutput | tuple[Any, ...]:
        """Predict all tasks.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_leads, sequence_length)`, *optional*): What
                the feature extractor gives. Where experts take different inputs, a list with one tensor per expert, in
                the order of `config.experts`.
            labels (`dict[str, torch.Tensor]`, *optional*): From a task's name to its labels, as `task_loss` describes;
                tasks may be left out. With one task, its labels alone will do.
            expert_features (`dict[str, torch.FloatTensor]`, *optional*): What `extract_features` gave before; the
                experts are then not run.
            gate_values (`torch.FloatTensor`, *optional*): What a gate on the signal reads, of shape
                `(batch_size, num_gate_leads, gate_sequence_length)`; the feature extractor gives it.
            lead_mask (`torch.BoolTensor` of shape `(batch_size, 12)`, *optional*): True for the standard leads that a
                record has, by default all; over the experts' leads where all take the same fewer. Each expert follows
                its own rule for missing ones.
            input_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*): True for recorded
                samples, False for padding; a list where `input_values` is one. By default all were recorded.
            output_hidden_states (`bool`, *optional*): Whether to return what the experts' layers give; with `top_k`,
                all experts are then computed. By default as the config says.
            output_attentions (`bool`, *optional*): The same for their attention weights, of experts that have any.
            return_dict (`bool`, *optional*): `False` for a plain tuple.

        Returns:
            [`EnECGOutput`]

        Raises:
            ValueError: if neither `input_values` nor `expert_features` is given, a gate on the signal lacks
                `gate_values`, or labels do not fit the tasks.
        """
        if self.training and self.lead_dropout and input_values is not None:
            lead_mask = random_lead_mask(self.lead_dropout, input_values, lead_mask, self.backbones.values())
            gate_values = masked_gate_values(gate_values, lead_mask, self.config.gate_leads)
        scores = self._scores_of_signal(gate_values) if self.config.gate_reads_signal else None
        is_wanted, inside = None, {}
        if expert_features is None:
            if input_values is None:
                raise ValueError("Pass input_values, or expert_features computed before.")
            recorded = self._recorded(output_hidden_states, output_attentions)
            if recorded:
                views = self.expert_inputs(input_values, lead_mask, input_mask)
                outputs = {name: self.experts[name](**views[name], **recorded) for name in views}
                expert_features = {name: self._of_output(name, each) for name, each in outputs.items()}
                inside = {kind.removeprefix("output_"): _by_expert(outputs, kind) for kind in recorded}
            else:
                if scores is not None and self.is_sparse and not self.training and not needs_static_shapes():
                    is_wanted = torch.stack([self._weights(each) > 0 for each in scores.values()]).any(dim=0)
                expert_features = self.extract_features(input_values, lead_mask, input_mask, is_wanted)
        normed = [norm(expert_features[name]) for name, norm in self.feature_norms.items()]
        features = {name: self._pooled(name, normed) for name in self.tasks}
        if scores is None:
            scores = {name: self.gates[name](features[name]) for name in self.tasks}
        weights = {name: self._weights(each) for name, each in scores.items()}  # (batch, experts) by task
        expert_logits = {name: self._expert_logits(task, features[name]) for name, task in self.tasks.items()}
        logits = {name: (weights[name][..., None] * expert_logits[name]).sum(dim=1) for name in self.tasks}
        if is_wanted is not None:
            not_computed = ~is_wanted[..., None]
            expert_logits = {name: each.masked_fill(not_computed, torch.nan) for name, each in expert_logits.items()}
        loss = None if labels is None else self._loss(logits, labels)
        if loss is not None and self.is_sparse and self.training:
            loss = loss + self.config.load_balancing_weight * self._imbalance(scores, weights)
        output = EnECGOutput(loss=loss, logits=logits, gate_weights=weights, expert_logits=expert_logits, **inside)
        return output.to_tuple() if return_dict is False else output

    def _recorded(self, hidden_states: bool | None, attentions: bool | None) -> dict[str, bool]:
        """Return what the experts are asked for besides their features."""
        wanted = {
            "output_hidden_states": self.config.output_hidden_states if hidden_states is None else hidden_states,
            "output_attentions": self.config.output_attentions if attentions is None else attentions,
        }
        return {name: True for name, is_wanted in wanted.items() if is_wanted}

    @property
    def is_sparse(self) -> bool:
        """Whether the gates leave experts out, which are not computed in eval mode."""
        return self.config.top_k is not None and self.config.top_k < len(self.experts)

    def _scores_of_signal(self, gate_values: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if gate_values is None:
            raise ValueError(
                f"The gate reads the leads {', '.join(self.config.gate_leads or [])}: pass gate_values, "
                "which the model's feature extractor gives."
            )
        return {name: self.gates[name](gate_values) for name in self.tasks}

    def _weights(self, scores: torch.Tensor) -> torch.Tensor:
        return gate_weights(scores, self.config.gate_temperature, self.config.top_k)

    def _pooled(self, task_name: str, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [head.pooled(each) for head, each in zip(self.task_heads(task_name), features, strict=True)]

    def _expert_logits(self, task: Task, features: Sequence[torch.Tensor]) -> torch.Tensor:
        outputs = [head(each) for head, each in zip(self.task_heads(task.name), features, strict=True)]
        return in_own_unit(task, torch.stack(outputs, dim=1))  # (batch, experts, outputs)

    def _imbalance(self, scores: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        probabilities = {name: gate_weights(each, self.config.gate_temperature) for name, each in scores.items()}
        losses = [load_balancing_loss(probabilities[name], weights[name] > 0) for name in self.tasks]
        return torch.stack(losses).sum()

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
            self.tasks[name].loss_weight
            * task_loss(self.tasks[name], logits[name], labels[name], is_shared=self.training)
            for name in labels
        ]
        return torch.stack(losses).sum()

    def probabilities(self, logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn each task's logits into the model's own probabilities; a regression's values stay as they are."""
        return {name: output_probabilities(self.tasks[name], logits[name]) for name in logits}

    def calibrated(self, logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn each task's logits into calibrated probabilities, where the task has a calibration.

        Thresholds are on these. The values of a regression stay as they are.
        """
        return {name: calibrated_probabilities(self.tasks[name], logits[name]) for name in logits}


def _by_expert(outputs: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return one kind of what was recorded inside the experts that have it."""
    name = kind.removeprefix("output_")
    return {expert: output[name] for expert, output in outputs.items() if output.get(name) is not None}


__all__ = ["EnECGModel", "EnECGOutput"]
