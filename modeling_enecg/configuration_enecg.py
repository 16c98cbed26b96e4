"""Configuration of an EnECG model: its experts, its tasks, its heads, its gates."""

from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .leads import STANDARD_LEADS
from .tasks import Task, check_module_name

SIGNAL_GATES = ("leads", "encoder")
GATES = ("features", *SIGNAL_GATES, "uniform")
POOLINGS = ("backbone", "attention")


@strict
class EnECGConfig(PreTrainedConfig):
    """Configuration of an [`EnECGModel`].

    Args:
        experts (`dict[str, dict]`): From an expert's name to its backbone's configuration, with `model_type`.
        expert_order (`list[str]`, *optional*, defaults to the order of `experts`): The experts' order in gate weights,
            expert logits and lists of inputs; kept apart because JSON files sort their keys.
        tasks (`list[dict]`): The fields of each [`Task`].
        head_hidden_sizes (`list[int]`, *optional*): Hidden layers of every expert's head. By default none (a linear
            head) with one expert, and two of 256 with several, as in EnECG (arXiv 2511.22935).
        head_dropout (`float`, *optional*, defaults to 0.0): Dropout on what enters each of a head's linear layers.
        pooling (`str`, *optional*, defaults to `"backbone"`): How a head gets features from an expert's tokens:
            `"backbone"`, as the backbone itself pools them; `"attention"`, by a learned query of its own, the
            attentive probe of arXiv 2509.25095.
        pooling_heads (`int`, *optional*, defaults to 16): Attention heads of that pool; they divide a token's width.
        token_stride (`int`, *optional*, defaults to 1): With attention pooling, average so many successive tokens
            first: fewer tokens to compute with and to store.
        gate (`str`, *optional*): What decides on the experts' weights: `"features"`, all experts' features; `"leads"`,
            the samples of chosen leads, as in EnECG; `"encoder"`, a small convolutional encoder of chosen leads, which
            a shift hardly moves; `"uniform"`, nothing. By default the features, which need no further input and do
            not depend on where a beat lies; with one expert always `"uniform"`.
        gate_leads (`list[str]`, *optional*): What a gate on the signal reads: by default lead II (`"leads"`, as in
            EnECG) or all twelve (`"encoder"`).
        gate_sampling_rate (`float`, *optional*, defaults to 100): Samples per second (Hz) of the gate's input.
        gate_sequence_length (`int`, *optional*, defaults to 1000): Samples of the gate's input; EnECG takes 5000 at
            500 Hz.
        gate_hidden_size (`int`, *optional*): Width of a signal gate; by default 256 (`"leads"`, as in EnECG) or 32
            (`"encoder"`).
        gate_temperature (`float`, *optional*, defaults to 1.0): Divides a gate's scores before the softmax.
        top_k (`int`, *optional*): Weigh only so many experts a record; in eval mode the others are not computed.
            Needs a gate on the signal. By default all experts count.
        load_balancing_weight (`float`, *optional*, defaults to 0.01): With `top_k`, the share in the training loss of
            what keeps a gate from always choosing the same experts.
        novelty_rank (`int`, *optional*): Set by `fit_novelty`: the number of principal axes by which the model tells
            how unlike the records that it knows a recording is; see [`Novelty`].
        expert_references (`dict[str, dict]`, *optional*): Set by `save_pretrained(..., experts="reference")`: where
            each expert lies (`path`, `revision`) and the `sha256` of its weights.
    """

    model_type = "enecg"
    keys_to_ignore_at_inference = ["expert_logits"]

    experts: dict[str, Any] = field(default_factory=dict)
    expert_order: list[str] | None = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    head_hidden_sizes: list[int] | None = None
    head_dropout: int | float = 0.0
    pooling: str = "backbone"
    pooling_heads: int = 16
    token_stride: int = 1
    gate: str | None = None
    gate_leads: list[str] | None = None
    gate_sampling_rate: int | float = 100
    gate_sequence_length: int = 1000
    gate_hidden_size: int | None = None
    gate_temperature: int | float = 1.0
    top_k: int | None = None
    load_balancing_weight: int | float = 0.01
    novelty_rank: int | None = None
    expert_references: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Put the experts in order, and fill in every task's fields and the defaults of heads and gates."""
        if __package__ == "modeling_enecg":
            kwargs.pop("custom_pipelines", None)  # the installed pipeline serves, and no downloaded code has to run
        if self.expert_order is None:
            self.expert_order = list(self.experts)
        if sorted(self.expert_order) != sorted(self.experts):
            raise ValueError(f"expert_order {self.expert_order} does not name the experts {sorted(self.experts)}.")
        self.experts = {name: self.experts[name] for name in self.expert_order}
        self.tasks = [Task.from_dict(task).to_dict() for task in self.tasks]
        self.check_labels()
        if self.head_hidden_sizes is None:
            self.head_hidden_sizes = [] if len(self.experts) <= 1 else [256, 256]
        if self.gate is None:
            self.gate = "features"
        if len(self.experts) <= 1 and self.gate in GATES:
            self.gate = "uniform"
        if self.gate_reads_signal:
            is_encoder = self.gate == "encoder"
            self.gate_leads = self.gate_leads or (list(STANDARD_LEADS) if is_encoder else ["II"])
            self.gate_hidden_size = self.gate_hidden_size or (32 if is_encoder else 256)
        super().__post_init__(**kwargs)

    def check_labels(self) -> None:
        """Raise a `ValueError` where labels are given past the tasks."""
        for name in ("id2label", "label2id", "problem_type"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} means nothing here: labels and problem types are those of the tasks.")

    @property
    def num_labels(self) -> int:
        """Number of outputs of all tasks."""
        return sum(task.num_outputs for task in self.get_tasks())

    @num_labels.setter
    def num_labels(self, num_labels: int) -> None:
        if num_labels != self.num_labels:
            raise ValueError(
                f"num_labels cannot be {num_labels}: the tasks have {self.num_labels} outputs. These are given by the "
                "labels of tasks; use add_task and remove_task on a model, or tasks where it is made."
            )

    def validate_names(self) -> None:
        """Refuse expert names that cannot name a module, and tasks of the same name."""
        for name in self.experts:
            check_module_name(name, "expert")
        names = [task["name"] for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"Task names must differ from each other; got {names}.")

    def validate_gate(self) -> None:
        """Refuse leads and sizes that a gate cannot have, and `top_k` where it would save nothing."""
        if self.gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}; got {self.gate!r}.")
        for lead in self.gate_leads or []:
            if lead not in STANDARD_LEADS:
                raise ValueError(f"gate_leads: there is no lead {lead!r}; choose of {', '.join(STANDARD_LEADS)}.")
        if len(set(self.gate_leads or [])) != len(self.gate_leads or []):
            raise ValueError(f"gate_leads must differ from each other; got {self.gate_leads}.")
        for name in ("gate_sampling_rate", "gate_sequence_length", "gate_hidden_size", "gate_temperature"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive; got {value}.")
        if self.top_k is None or len(self.experts) <= 1:
            return
        if not 1 <= self.top_k <= len(self.experts):
            raise ValueError(f"top_k must be from 1 to the number of experts, {len(self.experts)}; got {self.top_k}.")
        if not self.gate_reads_signal:
            raise ValueError(
                f"top_k needs a gate that decides before the experts run: {' or '.join(SIGNAL_GATES)}; "
                f"got {self.gate!r}."
            )

    def validate_pooling(self) -> None:
        """Refuse a pooling that there is not, heads that do not divide an expert's tokens, and strides below 1."""
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; got {self.pooling!r}.")
        for name in ("pooling_heads", "token_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
            if not self.pools_tokens and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f'{name} needs tokens that are pooled by attention; set pooling to "attention".')

    @property
    def pools_tokens(self) -> bool:
        """Whether heads take an expert's tokens, not its own pooled features."""
        return self.pooling == "attention"

    @property
    def gate_reads_signal(self) -> bool:
        """Whether the model takes `gate_values` beside the experts' inputs."""
        return self.gate in SIGNAL_GATES

    def gate_extractor_settings(self) -> dict[str, Any]:
        """Return the `ECGFeatureExtractor` arguments that give a signal gate its input."""
        return {
            "sampling_rate": self.gate_sampling_rate,
            "sequence_length": self.gate_sequence_length,
            "lead_names": self.gate_leads,
            "steps": [
                {"name": "resample", "method": "fourier"},
                {"name": "crop_or_pad"},
                {"name": "standardize", "scope": "lead"},
            ],
        }

    def get_tasks(self) -> list[Task]:
        """Return the tasks as objects."""
        return [Task.from_dict(task) for task in self.tasks]


__all__ = ["EnECGConfig", "Task"]
